"""1 x 1 convolutions of stride 2 whose weight gradient is a matrix product.

XLA computes the weight gradient of a convolution of stride 2 as a convolution with holes, which
CPUs run at half the speed of the matrix product. For 3 x 3 convolutions the nine products of
shifted copies were slower: 1.36 instead of 1.27 s for the gradient of ResNet18, batch 32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

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
STRIDE, NO_PADDING = (2, 2), ((0, 0), (0, 0))


def convolve(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """Return `lax.conv_general_dilated`, on CPUs with a product as weight gradient if that gains.

    This is a `conv_general_dilated` for `nn.Conv`. Values and the gradient of `x` are those of lax.
    With a product as weight gradient a convolution has no forward-mode derivative by `jax.jvp`.
    """
    if not gains_by_product(kernel, strides, padding, options):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return _convolve(x, kernel)


def gains_by_product(kernel: Array, strides: Any, padding: Any, options: dict[str, Any]) -> bool:
    """Return whether a product is the faster weight gradient, by shapes and options."""
    *size, features, _ = kernel.shape
    return (
        size == [1, 1]
        and tuple(strides) == STRIDE
        and not isinstance(padding, str)
        and tuple(map(tuple, padding)) == NO_PADDING
        and options == PLAIN
        # The product of an image's three channels is too thin.
        and features >= 16
    )


@jax.custom_vjp
def _convolve(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, STRIDE, NO_PADDING, **PLAIN)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    # Not `_convolve`: second derivatives and policies of rematerialization look into this function.
    return lax.conv_general_dilated(x, kernel, STRIDE, NO_PADDING, **PLAIN), (x, kernel)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def run(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, STRIDE, NO_PADDING, **PLAIN)

    def transpose(x: Array, g: Array) -> Array:
        found: Array = jax.linear_transpose(lambda kernel: run(x, kernel), kernel)(g)[0]
        return found

    def multiply(x: Array, g: Array) -> Array:
        return jnp.einsum("bhwc,bhwd->cd", x[:, ::2, ::2], g)[None, None]

    (dx,) = jax.linear_transpose(lambda x: run(x, kernel), x)(g)
    return dx, lax.platform_dependent(x, g, cpu=multiply, default=transpose)


_convolve.defvjp(_forward, _backward)
