"""Mixup and CutMix of images and labels: `(key, images, labels) -> (images, labels)`.

Labels are shares of the classes, `[B, K]`, at first one-hot. Each image is mixed with its neighbor
in the batch. The order of the epoch is random, so the neighbor is too, and no device needs the
whole batch. One draw is for the whole batch, as in the authors' code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.bounds import POSITIVE, SHARE, set_bounds

from .erase import make_box_masks

Images = Float[Array, "B H W C"]
Labels = Float[Array, "B K"]


@set_bounds(alpha=POSITIVE)
def mixup(key: jax.Array, images: Images, labels: Labels, *, alpha: float) -> tuple[Images, Labels]:
    """Return a weighted mean of each image and its neighbor; the weight is Beta(alpha, alpha).

    mixup (Zhang et al. 2018).

    Args:
        alpha: both parameters of the Beta distribution; 1 is uniform, less favors 0 and 1.
    """
    share = jax.random.beta(key, alpha, alpha, dtype=jnp.float32)
    return _mix(images, labels, share[None, None, None], share)


@set_bounds(alpha=POSITIVE)
def cutmix(
    key: jax.Array, images: Images, labels: Labels, *, alpha: float
) -> tuple[Images, Labels]:
    """Replace a box of each image by the neighbor's; labels are mixed by the areas.

    CutMix (Yun et al. 2019). The share of the area outside the box is drawn from
    Beta(alpha, alpha), its center is a random pixel, and the border cuts it.

    Args:
        alpha: both parameters of the Beta distribution; 1 is uniform, less favors 0 and 1.
    """
    share_key, box_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32)
    return _mix(images, labels, *_draw_box(box_key, images, share))


@set_bounds(mixup_alpha=POSITIVE, cutmix_alpha=POSITIVE, probability=SHARE)
def mixup_or_cutmix(
    key: jax.Array,
    images: Images,
    labels: Labels,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    probability: float = 1.0,
) -> tuple[Images, Labels]:
    """Apply mixup or CutMix to a batch, equally likely, as the authors' code does to CIFAR.

    Args:
        mixup_alpha: both parameters of the Beta distribution for mixup.
        cutmix_alpha: both parameters of the Beta distribution for CutMix.
        probability: the probability that a batch is mixed at all, as in timm.
    """
    choice_key, share_key, box_key, any_key = jax.random.split(key, 4)
    cut = jax.random.bits(choice_key, (), jnp.uint8) % 2 == 0
    # Both kinds as one mix with different arguments: a cond would compute both under vmap.
    alpha = jnp.where(cut, jnp.float32(cutmix_alpha), jnp.float32(mixup_alpha))
    share = jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32)
    outside, area = _draw_box(box_key, images, share)
    own, share = jnp.where(cut, outside, share), jnp.where(cut, area, share)
    mixed = jax.random.uniform(any_key, (), jnp.float32) < probability
    own, share = jnp.where(mixed, own, 1), jnp.where(mixed, share, 1)
    return _mix(images, labels, own, share)


MIXES: dict[str, Callable[..., tuple[Images, Labels]]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "mixup_or_cutmix": mixup_or_cutmix,
}
"""The mixtures of images by name, as `config.augment.mix` chooses them."""


def _draw_box(key: jax.Array, images: Images, share: Array) -> tuple[Array, Array]:
    """Return a mask, 0 in a box of about 1 - share of the pixels, `[1, H, W]`, and its mean.

    The mean is the exact share of the pixels outside the box after rounding and the border, which
    is the weight of the label.
    """
    height, width = images.shape[1:3]
    row_key, column_key = jax.random.split(key)
    row = jax.random.randint(row_key, (1,), 0, height, dtype=jnp.int32)
    column = jax.random.randint(column_key, (1,), 0, width, dtype=jnp.int32)
    half = 0.5 * jnp.sqrt(1 - share)
    tall, wide = ((half * side).astype(jnp.int32) for side in (height, width))
    inside = make_box_masks(row - tall, row + tall, column - wide, column + wide, height, width)
    own = 1 - inside.astype(jnp.float32)
    return own, own.sum() / (height * width)


def _mix(images: Images, labels: Labels, own: Array, share: Array) -> tuple[Images, Labels]:
    """Mix neighbors: `own` is the weight of each pixel's own image, `share` that for labels."""
    own, share = own[..., None].astype(images.dtype), share.astype(labels.dtype)
    # A roll by one: between devices that share a batch, only one image each is exchanged.
    neighbors, theirs = jnp.roll(images, 1, axis=0), jnp.roll(labels, 1, axis=0)
    return own * images + (1 - own) * neighbors, share * labels + (1 - share) * theirs
