"""A convolution and the norm after it, as one call."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from pit_jax.layers.linear import conv
from pit_jax.layers.norm import Norm

# `conv_norm` with the keywords that all layers share already bound; networks pass it to blocks.
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
    """Apply the convolution `name` and then the norm `name`_norm to `x`; `kw` is for `conv`."""
    return norm(name=f"{name}_norm")(conv(features, size, stride, name=name, **kw)(x))
