"""Helpers for tests of exports: small programs, and inputs on the grid of a NIR graph."""

from functools import partial

import jax
import numpy as np

from pit_jax import neurons
from pit_jax.inference import SpikingProgram, compile
from pit_jax.models.residual import ResNet, image_stem, mean_head
from pit_jax.models.sew_resnet import JOINS, SEWBlock
from pit_jax.neurons.step import hard_reset

HARD_LIF = partial(neurons.LIF, reset=hard_reset)


def round_to_grid(x, graph) -> np.ndarray:
    """Return x rounded and clipped to inputs that the graph computes exactly."""
    step, limit = graph.metadata["input_step"], graph.metadata["input_limit"]
    return np.clip(np.round(np.asarray(x) / step) * step, -limit, limit).astype(np.float32)


def counts_by_layer(program, spikes) -> dict[str, np.ndarray]:
    """Return the counts `[B, T, ...]` of each layer from the spikes of the graph's neurons.

    The graph has one neuron for each level of a layer.
    """
    counts = {}
    for path in program.slots:
        name = path.replace("/", ".")
        levels = [s for key, s in spikes.items() if key == name or key.startswith(f"{name}_")]
        counts[path] = np.sum(levels, axis=0)
    return counts


def make_joined(join: str) -> tuple[SpikingProgram, jax.Array]:
    """Return a program whose blocks multiply spikes, and images for it."""
    block = partial(SEWBlock, join=JOINS[join], downsample_neuron=neurons.IF)
    fields = dict(num_classes=5, neuron=neurons.IF, stages=(1, 1), width=8, num_steps=2)
    model = ResNet(stem=image_stem, block=block, head=mean_head, **fields)
    x = 2 * jax.random.normal(jax.random.key(0), (6, 16, 16, 3))
    variables = model.init(jax.random.key(1), x)
    variables = {key: variables[key] for key in ("params", "batch_stats")}
    return compile(model, variables, x, verify=False), x
