"""Weights that no network can have: not finite, or a variance below zero."""

from collections.abc import Callable, Iterable

import jax.numpy as jnp
import numpy as np

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError


def check_values(names: Iterable[str], read: Callable[[str], np.ndarray]) -> None:
    """Raise CheckpointError, with names and reasons, unless the arrays can be weights.

    `read` returns the array of a name. Variances are `….running_var` of PyTorch and
    `batch_stats/…/var` of Flax.
    """
    problems = []
    for name in names:
        array = read(name)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            continue
        if not is_finite(array):
            count = int(np.sum(~np.isfinite(array)))
            problems.append(f"{show_name(name)[:80]} (not finite: {count:,} of {array.size:,})")
        elif _is_variance(name) and np.any(array < 0):
            problems.append(f"{show_name(name)[:80]} (a variance of {array.min():g})")
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"it has weights that no network can use: {', '.join(problems[:3])}{more}. Use "
            "another checkpoint, from before training diverged."
        )


def _is_variance(name: str) -> bool:
    ours = name.startswith("batch_stats/") and name.endswith("/var")
    return ours or name.rpartition(".")[2] == "running_var"


def is_finite(array: np.ndarray) -> bool:
    """Return whether all values are finite."""
    # The sum of all values, or of their squares, is faster than a mask. It is finite only if all
    # values are, but it can overflow.
    with np.errstate(all="ignore"):
        if array.dtype.char in "fdFD":
            values = array.ravel(order="K")
            total = np.dot(values, values)  # BLAS takes half the time of a sum.
        else:
            total = np.add.reduce(array, axis=None)
    return bool(np.isfinite(total)) or bool(np.all(np.isfinite(array)))
