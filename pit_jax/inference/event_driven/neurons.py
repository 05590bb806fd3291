"""What fires: neurons, products of spikes, and attention between them.

Integers are int32 and wrap as JAX's do: numba would widen a product, hence the casts.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.instructions import values
from pit_jax.inference.event_driven.jit import compiled
from pit_jax.inference.event_driven.simd import LANES, count_lanes
from pit_jax.inference.runtime.fixed_point import (
    LEAK_BITS,
    TABLE_RANGE,
    TABLE_STEP_BITS,
    sigmoid_table,
)

# Rows of a neuron's numbers behind its thresholds.
DROP, LEAK, LEAK_FIRED, ONE, SLOWNESS = range(5)

_LOW = (1 << LEAK_BITS) - 1
_HALF = TABLE_RANGE << TABLE_STEP_BITS
_SIGMOID = sigmoid_table()


@compiled
@no_type_check
def fire(one, memory, state, numbers, t, batch, fresh, goes_on):
    """One step of `FixedNeuron`: from rest if `fresh`, and with no state after it unless it
    `goes_on`."""
    channels = one.channels
    thresholds = numbers[one.weight + t * one.copies :][: one.period]
    rule = thresholds.reshape(-1, channels)
    currents = values(one.source, one.size, memory, batch)
    counts = values(one.to, one.size, memory, batch)
    # Membranes hold u, until they hold what is left of it.
    membranes = values(one.membrane, one.size, state, batch)
    for at in range(0, len(counts), channels):
        c = 0
        if not one.signed:
            while c + LANES <= channels:
                count_lanes(
                    currents, membranes, np.intp(fresh), counts, at + c, thresholds, c, channels,
                    one.levels, one.guard,
                )  # fmt: skip
                c += LANES
        while c < channels:
            old = np.int32(0) if fresh else membranes[at + c]
            u = np.int32(old + np.int32(currents[at + c] << one.guard))
            if one.signed:
                k = np.int32(u >= rule[0, c]) - np.int32(u <= -rule[0, c])
            else:
                k = 0
                for level in range(one.levels):
                    k += np.int32(u >= rule[level, c])
            membranes[at + c], counts[at + c] = u, k
            c += 1
    if not goes_on:
        return
    rest = rule[one.levels :]
    mixed = np.empty(channels if one.carries else 0, np.int32)
    for i in range(len(counts) // channels):
        u, k = membranes[i * channels :][:channels], counts[i * channels :][:channels]
        if one.slowed:
            slow = values(one.slow, one.size, state, batch).reshape(-1, channels)[i]
            if fresh:
                slow[:] = 0
            _drop_deeper(u, k, slow, rest, one.slow_shift)
        else:
            for c in range(channels):
                u[c] = np.int32(u[c] - np.int32(rest[DROP, c] * k[c]))
        if one.carries:
            matrix = numbers[one.carry + t * channels * channels :][: channels * channels]
            _mix(u, matrix.reshape(channels, channels), mixed, one.carry_shift)
        for c in range(channels):
            u[c] = _multiplied(u[c], rest[LEAK_FIRED, c] if k[c] != 0 else rest[LEAK, c])


@compiled
@no_type_check
def _drop_deeper(u, k, slow, rest, shift):
    """CLIF: the drop has the sigmoid of the second potential on top."""
    for c in range(len(u)):
        scaled = np.int32(_multiplied(u[c], rest[SLOWNESS, c]) >> shift)
        kept = np.int32(np.int32(slow[c] * _table(scaled)) >> LEAK_BITS)
        slow[c] = np.int32(kept + np.int32(k[c] << LEAK_BITS))
        deeper = _multiplied(rest[ONE, c], _table(slow[c] >> (LEAK_BITS - TABLE_STEP_BITS)))
        drop = np.int32(rest[DROP, c] + deeper)
        u[c] = np.int32(u[c] - np.int32(drop * k[c]))


@compiled
@no_type_check
def _mix(u, matrix, mixed, shift):
    """PITFull: what is left, in the coordinates of the next step."""
    mixed[:] = 0
    for c in range(len(u)):
        left = np.int32(u[c] >> shift)
        for o in range(len(u)):
            mixed[o] += np.int32(left * matrix[c, o])
    for c in range(len(u)):
        if LEAK_BITS >= shift:
            u[c] = np.int32(mixed[c] >> (LEAK_BITS - shift))
        else:
            u[c] = np.int32(mixed[c] << (shift - LEAK_BITS))


@compiled
@no_type_check
def _multiplied(x, number):
    high = np.int32(np.int32(x >> LEAK_BITS) * number)
    return np.int32(high + np.int32(np.int32(np.int32(x & _LOW) * number) >> LEAK_BITS))


@compiled
@no_type_check
def _table(x):
    return _SIGMOID[min(max(x, -_HALF), _HALF) + _HALF]


@compiled
@no_type_check
def product(one, memory, batch):
    """Where both fire, or the first and not the second; counts multiply."""
    to = values(one.to, one.size, memory, batch)
    first = values(one.source, one.size, memory, batch)
    # The second may be one for all places.
    first, to = first.reshape(batch, -1, one.period), to.reshape(batch, -1, one.period)
    second = values(one.second, one.period, memory, batch).reshape(batch, one.period)
    for b in range(batch):
        for i in range(to.shape[1]):
            for c in range(one.period):
                other = 1 - second[b, c] if one.silent else second[b, c]
                to[b, i, c] = np.int32(first[b, i, c] * other)


@compiled
@no_type_check
def attend(one, memory, numbers, t, batch):
    """query (weight keyᵀ value), head by head: what a key and a value meet at, spike by spike."""
    wide, deep = one.channels // one.groups, one.features // one.groups
    tokens = one.size // one.features
    query = values(one.source, tokens * one.channels, memory, batch)
    key = values(one.second, tokens * one.channels, memory, batch)
    query = query.reshape(batch, tokens, one.groups, wide)
    key = key.reshape(batch, tokens, one.groups, wide)
    value = values(one.third, one.size, memory, batch).reshape(batch, tokens, one.groups, deep)
    to = values(one.to, one.size, memory, batch).reshape(batch, tokens, one.groups, deep)
    weight = numbers[one.weight + t * one.copies :][: one.channels]
    met = np.empty((wide, deep), np.int32)
    for b in range(batch):
        for h in range(one.groups):
            met[:] = 0
            for n in range(tokens):
                for c in range(wide):
                    count = key[b, n, h, c]
                    if count != 0:
                        for f in range(deep):
                            met[c, f] += np.int32(count * value[b, n, h, f])
            for c in range(wide):
                for f in range(deep):
                    met[c, f] = np.int32(met[c, f] * weight[h * wide + c])
            for n in range(tokens):
                to[b, n, h] = 0
                for c in range(wide):
                    count = query[b, n, h, c]
                    if count != 0:
                        for f in range(deep):
                            to[b, n, h, f] += np.int32(count * met[c, f])
