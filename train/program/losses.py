"""Losses: scalars from logits `[B, T, K]` and labels.

Labels are integers `[B]`, or shares of the classes `[B, K]`, for mixed images and smoothed labels.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from pit_jax.checks.bounds import SHARE, Interval, set_bounds

Labels = Int[Array, " B"] | Float[Array, "B K"]


def cross_entropy(logits: Float[Array, "B T K"], labels: Labels) -> Float[Array, ""]:
    """Return the cross-entropy of the logits' mean over time."""
    return _entropy(logits.mean(axis=1), labels).mean()


@set_bounds(weight=SHARE, target=Interval())
def tet(
    logits: Float[Array, "B T K"],
    labels: Labels,
    *,
    weight: float = 0.05,
    target: float = 1.0,
) -> Float[Array, ""]:
    """Return the loss of temporal efficient training (Deng et al. 2022), averaged over the steps.

    (1 - weight) * mean_t CE(o_t, y) + weight * mean (o - target)^2; the second term pulls every
    logit to the firing threshold `target`.

    Args:
        weight: the share of the second term, from 0 to 1.
        target: the value to which every logit is pulled, at every step.
    """
    # Every step has the label of the sample: [B] -> [B, T], and shares [B, K] -> [B, T, K].
    at_each_step = jnp.broadcast_to(labels[:, None], (*logits.shape[:2], *labels.shape[1:]))
    per_step = _entropy(logits, at_each_step)
    return (1 - weight) * per_step.mean() + weight * jnp.square(logits - target).mean()


def mse(logits: Float[Array, "B T K"], labels: Labels) -> Float[Array, ""]:
    """Return the mean squared error of the logits' mean over time to one-hot labels.

    The mean is over the classes too. If the logits are spikes, this is the error of the firing
    rates, the loss of PLIF (Fang et al. 2021).
    """
    scores = logits.mean(axis=1)
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
    return jnp.square(scores - labels).mean()


LOSSES = {"cross_entropy": cross_entropy, "mse": mse, "tet": tet}


def _entropy(logits: Float[Array, "*N K"], labels: Array) -> Float[Array, "*N"]:
    if labels.ndim == logits.ndim:
        return optax.softmax_cross_entropy(logits, labels)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
