"""A neuron's rule on the grid: thresholds, resets and leaks as integers, and their bits.

Currents of T steps, each at most `bound` units, add up with a leak of at most l to a membrane of at
most reach = bound (1 + l + ... + l^(T-1)).
"""

import math

import numpy as np

from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.fixed_point import (
    CODES,
    GUARD_BITS,
    LARGEST,
    LEAK_BITS,
    TABLE_STEP_BITS,
    FixedNeuron,
)

# CLIF's second potential grows by at most 2^LEAK_BITS a step and is multiplied by a sigmoid of at
# most 2^LEAK_BITS: T 2^24 <= 2^30.
MOST_CLIF_STEPS = LARGEST >> 2 * LEAK_BITS


def quantize_neuron(
    rule: FiringRule, unit: np.ndarray, bound: int, num_steps: int, code: str = "thermometer"
) -> FixedNeuron:
    """Return `rule` for currents in `unit` `[1 or T, 1 or C]`, none larger than `bound` of them."""
    largest_leak = max(float(rule.leak.max()), float(rule.leak_fired.max()))
    reach = bound * sum(min(largest_leak, 1.0) ** i for i in range(num_steps))
    # The most guard bits g <= GUARD_BITS with 2^g reach <= 2^29: adding a current of the next step
    # leaves it below 2^30.
    guard = min(GUARD_BITS, max(0, math.floor(math.log2(LARGEST / 2 / max(reach, 1)))))
    fine = unit / 2**guard
    first, step = _quantize_boundaries(rule, fine)
    drop = step if np.array_equal(rule.drop, rule.step) else _round(rule.drop, fine)
    leak, leak_fired = (_quantize_leak(x, unit) for x in (rule.leak, rule.leak_fired))
    slots = CODES[code](rule.levels)
    fixed = FixedNeuron(first, step, drop, leak, leak_fired, rule.levels, guard, slots, rule.signed)
    if rule.tau is not None:
        return FixedNeuron(**{**vars(fixed), **_quantize_clif(fine, rule.tau, num_steps)})
    if rule.mixing is not None and num_steps > 1 and np.any(rule.leak):
        return FixedNeuron(**{**vars(fixed), **_quantize_mixing(rule.mixing, reach * 2**guard)})
    return fixed


def _round(x: np.ndarray, unit: np.ndarray) -> np.ndarray:
    # A threshold beyond LARGEST is never reached, so that it may as well be there.
    return np.rint(np.clip(x / unit, -LARGEST, LARGEST)).astype(np.int32)


def _quantize_boundaries(rule: FiringRule, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `first` and `step`, both at least 1."""
    if not np.array_equal(rule.first * 2, rule.step):
        return _round(rule.first, fine), np.maximum(_round(rule.step, fine), 1)
    # A neuron that rounds: u >= a (d - 1/2) for the level d. With a = 2 first its boundaries
    # (2 d - 1) first are integers, exactly in the middle of two levels. a <= LARGEST must hold too.
    first = np.minimum(np.maximum(_round(rule.first, fine), 1), LARGEST // 2)
    return first, 2 * first


def _quantize_leak(leak: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return a leak in 1 / 4096, times the unit of its step over that of the next."""
    units = np.broadcast_to(unit, (max(len(unit), 1), unit.shape[-1]))
    next_unit = units if len(units) == 1 else np.concatenate([units[1:], units[-1:]])
    return np.rint(leak * (units / next_unit) * 2**LEAK_BITS).astype(np.int32)


def _quantize_clif(fine: np.ndarray, tau: float, num_steps: int) -> dict[str, object]:
    """Return the numbers of CLIF's second potential, for membranes in units of `fine`."""
    if num_steps > MOST_CLIF_STEPS:
        raise NotFoldable(f"CLIF's second potential would overflow in {num_steps} steps.")
    # The table's argument u / tau counts 2^-8, so that u of `fine` are u ratio of them.
    ratio = fine / tau * 2**TABLE_STEP_BITS
    # multiply_fixed(u, n) computes (u >> 12) n in int32: with |u| <= 2^30 and n <= 2^11 it is at
    # most 2^29. So n = ratio 2^(12 + shift) has as many bits as 2^11 allows, for precision.
    shift = max(0, LEAK_BITS - 1 - math.ceil(math.log2(float(ratio.max()) * 2**LEAK_BITS)))
    slowness = np.rint(ratio * 2.0 ** (LEAK_BITS + shift)).astype(np.int32)
    one = np.rint(np.clip(1 / fine, 0, LARGEST)).astype(np.int32)
    return {"one": one, "slowness": slowness, "slow_shift": shift}


def _quantize_mixing(mixing: np.ndarray, reach: float) -> dict[str, object]:
    """Return `carry`, which takes x = mixing⁻¹ u of a step to mixing⁻¹_(t+1) mixing_t x."""
    following = np.concatenate([mixing[1:], mixing[-1:]])
    carry = np.rint(np.swapaxes(np.linalg.solve(following, mixing), 1, 2) * 2**LEAK_BITS)
    # |sum_c (x_c >> shift) carry_cd| <= reach / 2^shift max_d sum_c |carry_cd| <= LARGEST.
    largest = float(abs(carry).sum(1).max())
    shift = max(0, math.ceil(math.log2(max(reach, 1) * largest / LARGEST)))
    return {"carry": carry.astype(np.int32), "carry_shift": shift}
