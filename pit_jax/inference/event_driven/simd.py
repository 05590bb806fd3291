"""Inner loops on 16 channels at once, in the vector registers of a CPU.

They are written as LLVM instructions, because LLVM does not find this code in plain loops: there it
loads and stores the sums for every row, checks each time whether they overlap the weights, and
lists spikes one by one. With these kernels a layer takes a third of the time.

Above each kernel is pseudo-code in which `x[i:+16]` is the vector `x[i : i + 16]`. All numbers are
int32 and wrap around, as JAX's do.
"""

from typing import Any, no_type_check

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from pit_jax.inference.event_driven.jit import compile_inner
from pit_jax.old_names import serve_old_names

# LLVM splits a vector into registers: one of AVX-512, two of AVX2, four of NEON.
LANES = 16

_INT64, _INT32 = ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_INT32, LANES)


class _Emitter:
    """A writer of the LLVM instructions of one intrinsic; `arguments` are arrays and indices."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
        self.builder = builder
        # Kernels get flat arrays and indices into them, so only the addresses of data are needed.
        self.arguments = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, values, strict=True)
        ]

    def constant(self, *numbers: int) -> Any:
        """Return a constant vector with one number in all lanes, or one number per lane."""
        return ir.Constant(_VECTOR, list(numbers) * (LANES // len(numbers)))

    def broadcast(self, number: Any) -> Any:
        """Return a vector with the value `number` in all lanes."""
        empty = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(empty, number, _INT32(0))
        return self.builder.shuffle_vector(one, empty, self.constant(0))

    def load(self, array: Any, i: Any) -> Any:
        """Return entry i."""
        return self.builder.load(self.builder.gep(array, [i]))

    def load_vector(self, array: Any, i: Any) -> Any:
        """Return entries i to i + 15, int16 widened to int32."""
        entry = array.type.pointee
        kind = ir.VectorType(entry, LANES)
        # A row can begin at any entry, so the address is aligned to an entry and not to a vector.
        vector = self.builder.load(self._point_to(array, i, kind), align=entry.width // 8)
        return self.builder.sext(vector, _VECTOR) if entry.width < _INT32.width else vector

    def store_vector(self, array: Any, i: Any, vector: Any) -> None:
        """Write entries i to i + 15."""
        self.builder.store(vector, self._point_to(array, i, _VECTOR), align=4)

    def _point_to(self, array: Any, i: Any, kind: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(array, [i]), kind.as_pointer())

    def loop(self, begin: Any, end: Any, start: list[Any], body: Any) -> list[Any]:
        """Emit `state = body(i, state)` for i from `begin` to `end`; return the last state.

        The state is a list of values, which is `start` before the first iteration.
        """
        # The blocks of the loop, in LLVM's static single assignment form:
        #
        #     before:  branch check
        #     check:   i     = phi(begin from before, i + 1 from turn)
        #              state = phi(start from before, body(i, state) from turn)
        #              branch turn if i < end else done
        #     turn:    body(i, state); branch check
        #     done:    state is the result
        #
        # Phi nodes stay in registers from one iteration to the next: nothing is stored.
        builder, before = self.builder, self.builder.block
        check, turn, done = (builder.append_basic_block(name) for name in ("check", "turn", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        i = builder.phi(_INT64)
        i.add_incoming(begin, before)
        state = [builder.phi(value.type) for value in start]
        builder.cbranch(builder.icmp_signed("<", i, end), turn, done)
        builder.position_at_end(turn)
        following = body(i, state)
        for phi, first, then in zip(state, start, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(then, turn)
        i.add_incoming(builder.add(i, _INT64(1)), turn)
        builder.branch(check)
        builder.position_at_end(done)
        return state


# Accumulate the weights of spikes, for 16 * vectors channels:
#
#     for v < vectors:
#         s[v] = sums[to + 16 v:+16]
#     for i from begin to end:                                the listed spikes of a window's row
#         row = (places[i] + shift) * row_length + column     in weights [rows, row_length]
#         k = broadcast(counts[i])
#         for v < vectors:
#             s[v] += k * widen(weights[row + 16 v:+16])      int16 to int32, if need be
#     for v < vectors:
#         sums[to + 16 v:+16] = s[v]
#
# The sums s stay in registers for all spikes. 64 channels are four registers of AVX-512, whose
# additions overlap: each must wait for its own sum of the spike before, not for the others.
@no_type_check
def _make_spike_accumulator(vectors: int) -> Any:
    """Return the kernel for `LANES * vectors` channels."""
    lanes = range(0, LANES * vectors, LANES)

    @no_type_check
    def emit(context, builder, signature, values):
        code = _Emitter(context, builder, signature, values)
        sums, to, weights, row_length, column, places, counts, shift, begin, end = code.arguments

        def add_row(i, state):
            row = builder.add(builder.sext(code.load(places, i), _INT64), shift)
            first = builder.add(builder.mul(row, row_length), column)
            k = code.broadcast(code.load(counts, i))
            ws = (code.load_vector(weights, builder.add(first, _INT64(v))) for v in lanes)
            return [builder.add(s, builder.mul(w, k)) for s, w in zip(state, ws, strict=True)]

        outputs = [builder.add(to, _INT64(v)) for v in lanes]
        state = code.loop(begin, end, [code.load_vector(sums, o) for o in outputs], add_row)
        for output, vector in zip(outputs, state, strict=True):
            code.store_vector(sums, output, vector)
        return context.get_dummy_value()

    @no_type_check
    def accumulate(
        typing, sums, to, weights, row_length, column, places, counts, shift, begin, end
    ):  # fmt: skip
        index = types.intp
        return types.void(
            sums, index, weights, index, index, places, counts, index, index, index
        ), emit  # fmt: skip

    return intrinsic(accumulate)


_accumulate_spikes_64 = _make_spike_accumulator(4)
_accumulate_spikes_32 = _make_spike_accumulator(2)
_accumulate_spikes_16 = _make_spike_accumulator(1)


@compile_inner
@no_type_check
def accumulate_spikes(
    sums, to, weights, row_length, column, channels, places, counts, shift, begin, end
):  # fmt: skip
    """Add the weights of the spikes from `begin` to `end` to sums[to : to + channels].

    Spike i adds counts[i] * weights[places[i] + shift, column : column + channels].
    """
    # As many channels at once as are left: 64, 32 or 16 in vectors, and the rest one by one.
    c = 0
    while c + 64 <= channels:
        _accumulate_spikes_64(
            sums, to + c, weights, row_length, column + c, places, counts, shift, begin, end
        )  # fmt: skip
        c += 64
    if c + 32 <= channels:
        _accumulate_spikes_32(
            sums, to + c, weights, row_length, column + c, places, counts, shift, begin, end
        )  # fmt: skip
        c += 32
    if c + 16 <= channels:
        _accumulate_spikes_16(
            sums, to + c, weights, row_length, column + c, places, counts, shift, begin, end
        )  # fmt: skip
        c += 16
    if c < channels:
        for i in range(begin, end):
            row = (places[i] + shift) * row_length + column
            for o in range(c, channels):
                sums[to + o] += counts[i] * weights[row + o]


# Accumulate the weights of all inputs, for 16 * vectors channels of a few output pixels:
#
#     for p < pixels, v < vectors:
#         s[p, v] = sums[to + p * to_stride + 16 v:+16]
#     for i from 0 to inputs:                                 the input channels of a kernel's place
#         for v < vectors:
#             w[v] = widen(weights[first + i * row_length + 16 v:+16])
#         for p < pixels:
#             k = broadcast(values[source + p * stride + i])
#             s[p, v] += k * w[v]                             for v < vectors
#     for p < pixels, v < vectors:
#         sums[to + p * to_stride + 16 v:+16] = s[p, v]
#
# A row is loaded once for all pixels. 4 pixels of 32 channels need 8 registers for sums, 2 for
# weights and 1 for a count: 11 of the 32 registers of AVX-512.
@no_type_check
def _make_dense_accumulator(pixels: int, vectors: int) -> Any:
    """Return the kernel for `LANES * vectors` channels of `pixels` output pixels."""
    lanes = range(0, LANES * vectors, LANES)

    @no_type_check
    def emit(context, builder, signature, arguments):
        code = _Emitter(context, builder, signature, arguments)
        sums, to, to_stride, values, source, stride, weights, first, row_length, inputs = (
            code.arguments
        )

        def add_row(i, state):
            row = builder.add(first, builder.mul(i, row_length))
            ws = [code.load_vector(weights, builder.add(row, _INT64(v))) for v in lanes]
            s = iter(state)
            following = []
            for p in range(pixels):
                at = builder.add(builder.add(source, builder.mul(stride, _INT64(p))), i)
                k = code.broadcast(code.load(values, at))
                following += [builder.add(next(s), builder.mul(w, k)) for w in ws]
            return following

        outputs = [
            builder.add(builder.add(to, builder.mul(to_stride, _INT64(p))), _INT64(v))
            for p in range(pixels)
            for v in lanes
        ]
        start = [code.load_vector(sums, o) for o in outputs]
        state = code.loop(_INT64(0), inputs, start, add_row)
        for output, vector in zip(outputs, state, strict=True):
            code.store_vector(sums, output, vector)
        return context.get_dummy_value()

    @no_type_check
    def accumulate(
        typing, sums, to, to_stride, values, source, stride, weights, first, row_length, inputs
    ):  # fmt: skip
        index = types.intp
        return types.void(
            sums, index, index, values, index, index, weights, index, index, index
        ), emit  # fmt: skip

    return intrinsic(accumulate)


# Output pixels that share the rows of the weights.
PIXELS = 4
_accumulate_dense_4_32 = _make_dense_accumulator(PIXELS, 2)
_accumulate_dense_4_16 = _make_dense_accumulator(PIXELS, 1)
_accumulate_dense_1_32 = _make_dense_accumulator(1, 2)
_accumulate_dense_1_16 = _make_dense_accumulator(1, 1)


@compile_inner
@no_type_check
def accumulate_dense(
    pixels, sums, to, to_stride, values, source, stride, weights, first, row_length, inputs,
    channels,
):  # fmt: skip
    """Add values[source + i] times `channels` weights from first + i * row_length on, for all
    i < `inputs`, to sums[to : to + channels].

    For 1 or `PIXELS` output pixels, whose sums are `to_stride` apart and values `stride`.
    """
    c = 0
    while c + 32 <= channels:
        if pixels == PIXELS:
            _accumulate_dense_4_32(
                sums, to + c, to_stride, values, source, stride, weights, first + c, row_length,
                inputs,
            )  # fmt: skip
        else:
            _accumulate_dense_1_32(
                sums, to + c, to_stride, values, source, stride, weights, first + c, row_length,
                inputs,
            )  # fmt: skip
        c += 32
    if c + 16 <= channels:
        if pixels == PIXELS:
            _accumulate_dense_4_16(
                sums, to + c, to_stride, values, source, stride, weights, first + c, row_length,
                inputs,
            )  # fmt: skip
        else:
            _accumulate_dense_1_16(
                sums, to + c, to_stride, values, source, stride, weights, first + c, row_length,
                inputs,
            )  # fmt: skip
        c += 16
    if c < channels:
        for p in range(pixels):
            for i in range(inputs):
                k, row = values[source + p * stride + i], first + i * row_length
                for o in range(c, channels):
                    sums[to + p * to_stride + o] += k * weights[row + o]


# List the spikes of 16 channels:
#
#     k = values[at:+16]
#     fires = (k != 0)                            a mask of 16 bits
#     p = broadcast(begin) + (0, 1, ..., 15)      the places of the 16 values
#     places[found:+16] = compress(p, fires)      those that fire come first, in their order;
#     counts[found:+16] = compress(k, fires)      the entries after them are undefined
#     return found + popcount(fires)
#
# For k = (0, 3, 0, 1, ...) and begin = 32 the list gets the places 33, 35, ... and the counts
# 3, 1, ... Whole vectors are written, whatever fires: there is no branch that a CPU could
# mispredict. Therefore a list needs room for 16 entries after its last one. `compress` is one
# instruction of AVX-512; on other CPUs LLVM expands it.
@intrinsic
@no_type_check
def list_vector(typing, values, at, places, counts, found, begin):
    """Append the spikes of 16 values to a list of `found` spikes; return its new length."""

    def emit(context, builder, signature, arguments):
        code = _Emitter(context, builder, signature, arguments)
        values, at, places, counts, found, begin = code.arguments
        k = code.load_vector(values, at)
        fires = builder.icmp_signed("!=", k, code.constant(0))
        first = code.broadcast(builder.trunc(begin, _INT32))
        p = builder.add(first, code.constant(*range(LANES)))
        compress = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_VECTOR, [_VECTOR, fires.type, _VECTOR]),
            f"llvm.experimental.vector.compress.v{LANES}i32",
        )
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        for array, vector in ((places, p), (counts, k)):
            code.store_vector(array, found, builder.call(compress, [vector, fires, undefined]))
        number = builder.ctpop(builder.bitcast(fires, ir.IntType(LANES)))
        return builder.add(found, builder.zext(number, _INT64))

    return types.intp(values, types.intp, places, counts, types.intp, types.intp), emit


# Charge 16 membranes and fire (FixedNeuron.count, without its division):
#
#     v = 0 if fresh else membranes[at:+16]
#     u = v + (currents[at:+16] << guard)             a current in units of the membrane
#     k = 0
#     for level from 0 to levels:
#         threshold = thresholds[level * channels + column:+16]
#         k += (u >= threshold)                       1 where it is reached
#     membranes[at:+16] = u                           before the reset
#     counts[at:+16] = k
#
# The thresholds [levels, C] rise with the level, so the number of those reached is the count
# clip(floor((u - first) / step) + 1, 0, levels). It takes one comparison per level instead of an
# integer division, which x86 and NEON compute one lane at a time.
@intrinsic
@no_type_check
def fire_vector(
    typing, currents, membranes, fresh, counts, at, thresholds, column, channels, levels, guard
):  # fmt: skip
    """Charge 16 membranes, from 0 if `fresh`, and write the counts that they fire."""

    def emit(context, builder, signature, arguments):
        code = _Emitter(context, builder, signature, arguments)
        currents, membranes, fresh, counts, at, thresholds, column, channels, levels, guard = (
            code.arguments
        )
        bits = code.broadcast(builder.trunc(guard, _INT32))
        at_rest = builder.icmp_signed("!=", fresh, _INT64(0))
        v = builder.select(at_rest, code.constant(0), code.load_vector(membranes, at))
        u = builder.add(v, builder.shl(code.load_vector(currents, at), bits))

        def count_level(level, state):
            row = builder.add(builder.mul(level, channels), column)
            reached = builder.icmp_signed(">=", u, code.load_vector(thresholds, row))
            return [builder.add(state[0], builder.zext(reached, _VECTOR))]

        (k,) = code.loop(_INT64(0), levels, [code.constant(0)], count_level)
        code.store_vector(membranes, at, u)
        code.store_vector(counts, at, k)
        return context.get_dummy_value()

    index = types.intp
    return types.void(
        currents, membranes, index, counts, index, thresholds, *(index,) * 4
    ), emit  # fmt: skip


serve_old_names(__name__)
