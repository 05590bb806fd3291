"""Small networks that fire, with scales of many sizes and batch norm statistics."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pit_jax import neurons
from pit_jax.models import create
from pit_jax.neurons.mpbn import NormedLIF
from tests.helpers import jit_once
from tests.models.reduced import REDUCED


def _of_one_level(neuron: Any) -> Callable[[int], Any]:
    return lambda levels: neuron


def _of_levels(neuron: Any) -> Callable[[int], Any]:
    return lambda levels: partial(neuron, levels=levels)


# Neurons by name, as a function of their levels; binary and ternary ones have one.
NEURONS: dict[str, Callable[[int], Any]] = {
    **{
        name: _of_one_level(getattr(neurons, name))
        for name in ("IF", "LIF", "CLIF", "GLIF", "Ternary", "RealSpike", "TrainableTernary")
    },
    # PLIF halves its currents: at threshold 1 it would stay silent in a network of one step.
    "PLIF": _of_one_level(partial(neurons.PLIF, threshold=0.25)),
    "NormedLIF": _of_one_level(NormedLIF),
    **{
        name: _of_levels(getattr(neurons, name))
        for name in ("ILIF", "PIT", "PITFull", "QAT", "QBLIF")
    },
}


def make_constant_network(
    name: str, neuron: Any, num_steps: int, **kw: Any
) -> tuple[nn.Module, dict[str, Any], jax.Array]:
    """Return a network whose variables are all 1, and a batch of images.

    Unlike `make_firing_network` it compiles nothing, which suffices for a network that is refused.
    """
    row = REDUCED[name]
    model = create(name, num_classes=5, neuron=neuron, num_steps=num_steps, **{**row.kw, **kw})
    x = jnp.ones((2, *row.shape))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    return model, {key: ones[key] for key in ("params", "batch_stats") if key in ones}, x


def make_firing_network(
    name: str,
    neuron: Any,
    num_steps: int,
    *,
    seed: int = 0,
    batch: int = 8,
    **kw: Any,
) -> tuple[nn.Module, dict[str, Any], jax.Array]:
    """Return a network of the size of a test, its variables and `batch` <= 8 images.

    The variables do not depend on `batch`, so the programs that make them are compiled once for all
    tests with the same network.
    """
    row = REDUCED[name]
    fields = {**row.kw, **kw}
    model = create(name, num_classes=5, neuron=neuron, num_steps=num_steps, **fields)
    x = jax.random.normal(jax.random.key(seed), (8, *row.shape))
    start = jit_once(model.init)(jax.random.key(seed + 1), x)
    variables = {key: start[key] for key in ("params", "batch_stats") if key in start}
    draw = np.random.default_rng(seed)

    # In NumPy, as JAX would compile each operation for each shape.
    def scale_leaf(path: Any, value: jax.Array) -> np.ndarray:
        leaf = np.asarray(value)
        match path[-1].key:
            case "kernel":
                leaf = leaf * row.gain
            case "scale" if not leaf.any():  # A scale of 0 would keep a whole branch silent.
                leaf = leaf + 0.5
            case "a" | "amplitude" | "alpha":
                leaf = np.maximum(leaf, 0.05) * draw.uniform(0.7, 1.4, leaf.shape)
            case "mixing":
                leaf = leaf + 0.2 * draw.standard_normal(leaf.shape)
        return leaf.astype(np.float32)

    params = jax.tree_util.tree_map_with_path(scale_leaf, variables["params"])
    variables["params"] = jax.device_put(params)
    if "batch_stats" in variables:

        @jit_once
        def update_statistics(variables: Any, key: Any) -> Any:
            images = jax.random.normal(key, x.shape)
            rngs = {"dropout": key}
            return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[1]

        # Of the initial statistics 0.9^60 = 0.2 % is left; more would keep a deep network silent.
        for key in jax.random.split(jax.random.key(seed + 2), 60):
            variables |= update_statistics(variables, key)
    return model, variables, x[:batch]
