"""Run a whole network step by step in one compiled call.

Python between two layers would take longer than many layers do, so the network is a tape of
instructions (instructions.py), and the loop over it is compiled. The loop depends on nothing but
the tape: it is compiled once for all networks.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.convolution import add_currents, list_spikes
from pit_jax.inference.event_driven.instructions import Opcode, view_numbers, view_values
from pit_jax.inference.event_driven.jit import SOURCES_HASH, compile_entry, compile_inner
from pit_jax.inference.event_driven.neurons import attend, fire, multiply
from pit_jax.inference.event_driven.pooling import pool, sum_axis, sum_cells


# Run the tape:
#
#     for each step t:
#         for each instruction i, in the order of the nodes:
#             LIST          found[i] = number of spikes in a source; write the list
#             CONV          dense = found[its LIST] > max_spikes[i]
#                           sums += weights of all inputs if dense else weights of listed spikes
#             FIRE          membranes += currents; counts = thresholds reached; reset and leak
#             others        write or add values in the memory
#         total logits += outputs of the last node
#
# Each instruction handles the whole batch before the next one runs, so that its weights can stay in
# the cache.
@compile_inner
@no_type_check
def _run(
    tape, memory, state, numbers, shorts, unit, max_spikes, frames, first, last, fresh, keep, sums,
    to,
):  # fmt: skip
    """Run steps `first` to `last` of a batch with frames [B, 1 or T, N].

    Adds the outputs of the last node, which are at `to`, to `sums` [B, K]. Returns one total per
    instruction: the spikes that a LIST found, or how often a CONV added all inputs because there
    were more than its `max_spikes` spikes. Neurons start at rest if `fresh`. The state is prepared
    for a further call only if `keep` is true.
    """
    batch = len(frames)
    totals = np.zeros(len(tape), np.int64)
    found = np.zeros(len(tape), np.int64)
    for t in range(first, last):
        frame = frames[:, t - first if frames.shape[1] > 1 else 0]
        for i in range(len(tape)):
            op = tape[i]
            opcode = op.opcode
            # The most frequent opcodes come first.
            if opcode == Opcode.LIST:
                found[i] = list_spikes(op, memory, batch)
                totals[i] += found[i]
            elif opcode == Opcode.CONV:
                # The number of spikes differs from step to step, so the choice is made here.
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
            # Clip before the cast: casting an infinite or too large float to int32 is undefined.
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
    """Add round(value * weight / 2^shift), half up."""
    weight = view_numbers(op, numbers, t)
    sums = view_values(op.to, op.size, memory, batch).reshape(-1, len(weight))
    values = view_values(op.source, op.size, memory, batch).reshape(-1, len(weight))
    # floor((x + 2^(shift - 1)) / 2^shift) rounds half up. Without a shift `half` is 0.
    half = 1 << op.shift >> 1
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
        sources_hash  # noqa: B018  A closure variable is a part of numba's cache key.
        return _run(*arguments)

    return compile_entry(run)


run = _make_entry(SOURCES_HASH)
