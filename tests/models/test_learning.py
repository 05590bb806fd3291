"""Training steps of every network with every neuron have finite gradients for all parameters."""

from functools import partial
from itertools import product, zip_longest

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.models import MODELS, create
from pit_jax.neurons import NEURONS, PIT, scale
from tests.helpers import jit_once
from tests.models.reduced import DISTINCT, REDUCED

LEARNING = NEURONS | {
    "PIT with LSQ's gradient": partial(PIT, parametrize=scale.lsq),
    "PIT with the released scale": partial(PIT, parametrize=scale.released),
}


# Each network and each neuron once; neurons beyond the number of networks use the cheapest network.
# The other pairs are slow.
QUICK = set(zip_longest(DISTINCT, LEARNING, fillvalue="resnet8"))
PAIRS = [
    pytest.param(*pair, id="-".join(pair), marks=() if pair in QUICK else pytest.mark.slow)
    for pair in product(DISTINCT, LEARNING)
]


def test_every_network_has_a_reduced_row():
    assert set(REDUCED) == set(MODELS)


def test_quick_pairs_cover_every_network_and_neuron():
    networks, quick_neurons = map(set, zip(*QUICK, strict=True))
    assert (networks, quick_neurons) == (set(DISTINCT), set(LEARNING))


def make_batch(shape):
    """Return images of different brightness, contrast and pattern, and their labels."""
    random = np.random.default_rng(0)
    contrast = np.geomspace(0.3, 3, 8)[:, None, None, None]
    brightness = np.linspace(-1, 1, 8)[:, None, None, None]
    images = brightness + contrast * random.normal(size=(8, *shape))
    return jnp.asarray(images, jnp.float32), jnp.arange(8) % 5


def mask_dead(path, shape):
    """Return where a parameter of a neuron has no gradient by construction."""
    if path[-1] == "alpha" and len(shape) == 2:  # The released scale's fixed vector.
        return np.ones(shape, bool)
    if path[-1] == "mixing":
        return np.broadcast_to(np.eye(shape[-1], dtype=bool), shape)
    return np.zeros(shape, bool)


def scale_kernels(params, gain):
    """Multiply the kernels by `gain`."""
    return jax.tree.map_with_path(
        lambda path, value: gain * value if path[-1].key == "kernel" else value, params
    )


@pytest.mark.parametrize("network, neuron", PAIRS)
def test_every_parameter_gets_a_finite_gradient_within_three_steps(network, neuron):
    reduced = REDUCED[network]
    images, labels = make_batch(reduced.shape)
    model = create(network, num_classes=5, neuron=LEARNING[neuron], num_steps=2, **reduced.kw)
    variables = jit_once(partial(model.init, train=True))(jax.random.key(0), images)

    def loss(params, stats):
        logits, new = model.apply(
            {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
        )
        scores = jax.nn.log_softmax(logits.mean(axis=1))
        return -jnp.mean(scores[jnp.arange(8), labels]), new.get("batch_stats", {})

    @jit_once
    def step(params, stats):
        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params, stats)
        return value, gradient, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), stats

    params, stats = (
        scale_kernels(variables["params"], reduced.gain),
        variables.get("batch_stats", {}),
    )
    reached = {path: np.zeros(leaf.shape, bool) for path, leaf in flatten_dict(params).items()}
    for _ in range(3):
        value, gradient, params, stats = step(params, stats)
        assert np.isfinite(value)
        for path, leaf in flatten_dict(gradient).items():
            assert np.isfinite(leaf).all(), path
            reached[path] |= np.asarray(leaf) != 0
    for path, where in reached.items():
        off_limits = mask_dead(path, where.shape) | reduced.dead(path)
        assert not (where & off_limits).any(), path
        assert off_limits.all() or reduced.canceled(path) or where[~off_limits].any(), path
