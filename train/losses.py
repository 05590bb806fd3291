"""Losses of logits `[B, T, K]` and integer labels `[B]`; each gives a scalar."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "B T K"], labels: Int[Array, " B"]) -> Float[Array, ""]:
    """Cross-entropy of the logits' mean over time."""
    per_sample = optax.softmax_cross_entropy_with_integer_labels(logits.mean(axis=1), labels)
    return per_sample.mean()


def tet(
    logits: Float[Array, "B T K"],
    labels: Int[Array, " B"],
    *,
    weight: float = 0.05,
    target: float = 1.0,
) -> Float[Array, ""]:
    """Temporal efficient training (Deng et al. 2022): every step's own cross-entropy, averaged.

    (1 - weight) * mean_t CE(o_t, y) + weight * mean (o - target)^2; the second term pulls every
    logit to the firing threshold `target`.
    """
    at_each_step = jnp.broadcast_to(labels[:, None], logits.shape[:2])
    per_step = optax.softmax_cross_entropy_with_integer_labels(logits, at_each_step)
    return (1 - weight) * per_step.mean() + weight * jnp.square(logits - target).mean()


LOSSES = {"cross_entropy": cross_entropy, "tet": tet}
