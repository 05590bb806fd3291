"""Rows of weights added in the registers of a CPU, several channels at once.

LLVM does not find this in a plain loop: it reads and writes the sums at every row, and looks each
time whether they overlap the weights. Said in its own language a layer takes a third of the time.
"""

from typing import Any, no_type_check

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from pit_jax.inference.event_driven.compiled import compiled

# LLVM cuts them into what the CPU has: one register of AVX-512, two of AVX2, four of NEON.
LANES = 16


@no_type_check
def _adder(vectors: int) -> Any:
    """A function that adds rows of `LANES * vectors` weights, compiled into its callers."""

    @no_type_check
    def add(typing, sums, at, rows, place, width, column, shift, count, begin, end):
        """sums[at + o] += count[i] * rows[(place[i] + shift) * width + column + o], all i."""
        whole = types.intp
        signature = types.void(
            sums, whole, rows, place, whole, whole, whole, count, whole, whole
        )  # fmt: skip
        return signature, _code(vectors)

    return intrinsic(add)


@no_type_check
def _code(vectors: int) -> Any:
    @no_type_check
    def code(context, builder, signature, given):
        """The loop over the rows, with the sums in `vectors` registers throughout."""

        def data(i):
            return context.make_array(signature.args[i])(context, builder, given[i]).data

        sums, rows, place, count = (data(i) for i in (0, 2, 3, 7))
        at, width, column, shift, begin, end = (given[i] for i in (1, 4, 5, 6, 8, 9))
        index, number = ir.IntType(64), ir.IntType(32)
        weight = context.get_value_type(signature.args[2].dtype)
        many, read = ir.VectorType(number, LANES), ir.VectorType(weight, LANES)

        def register(array, first, v, kind):
            there = builder.gep(array, [builder.add(first, index(v * LANES))])
            return builder.bitcast(there, kind.as_pointer())

        def entry(array, i):
            return builder.load(builder.gep(array, [i]))

        loaded = [builder.load(register(sums, at, v, many), align=4) for v in range(vectors)]
        before = builder.block
        look, work, done = (builder.append_basic_block(name) for name in ("look", "work", "done"))
        builder.branch(look)

        builder.position_at_end(look)
        i = builder.phi(index)
        i.add_incoming(begin, before)
        held = [builder.phi(many) for _ in range(vectors)]
        for phi, value in zip(held, loaded, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", i, end), work, done)

        builder.position_at_end(work)
        line = builder.add(builder.sext(entry(place, i), index), shift)
        first = builder.add(builder.mul(line, width), column)
        empty = ir.Constant(many, ir.Undefined)
        one = builder.insert_element(empty, entry(count, i), number(0))
        times = builder.shuffle_vector(one, empty, ir.Constant(many, [0] * LANES))
        for v, phi in enumerate(held):
            row = builder.load(register(rows, first, v, read), align=weight.width // 8)
            row = builder.sext(row, many) if weight.width < number.width else row
            phi.add_incoming(builder.add(phi, builder.mul(row, times)), work)
        i.add_incoming(builder.add(i, index(1)), work)
        builder.branch(look)

        builder.position_at_end(done)
        for v, phi in enumerate(held):
            builder.store(phi, register(sums, at, v, many), align=4)
        return context.get_dummy_value()

    return code


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
