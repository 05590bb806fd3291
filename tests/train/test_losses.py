"""The losses against NumPy in float64, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.losses import cross_entropy, tet

BATCH, STEPS, CLASSES = 5, 3, 7
RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.standard_normal((BATCH, STEPS, CLASSES))
LABELS = RNG.integers(0, CLASSES, BATCH)
ONE_HOT = np.eye(CLASSES)[LABELS]

pytestmark = pytest.mark.usefixtures("x64")


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def entropy_of_steps() -> float:
    """The mean over samples and steps of -log p(label)."""
    return -(np.log(softmax(LOGITS)) * ONE_HOT[:, None]).sum(-1).mean()


def test_cross_entropy_is_that_of_the_mean_over_time():
    want = -(np.log(softmax(LOGITS.mean(axis=1))) * ONE_HOT).sum(-1).mean()
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), want, rtol=1e-12)


def test_the_gradient_of_cross_entropy_is_probability_minus_label_at_every_step():
    grad = jax.grad(cross_entropy)(jnp.asarray(LOGITS), LABELS)
    want = (softmax(LOGITS.mean(axis=1)) - ONE_HOT)[:, None] / (BATCH * STEPS)
    np.testing.assert_allclose(grad, np.broadcast_to(want, LOGITS.shape), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("weight, target", [(0.05, 1.0), (0.3, 0.5), (1.0, -2.0)])
def test_tet_is_every_steps_entropy_and_the_distance_to_the_target(weight, target):
    want = (1 - weight) * entropy_of_steps() + weight * ((LOGITS - target) ** 2).mean()
    got = tet(LOGITS, LABELS, weight=weight, target=target)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("weight, target", [(0.05, 1.0), (0.3, 0.5), (0.0, 1.0)])
def test_the_gradient_of_tet_is_the_closed_form(weight, target):
    grad = jax.grad(tet)(jnp.asarray(LOGITS), LABELS, weight=weight, target=target)
    entropy = (softmax(LOGITS) - ONE_HOT[:, None]) / (BATCH * STEPS)
    distance = 2 * (LOGITS - target) / LOGITS.size
    want = (1 - weight) * entropy + weight * distance
    np.testing.assert_allclose(grad, want, rtol=1e-12, atol=1e-15)


def test_tet_pulls_to_one_with_a_weight_of_a_twentieth_unless_told_otherwise():
    assert tet(LOGITS, LABELS) == tet(LOGITS, LABELS, weight=0.05, target=1.0)


def test_tet_without_weight_is_the_mean_entropy_of_the_steps():
    got = tet(LOGITS, LABELS, weight=0.0, target=17.0)
    np.testing.assert_allclose(got, entropy_of_steps(), rtol=1e-12)
    # Entropy is convex, so that of the mean logits is smaller.
    assert got > cross_entropy(LOGITS, LABELS)


def test_with_one_step_both_losses_are_the_same():
    one = LOGITS[:, :1]
    np.testing.assert_allclose(tet(one, LABELS, weight=0.0), cross_entropy(one, LABELS), rtol=1e-12)


@pytest.mark.parametrize("loss, want", [(cross_entropy, 2e4), (tet, 2e4)])
def test_huge_logits_do_not_overflow(loss, want):
    logits = np.full((1, 1, 2), -1e4)
    logits[..., 1] = 1e4
    kw = {"weight": 0.0} if loss is tet else {}
    assert loss(logits, np.array([0]), **kw) == want
    assert loss(logits, np.array([1]), **kw) == 0
