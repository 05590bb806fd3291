"""Small networks that fire: with scales of many sizes and batch norm statistics of 60 batches."""

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
    **{name: _of_levels(getattr(neurons, name)) for name in ("ILIF", "PIT", "PITFull", "QAT")},
}


def make_firing_network(
    name: str, neuron: Any, num_steps: int, *, seed: int = 0, batch: int = 8, **kw: Any
) -> tuple[nn.Module, dict[str, Any], jax.Array]:
    """Return a network of the size of a test, its variables and a batch of images."""
    row = REDUCED[name]
    fields = {**row.kw, **kw}
    model = create(name, num_classes=5, neuron=neuron, num_steps=num_steps, **fields)
    x = jax.random.normal(jax.random.key(seed), (batch, *row.shape))
    # Each program runs at most 60 times, so compiling it takes longer than running it.
    jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    start = jit(model.init)(jax.random.key(seed + 1), x)
    variables = {key: start[key] for key in ("params", "batch_stats") if key in start}
    draw = np.random.default_rng(seed)

    def scale_leaf(path: Any, leaf: jax.Array) -> jax.Array:
        match path[-1].key:
            case "kernel":
                return leaf * row.gain
            case "scale" if not leaf.any():  # A scale of 0 would keep a whole branch silent.
                return leaf + 0.5
            case "a" | "amplitude" | "alpha":
                return jnp.maximum(leaf, 0.05) * draw.uniform(0.7, 1.4, leaf.shape)
            case "mixing":
                return leaf + 0.2 * draw.standard_normal(leaf.shape)
        return leaf

    variables["params"] = jax.tree_util.tree_map_with_path(scale_leaf, variables["params"])
    if "batch_stats" in variables:

        @jit
        def update_statistics(variables: Any, key: Any) -> Any:
            images = jax.random.normal(key, x.shape)
            rngs = {"dropout": key}
            return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[1]

        for key in jax.random.split(jax.random.key(seed + 2), 60):
            variables |= update_statistics(variables, key)
    return model, variables, x
