"""The losses against NumPy in float64, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import walk_equations
from train.program.losses import cross_entropy, mse, tet

BATCH, STEPS, CLASSES = 5, 3, 7
RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.standard_normal((BATCH, STEPS, CLASSES))
LABELS = RNG.integers(0, CLASSES, BATCH)
ONE_HOT = np.eye(CLASSES)[LABELS]

pytestmark = pytest.mark.usefixtures("x64")


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def compute_step_entropy() -> float:
    """Return the mean of -log p(label) over samples and steps."""
    return -(np.log(softmax(LOGITS)) * ONE_HOT[:, None]).sum(-1).mean()


def test_cross_entropy_uses_the_mean_over_time():
    want = -(np.log(softmax(LOGITS.mean(axis=1))) * ONE_HOT).sum(-1).mean()
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), want, rtol=1e-12)


def test_the_gradient_of_cross_entropy_is_probability_minus_label_at_every_step():
    grad = jax.grad(cross_entropy)(jnp.asarray(LOGITS), LABELS)
    want = (softmax(LOGITS.mean(axis=1)) - ONE_HOT)[:, None] / (BATCH * STEPS)
    np.testing.assert_allclose(grad, np.broadcast_to(want, LOGITS.shape), rtol=1e-12, atol=1e-15)


def test_mse_is_the_squared_distance_of_the_mean_logits_to_the_one_hot_label():
    scores = LOGITS.mean(axis=1)
    np.testing.assert_allclose(mse(LOGITS, LABELS), ((scores - ONE_HOT) ** 2).mean(), rtol=1e-12)
    grad = jax.grad(mse)(jnp.asarray(LOGITS), LABELS)
    want = 2 * (scores - ONE_HOT)[:, None] / (BATCH * CLASSES * STEPS)
    np.testing.assert_allclose(grad, np.broadcast_to(want, LOGITS.shape), rtol=1e-12, atol=1e-15)


def test_mse_takes_shares_of_the_classes():
    shares = 0.3 * ONE_HOT + 0.7 * np.roll(ONE_HOT, 1, axis=1)
    want = ((LOGITS.mean(axis=1) - shares) ** 2).mean()
    np.testing.assert_allclose(mse(LOGITS, shares), want, rtol=1e-12)


@pytest.mark.parametrize("loss", [cross_entropy, mse, tet])
def test_one_hot_labels_equal_integer_labels(loss):
    integers, shares = (jax.value_and_grad(loss)(LOGITS, each) for each in (LABELS, ONE_HOT))
    np.testing.assert_allclose(shares[0], integers[0], rtol=1e-12)
    np.testing.assert_allclose(shares[1], integers[1], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("loss", [cross_entropy, partial(tet, weight=0.3, target=0.5)])
def test_the_loss_of_mixed_labels_is_the_mix_of_the_losses(loss):
    other = (LABELS + 1) % CLASSES
    mixed = 0.3 * ONE_HOT + 0.7 * np.eye(CLASSES)[other]
    want = 0.3 * loss(LOGITS, LABELS) + 0.7 * loss(LOGITS, other)
    np.testing.assert_allclose(loss(LOGITS, mixed), want, rtol=1e-12)


@pytest.mark.parametrize("loss", [cross_entropy, tet])
def test_integer_labels_stay_integers(loss):
    with_integers = jax.make_jaxpr(loss)(LOGITS, LABELS)
    names = {name for name, _ in walk_equations(with_integers.jaxpr)}
    assert "gather" in names and "one_hot" not in names and "eq" not in names


@pytest.mark.parametrize("weight, target", [(0.05, 1.0), (0.3, 0.5), (1.0, -2.0)])
def test_tet_is_every_steps_entropy_and_the_distance_to_the_target(weight, target):
    want = (1 - weight) * compute_step_entropy() + weight * ((LOGITS - target) ** 2).mean()
    got = tet(LOGITS, LABELS, weight=weight, target=target)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("weight, target", [(0.05, 1.0), (0.3, 0.5), (0.0, 1.0)])
def test_the_gradient_of_tet_is_the_closed_form(weight, target):
    grad = jax.grad(tet)(jnp.asarray(LOGITS), LABELS, weight=weight, target=target)
    entropy = (softmax(LOGITS) - ONE_HOT[:, None]) / (BATCH * STEPS)
    distance = 2 * (LOGITS - target) / LOGITS.size
    want = (1 - weight) * entropy + weight * distance
    np.testing.assert_allclose(grad, want, rtol=1e-12, atol=1e-15)


def test_the_defaults_of_tet_are_weight_0_05_and_target_1():
    assert tet(LOGITS, LABELS) == tet(LOGITS, LABELS, weight=0.05, target=1.0)


def test_tet_without_weight_is_the_mean_entropy_of_the_steps():
    got = tet(LOGITS, LABELS, weight=0.0, target=17.0)
    np.testing.assert_allclose(got, compute_step_entropy(), rtol=1e-12)
    # Cross-entropy is convex in the logits: at their mean it is at most its mean.
    assert got > cross_entropy(LOGITS, LABELS)


def test_with_one_step_both_losses_are_equal():
    one = LOGITS[:, :1]
    np.testing.assert_allclose(tet(one, LABELS, weight=0.0), cross_entropy(one, LABELS), rtol=1e-12)


@pytest.mark.parametrize("loss, want", [(cross_entropy, 2e4), (tet, 2e4)])
def test_huge_logits_do_not_overflow(loss, want):
    logits = np.full((1, 1, 2), -1e4)
    logits[..., 1] = 1e4
    kw = {"weight": 0.0} if loss is tet else {}
    assert loss(logits, np.array([0]), **kw) == want
    assert loss(logits, np.array([1]), **kw) == 0
