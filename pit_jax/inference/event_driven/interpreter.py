"""One compiled call that runs a whole network step by step.

Python between two layers would take longer than many layers do, so the network is a tape of
instructions (instructions.py), and the loop over it is compiled. It knows nothing else of the
network: one compilation serves all of them.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.convolution import add_currents, list_spikes
from pit_jax.inference.event_driven.instructions import Opcode, view_numbers, view_values
from pit_jax.inference.event_driven.jit import SOURCES_HASH, compile_entry, compile_inner
from pit_jax.inference.event_driven.neurons import attend, fire, multiply
from pit_jax.inference.event_driven.pooling import pool, sum_axis, sum_cells


@compile_inner
@no_type_check
def _run(
    tape, memory, state, numbers, shorts, unit, max_spikes, frames, first, last, fresh, keep, sums,
    to,
):  # fmt: skip
    """Run steps `first` to `last` of a batch with frames [B, 1 or T, N].

    Adds the outputs of the last node, which are at `to`, to `sums` [B, K]. Returns for each
    instruction how many spikes it listed, or how often it added all inputs: it does where there are
    more than its `max_spikes`. Neurons begin at rest if `fresh`. Only with `keep` the state is
    ready for a further step afterwards.
    """
    batch = len(frames)
    totals = np.zeros(len(tape), np.int64)
    found = np.zeros(len(tape), np.int64)
    for t in range(first, last):
        frame = frames[:, t - first if frames.shape[1] > 1 else 0]
        for i in range(len(tape)):
            op = tape[i]
            opcode = op.opcode
            # The most frequent ones first.
            if opcode == Opcode.LIST:
                found[i] = list_spikes(op, memory, batch)
                totals[i] += found[i]
            elif opcode == Opcode.CONV:
                # The number of spikes is known only now: the choice is made at every step.
                dense = found[op.lister] > max_spikes[i]
                add_currents(op, dense, memory, numbers, shorts, t, batch)
                totals[i] += dense
            elif opcode == Opcode.FIRE:
                starts, continues = fresh and t == first, keep or t + 1 < last
                fire(op, memory, state, numbers, t, batch, starts, continues)
            elif opcode == Opcode.BIAS:
                _set_bias(op, memory, numbers, t, batch)
            elif opcode == Opcode.DIAGONAL:
                _add_diagonal(op, memory, numbers, t, batch)
            elif opcode == Opcode.ROUND:
                _round(op, memory, batch)
            elif opcode == Opcode.SAMPLE:
                _sample(op, memory, unit, frame, batch)
            elif opcode == Opcode.CLEAR:
                view_values(op.to, op.size, memory, batch)[:] = 0
            elif opcode == Opcode.POOL:
                pool(op, memory, batch)
            elif opcode == Opcode.SUM:
                sum_axis(op, memory, batch)
            elif opcode == Opcode.CELLS:
                sum_cells(op, memory, batch)
            elif opcode == Opcode.PRODUCT:
                multiply(op, memory, batch)
            else:
                attend(op, memory, numbers, t, batch)
        sums += view_values(to, sums.shape[1], memory, batch).reshape(sums.shape)
    return totals


@compile_inner
@no_type_check
def _sample(op, memory, unit, frame, batch):
    """Write clip(round(frame / unit), -bound, bound); NaN counts as 0."""
    bound = np.float32(op.bound)
    pixels = view_values(op.to, op.size, memory, batch).reshape(batch, op.size)
    for b in range(batch):
        for i in range(op.size):
            x = np.rint(np.float32(0) if np.isnan(frame[b, i]) else frame[b, i] / unit)
            # Clipped as floats: an infinite pixel has no integer.
            pixels[b, i] = np.int32(min(max(x, -bound), bound))


@compile_inner
@no_type_check
def _set_bias(op, memory, numbers, t, batch):
    bias = view_numbers(op, numbers, t)
    sums = view_values(op.to, op.size, memory, batch).reshape(-1, len(bias))
    for i in range(len(sums)):
        for c in range(len(bias)):
            sums[i, c] = bias[c]


@compile_inner
@no_type_check
def _add_diagonal(op, memory, numbers, t, batch):
    """Add round(value * weight / 2^shift), half up: half of what is rounded off is added first."""
    weight = view_numbers(op, numbers, t)
    sums = view_values(op.to, op.size, memory, batch).reshape(-1, len(weight))
    values = view_values(op.source, op.size, memory, batch).reshape(-1, len(weight))
    half = 1 << op.shift >> 1  # 0 without a shift.
    for i in range(len(sums)):
        for c in range(len(weight)):
            product = np.int32(np.int32(values[i, c] * weight[c]) + half)
            sums[i, c] += np.int32(product >> op.shift)


@compile_inner
@no_type_check
def _round(op, memory, batch):
    """Write or add round(value / 2^shift), half up."""
    to = view_values(op.to, op.size, memory, batch)
    values = view_values(op.source, op.size, memory, batch)
    half = 1 << op.shift >> 1
    if op.adds:
        for i in range(len(to)):
            to[i] += np.int32(np.int32(values[i] + half) >> op.shift)
    else:
        for i in range(len(to)):
            to[i] = np.int32(np.int32(values[i] + half) >> op.shift)


@no_type_check
def _make_entry(sources_hash):
    def run(*arguments):
        sources_hash  # noqa: B018  In the closure, for `compile_entry`.
        return _run(*arguments)

    return compile_entry(run)


run = _make_entry(SOURCES_HASH)
