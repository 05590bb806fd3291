"""Neurons in fixed point: membranes are int32, so that a step is the same wherever it is compiled.

A compiler may or may not contract a product of floats and the sum after it, which changes bits; a
product and a sum of integers have one result. A leak counts 1 / 4096, as on neuromorphic chips.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pit_jax.old_names import serve_old_names

LEAK_BITS = 12
# A membrane has up to this many bits below those of its current, for the fractions that a leak
# leaves.
GUARD_BITS = 8
# CLIF's sigmoid is a table: inputs from -16 in steps of 2^-8, outputs in units of 2^-12.
TABLE_STEP_BITS, TABLE_RANGE = 8, 16
# Membranes and thresholds stay within +-2^30, so that a sum of two of them is an int32.
LARGEST = 2**30


def thermometer(levels: int) -> tuple[int, ...]:
    """Return a slot for each level; a count of k fills the first k (Appendix A, threshold 1/2)."""
    return (1,) * levels


def bitwise(levels: int) -> tuple[int, ...]:
    """Return a slot for each bit of the largest count, the highest first."""
    return tuple(1 << bit for bit in reversed(range(levels.bit_length())))


CODES = {"thermometer": thermometer, "bitwise": bitwise}


class NeuronState(NamedTuple):
    """The state of a layer between steps: membranes, and CLIF's second potential."""

    membrane: Int[Array, "B ..."]
    slow: Int[Array, "B ..."] | None = None


@dataclass(frozen=True)
class FixedNeuron:
    """`FiringRule` in integers, each `[1 or T, 1 or C]`.

    Membranes count 2^-guard of a current's unit. `leak` and `leak_fired` count 1 / 4096 and take a
    membrane from the unit of its step to that of the next. `one` is 1.0 on the membrane's grid,
    `slowness` and `shift` take a membrane to the table's (CLIF). `carry` `[T, C, C]`, in 1 / 4096,
    is what a mixing leaves for the next step. `slots` says how many levels a spike in each slot
    stands for, in the order of their emission.
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
        u = state.membrane + (current << self.guard)
        first, step = (self._at(x, t, u) for x in (self.first, self.step))
        if self.signed:
            k = jnp.where(u >= first, 1, jnp.where(u <= -first, -1, 0))
        else:
            k = jnp.clip(jnp.floor_divide(u - first, step) + 1, 0, self.levels)
        return self._rest(state, u, k, t), k

    def fire_slots(self, state: NeuronState, current: Array, t: int) -> tuple[NeuronState, Array]:
        """Return the state after one step and the spikes of each slot `[D, B, ...]` int8.

        Within the step it is an integrate-and-fire neuron with soft reset.
        """
        u = state.membrane + (current << self.guard)
        step, potential = self._at(self.step, t, u), u
        # A code such as bitwise can express more than the largest count: cap the potential there.
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
        """Return the membrane from which a slot worth `levels` fires."""
        threshold = self.first.astype(np.int64) + (levels - 1) * self.step.astype(np.int64)
        # No membrane reaches LARGEST, so a threshold there is never met.
        return np.minimum(threshold, LARGEST).astype(np.int32)

    def _rest(self, state: NeuronState, u: Array, k: Array, t: int) -> NeuronState:
        """Return the state after count `k` at membrane `u`: reset, mixing, leak."""
        drop, slow = self._at(self.drop, t, u), None
        if self.one is not None:
            deepening, slow = self._deepen(state, u, k, t)
            drop = drop + deepening
        left = u - drop * k
        fired = k != 0
        if self.carry is not None:
            left = self._mix(left, self.carry[t])
        leak = jnp.where(fired, self._at(self.leak_fired, t, u), self._at(self.leak, t, u))
        return NeuronState(multiply_fixed(left, leak), slow)

    def _deepen(
        self, state: NeuronState, u: Array, k: Array, t: int
    ) -> tuple[Array, Int[Array, "B ..."]]:
        """Return what CLIF's second potential adds to the reset, and this potential."""
        assert self.slowness is not None and self.one is not None and state.slow is not None
        at = multiply_fixed(u, self._at(self.slowness, t, u)) >> self.slow_shift
        slow = (state.slow * _sigmoid(at) >> LEAK_BITS) + (k << LEAK_BITS)
        deepening = _sigmoid(slow >> (LEAK_BITS - TABLE_STEP_BITS))
        return multiply_fixed(self._at(self.one, t, u), deepening), slow

    def _mix(self, left: Array, carry: np.ndarray) -> Array:
        """Return `left` mixed by `carry` `[C, C]` (PITFull)."""
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
    """Return floor(x number / 4096) in int32, exactly, though x number may need more bits.

    With x = 4096 h + l and 0 <= l < 4096 it is h number + floor(l number / 4096).
    """
    low = (1 << LEAK_BITS) - 1
    return (x >> LEAK_BITS) * number + ((x & low) * number >> LEAK_BITS)


def _shift(x: Array, bits: int) -> Array:
    return x >> bits if bits >= 0 else x << -bits


def sigmoid_table() -> np.ndarray:
    """Return the sigmoid of -TABLE_RANGE to TABLE_RANGE in steps of 2^-8, in units of 2^-12."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    grid = np.arange(-half, half + 1) / 2.0**TABLE_STEP_BITS
    return np.rint(2.0**LEAK_BITS / (1 + np.exp(-grid))).astype(np.int32)


def _sigmoid(x: Array) -> Array:
    """Return the sigmoid, from units of 2^-8 to units of 2^-12."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    return jnp.asarray(sigmoid_table())[jnp.clip(x, -half, half) + half]


serve_old_names(__name__)
