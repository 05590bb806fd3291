"""The schedule at steps computed by hand, weight decay leaf by leaf, SGD step by step."""

import math
from functools import partial

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pit_jax.models import create
from pit_jax.neurons import PIT
from tests.train.tiny import get_config
from train.program import build
from train.program.optim import adamw, cosine, kernels_only, lamb, sgd

PEAK, DECAY = 0.1, 0.01
OPTIMIZERS = {
    "sgd": partial(sgd, momentum=0.9, weight_decay=DECAY),
    "adamw": partial(adamw, momentum=0.9, weight_decay=DECAY),
    "lamb": partial(lamb, momentum=0.9, weight_decay=DECAY),
}


@pytest.mark.parametrize(
    "step, rate",
    [
        (0, 0.1),
        (1, 0.05 * (1 + math.cos(math.pi / 10))),
        (2, 0.0904508497),
        (5, 0.05),
        (8, 0.0095491503),
        (10, 0.0),
        (11, 0.0),
    ],
)
def test_the_rate_falls_along_half_a_cosine_to_nothing(step, rate):
    assert cosine(PEAK, steps=10)(step) == pytest.approx(rate, abs=1e-8)


@pytest.mark.parametrize(
    "step, rate",
    [
        (0, 0.0),
        (1, 0.025),
        (3, 0.075),
        (4, 0.1),
        (6, 0.05 * (1 + math.sqrt(0.5))),
        (8, 0.05),
        (12, 0.0),
        (13, 0.0),
    ],
)
def test_the_rate_rises_in_a_line_and_then_falls_along_the_cosine(step, rate):
    assert cosine(PEAK, steps=12, warmup_steps=4)(step) == pytest.approx(rate, abs=1e-8)


@pytest.mark.parametrize(
    "warmup_epochs, rates",
    [
        (0, [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]),
        (1, [0, 1 / 3, 2 / 3, 1, 0.75, 0.25]),
    ],
)
def test_the_schedule_of_a_config_spans_all_its_epochs(warmup_epochs, rates):
    config = get_config()  # Two epochs.
    config.update(learning_rate=PEAK, warmup_epochs=warmup_epochs)
    config.optimizer.update(momentum=0.0, weight_decay=0.0)
    optimizer = build.make_optimizer(config, steps_per_epoch=3)
    params = {"bias": jnp.ones(1)}
    state, moved = optimizer.init(params), []
    for _ in range(6):
        updates, state = optimizer.update({"bias": jnp.ones(1)}, state, params)
        moved.append(-updates["bias"].item() / PEAK)
    assert moved == pytest.approx(rates, abs=1e-6)


def test_decay_is_for_kernels_and_not_for_scales_norms_and_biases():
    model = create("resnet8", num_classes=3, neuron=partial(PIT, levels=4), width=4)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 8, 8, 1)))["params"]
    decayed = flax.traverse_util.flatten_dict(kernels_only(params))
    by_name: dict[str, set[bool]] = {}
    for path, choice in decayed.items():
        by_name.setdefault(path[-1], set()).add(choice)
    assert by_name == {"kernel": {True}, "a": {False}, "scale": {False}, "bias": {False}}


@pytest.mark.parametrize(
    "name, shrinks",
    [
        ("sgd", PEAK * DECAY),
        ("adamw", PEAK * DECAY),
        ("lamb", PEAK),  # The trust ratio |w| / |decay * w| takes the decay out again.
    ],
)
def test_without_a_gradient_only_kernels_shrink(name, shrinks):
    params = {
        "conv": {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([2.0])},
        "norm": {"scale": jnp.array([1.5]), "bias": jnp.array([-1.0])},
        "PIT_0": {"a": jnp.array([[0.7, 0.8]])},
    }
    optimizer = OPTIMIZERS[name](cosine(PEAK, steps=10))
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    kernel = updates["conv"].pop("kernel")
    np.testing.assert_allclose(kernel, [[-3 * shrinks, 4 * shrinks]], rtol=1e-5)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))


def test_sgd_is_pytorchs_the_decay_joins_the_gradient_before_the_momentum(x64):
    momentum, decay, schedule = 0.9, 0.05, cosine(PEAK, steps=6)
    optimizer = sgd(schedule, momentum=momentum, weight_decay=decay)
    grads = np.random.default_rng(0).standard_normal((3, 4))
    kernel, velocity = np.array([1.0, -2.0, 0.5, 3.0]), np.zeros(4)
    params = {"kernel": jnp.asarray(kernel)}
    state = optimizer.init(params)
    for step, grad in enumerate(grads):
        velocity = momentum * velocity + (grad + decay * kernel)
        kernel = kernel - PEAK * 0.5 * (1 + math.cos(math.pi * step / 6)) * velocity
        updates, state = optimizer.update({"kernel": jnp.asarray(grad)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-12)


def test_the_rate_ends_where_it_is_told():
    for warmup_steps in (0, 4):
        rate = cosine(PEAK, steps=12, warmup_steps=warmup_steps, end=0.01)
        assert rate(12) == pytest.approx(0.01) and rate(20) == pytest.approx(0.01)
        middle = (12 + warmup_steps) / 2
        assert rate(middle) == pytest.approx((PEAK + 0.01) / 2)


@pytest.mark.parametrize("trust_clip", [False, True])
def test_lamb_is_timms(trust_clip, x64):
    """Clipped as a whole, Adam's step, decay, and for kernels a length in units of their own."""
    momentum, second, decay, eps = 0.9, 0.999, 0.3, 1e-6
    optimizer = lamb(
        optax.constant_schedule(PEAK),
        momentum=momentum,
        weight_decay=decay,
        trust_clip=trust_clip,
    )
    rng = np.random.default_rng(0)
    values = {
        "small": {"kernel": 0.01 * rng.normal(size=(3, 2))},
        "large": {"kernel": 40.0 * np.ones(4)},
        "norm": {"bias": rng.normal(size=3)},
    }
    params = jax.tree.map(jnp.asarray, values)
    state = optimizer.init(params)
    moments = jax.tree.map(lambda value: (0 * value, 0 * value), values)
    for step in range(1, 4):
        grads = jax.tree.map(lambda value: 2 * rng.normal(size=value.shape), values)
        norm = np.sqrt(sum((grad**2).sum() for grad in jax.tree.leaves(grads)))
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, params)
        params = optax.apply_updates(params, updates)
        for layer, leaf in (("small", "kernel"), ("large", "kernel"), ("norm", "bias")):
            value, grad = values[layer][leaf], grads[layer][leaf] / max(norm, 1)
            m, v = moments[layer][leaf]
            m, v = momentum * m + (1 - momentum) * grad, second * v + (1 - second) * grad**2
            moments[layer][leaf] = (m, v)
            move = m / (1 - momentum**step) / (np.sqrt(v / (1 - second**step)) + eps)
            if leaf == "kernel":
                move = move + decay * value
                trust = np.linalg.norm(value) / np.linalg.norm(move)
                assert (trust < 1) == (layer == "small")
                move = move * (min(trust, 1) if trust_clip else trust)
            values[layer][leaf] = value - PEAK * move
            np.testing.assert_allclose(params[layer][leaf], values[layer][leaf], rtol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_optimizer_needs_no_other_change_of_a_config(name):
    config = get_config()
    config.optimizer.name = name
    optimizer = build.make_optimizer(config, steps_per_epoch=3)
    params = {"kernel": jnp.ones((2, 2))}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert (updates["kernel"] < 0).all()
