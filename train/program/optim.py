"""Optimizers of the paper's recipes, with cosine schedule and optional linear warm-up."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ..config.bounds import at_least, between, more_than, set_bounds

# Of 1 every gradient would stay for ever.
MOST_MOMENTUM = 0.9999


@set_bounds(peak=more_than(0), end=at_least(0), steps=at_least(1), warmup_steps=at_least(0))
def cosine(peak: float, *, steps: int, warmup_steps: int = 0, end: float = 0.0) -> optax.Schedule:
    """Rise to `peak` over `warmup_steps`, then follow a half cosine to `end` at `steps`."""
    if warmup_steps == 0:
        return optax.cosine_decay_schedule(peak, steps, alpha=end / peak)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, steps, end)


def kernels_only(params: optax.Params) -> optax.Params:
    """Return the mask of weight decay: kernels, not the scale `a`, norms or biases.

    The reason is in docs/theory/decisions.md.
    """
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=at_least(0))
def sgd(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Return SGD with momentum, whose input has the weight decay in it, as PyTorch's."""
    decay = optax.add_decayed_weights(weight_decay, mask=kernels_only)
    return optax.chain(decay, optax.sgd(schedule, momentum))


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=at_least(0))
def adamw(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Return AdamW with decoupled weight decay; `momentum` is the decay of its first moment."""
    return optax.adamw(schedule, b1=momentum, weight_decay=weight_decay, mask=kernels_only)


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=at_least(0), max_norm=more_than(0))
def lamb(
    schedule: optax.Schedule,
    *,
    momentum: float,
    weight_decay: float,
    trust_clip: bool = False,
    max_norm: float = 1.0,
) -> optax.GradientTransformation:
    """Return LAMB (You et al. 2020) as in timm: AdamW whose steps are as long as each kernel is.

    The whole gradient is cut to `max_norm` before; what is not decayed keeps AdamW's step. With
    `trust_clip` no step becomes longer than AdamW's.
    """

    def trust(update: Array, kernel: Array) -> Array:
        length, own = jnp.linalg.norm(update), jnp.linalg.norm(kernel)
        ratio = jnp.where((length > 0) & (own > 0), own / jnp.where(length > 0, length, 1), 1)
        return update * (jnp.minimum(ratio, 1) if trust_clip else ratio)

    adapt = optax.stateless(lambda updates, params: jax.tree.map(trust, updates, params))
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(b1=momentum, eps=1e-6),
        optax.add_decayed_weights(weight_decay, mask=kernels_only),
        # timm's adapts only what decays.
        optax.masked(adapt, kernels_only) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(schedule),
    )


OPTIMIZERS = {"sgd": sgd, "adamw": adamw, "lamb": lamb}
