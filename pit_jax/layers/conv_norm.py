"""A convolution and the norm after it, as one call."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from pit_jax.layers.linear import conv
from pit_jax.layers.norm import Norm

# What a network hands its blocks: `conv_norm` with the keywords bound that all layers share.
ConvNorm = Callable[..., Array]


def conv_norm(
    x: Float[Array, "B T H W C"],
    features: int,
    size: int,
    stride: int = 1,
    *,
    norm: Norm,
    name: str,
    **kw: Any,
) -> Float[Array, "B T h w f"]:
    """The convolution `name` of `x` and the norm `name`_norm of that; `kw` as for `conv`."""
    return norm(name=f"{name}_norm")(conv(features, size, stride, name=name, **kw)(x))
