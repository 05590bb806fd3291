"""Neurons in fixed point: membranes are int32, so that a step is the same wherever it is compiled.

A product of floats and a sum behind it may be contracted or not, from one program to the next; of
integers there is one result. A leak is a number of 1 / 4096, as on neuromorphic chips.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from pit_jax.inference.compiler.neuron_rules import (
    FiringRule,
)
from pit_jax.inference.errors import NotFoldable

LEAK_BITS = 12
# Bits of a membrane behind those of its current, for what a leak leaves of them.
GUARD_BITS = 8
# CLIF's sigmoid is a table: inputs from -16 in steps of 2^-8, outputs in units of 2^-12.
TABLE_STEP_BITS, TABLE_RANGE = 8, 16
LARGEST = 2**30


def thermometer(levels: int) -> tuple[int, ...]:
    """A slot for each level; a count of k fills the first k (Appendix A, at threshold 1/2)."""
    return (1,) * levels


def bitwise(levels: int) -> tuple[int, ...]:
    """A slot for each bit of the largest count, the highest first."""
    return tuple(1 << bit for bit in reversed(range(levels.bit_length())))


CODES = {"thermometer": thermometer, "bitwise": bitwise}


class NeuronState(NamedTuple):
    """What a layer keeps between steps: membranes, and CLIF's second potential."""

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
        """At rest."""
        zero = jnp.zeros(current.shape, jnp.int32)
        return NeuronState(zero, zero if self.one is not None else None)

    def count(self, state: NeuronState, current: Array, t: int) -> tuple[NeuronState, Array]:
        """One step in integers: the state after it, and the counts `[B, ...]` int32."""
        u = state.membrane + (current << self.guard)
        first, step = (self._at(x, t, u) for x in (self.first, self.step))
        if self.signed:
            k = jnp.where(u >= first, 1, jnp.where(u <= -first, -1, 0))
        else:
            k = jnp.clip(jnp.floor_divide(u - first, step) + 1, 0, self.levels)
        return self._rest(state, u, k, t), k

    def slotted(self, state: NeuronState, current: Array, t: int) -> tuple[NeuronState, Array]:
        """One step as an integrate-and-fire neuron with soft reset: the state after it, and the
        spikes of each slot `[D, B, ...]` int8."""
        u = state.membrane + (current << self.guard)
        step, potential = self._at(self.step, t, u), u
        if sum(self.slots) > self.levels:  # Slots that could say more than the largest count.
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
        """The membrane from which a slot of so many levels fires."""
        threshold = self.first.astype(np.int64) + (levels - 1) * self.step.astype(np.int64)
        return np.minimum(threshold, LARGEST).astype(np.int32)  # No membrane is as large.

    def _rest(self, state: NeuronState, u: Array, k: Array, t: int) -> NeuronState:
        drop, slow = self._at(self.drop, t, u), None
        if self.one is not None:
            assert self.slowness is not None and state.slow is not None
            scaled = multiplied(u, self._at(self.slowness, t, u)) >> self.slow_shift
            slow = (state.slow * _sigmoid(scaled) >> LEAK_BITS) + (k << LEAK_BITS)
            deepening = _sigmoid(slow >> (LEAK_BITS - TABLE_STEP_BITS))
            drop = drop + multiplied(self._at(self.one, t, u), deepening)
        left = u - drop * k
        fired = k != 0
        if self.carry is not None:
            rounded = left >> self.carry_shift
            matrix = jnp.asarray(self.carry[t])
            mixed = jax.lax.dot_general(
                rounded, matrix, (((rounded.ndim - 1,), (0,)), ((), ())),
                preferred_element_type=jnp.int32,
            )  # fmt: skip
            left = _shifted(mixed, LEAK_BITS - self.carry_shift)
        leak = jnp.where(fired, self._at(self.leak_fired, t, u), self._at(self.leak, t, u))
        return NeuronState(multiplied(left, leak), slow)

    def _at(self, x: np.ndarray, t: int, like: Array) -> Array:
        row = jnp.asarray(x[t if len(x) > 1 else 0], jnp.int32)
        return row.reshape((1,) * (like.ndim - row.ndim) + row.shape)


def multiplied(x: Array, number: Array) -> Array:
    """floor(x number / 4096) in int32, exactly, though x number may need more bits."""
    low = (1 << LEAK_BITS) - 1
    return (x >> LEAK_BITS) * number + ((x & low) * number >> LEAK_BITS)


def fix(
    rule: FiringRule, unit: np.ndarray, bound: int, num_steps: int, code: str = "thermometer"
) -> FixedNeuron:
    """`rule` where currents count in `unit` `[1 or T, 1 or C]` and none exceeds `bound` of them."""
    largest_leak = max(float(rule.leak.max()), float(rule.leak_fired.max()))
    reach = bound * sum(min(largest_leak, 1.0) ** i for i in range(num_steps))
    guard = min(GUARD_BITS, max(0, math.floor(math.log2(LARGEST / 2 / max(reach, 1)))))
    fine = unit / 2**guard

    def integer(x: np.ndarray) -> np.ndarray:
        return np.rint(np.clip(x / fine, -LARGEST, LARGEST)).astype(np.int32)

    halves = np.array_equal(rule.first * 2, rule.step)
    if halves:  # The boundaries of a count stay exactly half a step from its integers.
        first = np.maximum(integer(rule.first), 1)
        first = np.minimum(first, LARGEST // 2)
        step = 2 * first
    else:
        first, step = integer(rule.first), np.maximum(integer(rule.step), 1)
    drop = step if np.array_equal(rule.drop, rule.step) else integer(rule.drop)
    units = np.broadcast_to(unit, (max(len(unit), 1), unit.shape[-1]))
    next_unit = units if len(units) == 1 else np.concatenate([units[1:], units[-1:]])
    leak, leak_fired = (
        np.rint(x * (units / next_unit) * 2**LEAK_BITS).astype(np.int32)
        for x in (rule.leak, rule.leak_fired)
    )
    slots = CODES[code](rule.levels)
    fixed = FixedNeuron(first, step, drop, leak, leak_fired, rule.levels, guard, slots, rule.signed)
    kw = vars(fixed)
    if rule.tau is not None:
        if num_steps > 64:
            raise NotFoldable(f"CLIF's second potential would overflow in {num_steps} steps.")
        ratio = fine / rule.tau * 2**TABLE_STEP_BITS
        # As many bits as a number of `multiplied` may have.
        shift = max(0, LEAK_BITS - 1 - math.ceil(math.log2(float(ratio.max()) * 2**LEAK_BITS)))
        slowness = np.rint(ratio * 2.0 ** (LEAK_BITS + shift)).astype(np.int32)
        one = np.rint(np.clip(1 / fine, 0, LARGEST)).astype(np.int32)
        return FixedNeuron(**{**kw, "one": one, "slowness": slowness, "slow_shift": shift})
    if rule.mixing is not None and num_steps > 1 and np.any(rule.leak):
        return FixedNeuron(**{**kw, **_carried(rule.mixing, reach * 2**guard)})
    return fixed


def _carried(mixing: np.ndarray, reach: float) -> dict[str, object]:
    """`carry` of x = mixing⁻¹ u: the next step's x is leak times mixing⁻¹_(t+1) mixing_t x."""
    following = np.concatenate([mixing[1:], mixing[-1:]])
    carry = np.rint(np.swapaxes(np.linalg.solve(following, mixing), 1, 2) * 2**LEAK_BITS)
    largest = float(abs(carry).sum(1).max())
    shift = max(0, math.ceil(math.log2(max(reach, 1) * largest / LARGEST)))
    return {"carry": carry.astype(np.int32), "carry_shift": shift}


def _shifted(x: Array, bits: int) -> Array:
    return x >> bits if bits >= 0 else x << -bits


def sigmoid_table() -> np.ndarray:
    """The sigmoid of -TABLE_RANGE to TABLE_RANGE in steps of 2^-8, in units of 2^-12, int32."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    grid = np.arange(-half, half + 1) / 2.0**TABLE_STEP_BITS
    return np.rint(2.0**LEAK_BITS / (1 + np.exp(-grid))).astype(np.int32)


def _sigmoid(x: Array) -> Array:
    """The sigmoid, from units of 2^-8 to units of 2^-12."""
    half = TABLE_RANGE << TABLE_STEP_BITS
    return jnp.asarray(sigmoid_table())[jnp.clip(x, -half, half) + half]
