"""How often the count of a neuron changes between time steps and between training steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from pit_jax.analysis.recorder import recorder
from pit_jax.old_names import serve_old_names


def measure_changes(
    model: nn.Module, variables: Mapping[str, Any], batches: Iterable[Array]
) -> dict[str, Float[np.ndarray, " changes"]]:
    """Return for each layer the share of neurons whose count differs from the step before.

    T steps have T - 1 changes.
    """
    record, weights = recorder(model), []
    shares: dict[str, list[np.ndarray]] = {}
    for x in batches:
        weights.append(len(x))
        for name, layer in record(variables, x).items():
            differs = layer.count[:, 1:] != layer.count[:, :-1]
            but_steps = (0, *range(2, differs.ndim))
            shares.setdefault(name, []).append(np.asarray(differs.mean(but_steps), float))
    return {
        # A last batch may be smaller than the others.
        name: np.average(each, axis=0, weights=weights[: len(each)])
        for name, each in shares.items()
    }


def average_later_half(values: Sequence[float]) -> float:
    """Return the mean of the later half of the epochs."""
    return float(np.mean(values[len(values) // 2 :]))


serve_old_names(__name__)
