"""Neurons, products of spikes, and attention as plain loops.

Each function computes the same bits as its counterpart in runtime/step.py or
runtime/fixed_point.py. Integers are int32 and wrap around as JAX's do: numba computes a product of
two int32 in int64, hence the casts.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.instructions import (
    DROP,
    LEAK,
    LEAK_FIRED,
    ONE,
    SLOWNESS,
    view_numbers,
    view_values,
)
from pit_jax.inference.event_driven.jit import compile_inner
from pit_jax.inference.event_driven.simd import LANES, fire_vector
from pit_jax.inference.runtime.fixed_point import (
    LEAK_BITS,
    TABLE_RANGE,
    TABLE_STEP_BITS,
    sigmoid_table,
)
from pit_jax.old_names import serve_old_names

_LOW_BITS = (1 << LEAK_BITS) - 1
_HALF = TABLE_RANGE << TABLE_STEP_BITS
_SIGMOID = sigmoid_table()


@compile_inner
@no_type_check
def fire(op, memory, state, numbers, t, batch, fresh, continues):
    """Run one step of a `FixedNeuron`, from rest if `fresh`.

    The state of the next step is prepared only if the run `continues`.
    """
    channels = op.channels
    rule = view_numbers(op, numbers, t)
    currents = view_values(op.source, op.size, memory, batch)
    counts = view_values(op.to, op.size, memory, batch)
    # u at first; overwritten by the rest for the next step.
    membranes = view_values(op.membrane, op.size, state, batch)
    _charge_and_count(op, currents, membranes, fresh, counts, rule)
    if not continues:
        return
    # The rows after the thresholds: DROP, LEAK, LEAK_FIRED, and for CLIF ONE and SLOWNESS.
    rest = rule[op.levels * channels :].reshape(-1, channels)
    mixed = np.empty(channels if op.has_carry else 0, np.int32)
    for i in range(len(counts) // channels):
        u, k = membranes[i * channels :][:channels], counts[i * channels :][:channels]
        if op.has_slow:
            slow = view_values(op.slow, op.size, state, batch).reshape(-1, channels)[i]
            if fresh:
                slow[:] = 0
            _reset_clif(u, k, slow, rest, op.slow_shift)
        else:
            for c in range(channels):
                u[c] = np.int32(u[c] - np.int32(rest[DROP, c] * k[c]))
        if op.has_carry:
            matrix = numbers[op.carry + t * channels * channels :][: channels * channels]
            _mix(u, matrix.reshape(channels, channels), mixed, op.carry_shift)
        for c in range(channels):
            u[c] = _multiply_fixed(u[c], rest[LEAK_FIRED, c] if k[c] != 0 else rest[LEAK, c])


@compile_inner
@no_type_check
def _charge_and_count(op, currents, membranes, fresh, counts, rule):
    """Add currents to membranes and count the thresholds [levels, C] that they reach."""
    channels = op.channels
    for at in range(0, len(counts), channels):
        c = 0
        # Whole vectors first; the rest of the channels, and ternary neurons, one by one.
        if not op.signed:
            while c + LANES <= channels:
                fire_vector(
                    currents, membranes, np.intp(fresh), counts, at + c, rule, c, channels,
                    op.levels, op.guard,
                )  # fmt: skip
                c += LANES
        while c < channels:
            v = np.int32(0) if fresh else membranes[at + c]
            u = np.int32(v + np.int32(currents[at + c] << op.guard))
            if op.signed:
                k = np.int32(u >= rule[c]) - np.int32(u <= -rule[c])
            else:
                k = 0
                for level in range(op.levels):
                    k += np.int32(u >= rule[level * channels + c])
            membranes[at + c], counts[at + c] = u, k
            c += 1


@compile_inner
@no_type_check
def _reset_clif(u, k, slow, rest, shift):
    """Reset CLIF: u -= k (drop + sigmoid(m)), with m = m sigmoid(u / tau) + k in `slow`."""
    # As FixedNeuron._update_slow: m counts 2^-12, the table takes 2^-8 and returns 2^-12.
    for c in range(len(u)):
        scaled = np.int32(_multiply_fixed(u[c], rest[SLOWNESS, c]) >> shift)
        decayed = np.int32(np.int32(slow[c] * _look_up_sigmoid(scaled)) >> LEAK_BITS)
        slow[c] = np.int32(decayed + np.int32(k[c] << LEAK_BITS))
        sigmoid = _look_up_sigmoid(slow[c] >> (LEAK_BITS - TABLE_STEP_BITS))
        drop = np.int32(rest[DROP, c] + _multiply_fixed(rest[ONE, c], sigmoid))
        u[c] = np.int32(u[c] - np.int32(drop * k[c]))


@compile_inner
@no_type_check
def _mix(u, matrix, mixed, shift):
    """Convert the membranes of PITFull to the coordinates of the next step."""
    mixed[:] = 0
    for c in range(len(u)):
        # Bits are cut off before the sum and put back after it, so that no sum overflows.
        v = np.int32(u[c] >> shift)
        for o in range(len(u)):
            mixed[o] += np.int32(v * matrix[c, o])
    for c in range(len(u)):
        if LEAK_BITS >= shift:
            u[c] = np.int32(mixed[c] >> (LEAK_BITS - shift))
        else:
            u[c] = np.int32(mixed[c] << (shift - LEAK_BITS))


@compile_inner
@no_type_check
def _multiply_fixed(x, number):
    """Return floor(x number / 4096); see `fixed_point.multiply_fixed`."""
    # x = 4096 h + l: h number + floor(l number / 4096), where both products fit 32 bits.
    high = np.int32(np.int32(x >> LEAK_BITS) * number)
    return np.int32(high + np.int32(np.int32(np.int32(x & _LOW_BITS) * number) >> LEAK_BITS))


@compile_inner
@no_type_check
def _look_up_sigmoid(x):
    return _SIGMOID[min(max(x, -_HALF), _HALF) + _HALF]


@compile_inner
@no_type_check
def multiply(op, memory, batch):
    """Multiply counts; with `silent`, multiply the first by 1 - the second."""
    to = view_values(op.to, op.size, memory, batch)
    first = view_values(op.first, op.size, memory, batch)
    # The second may be one place, for all places of the first.
    first, to = first.reshape(batch, -1, op.period), to.reshape(batch, -1, op.period)
    second = view_values(op.second, op.period, memory, batch).reshape(batch, op.period)
    for b in range(batch):
        for i in range(to.shape[1]):
            for c in range(op.period):
                factor = 1 - second[b, c] if op.silent else second[b, c]
                to[b, i, c] = np.int32(first[b, i, c] * factor)


@compile_inner
@no_type_check
def attend(op, memory, numbers, t, batch):
    """Compute query (weight keyᵀ value), head by head."""
    # product[c, f] = weight[c] sum_n key[n, c] value[n, f]
    # to[n, f]      = sum_c query[n, c] product[c, f]
    # In this order the time grows with the number of tokens and not with its square, and silent
    # keys and queries cost nothing.
    deep, out_deep = op.channels // op.heads, op.features // op.heads
    tokens = op.size // op.features
    query = view_values(op.query, tokens * op.channels, memory, batch)
    key = view_values(op.key, tokens * op.channels, memory, batch)
    query = query.reshape(batch, tokens, op.heads, deep)
    key = key.reshape(batch, tokens, op.heads, deep)
    value = view_values(op.value, op.size, memory, batch).reshape(batch, tokens, op.heads, out_deep)
    to = view_values(op.to, op.size, memory, batch).reshape(batch, tokens, op.heads, out_deep)
    weight = view_numbers(op, numbers, t)
    product = np.empty((deep, out_deep), np.int32)
    for b in range(batch):
        for h in range(op.heads):
            product[:] = 0
            for n in range(tokens):
                for c in range(deep):
                    count = key[b, n, h, c]
                    if count != 0:
                        for f in range(out_deep):
                            product[c, f] += np.int32(count * value[b, n, h, f])
            for c in range(deep):
                for f in range(out_deep):
                    product[c, f] = np.int32(product[c, f] * weight[h * deep + c])
            for n in range(tokens):
                to[b, n, h] = 0
                for c in range(deep):
                    count = query[b, n, h, c]
                    if count != 0:
                        for f in range(out_deep):
                            to[b, n, h, f] += np.int32(count * product[c, f])


serve_old_names(__name__)
