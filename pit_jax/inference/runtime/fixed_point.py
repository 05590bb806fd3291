"""Neurons in fixed point: membranes are int32, so that each compiler computes the same step.

A compiler may or may not fuse a product of floats with the sum after it, which changes bits; a
product and a sum of integers have one result. Leaks are multiples of 1 / 4096, as on neuromorphic
chips.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pit_jax.old_names import serve_old_names

LEAK_BITS = 12
# A membrane has up to this many bits below the unit of its current, for fractions that leaks leave.
GUARD_BITS = 8
# CLIF's sigmoid is a table: inputs from -16 to 16 in steps of 2^-8, outputs in units of 2^-12.
TABLE_STEP_BITS, TABLE_RANGE = 8, 16
# Membranes and thresholds stay within +-2^30, so that u - first cannot wrap around in int32.
LARGEST = 2**30


def thermometer(levels: int) -> tuple[int, ...]:
    """Return a slot for each level; a count of k fills the first k (Appendix A, threshold 1/2)."""
    return (1,) * levels


def bitwise(levels: int) -> tuple[int, ...]:
    """Return a slot for each bit of the largest count, the highest bit first."""
    return tuple(1 << bit for bit in reversed(range(levels.bit_length())))


CODES = {"thermometer": thermometer, "bitwise": bitwise}


class NeuronState(NamedTuple):
    """The state of a layer between steps: membranes, and for CLIF its second potential."""

    membrane: Int[Array, "B ..."]
    slow: Int[Array, "B ..."] | None = None


@dataclass(frozen=True)
class FixedNeuron:
    """`FiringRule` in integers; arrays are `[1 or T, 1 or C]`.

    Membranes count 2^-guard of a current's unit. `leak` and `leak_fired` count 1 / 4096 and also
    convert a membrane from the unit of its step to the unit of the next step. `slots` has the worth
    in levels of a spike in each slot, in the order in which they are sent.

    CLIF: `one` is 1.0 in units of the membrane; `slowness` and `slow_shift` convert a membrane to
    the argument u / tau of the sigmoid's table. PITFull: `carry` `[T, C, C]`, in 1 / 4096, converts
    mixed membranes to the coordinates of the next step.
    """

    first: np.ndarray
    step: np.ndarray
    drop: np.ndarray
    leak: np.ndarray
    leak_fired: np.ndarray
    levels: int
    guard: int
    slots: tuple[int, ...]
    signed: bool = False
    one: np.ndarray | None = None
    slowness: np.ndarray | None = None
    slow_shift: int = 0
    carry: np.ndarray | None = None
    carry_shift: int = 0

    def start(self, current: Array) -> NeuronState:
        """Return the state at rest."""
        zero = jnp.zeros(current.shape, jnp.int32)
        return NeuronState(zero, zero if self.one is not None else None)

    def count(self, state: NeuronState, current: Array, t: int) -> tuple[NeuronState, Array]:
        """Return the state after one step and its counts `[B, ...]` int32."""
        # k = floor((u - first) / step) + 1 thresholds first, first + step, ... are reached.
        u = state.membrane + (current << self.guard)
        first, step = (self._at(x, t, u) for x in (self.first, self.step))
        if self.signed:
            k = jnp.where(u >= first, 1, jnp.where(u <= -first, -1, 0))
        else:
            k = jnp.clip(jnp.floor_divide(u - first, step) + 1, 0, self.levels)
        return self._rest(state, u, k, t), k

    def fire_slots(self, state: NeuronState, current: Array, t: int) -> tuple[NeuronState, Array]:
        """Return the state after one step and the spikes of each slot `[D, B, ...]` int8.

        Within the step this is an integrate-and-fire neuron with soft reset.
        """
        # A slot worth w fires if at least w levels are left, potential >= first + (w - 1) step, and
        # then takes w step off the potential. In the thermometer code w = 1: the threshold `first`
        # in every slot. As all numbers are integers, the sum of the slots equals `count`.
        u = state.membrane + (current << self.guard)
        step, potential = self._at(self.step, t, u), u
        # The bitwise code can express counts above `levels` (7 with 3 slots for 4 levels), so the
        # potential is capped where the count is `levels`.
        if sum(self.slots) > self.levels:
            potential = jnp.minimum(u, self._at(self._threshold(self.levels), t, u))
        spikes, k = [], jnp.zeros_like(u)
        for levels in self.slots:
            threshold = self._at(self._threshold(levels), t, u)
            spike = (potential >= threshold).astype(jnp.int32)
            if self.signed:
                spike = spike - (potential <= -threshold).astype(jnp.int32)
            potential = potential - levels * step * spike
            spikes.append(spike)
            k = k + levels * spike
        return self._rest(state, u, k, t), jnp.stack(spikes).astype(jnp.int8)

    def _threshold(self, levels: int) -> np.ndarray:
        """Return the smallest potential at which a slot worth `levels` fires."""
        threshold = self.first.astype(np.int64) + (levels - 1) * self.step.astype(np.int64)
        # No membrane reaches LARGEST, so such a threshold is never reached.
        return np.minimum(threshold, LARGEST).astype(np.int32)

    def _rest(self, state: NeuronState, u: Array, k: Array, t: int) -> NeuronState:
        """Return the state after a membrane `u` fired `k`: reset, then mixing, then leak."""
        drop, slow = self._at(self.drop, t, u), None
        if self.one is not None:
            extra_drop, slow = self._update_slow(state, u, k, t)
            drop = drop + extra_drop
        left = u - drop * k
        fired = k != 0
        if self.carry is not None:
            left = self._mix(left, self.carry[t])
        leak = jnp.where(fired, self._at(self.leak_fired, t, u), self._at(self.leak, t, u))
        return NeuronState(multiply_fixed(left, leak), slow)

    def _update_slow(
        self, state: NeuronState, u: Array, k: Array, t: int
    ) -> tuple[Array, Int[Array, "B ..."]]:
        """Return the addition to the reset by CLIF's second potential m, and its next value.

        m' = m sigmoid(u / tau) + k, in units of 2^-12; the reset is deeper by sigmoid(m').
        """
        assert self.slowness is not None and self.one is not None and state.slow is not None
        at = multiply_fixed(u, self._at(self.slowness, t, u)) >> self.slow_shift
        slow = (state.slow * _sigmoid(at) >> LEAK_BITS) + (k << LEAK_BITS)
        # The table takes units of 2^-8. Its output counts 2^-12, and `one` has the membrane's unit.
        extra_drop = _sigmoid(slow >> (LEAK_BITS - TABLE_STEP_BITS))
        return multiply_fixed(self._at(self.one, t, u), extra_drop), slow

    def _mix(self, left: Array, carry: np.ndarray) -> Array:
        """Return `left` mixed by `carry` `[C, C]` in 1 / 4096 (PITFull)."""
        # Bits are cut off before the sum and put back after it, so that the sum is an int32.
        rounded = left >> self.carry_shift
        mixed = jax.lax.dot_general(
            rounded, jnp.asarray(carry), (((rounded.ndim - 1,), (0,)), ((), ())),
            preferred_element_type=jnp.int32,
        )  # fmt: skip
        return _shift(mixed, LEAK_BITS - self.carry_shift)

    def _at(self, x: np.ndarray, t: int, like: Array) -> Array:
        row = jnp.asarray(x[t if len(x) > 1 else 0], jnp.int32)
        return row.reshape((1,) * (like.ndim - row.ndim) + row.shape)


def multiply_fixed(x: Array, number: Array) -> Array:
    """Return floor(x number / 4096) in int32, exactly, even if x number needs more than 32 bits.

    With x = 4096 h + l and 0 <= l < 4096 this is h number + floor(l number / 4096).
    """
    low = (1 << LEAK_BITS) - 1
    return (x >> LEAK_BITS) * number + ((x & low) * number >> LEAK_BITS)


def _shift(x: Array, bits: int) -> Array:
    return x >> bits if bits >= 0 else x << -bits


def sigmoid_table() -> np.ndarray:
    """Return the sigmoid for -TABLE_RANGE to TABLE_RANGE in steps of 2^-8, in units of 2^-12."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    grid = np.arange(-half, half + 1) / 2.0**TABLE_STEP_BITS
    return np.rint(2.0**LEAK_BITS / (1 + np.exp(-grid))).astype(np.int32)


def _sigmoid(x: Array) -> Array:
    """Look up the sigmoid of `x` in units of 2^-8; the result has units of 2^-12."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    return jnp.asarray(sigmoid_table())[jnp.clip(x, -half, half) + half]


serve_old_names(__name__)
