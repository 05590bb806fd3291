"""BPTT through a PIT network equals the recursion of Appendix B, written by hand in NumPy."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import PIT
from tests.helpers import count_thresholds, jit_once

# Each number of levels once, each decay and each reset.
QUICK = [(1, 0.5, True), (2, 0.25, False), (4, 0.5, False)]
BATCH, STEPS, INPUTS, HIDDEN, CLASSES = 5, 3, 4, 6, 3
STRENGTH = 0.3  # Larger than the paper's 0.01, so that a wrong factor shows.


def make_sample():
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCH, STEPS, INPUTS))
    params = {
        "w1": random.normal(size=(INPUTS, HIDDEN)),
        "a": random.uniform(0.3, 1.2, (STEPS, HIDDEN)),
        "w2": random.normal(size=(HIDDEN, CLASSES)),
    }
    return params, x, random.integers(0, CLASSES, BATCH)


def log_softmax(z):
    return z - np.log(np.sum(np.exp(z), -1, keepdims=True))


def compute_loss(params, x, labels, neuron):
    """Return the cross-entropy of a network linear-PIT-linear, with logits averaged over time."""
    s = neuron.apply({"params": {"a": params["a"]}}, x @ params["w1"])
    logits = jnp.mean(s @ params["w2"], axis=1)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), labels])


def run_by_hand(params, x, decay, levels):
    """Return membranes u and counts k of Eqs. 25-27, both `[B, T, N]`."""
    v = np.zeros((BATCH, HIDDEN))
    u, k = [], []
    for t in range(STEPS):
        u.append(decay * v + x[:, t] @ params["w1"])
        k.append(count_thresholds(u[t] / params["a"][t], levels))
        v = u[t] - params["a"][t] * k[t]
    return np.stack(u, 1), np.stack(k, 1)


def differentiate_by_hand(params, x, labels, decay, levels, detach):
    a, w2 = params["a"], params["w2"]
    u, k = run_by_hand(params, x, decay, levels)
    ratio = u / a
    window = (ratio >= 0) & (ratio <= levels)
    ds_du = (1 + STRENGTH * np.abs(ratio - np.rint(ratio))) * window  # Eq. 30
    ds_da = k - ratio * window  # Eq. 32

    logits = np.mean((a * k) @ w2, axis=1)
    one_hot = np.eye(CLASSES)[labels]
    loss = -np.mean(np.sum(one_hot * log_softmax(logits), -1))
    dlogits = (np.exp(log_softmax(logits)) - one_hot) / BATCH / STEPS  # The same at each step.

    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dv = np.zeros((BATCH, HIDDEN))  # dL/dv_t, propagated backwards; 0 at the last step.
    for t in reversed(range(STEPS)):
        grads["w2"] += (a[t] * k[:, t]).T @ dlogits
        ds = dlogits @ w2.T
        dv_du = 1 - (0 if detach else ds_du[:, t])
        dv_da = 0 if detach else -ds_da[:, t]
        du = ds * ds_du[:, t] + dv * dv_du
        grads["a"][t] = np.sum(ds * ds_da[:, t] + dv * dv_da, axis=0)  # Eq. 31
        grads["w1"] += x[:, t].T @ du  # Eq. 24
        dv = decay * du
    return loss, grads


@pytest.mark.parametrize(
    "levels, decay, detach",
    [
        pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow)
        for case in product([1, 2, 4], [0.5, 0.25], [False, True])
    ],
)
def test_bptt_is_the_recursion_of_eqs_24_to_32(x64, levels, decay, detach):
    params, x, labels = make_sample()
    u, k = run_by_hand(params, x, decay, levels)
    for t in range(STEPS):
        ratio = u[:, t] / params["a"][t]
        assert (ratio < 0).any() and (ratio > levels).any()
        assert ((ratio > 0) & (ratio < levels)).sum() >= 3
        assert np.abs(ratio % 1 - 0.5).min() > 1e-6  # No ties, so both sides fire the same counts.
    assert set(np.unique(k)) == set(range(levels + 1))

    neuron = PIT(levels=levels, decay=decay, strength=STRENGTH, detach_reset=detach)
    loss, grads = jit_once(jax.value_and_grad(compute_loss), static_argnums=3)(
        params, x, labels, neuron
    )
    want_loss, want = differentiate_by_hand(params, x, labels, decay, levels, detach)
    np.testing.assert_allclose(loss, want_loss, rtol=0, atol=1e-10)
    for name in params:
        assert np.abs(want[name]).max() > 1e-3
        np.testing.assert_allclose(grads[name], want[name], rtol=0, atol=1e-10, err_msg=name)


def test_a_detached_reset_changes_the_gradients_of_all_steps_but_the_last(x64):
    params, x, labels = make_sample()
    through, detached = (
        jit_once(jax.grad(compute_loss), static_argnums=3)(
            params, x, labels, PIT(strength=STRENGTH, detach_reset=detach)
        )["a"]
        for detach in (False, True)
    )
    np.testing.assert_allclose(through[-1], detached[-1], rtol=0, atol=1e-12)
    assert (np.abs(through[:-1] - detached[:-1]) > 1e-6).any(axis=1).all()
