"""Streams in chunks for the tests of states."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pit_jax.neurons import NEURONS
from pit_jax.neurons.mpbn import NormedLIF
from tests.helpers import jit_once
from tests.neurons.table import ROWS, init, make_ready

NAMES = [*NEURONS, "NormedLIF"]
WITH_A_MEMBRANE = [name for name in NAMES if name not in ("ReLU", "QAT")]
# Parameters with one row per step.
WITH_ROWS = ("PIT", "PITFull", "GLIF")


def make(name, x, **fields):
    """Return a neuron and its variables for currents `x`."""
    if name in ROWS:
        return make_ready(name, x, **fields)
    neuron = NormedLIF(**fields) if name == "NormedLIF" else NEURONS[name](**fields)
    return neuron, init(neuron, x)


def run_in_chunks(neuron, variables, x, sizes, state=None):
    """Return outputs and membranes of a stream in chunks, and its last state."""
    chunks = []
    for chunk in jnp.split(x, np.cumsum(sizes)[:-1], axis=1):
        (y, state), sown = neuron.apply(variables, chunk, state, True, mutable=["intermediates"])
        probes = sown.get("intermediates", {})
        chunks.append((y, find_membrane(probes)))
    return *jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *chunks), state


def find_membrane(probes):
    """Return the membranes that a neuron sowed, or those of the neuron inside it."""
    while probes and "membrane" not in probes:
        (probes,) = probes.values()
    return probes["membrane"][0] if probes else None


run_stream = partial(jit_once, static_argnums=(0, 3))(run_in_chunks)
