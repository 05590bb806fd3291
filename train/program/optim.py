"""Optimizers, and schedules of the learning rate with an optional linear warm-up."""

import inspect
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pit_jax.checks.bounds import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    between,
    each,
    flag,
    set_bounds,
    whole,
)

# A momentum of 1 would keep every gradient forever.
MOST_MOMENTUM = 0.9999
# The share of the learning rate from which an extension starts: all of it would undo what the
# network has learned.
RESTART = 0.1


@set_bounds(peak=POSITIVE, end=NOT_NEGATIVE, steps=whole(1), warmup_steps=whole(0))
def cosine(peak: float, *, steps: int, warmup_steps: int = 0, end: float = 0.0) -> optax.Schedule:
    """Return half a cosine from `peak` to `end` at `steps`, after `warmup_steps` of linear rise."""
    # As optax.warmup_cosine_decay_schedule, to the bit: the whole of `steps` includes the warm-up.
    decay = optax.cosine_decay_schedule(peak, steps - warmup_steps, alpha=end / peak)
    return add_warmup(decay, peak, warmup_steps)


@set_bounds(peak=POSITIVE, end=NOT_NEGATIVE, steps=whole(1))
def linear(peak: float, *, steps: int, end: float = 0.0) -> optax.Schedule:
    """Return a schedule that falls linearly from `peak` to `end` over `steps`."""
    return optax.linear_schedule(peak, end, steps)


@set_bounds(peak=POSITIVE, steps=whole(1))
def constant(peak: float, *, steps: int) -> optax.Schedule:
    """Return a schedule that stays at `peak`."""
    del steps
    return optax.constant_schedule(peak)


@set_bounds(peak=POSITIVE, steps=whole(1), factor=SHARE, at=each(SHARE))
def piecewise(
    peak: float, *, steps: int, factor: float = 0.1, at: tuple[float, ...] = (0.5, 0.75)
) -> optax.Schedule:
    """Return a schedule that starts at `peak` and is multiplied by `factor` at given points.

    Args:
        factor: the factor at each of these points, from 0 to 1.
        at: the points, as shares of the training after its warm-up.
    """
    # Not optax.piecewise_constant_schedule: its dict drops one of two points in the same step.
    points = np.array([round(share * steps) for share in at], np.int32)
    return lambda count: peak * jnp.power(factor, (jnp.asarray(count) >= points).sum())


SCHEDULES = {"cosine": cosine, "linear": linear, "constant": constant, "steps": piecewise}


def add_warmup(schedule: optax.Schedule, peak: float, warmup_steps: int) -> optax.Schedule:
    """Return a schedule that rises linearly from 0 to `peak`, then follows `schedule`."""
    if warmup_steps == 0:
        return schedule
    rise = optax.linear_schedule(0.0, peak, warmup_steps)
    # After the warm-up, join_schedules counts the steps from 0 again for `schedule`.
    return optax.join_schedules([rise, schedule], [warmup_steps])


def make_schedule(
    make: Callable[..., optax.Schedule],
    peak: float,
    *,
    steps: int,
    warmup_steps: int = 0,
    end: float = 0.0,
    **keys: Any,
) -> optax.Schedule:
    """Return the schedule of a whole run of `steps` training steps, warm-up included.

    After the warm-up it is `make(peak, steps=..., **keys)` for the remaining steps. If `make` has a
    parameter `end`, it gets `end` too.
    """
    if "end" in inspect.signature(make).parameters:
        keys = {"end": end} | keys
    return add_warmup(make(peak, steps=steps - warmup_steps, **keys), peak, warmup_steps)


def add_extensions(
    schedule: optax.Schedule, peak: float, ends: Sequence[int], *, end: float = 0.0
) -> optax.Schedule:
    """Return `schedule` up to the step `ends[0]`, and a cosine from there to each further end.

    Each cosine falls from a tenth of `peak` to `end`, or stays there if `end` is larger.
    """
    if len(ends) < 2:
        return schedule
    start = RESTART * peak
    cosines = [
        cosine(start, steps=after - before, end=min(end, start)) for before, after in pairwise(ends)
    ]
    # join_schedules counts the steps of each schedule from 0 again.
    return optax.join_schedules([schedule, *cosines], list(ends[:-1]))


def mask_kernels(params: optax.Params) -> optax.Params:
    """Return the mask of weight decay: true for kernels, not for the scale `a`, norms or biases.

    docs/theory/decisions.md gives the reason.
    """
    return jax.tree.map_with_path(lambda path, _: read_name(path) == "kernel", params)


def read_name(path: tuple[Any, ...]) -> str:
    """Return the name of the parameter at a path, or of the list that contains it."""
    return next((str(key.key) for key in reversed(path) if hasattr(key, "key")), "")


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=NOT_NEGATIVE)
def sgd(
    schedule: optax.Schedule, *, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return SGD with momentum; the weight decay is added to the gradient, as in PyTorch.

    Args:
        momentum: the share of the earlier gradients that a step keeps.
        weight_decay: the share of each kernel that is added to its gradient.
    """
    # First, so that the momentum includes the decay.
    decay = optax.add_decayed_weights(weight_decay, mask=mask_kernels)
    return optax.chain(decay, optax.sgd(schedule, momentum))


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=NOT_NEGATIVE)
def adamw(
    schedule: optax.Schedule, *, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return AdamW, whose weight decay bypasses the moments.

    Args:
        momentum: the decay of the first moment, Adam's beta 1.
        weight_decay: the share of each kernel that a step at learning rate 1 subtracts.
    """
    return optax.adamw(schedule, b1=momentum, weight_decay=weight_decay, mask=mask_kernels)


@set_bounds(momentum=between(0, MOST_MOMENTUM), weight_decay=NOT_NEGATIVE)
def adam(
    schedule: optax.Schedule, *, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Return Adam; the weight decay is added to the gradient, as in PyTorch.

    Args:
        momentum: the decay of the first moment, Adam's beta 1.
        weight_decay: the share of each kernel that is added to its gradient.
    """
    # First, so that the moments include the decay, unlike in AdamW.
    decay = optax.add_decayed_weights(weight_decay, mask=mask_kernels)
    return optax.chain(decay, optax.adam(schedule, b1=momentum))


@set_bounds(
    momentum=between(0, MOST_MOMENTUM),
    weight_decay=NOT_NEGATIVE,
    trust_clip=flag,
    max_norm=POSITIVE,
)
def lamb(
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    trust_clip: bool = False,
    max_norm: float = 1.0,
) -> optax.GradientTransformation:
    """Return LAMB (You et al. 2020) as in timm: each step of AdamW, scaled to the kernel's norm.

    The whole gradient is clipped first. Parameters without weight decay keep AdamW's step.

    Args:
        momentum: the decay of the first moment, Adam's beta 1.
        weight_decay: the share of each kernel that is added to its step.
        trust_clip: keep every step no longer than AdamW's.
        max_norm: the norm to which the whole gradient is clipped.
    """

    def trust(update: Array, kernel: Array) -> Array:
        length, own = jnp.linalg.norm(update), jnp.linalg.norm(kernel)
        # The trust ratio |w| / |step|, and 1 if either is 0. The inner `where` avoids 0 / 0.
        ratio = jnp.where((length > 0) & (own > 0), own / jnp.where(length > 0, length, 1), 1)
        return update * (jnp.minimum(ratio, 1) if trust_clip else ratio)

    adapt = optax.stateless(lambda updates, params: jax.tree.map(trust, updates, params))
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(b1=momentum, eps=1e-6),
        optax.add_decayed_weights(weight_decay, mask=mask_kernels),
        # As in timm, only parameters with weight decay are adapted.
        optax.masked(adapt, mask_kernels) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(schedule),
    )


OPTIMIZERS = {"sgd": sgd, "adam": adam, "adamw": adamw, "lamb": lamb}
