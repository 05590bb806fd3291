"""The end of a run in numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax


class Summary(NamedTuple):
    """What a run reached; `rates` are mean firing rates per neuron layer, in order, and step."""

    title: str
    workdir: str
    last_accuracy: float
    best_accuracy: float
    best_epoch: int
    parameters: int
    scales: int
    seconds: float
    rates: dict[str, list[float]]


def title(config: Mapping[str, Any]) -> str:
    """A run in one line: its data, network and neuron."""
    what = (config[part]["name"] for part in ("data", "model", "neuron"))
    return f"{', '.join(what)} {steps_and_levels(config)}"


def steps_and_levels(config: Mapping[str, Any]) -> str:
    """T and, for a neuron that fires integers, D: `T=1 D=4`."""
    levels = config["neuron"].get("levels")
    return f"T={config['num_steps']}" + (f" D={levels}" if levels else "")


def count_parameters(params: Any) -> tuple[int, int]:
    """The number of parameters without PIT's scales `a`, and of these."""
    leaves = jax.tree.leaves_with_path(params)
    scales = sum(leaf.size for path, leaf in leaves if path[-1].key == "a")
    return sum(leaf.size for _, leaf in leaves) - scales, scales
