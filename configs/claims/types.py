"""A claim about two cases of an experiment, and the sentence of the paper that it tests."""

from typing import NamedTuple


class Claim(NamedTuple):
    """A comparison of two cases of an experiment that belong to one group.

    Args:
        text: the paper's sentence in our words.
        better: the label of one case.
        worse: the label of the other.
        measure: accuracy, spikes, or the key of another measure.
        more: whether `better` should have more of the measure than `worse`, or less.
        printed: the printed difference `better - worse`: points of accuracy, or the unit of the
            measure.
        source: where the paper makes the claim.
        within: if given, the claim is that the difference is smaller than this.
    """

    text: str
    better: str
    worse: str
    measure: str = "accuracy"
    more: bool = True
    printed: float | None = None
    source: str = ""
    within: float | None = None


class Comparison(NamedTuple):
    """A sentence of the paper: the cases and the rows that it compares.

    Args:
        source: where the paper says it.
        text: the sentence in our words.
        cases: the better and the worse case at the smaller scales; `{PIT}` is a reading of PIT.
            Empty if these scales have no such cases.
        rows: pairs of rows of the paper's table, the better one first.
        measure: as in `Claim`.
        more: as in `Claim`.
        within: as in `Claim`.
        readings: the readings of PIT that are compared.
    """

    source: str
    text: str
    cases: tuple[str, str] | tuple[()] = ()
    rows: tuple[tuple[str, str], ...] = ()
    measure: str = "accuracy"
    more: bool = True
    within: float | None = None
    readings: tuple[str, ...] = ("ours", "paper")


ALL_READINGS = ("ours", "released", "paper")
# The ends of labels of rows that belong to one of several data sets.
C10, C100, IMAGENET = ", CIFAR-10", ", CIFAR-100", ", ImageNet"
