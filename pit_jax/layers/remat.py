"""Blocks that compute their forward pass again in the backward pass instead of keeping it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from pit_jax.old_names import serve_old_names

MakeBlock = Callable[..., Any]


def _is_sum_of_products(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in ("conv_general_dilated", "dot_general")


# What is kept of a block: all, what convolutions and products give, or only its input.
POLICIES: dict[str, Callable[[MakeBlock], MakeBlock]] = {
    "none": lambda make: make,
    "convolutions": partial(nn.remat, policy=_is_sum_of_products),
    "blocks": nn.remat,
}


def check_remat(remat: str) -> None:
    """Raises ValueError unless `remat` is one of `POLICIES`."""
    if remat not in POLICIES:
        raise ValueError(f"remat is {remat!r}; it can be {', '.join(POLICIES)}.")


def apply_remat(make: MakeBlock, remat: str) -> MakeBlock:
    """Return a class of blocks, or a `partial` of one, that stores what `remat` names.

    Values and gradients stay what they are; "convolutions" and "blocks" trade memory for time.
    """
    if isinstance(make, partial):
        return partial(apply_remat(make.func, remat), *make.args, **make.keywords)
    return POLICIES[remat](make)


serve_old_names(__name__)
