"""Arguments of types that the annotations do not allow; run without the checks of annotations.

python -m tests.checks.unchecked STATEMENT ... prints the ValueError of each statement in one line.
"""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from pit_jax import surrogate
from pit_jax.initializers import three_sigma
from pit_jax.layers import NORMS, conv, dense
from pit_jax.models import create
from pit_jax.neurons import IF, ILIF, LIF, NEURONS, PIT, pit_fire
from pit_jax.neurons.mpbn import NormedLIF

NAMES = {"jnp": jnp, "np": np, "create": create, "pit_fire": pit_fire}
NAMES |= {"NORMS": NORMS, "conv": conv, "dense": dense, "three_sigma": three_sigma}
NAMES |= NEURONS | {"KEY": jax.random.key(0)}


def fire(decay: jax.Array, threshold: jax.Array) -> jax.Array:
    """Return the spikes of a layer whose decay and threshold are learned."""
    x = jnp.linspace(0, 2, 12).reshape(1, 4, 3)
    spikes = LIF(decay=decay, threshold=threshold, spike=surrogate.sigmoid).apply({}, x)
    return spikes.sum()


def check_traced() -> None:
    """Fire with arguments that are numbers, traced, batched, differentiated, and arrays."""
    half, one = jnp.array(0.5), jnp.array(1.0)
    assert fire(0.5, 1.0) == fire(half, one) == jax.jit(fire)(half, one)
    assert jax.vmap(fire)(jnp.array([0.5, 0.2]), jnp.ones(2))[0] == fire(half, one)
    assert jnp.isfinite(jnp.stack(jax.grad(fire, argnums=(0, 1))(half, one))).all()
    # One decay for each channel.
    assert LIF(decay=jnp.array([0.5, 0.2, 1.0])).apply({}, jnp.ones((1, 2, 3))).shape == (1, 2, 3)


def check_float64() -> None:
    """Fire with NumPy's float64, which is float32 without x64, and without JAX's warning."""
    current = np.random.default_rng(0).normal(size=(4, 2, 3))
    with warnings.catch_warnings(action="error"):
        for neuron in (IF, ILIF, LIF, PIT):
            spikes, _ = neuron().init_with_output(jax.random.key(0), current)
            assert spikes.dtype == jnp.float32


def check_lists() -> None:
    """Pass nested lists as currents of every neuron, to networks and to an initializer."""
    current = np.linspace(-1, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    images = np.linspace(-1, 2, 384, dtype=np.float32).reshape(2, 8, 8, 3)
    network = create("resnet8", num_classes=3, neuron=PIT, width=2, stages=(1,))
    runs = [(neuron(), current) for neuron in (*NEURONS.values(), NormedLIF)]
    for model, x in (*runs, (network, images)):
        wanted, given = (model.init_with_output(jax.random.key(0), y) for y in (x, x.tolist()))
        assert jax.tree.all(jax.tree.map(np.array_equal, wanted, given)), model
    assert np.array_equal(
        three_sigma(current.tolist(), levels=2), three_sigma(jnp.asarray(current), levels=2)
    )


if __name__ == "__main__":
    check_traced()
    check_float64()
    check_lists()
    for text in sys.argv[1:]:
        try:
            eval(text, NAMES)
        except ValueError as error:
            print(error)
        else:
            print("accepted")
