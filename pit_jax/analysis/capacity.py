"""Representation capacity (Sec. 3.5, Appendix C): the paper's formula beside what can be counted.

T steps, N neurons, spikes `s_ij` of 0 ... D; the arguments are `num_steps`, `num_neurons` and
`levels`. A capacity is the natural logarithm of a count (Eq. 15). What is counted:

    count_paper       T (D+1)^N     as printed in Eqs. 17 and 19: pairs of a step and a pattern
    configurations    (D+1)^(N T)   spike trains, and tuples of one value for each step
    values_shared     (T D+1)^N     values of Eq. 16
    values_pit        (D+1)^(N T)   values of Eq. 18; (T D+1)^N if the scale is that of all steps
    values_ones       N T D+1       values of Eq. 16 where every k_j is 1

Values are counted for given, generic coefficients, ones without rational relations: with any
`k` allowed inside the set, as Eqs. 15 to 19 are printed, it is infinite. All are upper bounds for
a network, as membranes do not reach every train.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count, islice, product
from operator import index, mul
from typing import SupportsIndex

# Up to here, all spike trains are gone through within seconds.
MOST_TRAINS = 100_000

# NumPy's integers too, such as np.prod of a shape.
Size = SupportsIndex
Number = Fraction | int | float
Train = tuple[tuple[int, ...], ...]


def capacity_paper(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """log(T (D+1)^N) as printed, with and without PIT, Eqs. 17 and 19; no count of Eq. 16's set."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return math.log(steps) + neurons * math.log(levels + 1)


def count_paper(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """T (D+1)^N, inside the logarithm of Eqs. 17 and 19: the pairs of a step and its pattern."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return steps * (levels + 1) ** neurons


def configurations(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """(D+1)^(N T), the number of spike trains."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return (levels + 1) ** (neurons * steps)


def log_configurations(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """The logarithm of `configurations`, without the integer."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return neurons * steps * math.log(levels + 1)


def values_shared(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """(T D+1)^N, the number of values of Eq. 16: only each neuron's sum over time matters."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return (steps * levels + 1) ** neurons


def log_values_shared(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """The logarithm of `values_shared`, without the integer."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return neurons * math.log(steps * levels + 1)


def values_pit(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> int:
    """The number of values of Eq. 18, with a scale for each step or one `a_j` for all of them."""
    counted = configurations if time_varying else values_shared
    return counted(num_steps, num_neurons, levels)


def log_values_pit(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> float:
    """The logarithm of `values_pit`, without the integer."""
    counted = log_configurations if time_varying else log_values_shared
    return counted(num_steps, num_neurons, levels)


def values_ones(num_steps: Size, num_neurons: Size, levels: Size) -> int:
    """N T D+1, the number of values of Eq. 16 where every k_j is 1: only the sum of all matters."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return neurons * steps * levels + 1


def log_values_ones(num_steps: Size, num_neurons: Size, levels: Size) -> float:
    """The logarithm of `values_ones`."""
    return math.log(values_ones(num_steps, num_neurons, levels))


@dataclass(frozen=True)
class Method:
    """A row of Table 1: what a neuron sends in one step, and the scale `a` that it is sent with.

    `printed` is the capacity in the paper's table. Counts depend on how many spikes there are and
    not on the lowest, so that -1, 0, 1 count as 0, 1, 2.
    """

    name: str
    spikes: range
    scale: str
    time_varying: bool
    printed: str

    def capacity_paper(self, num_steps: Size, num_neurons: Size) -> float:
        """The logarithm that Table 1 prints."""
        return capacity_paper(num_steps, num_neurons, len(self.spikes) - 1)

    def values(self, num_steps: Size, num_neurons: Size) -> int:
        """The number of values of its representation space for generic coefficients."""
        levels = len(self.spikes) - 1
        return values_pit(num_steps, num_neurons, levels, time_varying=self.time_varying)

    def log_values(self, num_steps: Size, num_neurons: Size) -> float:
        """The logarithm of `values`, without the integer."""
        levels = len(self.spikes) - 1
        return log_values_pit(num_steps, num_neurons, levels, time_varying=self.time_varying)


def table_1(levels: Size) -> tuple[Method, ...]:
    """The five rows of Table 1, the paper's own with `levels`."""
    _, _, levels = _sizes(1, 1, levels)
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
    """Every spike train, `[T][N]` integers of `lowest` ... `lowest + levels`."""
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    if (logarithm := log_configurations(steps, neurons, levels)) > math.log(MOST_TRAINS):
        raise ValueError(
            f"{steps} steps of {neurons} neurons with {levels} levels have "
            f"10^{logarithm / math.log(10):.4g} spike trains, and up to {MOST_TRAINS:,} are "
            "enumerated; take smaller sizes, or the closed forms such as log_values_shared."
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
    """The values of Σ_i Σ_j a_ij k_j s_ij over every spike train, exactly, Eqs. 16 and 18.

    `k` `[N]` is `generic_weights` unless given, and `a` `[T][N]` is 1; a float is the fraction
    that it stands for.
    """
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    trains = enumerate_trains(steps, neurons, levels, lowest=lowest)
    k = generic_weights(steps, neurons, levels) if k is None else k
    a = [[1] * neurons] * steps if a is None else a
    if len(k) != neurons:
        raise ValueError(f"k has one weight for each of {neurons} neurons, got {len(k)}.")
    if [len(row) for row in a] != [neurons] * steps:
        raise ValueError(
            f"a has a row for each of {steps} steps with a scale for each of {neurons} neurons, "
            f"got rows of {[len(row) for row in a]}."
        )
    factors = [Fraction(scale) * Fraction(w) for row in a for scale, w in zip(row, k, strict=True)]
    # Over one denominator the sums are those of integers, which are much faster.
    below = math.lcm(*(factor.denominator for factor in factors))
    above = [int(factor * below) for factor in factors]
    sums = {sum(map(mul, above, chain.from_iterable(train))) for train in trains}
    return {Fraction(total, below) for total in sums}


def generic_weights(num_steps: Size, num_neurons: Size, levels: Size) -> list[Fraction]:
    """Weights `[N]` whose sums Σ_j k_j n_j differ for all integers n_j of 0 ... T D.

    They are 1/p for primes p > T D. Two equal sums differ by Σ_j d_j/p_j = 0, where p_j divides
    d_j; as d_j is smaller than p_j, it is 0.
    """
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    return _reciprocals(steps * levels, 0, neurons)


def generic_scales(
    num_steps: Size, num_neurons: Size, levels: Size, *, time_varying: bool = True
) -> list[list[Fraction]]:
    """Scales `[T][N]`, of each step or the same at all, as generic beside `generic_weights`.

    Their primes are other ones than those of the weights, so that the same argument holds.
    """
    steps, neurons, levels = _sizes(num_steps, num_neurons, levels)
    own = _reciprocals(steps * levels, neurons, neurons * steps)
    rows = [own[i * neurons : (i + 1) * neurons] for i in range(steps)]
    return rows if time_varying else rows[:1] * steps


def _reciprocals(largest: int, skipped: int, number: int) -> list[Fraction]:
    """1/p of `number` primes above `largest`, after the first `skipped` of them."""
    candidates = count(max(largest + 1, 2))
    primes = (p for p in candidates if all(p % d for d in range(2, math.isqrt(p) + 1)))
    return [Fraction(1, p) for p in islice(primes, skipped, skipped + number)]


def _sizes(num_steps: Size, num_neurons: Size, levels: Size) -> tuple[int, int, int]:
    """T, N and D as Python's integers, as powers of NumPy's wrap around."""
    sizes = {"num_steps": num_steps, "num_neurons": num_neurons, "levels": levels}
    for name, value in sizes.items():
        if index(value) < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return index(num_steps), index(num_neurons), index(levels)
