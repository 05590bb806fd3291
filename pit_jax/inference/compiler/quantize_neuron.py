"""A neuron's rule on the grid: thresholds, resets and leaks as integers, and their bits.

Currents of T steps, each at most `bound` units, add up to membranes |u_(t+1)| <= l_t |u_t| + bound.
l_t is the largest leak of step t, times its unit over that of the next step, times the growth by a
mixing. A reset does not enlarge |u|: with u >= first, |u - drop| <= u where drop <= 2 first. Those
of GLIF and CLIF can be deeper, but leave u >= -2^30, from where only currents go on.
"""

import math

import numpy as np

from pit_jax.inference.compiler.bounds import cast_int32
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
# multiply_fixed(x, n) computes (x >> 12) n + ((x & 4095) n >> 12). The first term is at most
# |x| n / 4096 + n, with |x| n / 4096 <= 2^30 by `_bound_membrane`, and (x & 4095) n < 2^31 needs
# n <= 2^19. (For any |x| <= 2^30 it would be n <= 2^12.)
MOST_LEAK = 2**19
# Membranes, times a mixing or a leak, stay below. The rest of LARGEST is for their rounding.
MOST_REACH = LARGEST - 2**26


class MembraneTooLarge(NotFoldable):
    """A membrane that leaves int32 in the unit of its current; a coarser one may do."""


def quantize_neuron(
    rule: FiringRule, unit: np.ndarray, bound: int, num_steps: int, code: str = "thermometer"
) -> FixedNeuron:
    """Return `rule` for currents in `unit` `[1 or T, 1 or C]`, none larger than `bound` of them.

    Raises MembraneTooLarge where their sum over time leaves int32.
    """
    leak, leak_fired = (_quantize_leak(x, unit) for x in (rule.leak, rule.leak_fired))
    carry = None
    if rule.mixing is not None and num_steps > 1 and np.any(rule.leak):
        carry = _quantize_mixing(rule.mixing)
    reach, mixed = _bound_membrane(np.maximum(leak, leak_fired), carry, bound, num_steps)
    # Nothing is added to a mixed membrane before its leak, so that it may use all of int32.
    guard, usual = _choose_guard(rule, bound, num_steps, max(reach, mixed / 2))
    fine = unit / 2**guard
    first, step = _quantize_boundaries(rule, fine)
    # What a count takes off is the distance of its boundaries, which _round(rule.step) need not be.
    drop = step if np.array_equal(rule.drop, rule.step) else _round(rule.drop, fine)
    slots = CODES[code](rule.levels)
    fixed = FixedNeuron(first, step, drop, leak, leak_fired, rule.levels, guard, slots, rule.signed)
    if rule.tau is not None:
        return FixedNeuron(**{**vars(fixed), **_quantize_clif(fine, rule.tau, num_steps)})
    if carry is not None:
        shift = _choose_carry_shift(carry, usual * 2**guard, mixed * 2**guard)
        return FixedNeuron(**{**vars(fixed), "carry": carry, "carry_shift": shift})
    return fixed


def _bound_membrane(
    leak: np.ndarray, carry: np.ndarray | None, bound: int, num_steps: int
) -> tuple[float, float]:
    """Return how far a membrane can go in `num_steps`, and how far its mixing before the leak."""
    u, reach, mixed = np.zeros(leak.shape[-1] if carry is None else carry.shape[-1]), 0.0, 0.0
    for t in range(num_steps):
        u = u + bound
        reach = max(reach, u.max())
        if carry is not None:
            # |sum_c x_c carry_cd| <= sum_c |x_c| |carry_cd|.
            u = u @ abs(carry[t] / 2**LEAK_BITS)
            mixed = max(mixed, u.max())
        u = u * leak[t if len(leak) > 1 else 0] / 2**LEAK_BITS
    # The leak of the last step is computed too, though nothing reads it.
    return max(reach, u.max()), mixed


def _choose_guard(rule: FiringRule, bound: int, num_steps: int, reach: float) -> tuple[int, float]:
    """Return the bits of a membrane below those of its current, and how far it usually goes.

    Usually, in one unit for all steps, a leak of at most 1 takes |u| <= usual = bound (1 + l + ...
    + l^(T-1)). The most bits g <= GUARD_BITS with 2^g usual <= 2^29 are taken, so that rounding
    leaks to 1 / 4096 cannot take it beyond 2^30, and 2^g reach <= MOST_REACH for any leak and unit.
    """
    largest_leak = max(float(rule.leak.max()), float(rule.leak_fired.max()))
    # Leaks above 1 are in `reach`. At 1 usual = T bound <= 2^29, as accumulators keep bound within
    # 2^29 / T: so g = 0 is always enough, and max(0, ...) is only for bounds of other callers.
    usual = bound * sum(min(largest_leak, 1.0) ** i for i in range(num_steps))
    guard = min(GUARD_BITS, max(0, math.floor(math.log2(LARGEST / 2 / max(usual, 1)))))
    while guard and reach * 2**guard > MOST_REACH:
        guard -= 1
    if reach * 2**guard > MOST_REACH:
        raise MembraneTooLarge(f"membranes can reach {reach:.3g}, too much for int32")
    return guard, usual


def _round(x: np.ndarray, unit: np.ndarray) -> np.ndarray:
    # A threshold beyond LARGEST is never reached, so that it may as well be there.
    return np.rint(np.clip(x / unit, -LARGEST, LARGEST)).astype(np.int32)


def _quantize_boundaries(rule: FiringRule, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `first` and `step`; `step` is at least 1, as counts are a quotient by it."""
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
    ratio = np.rint(leak * (units / next_unit) * 2**LEAK_BITS)
    return cast_int32(ratio, "a leak, times the unit of its step over that of the next,", MOST_LEAK)


def _quantize_clif(fine: np.ndarray, tau: float, num_steps: int) -> dict[str, object]:
    """Return the numbers of CLIF's second potential, for membranes in units of `fine`."""
    if num_steps > MOST_CLIF_STEPS:
        raise NotFoldable(f"CLIF's second potential would overflow in {num_steps} steps.")
    # The table's argument u / tau counts 2^-8, so that u of `fine` are u ratio of them.
    ratio = fine / tau * 2**TABLE_STEP_BITS
    # multiply_fixed(u, n) computes (u >> 12) n in int32: with |u| <= 2^30 and n <= 2^11 it is at
    # most 2^29. So n = ratio 2^(12 + shift) has as many bits as 2^11 allows, for precision. Where
    # `fine` is so coarse that n passes 2^11 without a shift, up to 2^12 is within 2^30.
    shift = max(0, LEAK_BITS - 1 - math.ceil(math.log2(float(ratio.max()) * 2**LEAK_BITS)))
    slowness = cast_int32(
        np.rint(ratio * 2.0 ** (LEAK_BITS + shift)), "CLIF's unit over tau", 2**LEAK_BITS
    )
    one = np.rint(np.clip(1 / fine, 0, LARGEST)).astype(np.int32)
    return {"one": one, "slowness": slowness, "slow_shift": shift}


def _quantize_mixing(mixing: np.ndarray) -> np.ndarray:
    """Return `carry`, which takes x = mixing⁻¹ u of a step to mixing⁻¹_(t+1) mixing_t x."""
    following = np.concatenate([mixing[1:], mixing[-1:]])
    carry = np.rint(np.swapaxes(np.linalg.solve(following, mixing), 1, 2) * 2**LEAK_BITS)
    # Membranes are rounded to whole numbers, so the sum of those of 1 must be an int32.
    cast_int32(abs(carry).sum(1), "a mixing over that of the next step", LARGEST)
    return carry.astype(np.int32)


def _choose_carry_shift(carry: np.ndarray, usual: float, mixed: float) -> int:
    """Return the bits to round off membranes for |sum_c (x_c >> shift) carry_cd| to be int32.

    It is at most |x| / 2^shift max_d sum_c |carry_cd|, at most 2^30 for |x| <= usual. The largest
    sum 4096 mixed / 2^shift, and largest more as x >> shift rounds by up to 1, is below 2^31.
    """
    largest = float(abs(carry).sum(1, dtype=float).max())
    shift = max(0, math.ceil(math.log2(max(usual, 1) * largest / LARGEST)))
    while mixed * 2.0 ** (LEAK_BITS - shift) + largest >= 2**31:
        shift += 1
    return shift
