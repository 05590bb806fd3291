"""Rematerialization: blocks that recompute activations in the backward pass to save memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from pit_jax.checks.bounds import one_of
from pit_jax.old_names import serve_old_names

MakeBlock = Callable[..., Any]


def _is_sum_of_products(primitive: Any, *_: Any, **__: Any) -> bool:
    # The expensive operations of a block; norms, neurons and sums between them are cheap.
    return primitive.name in ("conv_general_dilated", "dot_general")


# The activations of a block that are stored: all, the outputs of convolutions and matrix products,
# or only its input.
POLICIES: dict[str, Callable[[MakeBlock], MakeBlock]] = {
    "none": lambda make: make,
    "convolutions": partial(nn.remat, policy=_is_sum_of_products),
    "blocks": nn.remat,
}


REMAT = one_of(*POLICIES)


def apply_remat(make: MakeBlock, remat: str) -> MakeBlock:
    """Return a class of blocks, or a `partial` of one, that stores the activations of `remat`.

    Values and gradients do not change; "convolutions" and "blocks" trade time for memory.
    """
    # nn.remat takes a class, so look inside a partial and bind its arguments again.
    if isinstance(make, partial):
        return partial(apply_remat(make.func, remat), *make.args, **make.keywords)
    return POLICIES[remat](make)


serve_old_names(__name__)
