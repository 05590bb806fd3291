"""How soon one run reaches what another one ends with."""

from collections.abc import Mapping, Sequence

# Epochs and what was reached after each of them.
Curve = tuple[Sequence[float], Sequence[float]]


def find_first_epoch(curve: Curve, goal: float) -> float | None:
    """The first epoch after which at least `goal` was reached; None if none did."""
    return next((at for at, value in zip(*curve, strict=True) if value >= goal), None)


def compare_curves(curves: Mapping[str, Curve]) -> dict[str, dict[str, float | None]]:
    """For each run and each baseline, when the run first reached the baseline's last value."""
    goals = {name: values[-1] for name, (_, values) in curves.items()}
    return {
        name: {baseline: find_first_epoch(curve, goal) for baseline, goal in goals.items()}
        for name, curve in curves.items()
    }
