"""Convolutions whose weight gradient is a sum of matrix products, where that is faster.

XLA computes the weight gradient of a convolution of stride 2 as a convolution with holes, which
CPUs run at a fraction of the speed of matrix products.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Pairs = tuple[tuple[int, int], ...]
# [B, H, W, C], as in Flax.
LAYOUT = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
# The other options of `lax.conv_general_dilated`, with which it is a plain convolution.
PLAIN: dict[str, Any] = {
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "dimension_numbers": LAYOUT,
    "feature_group_count": 1,
    "precision": None,
}
# Maps of this size and smaller, where nine copies cost more than the products save.
SMALL = 8


def convolve(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """Return `lax.conv_general_dilated`, on CPUs with a weight gradient by products if that gains.

    This is a `conv_general_dilated` for `nn.Conv`. Values and the gradient of `x` are those of lax.
    With a weight gradient by products a convolution has no forward-mode derivative by `jax.jvp`.
    """
    if not gains_by_products(x, kernel, strides, padding, options):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return _convolve(x, kernel, tuple(strides), tuple(map(tuple, padding)))


def gains_by_products(
    x: Array, kernel: Array, strides: Any, padding: Any, options: dict[str, Any]
) -> bool:
    """Return whether products are the faster weight gradient, by shapes and options."""
    size, channels = kernel.shape[:-2], kernel.shape[-2:]
    return (
        tuple(strides) == (2, 2)
        and not isinstance(padding, str)
        and options == PLAIN
        and (size == (1, 1) or (size == (3, 3) and min(x.shape[1:3]) > SMALL))
        # The products of an image's three channels are too thin.
        and min(channels) >= 16
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, strides: tuple[int, ...], padding: Pairs) -> Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, **PLAIN)


def _forward(
    x: Array, kernel: Array, strides: tuple[int, ...], padding: Pairs
) -> tuple[Array, tuple[Array, Array]]:
    # Not `_convolve`: second derivatives and policies of rematerialization look into this function.
    return lax.conv_general_dilated(x, kernel, strides, padding, **PLAIN), (x, kernel)


def _backward(
    strides: tuple[int, ...], padding: Pairs, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = saved

    def run(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, strides, padding, **PLAIN)

    (dx,) = jax.linear_transpose(lambda x: run(x, kernel), x)(g)

    def transpose(x: Array, g: Array) -> Array:
        found: Array = jax.linear_transpose(lambda kernel: run(x, kernel), kernel)(g)[0]
        return found

    def multiply(x: Array, g: Array) -> Array:
        return multiply_shifted(x, g, kernel.shape[:2], strides, padding)

    return dx, lax.platform_dependent(x, g, cpu=multiply, default=transpose)


_convolve.defvjp(_forward, _backward)


def multiply_shifted(
    x: Array, g: Array, size: tuple[int, ...], strides: tuple[int, ...], padding: Pairs
) -> Array:
    """Return the weight gradient `[*size, C, D]` for inputs `[B, H, W, C]`, outputs `[B, h, w, D]`.

    The gradient at (i, j) is the product of the pixels that the weight at (i, j) reads with the
    gradient `g` of the outputs that they go to.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    (down, across), (height, width) = strides, g.shape[1:3]

    def read(i: int, j: int) -> Array:
        rows = slice(i, i + down * (height - 1) + 1, down)
        return x[:, rows, j : j + across * (width - 1) + 1 : across]

    # XLA transposes the first factor, so it is the one of all products, or the smaller one.
    if size == (1, 1):
        return jnp.einsum("bhwc,bhwd->cd", read(0, 0), g)[None, None]
    products = [
        jnp.stack([jnp.einsum("bhwd,bhwc->dc", g, read(i, j)) for j in range(size[1])])
        for i in range(size[0])
    ]
    return jnp.stack(products).swapaxes(2, 3)
