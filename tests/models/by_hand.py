"""Transformers written out in NumPy, with integer neurons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.helpers import integers
from tests.models.helpers import shapes

Neuron = Callable[[np.ndarray], np.ndarray]


def random_variables(model: Any, x_shape: tuple[int, ...]) -> dict[str, Any]:
    """Parameters and statistics without a start's regularities, in float64."""
    random = np.random.default_rng(0)
    _, variables = shapes(model, x_shape)
    drawn = {}
    for path, leaf in flatten_dict({k: variables[k] for k in ("params", "batch_stats")}).items():
        positive = path[-1] in ("scale", "var")
        values = random.uniform(0.5, 2, leaf.shape) if positive else random.normal(size=leaf.shape)
        # Currents of about 2 for binary inputs, so that neurons give all their integers.
        gain = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 1
        drawn[path] = gain * values
    return unflatten_dict(drawn)


def taps(x: np.ndarray, size: int, stride: int, fill: float) -> list[np.ndarray]:
    """What stands at each place of a `size` x `size` window, row by row."""
    height, width = x.shape[-3:-1]
    pads = [(0, 0)] * (x.ndim - 3) + [(size // 2, size // 2)] * 2 + [(0, 0)]
    padded = np.pad(x, pads, constant_values=fill)
    return [
        padded[..., i : i + height : stride, j : j + width : stride, :]
        for i, j in np.ndindex(size, size)
    ]


def conv(x: np.ndarray, kernel: np.ndarray, bias: Any = 0.0, stride: int = 1) -> np.ndarray:
    """One product for each place of the window; a kernel that is one deep stays in its channel."""
    weights = kernel.reshape(-1, *kernel.shape[2:])
    alone = kernel.shape[2] == 1 and x.shape[-1] == kernel.shape[3]
    products = (
        tap * w[0] if alone else tap @ w
        for tap, w in zip(taps(x, kernel.shape[0], stride, 0.0), weights, strict=True)
    )
    return sum(products) + bias


def max_pool(x: np.ndarray) -> np.ndarray:
    return np.max(taps(x, 3, 2, -np.inf), axis=0)


def integer_lif(levels: int, decay: float = 0.5, unit: float = 1.0) -> Neuron:
    """`ILIF` step by step; its integers leave in units of `unit`."""

    def run(current: np.ndarray) -> np.ndarray:
        v, spikes = np.zeros_like(current[:, 0]), []
        for t in range(current.shape[1]):
            u = decay * v + current[:, t]
            spikes.append(integers(u, levels))
            v = u - spikes[-1]
        return np.stack(spikes, axis=1) * unit

    return run


class Network:
    """Layers by their path in `variables`."""

    def __init__(self, variables: dict[str, Any], *path: str) -> None:
        self.variables, self.path = variables, path

    def __getitem__(self, name: str) -> "Network":
        return Network(self.variables, *self.path, name)

    def at(self, collection: str, name: str) -> dict[str, np.ndarray]:
        node = self.variables[collection]
        for step in (*self.path, name):
            node = node[step]
        return node

    def layer(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        """The convolution `name` and its norm."""
        y = conv(x, **self.at("params", name), stride=stride)
        norm, stats = self.at("params", f"{name}_norm"), self.at("batch_stats", f"{name}_norm")
        deviation = np.sqrt(stats["var"] + 1e-5)
        return (y - stats["mean"]) / deviation * norm["scale"] + norm["bias"]

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.at("params", name)["kernel"] + self.at("params", name)["bias"]


def repeated(x: np.ndarray, num_steps: int) -> np.ndarray:
    return np.repeat(x, num_steps // x.shape[1], axis=1)
