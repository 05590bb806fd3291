"""Schedules at steps computed by hand, weight decay leaf by leaf, SGD step by step."""

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
from train.program.optim import (
    OPTIMIZERS,
    SCHEDULES,
    adam,
    cosine,
    lamb,
    make_schedule,
    mask_kernels,
    sgd,
)

PEAK, DECAY = 0.1, 0.01
STEPS = range(14)


def compute_rates(schedule: optax.Schedule) -> list[float]:
    """Return the rate of every step, jitted as in a run."""
    return [float(jax.jit(schedule)(step)) for step in STEPS]


@pytest.mark.parametrize("end", [0.0, 0.01])
def test_cosine_equals_optax_to_the_bit(end):
    with_warmup = optax.warmup_cosine_decay_schedule(0.0, PEAK, 4, 12, end)
    without = optax.cosine_decay_schedule(PEAK, 12, alpha=end / PEAK)
    for warmup_steps, want in ((4, with_warmup), (0, without)):
        amounts = {"steps": 12, "warmup_steps": warmup_steps, "end": end}
        assert compute_rates(cosine(PEAK, **amounts)) == compute_rates(want)
        assert compute_rates(make_schedule(cosine, PEAK, **amounts)) == compute_rates(want)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_has_the_same_linear_warm_up_to_the_peak(name):
    found = compute_rates(make_schedule(SCHEDULES[name], PEAK, steps=12, warmup_steps=4, end=0.02))
    assert found[:5] == pytest.approx([0, 0.025, 0.05, 0.075, PEAK])


@pytest.mark.parametrize(
    "name, keys, want",
    [
        ("linear", {}, [0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.02]),
        ("constant", {}, [0.1] * 10),
        ("steps", {}, [0.1] * 4 + [0.01] * 2 + [0.001] * 4),
        ("steps", {"factor": 0.5, "at": (0.25,)}, [0.1] * 2 + [0.05] * 8),
        ("steps", {"factor": 0.5, "at": (0.25, 0.25)}, [0.1] * 2 + [0.025] * 8),
        ("steps", {"at": ()}, [0.1] * 10),
    ],
)
def test_the_rates_of_a_schedule(name, keys, want):
    schedule = make_schedule(SCHEDULES[name], PEAK, steps=8, end=0.02, **keys)
    assert compute_rates(schedule)[:10] == pytest.approx(want)


def test_an_own_schedule_gets_the_steps_after_the_warm_up_and_its_keys():
    def halve(peak: float, *, steps: int, times: int = 1) -> optax.Schedule:
        return lambda count: peak * 0.5 ** (times * (count >= steps / 2))

    found = compute_rates(make_schedule(halve, PEAK, steps=12, warmup_steps=4, end=0.01, times=2))
    assert found[2:10] == pytest.approx([0.05, 0.075, *[PEAK] * 4, *[PEAK / 4] * 2])


@pytest.mark.parametrize(
    "keys, refused",
    [
        ({"factor": 1.5}, "factor must be at most 1, got 1.5."),
        ({"at": (0.5, 2.0)}, "at[1] must be at most 1, got 2.0."),
        ({"at": 0.5}, "at must be a tuple, got 0.5."),
    ],
)
def test_the_error_for_an_invalid_schedule_names_the_value(keys, refused):
    with pytest.raises(ValueError) as error:
        make_schedule(SCHEDULES["steps"], PEAK, steps=12, **keys)
    assert str(error.value) == refused


def test_adam_without_decay_equals_optax_to_the_bit():
    params = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([2.0])}
    ours, theirs = adam(cosine(PEAK, steps=5)), optax.adam(cosine(PEAK, steps=5))
    states = [ours.init(params), theirs.init(params)]
    for step in range(3):
        grads = jax.tree.map(lambda leaf, step=step: jnp.sin(leaf + step), params)
        found, states[0] = ours.update(grads, states[0], params)
        want, states[1] = theirs.update(grads, states[1], params)
        for name in params:
            np.testing.assert_array_equal(found[name], want[name])


def test_adam_adds_the_decay_to_the_gradient_of_kernels_as_in_pytorch():
    params = {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([2.0])}
    grads = {"kernel": jnp.array([[0.1, 0.2]]), "bias": jnp.array([0.3])}
    ours, theirs = adam(lambda _: PEAK, momentum=0.8, weight_decay=DECAY), optax.adam(PEAK, b1=0.8)
    found, _ = ours.update(grads, ours.init(params), params)
    with_decay = grads | {"kernel": grads["kernel"] + DECAY * params["kernel"]}
    want, _ = theirs.update(with_decay, theirs.init(params), params)
    for name in params:
        np.testing.assert_array_equal(found[name], want[name])


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
def test_the_rate_falls_along_half_a_cosine_to_zero(step, rate):
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
def test_the_rate_rises_linearly_and_then_falls_along_the_cosine(step, rate):
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


def test_weight_decay_applies_to_kernels_only():
    model = create("resnet8", num_classes=3, neuron=partial(PIT, levels=4), width=4)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 8, 8, 1)))["params"]
    decayed = flax.traverse_util.flatten_dict(mask_kernels(params))
    by_name: dict[str, set[bool]] = {}
    for path, choice in decayed.items():
        by_name.setdefault(path[-1], set()).add(choice)
    assert by_name == {"kernel": {True}, "a": {False}, "scale": {False}, "bias": {False}}


@pytest.mark.parametrize(
    "name, moves",
    [
        ("sgd", [-3 * PEAK * DECAY, 4 * PEAK * DECAY]),
        ("adam", [-PEAK, PEAK]),  # Adam divides its gradient, here the decay alone, by its size.
        ("adamw", [-3 * PEAK * DECAY, 4 * PEAK * DECAY]),
        ("lamb", [-3 * PEAK, 4 * PEAK]),  # The trust ratio |w| / |decay * w| undoes the decay.
    ],
)
def test_without_a_gradient_only_kernels_shrink(name, moves):
    params = {
        "conv": {"kernel": jnp.array([[3.0, -4.0]]), "bias": jnp.array([2.0])},
        "norm": {"scale": jnp.array([1.5]), "bias": jnp.array([-1.0])},
        "PIT_0": {"a": jnp.array([[0.7, 0.8]])},
    }
    optimizer = OPTIMIZERS[name](cosine(PEAK, steps=10), weight_decay=DECAY)
    updates, _ = optimizer.update(
        jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    kernel = updates["conv"].pop("kernel")
    np.testing.assert_allclose(kernel, [moves], rtol=1e-5)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))


def test_sgd_adds_the_decay_to_the_gradient_before_momentum_as_in_pytorch(x64):
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


def test_the_cosine_falls_to_end():
    for warmup_steps in (0, 4):
        rate = cosine(PEAK, steps=12, warmup_steps=warmup_steps, end=0.01)
        assert rate(12) == pytest.approx(0.01) and rate(20) == pytest.approx(0.01)
        middle = (12 + warmup_steps) / 2
        assert rate(middle) == pytest.approx((PEAK + 0.01) / 2)


@pytest.mark.parametrize("trust_clip", [False, True])
def test_lamb_equals_timm(trust_clip, x64):
    # timm clips the whole gradient, takes Adam's step, adds the decay, and scales the steps of
    # kernels by the trust ratio.
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
def test_a_config_can_change_its_optimizer_by_name_alone(name):
    config = get_config()
    config.optimizer.name = name
    optimizer = build.make_optimizer(config, steps_per_epoch=3)
    params = {"kernel": jnp.ones((2, 2))}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert (updates["kernel"] < 0).all()
