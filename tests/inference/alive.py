"""Small networks that fire: scales of all sizes, and batch norm that has seen 60 batches."""

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
    # It halves its currents: at threshold 1 one step would leave it silent.
    "PLIF": _of_one_level(partial(neurons.PLIF, threshold=0.25)),
    "NormedLIF": _of_one_level(NormedLIF),
    **{name: _of_levels(getattr(neurons, name)) for name in ("ILIF", "PIT", "PITFull", "QAT")},
}


def alive(
    name: str, neuron: Any, num_steps: int, *, seed: int = 0, batch: int = 8, **kw: Any
) -> tuple[nn.Module, dict[str, Any], jax.Array]:
    """A network at the size of a test, its variables and a batch of images."""
    row = REDUCED[name]
    fields = {**row.kw, **kw}
    model = create(name, num_classes=5, neuron=neuron, num_steps=num_steps, **fields)
    x = jax.random.normal(jax.random.key(seed), (batch, *row.shape))
    quickly = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    start = quickly(model.init)(jax.random.key(seed + 1), x)
    variables = {key: start[key] for key in ("params", "batch_stats") if key in start}
    draw = np.random.default_rng(seed)

    def lively(path: Any, leaf: jax.Array) -> jax.Array:
        match path[-1].key:
            case "kernel":
                return leaf * row.gain
            case "scale" if not leaf.any():  # It would keep a branch silent.
                return leaf + 0.5
            case "a" | "amplitude" | "alpha":
                return jnp.maximum(leaf, 0.05) * draw.uniform(0.7, 1.4, leaf.shape)
            case "mixing":
                return leaf + 0.2 * draw.standard_normal(leaf.shape)
        return leaf

    variables["params"] = jax.tree_util.tree_map_with_path(lively, variables["params"])
    if "batch_stats" in variables:

        @quickly
        def seen(variables: Any, key: Any) -> Any:
            shown = jax.random.normal(key, x.shape)
            rngs = {"dropout": key}
            return model.apply(variables, shown, train=True, mutable=["batch_stats"], rngs=rngs)[1]

        for key in jax.random.split(jax.random.key(seed + 2), 60):
            variables |= seen(variables, key)
    return model, variables, x
