"""One compiled call that runs a whole network step by step: between layers Python takes longer than
many a layer does.

It reads a tape of instructions and knows nothing else of the network.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.currents import add, listed
from pit_jax.inference.event_driven.instructions import (
    CELLS,
    CLEAR,
    CONV,
    FIRE,
    LIST,
    POOL,
    PRODUCT,
    ROUND,
    SAMPLE,
    SCALE,
    START,
    SUM,
    values,
)
from pit_jax.inference.event_driven.jit import SOURCES, compiled, kept
from pit_jax.inference.event_driven.neurons import attend, fire, product
from pit_jax.inference.event_driven.pooling import cells, pool, summed


@compiled
@no_type_check
def _steps(
    tape, memory, state, numbers, shorts, unit, most, frames, first, last, fresh, keep, sums, to
):  # fmt: skip
    """Steps `first` to `last` of a batch, with frames [B, 1 or T, N]: adds the outputs of the last
    node, which lie at `to`, to `sums` [B, K]; returns by instruction how many spikes were listed
    and how often all was added.

    `most` says up to how many spikes a batch goes by them. Neurons begin at rest if `fresh`, and
    the state is that for a further step only if it is to be kept.
    """
    batch = len(frames)
    seen = np.zeros(len(tape), np.int64)
    found = np.zeros(len(tape), np.int64)
    for t in range(first, last):
        frame = frames[:, t - first if frames.shape[1] > 1 else 0]
        for i in range(len(tape)):
            one = tape[i]
            op = one.op
            if op == LIST:
                found[i] = listed(one, memory, batch)
                seen[i] += found[i]
            elif op == CONV:
                dense = found[one.events] > most[i]
                add(one, dense, memory, numbers, shorts, t, batch)
                seen[i] += dense
            elif op == FIRE:
                new, more = fresh and t == first, keep or t + 1 < last
                fire(one, memory, state, numbers, t, batch, new, more)
            elif op == START:
                _start(one, memory, numbers, t, batch)
            elif op == SCALE:
                _scale(one, memory, numbers, t, batch)
            elif op == ROUND:
                _round(one, memory, batch)
            elif op == SAMPLE:
                _sample(one, memory, unit, frame, batch)
            elif op == CLEAR:
                values(one.to, one.size, memory, batch)[:] = 0
            elif op == POOL:
                pool(one, memory, batch)
            elif op == SUM:
                summed(one, memory, batch)
            elif op == CELLS:
                cells(one, memory, batch)
            elif op == PRODUCT:
                product(one, memory, batch)
            else:
                attend(one, memory, numbers, t, batch)
        sums += values(to, sums.shape[1], memory, batch).reshape(sums.shape)
    return seen


@compiled
@no_type_check
def _sample(one, memory, unit, frame, batch):
    bound = np.float32(one.bound)
    pixels = values(one.to, one.size, memory, batch).reshape(batch, one.size)
    for b in range(batch):
        for i in range(one.size):
            x = np.rint(np.float32(0) if np.isnan(frame[b, i]) else frame[b, i] / unit)
            pixels[b, i] = np.int32(min(max(x, -bound), bound))


@compiled
@no_type_check
def _start(one, memory, numbers, t, batch):
    row = numbers[one.weight + t * one.copies :][: one.period]
    sums = values(one.to, one.size, memory, batch).reshape(-1, one.period)
    for i in range(len(sums)):
        for c in range(one.period):
            sums[i, c] = row[c]


@compiled
@no_type_check
def _scale(one, memory, numbers, t, batch):
    row = numbers[one.weight + t * one.copies :][: one.period]
    sums = values(one.to, one.size, memory, batch).reshape(-1, one.period)
    given = values(one.source, one.size, memory, batch).reshape(-1, one.period)
    half = 1 << one.shift >> 1
    for i in range(len(sums)):
        for c in range(one.period):
            times = np.int32(np.int32(given[i, c] * row[c]) + half)
            sums[i, c] += np.int32(times >> one.shift)


@compiled
@no_type_check
def _round(one, memory, batch):
    to = values(one.to, one.size, memory, batch)
    given = values(one.source, one.size, memory, batch)
    half = 1 << one.shift >> 1
    if one.adds:
        for i in range(len(to)):
            to[i] += np.int32(np.int32(given[i] + half) >> one.shift)
    else:
        for i in range(len(to)):
            to[i] = np.int32(np.int32(given[i] + half) >> one.shift)


@no_type_check
def _entry(sources):
    def run(*given):
        sources  # noqa: B018
        return _steps(*given)

    return kept(run)


run = _entry(SOURCES)
