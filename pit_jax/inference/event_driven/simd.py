"""The inner loops, on several channels at once in the registers of a CPU.

LLVM does not find this in plain loops: it reads and writes the sums at every row, looks each time
whether they overlap the weights, and lists spikes one by one. Said in its own language a layer
takes a third of the time.
"""

from typing import Any, no_type_check

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from pit_jax.inference.event_driven.jit import compiled

# LLVM cuts them into what the CPU has: one register of AVX-512, two of AVX2, four of NEON.
LANES = 16

_INDEX, _NUMBER = ir.IntType(64), ir.IntType(32)
_MANY = ir.VectorType(_NUMBER, LANES)


class _Code:
    """Writes the code of one intrinsic, whose arguments are arrays and indices."""

    def __init__(self, context: Any, builder: Any, signature: Any, given: Any) -> None:
        self.builder, self.context = builder, context
        self.arguments = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, given, strict=True)
        ]

    def constant(self, *numbers: int) -> Any:
        """The same in all lanes, or one for each."""
        return ir.Constant(_MANY, list(numbers) * (LANES // len(numbers)))

    def spread(self, number: Any) -> Any:
        """A number in all lanes."""
        empty = ir.Constant(_MANY, ir.Undefined)
        one = self.builder.insert_element(empty, number, _NUMBER(0))
        return self.builder.shuffle_vector(one, empty, self.constant(0))

    def entry(self, array: Any, i: Any) -> Any:
        return self.builder.load(self.builder.gep(array, [i]))

    def _place(self, array: Any, i: Any, kind: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(array, [i]), kind.as_pointer())

    def read(self, array: Any, i: Any) -> Any:
        """`LANES` values from entry i on, as int32."""
        value = array.type.pointee
        kind = ir.VectorType(value, LANES)
        got = self.builder.load(self._place(array, i, kind), align=value.width // 8)
        return self.builder.sext(got, _MANY) if value.width < _NUMBER.width else got

    def write(self, array: Any, i: Any, values: Any) -> None:
        self.builder.store(values, self._place(array, i, _MANY), align=4)

    def loop(self, begin: Any, end: Any, carried: list[Any], body: Any) -> list[Any]:
        """body(i, carried) from `begin` to `end`, whose values are carried on; returns the last."""
        builder, before = self.builder, self.builder.block
        look, work, done = (builder.append_basic_block(name) for name in ("look", "work", "done"))
        builder.branch(look)
        builder.position_at_end(look)
        i = builder.phi(_INDEX)
        i.add_incoming(begin, before)
        held = [builder.phi(value.type) for value in carried]
        builder.cbranch(builder.icmp_signed("<", i, end), work, done)
        builder.position_at_end(work)
        after = body(i, held)
        for phi, first, then in zip(held, carried, after, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, work)
        i.add_incoming(builder.add(i, _INDEX(1)), work)
        builder.branch(look)
        builder.position_at_end(done)
        return held


@no_type_check
def _adder(vectors: int) -> Any:
    """Adds rows of `LANES * vectors` weights, with the sums in as many registers throughout."""

    @no_type_check
    def code(context, builder, signature, given):
        code = _Code(context, builder, signature, given)
        sums, at, rows, place, width, column, shift, count, begin, end = code.arguments

        def add(i, held):
            line = builder.add(builder.sext(code.entry(place, i), _INDEX), shift)
            first = builder.add(builder.mul(line, width), column)
            times = code.spread(code.entry(count, i))
            weights = (code.read(rows, builder.add(first, _INDEX(v))) for v in lanes)
            return [
                builder.add(s, builder.mul(w, times)) for s, w in zip(held, weights, strict=True)
            ]

        lanes = range(0, LANES * vectors, LANES)
        places = [builder.add(at, _INDEX(v)) for v in lanes]
        held = code.loop(begin, end, [code.read(sums, place) for place in places], add)
        for where, value in zip(places, held, strict=True):
            code.write(sums, where, value)
        return context.get_dummy_value()

    @no_type_check
    def add(typing, sums, at, rows, place, width, column, shift, count, begin, end):
        return types.void(
            sums, types.intp, rows, place, *(types.intp,) * 3, count, *(types.intp,) * 2
        ), code  # fmt: skip

    return intrinsic(add)


_add_64, _add_32, _add_16 = _adder(4), _adder(2), _adder(1)


@compiled
@no_type_check
def add_rows(sums, at, rows, place, width, column, channels, shift, count, begin, end):
    """Adds count[i] times `channels` entries of row place[i] + shift, from `column` on, to the sums
    from `at` on; i from `begin` to `end`. The rows lie `width` apart."""
    done = 0
    while done + 64 <= channels:
        _add_64(sums, at + done, rows, place, width, column + done, shift, count, begin, end)
        done += 64
    if done + 32 <= channels:
        _add_32(sums, at + done, rows, place, width, column + done, shift, count, begin, end)
        done += 32
    if done + 16 <= channels:
        _add_16(sums, at + done, rows, place, width, column + done, shift, count, begin, end)
        done += 16
    if done < channels:
        for i in range(begin, end):
            first = (place[i] + shift) * width + column
            for o in range(done, channels):
                sums[at + o] += count[i] * rows[first + o]


@no_type_check
def _whole_adder(pixels: int, vectors: int) -> Any:
    """As `_adder`, of all rows in their order, for some output pixels that share each row."""

    @no_type_check
    def code(context, builder, signature, given):
        code = _Code(context, builder, signature, given)
        sums, at, apart, values, source, stride, rows, first, width, inputs = code.arguments

        def add(i, held):
            row = builder.add(first, builder.mul(i, width))
            weights = [code.read(rows, builder.add(row, _INDEX(v))) for v in lanes]
            after = []
            for p in range(pixels):
                where = builder.add(builder.add(source, builder.mul(stride, _INDEX(p))), i)
                times = code.spread(code.entry(values, where))
                for v, weight in enumerate(weights):
                    after.append(builder.add(held[p * vectors + v], builder.mul(weight, times)))
            return after

        lanes = range(0, LANES * vectors, LANES)
        places = [
            builder.add(builder.add(at, builder.mul(apart, _INDEX(p))), _INDEX(v))
            for p in range(pixels)
            for v in lanes
        ]
        held = code.loop(_INDEX(0), inputs, [code.read(sums, place) for place in places], add)
        for where, value in zip(places, held, strict=True):
            code.write(sums, where, value)
        return context.get_dummy_value()

    @no_type_check
    def add(typing, sums, at, apart, values, source, stride, rows, first, width, inputs):
        whole = types.intp
        return types.void(
            sums, whole, whole, values, whole, whole, rows, whole, whole, whole
        ), code  # fmt: skip

    return intrinsic(add)


PIXELS = 4
_whole_4_32, _whole_4_16 = _whole_adder(PIXELS, 2), _whole_adder(PIXELS, 1)
_whole_1_32, _whole_1_16 = _whole_adder(1, 2), _whole_adder(1, 1)


@compiled
@no_type_check
def add_all(
    pixels, sums, at, apart, values, source, stride, rows, first, width, inputs, channels
):  # fmt: skip
    """Adds values[source + i] times `channels` entries of the row from first + i * width on, all
    `inputs`, to the sums from `at` on; for 1 or `PIXELS` of them, `apart`, of sources `stride`
    apart."""
    c = 0
    while c + 32 <= channels:
        if pixels == PIXELS:
            _whole_4_32(sums, at + c, apart, values, source, stride, rows, first + c, width, inputs)
        else:
            _whole_1_32(sums, at + c, apart, values, source, stride, rows, first + c, width, inputs)
        c += 32
    if c + 16 <= channels:
        if pixels == PIXELS:
            _whole_4_16(sums, at + c, apart, values, source, stride, rows, first + c, width, inputs)
        else:
            _whole_1_16(sums, at + c, apart, values, source, stride, rows, first + c, width, inputs)
        c += 16
    if c < channels:
        for p in range(pixels):
            for i in range(inputs):
                times, row = values[source + p * stride + i], first + i * width
                for o in range(c, channels):
                    sums[at + p * apart + o] += times * rows[row + o]


@intrinsic
@no_type_check
def list_lanes(typing, values, at, place, count, found, begin):
    """Lists what is not 0 of the next `LANES` values, whose places are begin, begin + 1, ...; up to
    `LANES` entries behind those that are listed are overwritten. Returns how many are listed."""

    def code(context, builder, signature, given):
        code = _Code(context, builder, signature, given)
        values, at, place, count, found, begin = code.arguments
        read = code.read(values, at)
        fires = builder.icmp_signed("!=", read, code.constant(0))
        first = code.spread(builder.trunc(begin, _NUMBER))
        places = builder.add(first, code.constant(*range(LANES)))
        together = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_MANY, [_MANY, fires.type, _MANY]),
            f"llvm.experimental.vector.compress.v{LANES}i32",
        )
        nothing = ir.Constant(_MANY, ir.Undefined)
        for array, what in ((place, places), (count, read)):
            code.write(array, found, builder.call(together, [what, fires, nothing]))
        bits = builder.ctpop(builder.bitcast(fires, ir.IntType(LANES)))
        return builder.add(found, builder.zext(bits, _INDEX))

    return types.intp(values, types.intp, place, count, types.intp, types.intp), code


@intrinsic
@no_type_check
def count_lanes(
    typing, currents, membranes, fresh, counts, at, rule, column, channels, levels, guard
):  # fmt: skip
    """Charges `LANES` membranes, from 0 if `fresh`, and counts the levels that they reach of a rule
    [levels, C]."""

    def code(context, builder, signature, given):
        code = _Code(context, builder, signature, given)
        currents, membranes, fresh, counts, at, rule, column, channels, levels, guard = (
            code.arguments
        )
        bits = code.spread(builder.trunc(guard, _NUMBER))
        rest = builder.icmp_signed("!=", fresh, _INDEX(0))
        old = builder.select(rest, code.constant(0), code.read(membranes, at))
        u = builder.add(old, builder.shl(code.read(currents, at), bits))

        def reach(level, held):
            row = code.read(rule, builder.add(builder.mul(level, channels), column))
            reached = builder.zext(builder.icmp_signed(">=", u, row), _MANY)
            return [builder.add(held[0], reached)]

        (k,) = code.loop(_INDEX(0), levels, [code.constant(0)], reach)
        code.write(membranes, at, u)
        code.write(counts, at, k)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(
        currents, membranes, whole, counts, whole, rule, *(whole,) * 4
    ), code  # fmt: skip
