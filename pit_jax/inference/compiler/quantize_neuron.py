"""A neuron's rule on the grid: thresholds, resets and leaks as integers, and their bits.

Currents of T steps, each at most `bound` units, add up to membranes

    |u_(t+1)| <= l_t |u_t| + bound,

where l_t is the largest leak of step t, times the ratio of its unit to the unit of the next step,
times the growth by a mixing. A reset does not enlarge |u|: only u >= first is reset, and then
|u - drop| <= u if drop <= 2 first. The resets of GLIF and CLIF can be deeper, but they leave
u >= -2^30, and a membrane below 0 is not reset again.
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

# CLIF's second potential grows by at most 2^LEAK_BITS per step and is multiplied by a sigmoid of at
# most 2^LEAK_BITS, so that the product is at most T 2^24. It must not exceed 2^30.
MOST_CLIF_STEPS = LARGEST >> 2 * LEAK_BITS
# multiply_fixed(x, n) computes (x >> 12) n + ((x & 4095) n >> 12). The first term is at most
# |x| n / 4096 + n, with |x| n / 4096 <= 2^30 by `_bound_membrane`, and (x & 4095) n < 2^31 needs
# n <= 2^19. (Without that bound, for any |x| <= 2^30, it would need n <= 2^12.)
MOST_LEAK = 2**19
# Limit of membranes after a mixing or a leak. The margin to LARGEST covers their rounding.
MOST_REACH = LARGEST - 2**26


class MembraneTooLarge(NotFoldable):
    """Raised for a membrane that exceeds int32 in the unit of its current; a coarser one may do."""


def quantize_neuron(
    rule: FiringRule, unit: np.ndarray, bound: int, num_steps: int, code: str = "thermometer"
) -> FixedNeuron:
    """Return `rule` for currents in `unit` `[1 or T, 1 or C]`, which are at most `bound` units.

    Raises MembraneTooLarge if their sum over time exceeds int32.
    """
    leak, leak_fired = (_quantize_leak(x, unit) for x in (rule.leak, rule.leak_fired))
    carry = None
    if rule.mixing is not None and num_steps > 1 and np.any(rule.leak):
        carry = _quantize_mixing(rule.mixing)
    reach, mixed = _bound_membrane(np.maximum(leak, leak_fired), carry, bound, num_steps)
    # Nothing is added to a mixed membrane before its leak: it may reach 2^31, twice the limit.
    guard, usual = _choose_guard(rule, bound, num_steps, max(reach, mixed / 2))
    fine = unit / 2**guard
    first, step = _quantize_boundaries(rule, fine)
    # A count subtracts the distance of its boundaries, which can differ from _round(rule.step).
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
    """Return bounds of a membrane over `num_steps`, and of a mixed one before its leak."""
    u, reach, mixed = np.zeros(leak.shape[-1] if carry is None else carry.shape[-1]), 0.0, 0.0
    for t in range(num_steps):
        # |v + I| <= |v| + bound; the reset does not enlarge it.
        u = u + bound
        reach = max(reach, u.max())
        if carry is not None:
            # |sum_c x_c carry_cd| <= sum_c |x_c| |carry_cd|.
            u = u @ abs(carry[t] / 2**LEAK_BITS)
            mixed = max(mixed, u.max())
        u = u * leak[t if len(leak) > 1 else 0] / 2**LEAK_BITS
    # The leak of the last step is also computed, although it is not used.
    return max(reach, u.max()), mixed


def _choose_guard(rule: FiringRule, bound: int, num_steps: int, reach: float) -> tuple[int, float]:
    """Return the guard bits g of a membrane below the unit of its current, and its usual bound.

    In one unit for all steps and with a leak l of at most 1,

        |u| <= usual = bound (1 + l + ... + l^(T-1)).

    g is the largest number up to GUARD_BITS with 2^g usual <= 2^29, so that the rounding of leaks
    to 1 / 4096 cannot raise |u| above 2^30, and with 2^g reach <= MOST_REACH for any leak and unit.
    """
    largest_leak = max(float(rule.leak.max()), float(rule.leak_fired.max()))
    # `reach` covers leaks above 1. For l = 1, usual = T bound <= 2^29, since accumulators keep
    # bound within 2^29 / T: g = 0 always suffices, and max(0, ...) is for bounds of other callers.
    usual = bound * sum(min(largest_leak, 1.0) ** i for i in range(num_steps))
    guard = min(GUARD_BITS, max(0, math.floor(math.log2(LARGEST / 2 / max(usual, 1)))))
    while guard and reach * 2**guard > MOST_REACH:
        guard -= 1
    if reach * 2**guard > MOST_REACH:
        raise MembraneTooLarge(
            f"membranes can reach {reach:.3g}, too much for int32", "Use fewer steps."
        )
    return guard, usual


def _round(x: np.ndarray, unit: np.ndarray) -> np.ndarray:
    # No membrane reaches LARGEST, so a threshold beyond it can be clipped to it.
    return np.rint(np.clip(x / unit, -LARGEST, LARGEST)).astype(np.int32)


def _quantize_boundaries(rule: FiringRule, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `first` and `step`; `step` is at least 1, since a count is a quotient by it."""
    if not np.array_equal(rule.first * 2, rule.step):
        return _round(rule.first, fine), np.maximum(_round(rule.step, fine), 1)
    # A neuron that rounds fires level d for u >= a (d - 1/2). With a = 2 first the boundaries
    # (2 d - 1) first are integers, exactly in the middle of two levels, as a / 2 rounded on its own
    # would not be. a <= LARGEST must hold too.
    first = np.minimum(np.maximum(_round(rule.first, fine), 1), LARGEST // 2)
    return first, 2 * first


def _quantize_leak(leak: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return a leak in units of 1 / 4096, times the ratio of its step's unit to the next one's."""
    # u counts units of step t, and what is left of it must count units of step t + 1.
    units = np.broadcast_to(unit, (max(len(unit), 1), unit.shape[-1]))
    next_unit = units if len(units) == 1 else np.concatenate([units[1:], units[-1:]])
    ratio = np.rint(leak * (units / next_unit) * 2**LEAK_BITS)
    return cast_int32(
        ratio, "a leak, times the ratio of its step's unit to the next one's,", MOST_LEAK
    )


def _quantize_clif(fine: np.ndarray, tau: float, num_steps: int) -> dict[str, object]:
    """Return the numbers of CLIF's second potential, for membranes in units of `fine`."""
    if num_steps > MOST_CLIF_STEPS:
        raise NotFoldable(
            f"CLIF's second potential would overflow in {num_steps} steps.",
            f"Compile a network of at most {MOST_CLIF_STEPS} steps, or with another neuron.",
        )
    # The table's argument u / tau counts 2^-8: a membrane of u units of `fine` is u ratio of them.
    ratio = fine / tau * 2**TABLE_STEP_BITS
    # multiply_fixed(u, n) computes (u >> 12) n in int32: at most 2^29 for |u| <= 2^30, n <= 2^11.
    # So n = ratio 2^(12 + shift) takes as many bits as 2^11 allows, for precision. If `fine` is so
    # coarse that n exceeds 2^11 without a shift, n <= 2^12 still keeps the product within 2^30.
    shift = max(0, LEAK_BITS - 1 - math.ceil(math.log2(float(ratio.max()) * 2**LEAK_BITS)))
    slowness = cast_int32(
        np.rint(ratio * 2.0 ** (LEAK_BITS + shift)), "CLIF's unit over tau", 2**LEAK_BITS
    )
    one = np.rint(np.clip(1 / fine, 0, LARGEST)).astype(np.int32)
    return {"one": one, "slowness": slowness, "slow_shift": shift}


def _quantize_mixing(mixing: np.ndarray) -> np.ndarray:
    """Return `carry` `[T, C, C]` in 1 / 4096, which maps x_t to mixing_(t+1)⁻¹ mixing_t x_t.

    PITFull fires on x_t = mixing_t⁻¹ u_t, and each step has its own mixing.
    """
    following = np.concatenate([mixing[1:], mixing[-1:]])
    carry = np.rint(np.swapaxes(np.linalg.solve(following, mixing), 1, 2) * 2**LEAK_BITS)
    # Even membranes of 1 unit add up to sum |carry|, which must be an int32.
    cast_int32(
        abs(carry).sum(1), "the inverse of a mixing times the mixing of the step before", LARGEST
    )
    return carry.astype(np.int32)


def _choose_carry_shift(carry: np.ndarray, usual: float, mixed: float) -> int:
    """Return the bits to cut off membranes so that sum_c (x_c >> shift) carry_cd is an int32.

    With largest = max_d sum_c |carry_cd| the shift is the smallest with

        usual largest / 2^shift          <= 2^30   for a usual membrane, |x| <= usual, and
        4096 mixed / 2^shift + largest   <  2^31   for any, as x >> shift is off by up to 1.
    """
    largest = float(abs(carry).sum(1, dtype=float).max())
    shift = max(0, math.ceil(math.log2(max(usual, 1) * largest / LARGEST)))
    while mixed * 2.0 ** (LEAK_BITS - shift) + largest >= 2**31:
        shift += 1
    return shift
