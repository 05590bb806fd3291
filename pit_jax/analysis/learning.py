"""Learning curves of recorded runs: when one run reaches the final value of another.

Learning rate schedules are in train/program/optim.py.
"""

from collections.abc import Mapping, Sequence

from pit_jax.old_names import serve_old_names

# Epochs, and the value after each of them.
Curve = tuple[Sequence[float], Sequence[float]]


def find_first_epoch(curve: Curve, goal: float) -> float | None:
    """Return the first epoch whose value is at least `goal`, or None."""
    return next((at for at, value in zip(*curve, strict=True) if value >= goal), None)


def compare_curves(curves: Mapping[str, Curve]) -> dict[str, dict[str, float | None]]:
    """Return for each run the first epochs at which it reached the last value of every run."""
    goals = {name: values[-1] for name, (_, values) in curves.items()}
    return {
        name: {baseline: find_first_epoch(curve, goal) for baseline, goal in goals.items()}
        for name, curve in curves.items()
    }


serve_old_names(__name__)
