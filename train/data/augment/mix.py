"""Two images and their labels in one: functions `(key, images, labels) -> (images, labels)`.

Labels are shares of the classes, `[B, K]`, one-hot to begin with. Each image meets its neighbour in
the batch, which the order of the epoch has made random, so no device needs the whole batch. One
draw holds for the batch, as in the authors' code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train.data.augment.erase import boxes

Images = Float[Array, "B H W C"]
Labels = Float[Array, "B K"]


def mixup(key: jax.Array, images: Images, labels: Labels, *, alpha: float) -> tuple[Images, Labels]:
    """A share of each image, drawn from Beta(alpha, alpha), and the rest of its neighbour.

    mixup (Zhang et al. 2018).
    """
    own, share = _whole_image(key, images, alpha)
    return _mixed(images, labels, own, share)


def cutmix(
    key: jax.Array, images: Images, labels: Labels, *, alpha: float
) -> tuple[Images, Labels]:
    """A box of each image replaced by its neighbour's; labels follow the area that is left.

    CutMix (Yun et al. 2019): the box has a share of the area that is drawn from Beta(alpha, alpha)
    and any pixel for its centre, and is cut at the border.
    """
    own, share = _all_but_a_box(key, images, alpha)
    return _mixed(images, labels, own, share)


def mixup_or_cutmix(
    key: jax.Array, images: Images, labels: Labels, *, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Images, Labels]:
    """One of the two for each batch, equally likely: what the authors' code does to CIFAR."""
    choice_key, key = jax.random.split(key)
    cut = jax.random.bits(choice_key, (), jnp.uint8) % 2 == 0
    own, share = (
        jnp.where(cut, one, other)
        for one, other in zip(
            _all_but_a_box(key, images, cutmix_alpha),
            _whole_image(key, images, mixup_alpha),
            strict=True,
        )
    )
    return _mixed(images, labels, own, share)


MIXES: dict[str, Callable[..., tuple[Images, Labels]]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "mixup_or_cutmix": mixup_or_cutmix,
}


def _whole_image(key: jax.Array, images: Images, alpha: float) -> tuple[Array, Array]:
    """The share that each pixel keeps of its own image `[1, H, W]`, and the label's share."""
    share = jax.random.beta(key, alpha, alpha, dtype=jnp.float32)
    return jnp.broadcast_to(share, (1, *images.shape[1:3])), share


def _all_but_a_box(key: jax.Array, images: Images, alpha: float) -> tuple[Array, Array]:
    """As `_whole_image`: 0 inside the box and 1 outside, and the share of the pixels outside."""
    height, width = images.shape[1:3]
    share_key, row_key, column_key = jax.random.split(key, 3)
    half = 0.5 * jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32))
    row = jax.random.randint(row_key, (1,), 0, height, dtype=jnp.int32)
    column = jax.random.randint(column_key, (1,), 0, width, dtype=jnp.int32)
    tall, wide = ((half * side).astype(jnp.int32) for side in (height, width))
    inside = boxes(row - tall, row + tall, column - wide, column + wide, height, width)
    own = 1 - inside.astype(jnp.float32)
    return own, own.sum() / (height * width)


def _mixed(images: Images, labels: Labels, own: Array, share: Array) -> tuple[Images, Labels]:
    own, share = own[..., None].astype(images.dtype), share.astype(labels.dtype)
    neighbours, theirs = jnp.roll(images, 1, axis=0), jnp.roll(labels, 1, axis=0)
    return own * images + (1 - own) * neighbours, share * labels + (1 - share) * theirs
