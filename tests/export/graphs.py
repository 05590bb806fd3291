"""Helpers for tests of exports: small programs, and inputs on the grid of a NIR graph."""

from functools import partial
from typing import Any

import flax.linen as nn
import h5py
import jax
import jax.numpy as jnp
import numpy as np

from pit_jax import neurons
from pit_jax.inference import SpikingProgram, compile
from pit_jax.models import create
from pit_jax.neurons.step import hard_reset
from tests.models.reduced import REDUCED
from tests.models.reference import random_variables

# Of CIFAR-10. Every byte is once in each channel of `BYTES` [4, 8, 8, 3].
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BYTES = np.stack([np.random.default_rng(c).permutation(256) for c in range(3)], axis=-1)
BYTES = BYTES.reshape(4, 8, 8, 3).astype(np.uint8)
HARD_LIF = partial(neurons.LIF, reset=hard_reset)


def round_to_grid(x, graph) -> np.ndarray:
    """Return x rounded and clipped to inputs that the graph computes exactly."""
    step, limit = graph.metadata["input_step"], graph.metadata["input_limit"]
    return np.clip(np.round(np.asarray(x) / step) * step, -limit, limit).astype(np.float32)


def count_by_layer(program, spikes) -> dict[str, np.ndarray]:
    """Return the counts `[B, T, ...]` of each layer from the spikes of the graph's neurons.

    The graph has one neuron for each level of a layer.
    """
    counts = {}
    for path in program.slots:
        name = path.replace("/", ".")
        levels = [s for key, s in spikes.items() if key == name or key.startswith(f"{name}_")]
        counts[path] = np.sum(levels, axis=0)
    return counts


def make_program(
    name: str, neuron: Any, num_steps: int, *, batch: int = 3, **options: Any
) -> tuple[SpikingProgram, jax.Array]:
    """Return a small program with random weights that lets its neurons fire, and images for it."""
    row = REDUCED[name]
    model = create(name, num_classes=5, neuron=neuron, num_steps=num_steps, **row.kw)
    return compile_random(model, (batch, *row.shape), **options)


def make_joined(join: str) -> tuple[SpikingProgram, jax.Array]:
    """Return a program whose blocks multiply spikes, and images for it."""
    fields = dict(num_classes=5, stages=(1, 1), width=8, num_steps=2)
    model = create("sew_resnet18", neuron=neurons.IF, join=join, **fields)
    return compile_random(model, (6, 16, 16, 3))


def compile_random(
    model: nn.Module, shape: tuple[int, ...], **options: Any
) -> tuple[SpikingProgram, jax.Array]:
    """Return the program of a network with random variables, and images of `shape`."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    variables = jax.tree.map(jnp.float32, random_variables(model, shape))
    return compile(model, variables, x, verify=False, **options), x


def write_tree(path, nodes, edges, node_type="NIRGraph", **more):
    """Write a NIR file without the checks of the package that other tools do not use."""
    with h5py.File(path, "w") as file:
        group = file.create_group("node")
        group["type"] = node_type
        group["edges"] = np.array(edges, "S20")
        for name, fields in nodes.items():
            for key, value in fields.items():
                group[f"nodes/{name}/{key}"] = value
        for key, value in more.items():
            group[f"metadata/{key}"] = value
    return path


def make_rockpool(**parameters):
    """Return nodes as in lif_rockpool.nir: parameters of one value, and an output [1, 1, 1]."""
    values = dict(tau=2e-4, r=2.0, v_leak=0.0, v_threshold=1.0) | parameters
    return {
        "input": {"type": "Input", "shape": [3]},
        "linear": {"type": "Linear", "weight": np.eye(3, dtype=np.float32)},
        "lif": {"type": "LIF", **values},
        "output": {"type": "Output", "shape": [1, 3, 1]},
    }


CHAIN = [("input", "linear"), ("linear", "lif"), ("lif", "output")]
