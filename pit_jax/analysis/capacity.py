"""Representation capacity (Sec. 3.5, Appendix C): the paper's formula, and exact counts.

T steps, N neurons, spikes `s_ij` of 0 ... D; the arguments are `num_steps`, `num_neurons` and
`levels`. A capacity is the natural logarithm of a count (Eq. 15). The counts:

    count_paper       T (D+1)^N     as printed in Eqs. 17 and 19: pairs of a step and a pattern
    configurations    (D+1)^(N T)   spike trains, and tuples of one value for each step
    values_shared     (T D+1)^N     values of Eq. 16
    values_pit        (D+1)^(N T)   values of Eq. 18; (T D+1)^N if all steps share the scale
    values_ones       N T D+1       values of Eq. 16 where every k_j is 1

Values are counted for fixed generic coefficients, without rational relations; the set as Eqs. 15
to 19 print it, which contains the values for every `k`, is infinite. All counts are upper bounds
for a network, as its membranes do not reach every train.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count, islice, product
from operator import index, mul
from typing import SupportsIndex

from pit_jax.display import show_value

# A hundred thousand spike trains are enumerated within seconds.
MOST_TRAINS = 100_000

# NumPy's integers too, such as np.prod of a shape.
Size = SupportsIndex
MOST_DIGITS = 3_000_000  # Digits of an exact number; computing this many takes seconds.
Number = Fraction | int | float
Train = tuple[tuple[int, ...], ...]


def capacity_paper(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """Return log(T·(D+1)^N) as printed with and without PIT (Eqs. 17 and 19)."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return math.log(steps) + neurons * math.log(levels + 1)


def count_paper(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """Return T·(D+1)^N (Eqs. 17 and 19), the number of pairs of a step and a pattern."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return steps * _power(levels + 1, neurons)


def configurations(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """Return (D+1)^(N·T), the number of spike trains."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return _power(levels + 1, neurons * steps)


def log_configurations(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """Return the logarithm of `configurations`, without computing the integer."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return neurons * steps * math.log(levels + 1)


def values_shared(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """Return (T·D+1)^N, the number of values of Eq. 16: each neuron adds up its spikes."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return _power(steps * levels + 1, neurons)


def log_values_shared(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """Return the logarithm of `values_shared`, without computing the integer."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return neurons * math.log(steps * levels + 1)


def values_pit(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> int:
    """Return the number of values of Eq. 18, with one scale for each step or one for all steps."""
    counted = configurations if time_varying else values_shared
    return counted(num_steps, num_neurons, levels)


def log_values_pit(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> float:
    """Return the logarithm of `values_pit`, without computing the integer."""
    counted = log_configurations if time_varying else log_values_shared
    return counted(num_steps, num_neurons, levels)


def values_ones(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """Return N·T·D+1, the number of values of Eq. 16 if every k_j is 1: all spikes add up."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return neurons * steps * levels + 1


def log_values_ones(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """Return the logarithm of `values_ones`."""
    return math.log(values_ones(num_steps, num_neurons, levels))


@dataclass(frozen=True)
class Method:
    """A row of Table 1: the spikes that a neuron can send in one step, and their scale `a`.

    `printed` is the capacity in the paper's table. Capacities depend on the number of different
    spikes, not on the lowest: -1, 0, 1 have the same capacity as 0, 1, 2.
    """

    name: str
    spikes: range
    scale: str
    time_varying: bool
    printed: str

    def capacity_paper(self, num_steps: Size, num_neurons: Size) -> float:
        """Return the logarithm that Table 1 prints."""
        return capacity_paper(num_steps, num_neurons, len(self.spikes) - 1)

    def values(self, num_steps: Size, num_neurons: Size) -> int:
        """Return the number of values of the representation space for generic coefficients."""
        levels = len(self.spikes) - 1
        return values_pit(num_steps, num_neurons, levels, time_varying=self.time_varying)

    def log_values(self, num_steps: Size, num_neurons: Size) -> float:
        """Return the logarithm of `values`, without computing the integer."""
        levels = len(self.spikes) - 1
        return log_values_pit(num_steps, num_neurons, levels, time_varying=self.time_varying)


def table_1(levels: Size) -> tuple[Method, ...]:
    """Return the five rows of Table 1; `levels` is the D of the paper's own row."""
    _, _, levels = _check_sizes(1, 1, levels)
    binary, ternary = range(2), range(-1, 2)
    return (
        Method("Vanilla Binary Spike", binary, "none", False, "log(T·2^N)"),
        Method("Ternary Spike", ternary, "none", False, "log(T·3^N)"),
        Method("Trainable Ternary Spike", ternary, "a", False, "log(T·3^N)"),
        Method("Real Spike", binary, "a_j", False, "log(T·2^N)"),
        Method("Ours", range(levels + 1), "a_ij", True, "log(T·(D+1)^N)"),
    )


def enumerate_trains(
    num_steps: Size, num_neurons: Size, levels: Size, *, lowest: int = 0
) -> Iterator[Train]:
    """Iterate over all spike trains, `[T][N]` integers of `lowest` ... `lowest + levels`."""
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    if (logarithm := log_configurations(steps, neurons, levels)) > math.log(MOST_TRAINS):
        raise ValueError(
            f"{steps} steps of {neurons} neurons with {levels} levels have "
            f"10^{logarithm / math.log(10):.4g} spike trains; at most {MOST_TRAINS:,} can be "
            "enumerated. Use smaller sizes, or closed forms such as log_values_shared."
        )
    return product(product(range(lowest, lowest + levels + 1), repeat=neurons), repeat=steps)


def enumerate_values(
    num_steps: Size,
    num_neurons: Size,
    levels: Size,
    *,
    k: Sequence[Number] | None = None,
    a: Sequence[Sequence[Number]] | None = None,
    lowest: int = 0,
) -> set[Fraction]:
    """Return the exact set of Σ_i Σ_j a_ij k_j s_ij over all spike trains (Eqs. 16 and 18).

    By default `k` `[N]` is `generic_weights` and `a` `[T][N]` is 1. A float is converted to the
    fraction that it represents exactly.
    """
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    trains = enumerate_trains(steps, neurons, levels, lowest=lowest)
    k = generic_weights(steps, neurons, levels) if k is None else k
    a = [[1] * neurons] * steps if a is None else a
    if len(k) != neurons:
        raise ValueError(f"k must have one weight for each of {neurons} neurons, got {len(k)}.")
    if [len(row) for row in a] != [neurons] * steps:
        raise ValueError(
            f"a must have a scale for each of {neurons} neurons in each of {steps} rows, got rows "
            f"of {[len(row) for row in a]}."
        )
    factors = [Fraction(scale) * Fraction(w) for row in a for scale, w in zip(row, k, strict=True)]
    # With a common denominator only integers are added, which is much faster than fractions.
    below = math.lcm(*(factor.denominator for factor in factors))
    above = [int(factor * below) for factor in factors]
    sums = {sum(map(mul, above, chain.from_iterable(train))) for train in trains}
    return {Fraction(total, below) for total in sums}


def generic_weights(num_steps: Size, num_neurons: Size, levels: Size) -> list[Fraction]:
    """Return weights `[N]` for which the sums Σ_j k_j n_j with integers n_j of 0 ... T·D differ.

    They are 1/p_j for distinct primes p_j > T·D. If two sums are equal, Σ_j d_j/p_j = 0 for the
    differences d_j of their integers. Then p_j divides d_j, and as |d_j| < p_j, d_j is 0.
    """
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    return _list_reciprocals(steps * levels, 0, neurons)


def generic_scales(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> list[list[Fraction]]:
    """Return scales `[T][N]` that are generic together with `generic_weights`.

    Each step has its own, or all steps share one row. Their primes differ from those of the
    weights, so that the argument of `generic_weights` holds for the products as well.
    """
    steps, neurons, levels = _check_sizes(num_steps, num_neurons, levels)
    scales = _list_reciprocals(steps * levels, neurons, neurons * steps)
    rows = [scales[i * neurons : (i + 1) * neurons] for i in range(steps)]
    return rows if time_varying else rows[:1] * steps


def _list_reciprocals(largest: int, skipped: int, number: int) -> list[Fraction]:
    """Return 1/p for `number` primes above `largest`, after the first `skipped` of them."""
    candidates = count(max(largest + 1, 2))
    primes = (p for p in candidates if all(p % d for d in range(2, math.isqrt(p) + 1)))
    return [Fraction(1, p) for p in islice(primes, skipped, skipped + number)]


def _check_sizes(num_steps: Size, num_neurons: Size, levels: Size) -> tuple[int, int, int]:
    """Return T, N and D as Python ints, since powers of NumPy integers would overflow."""
    sizes = {"num_steps": num_steps, "num_neurons": num_neurons, "levels": levels}
    for name, value in sizes.items():
        if not hasattr(value, "__index__") or index(value) < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {show_value(value)}.")
    return index(num_steps), index(num_neurons), index(levels)


def _power(base: int, exponent: int) -> int:
    """Return `base ** exponent`; raise ValueError if computing it would take minutes."""
    digits = exponent * math.log10(base)
    if digits > MOST_DIGITS:
        raise ValueError(
            f"the number has about {digits:.3g} digits; at most {MOST_DIGITS:,} are computed. "
            "Functions whose names begin with log_, and capacity_paper, compute its logarithm."
        )
    return base**exponent
