"""Normalization by the statistics of the batch, with a gradient of its own.

JAX's derivative of a batch norm saves `x` and `x - mean` and reads them several times. This one
saves `x` alone, and its backward pass takes two sums and one pass over `x`. Its order of operations
was chosen by the passes over memory that XLA makes of it on CPUs, which a test counts.
"""

import inspect
import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Axes = tuple[int, ...]
# The output, mean and variance.
Normalized = tuple[Array, Array, Array]
# x, gain, mean, variance, and the bias for its shape and dtype.
Saved = tuple[Array, Array, Array, Array, Array]

# The function inside Flax's wrapper. Through the wrapper, or by `super()`, one call of the module
# would count as two: for interceptors, and in captured intermediates.
_run_flax = inspect.unwrap(nn.BatchNorm.__call__)


class BatchNorm(nn.BatchNorm):
    """Flax's batch norm, whose gradient in training saves the input alone.

    Fields, variables and values are Flax's. Evaluation, initialization and unusual settings
    (another axis, a mask, statistics over devices by `axis_name`) run Flax's own code. Training has
    no forward-mode derivative: `jax.jvp` of the forward pass raises TypeError. Hessian-vector
    products by `jax.jvp` of `jax.grad` work.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*N C"],
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Float[Array, "*N C"]:
        is_evaluating = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        if is_evaluating or self.is_initializing() or not _is_usual(self, x, mask):
            out: Array = _run_flax(self, x, use_running_average, mask=mask)
            return out
        channels = x.shape[-1:]
        scale = self.param("scale", self.scale_init, channels, self.param_dtype)
        bias = self.param("bias", self.bias_init, channels, self.param_dtype)
        # The shape in which a convolution computed it. With another one, XLA writes the sum of a
        # convolution and its bias once for each of the two sums below.
        flat = x.reshape(-1, *x.shape[2:]) if x.ndim > 2 else x
        row = (1,) * (flat.ndim - 1) + channels
        axes = tuple(range(flat.ndim - 1))
        dtype = nn.dtypes.canonicalize_dtype(x, scale, bias, dtype=self.dtype)
        y, mean, var = normalize(
            flat, scale.reshape(row), bias.reshape(row), axes, self.epsilon, dtype
        )
        # Flax's initial values, for a call without statistics.
        for name, found, first in (("mean", mean, jnp.zeros), ("var", var, jnp.ones)):
            running = self.variable("batch_stats", name, first, channels, jnp.float32)
            share = self.momentum
            running.value = share * running.value + (1 - share) * found.reshape(channels)
        return y.reshape(x.shape)


# Not a method, which Flax would show to interceptors.
def _is_usual(norm: nn.BatchNorm, x: Array, mask: Array | None) -> bool:
    """Return whether `normalize` computes the same as Flax with these settings and dtypes."""
    return (
        mask is None
        and norm.axis in (-1, x.ndim - 1)
        and norm.axis_name is None
        and norm.use_bias
        and norm.use_scale
        and norm.use_fast_variance
        and norm.force_float32_reductions
        and jnp.issubdtype(x.dtype, jnp.floating)
        # Flax takes the statistics in the dtype of the output, which may be float64.
        and _widen(norm.dtype or x.dtype) == _widen(x.dtype)
    )


def moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Return mean and biased variance over `axes`, which are kept with size 1."""
    # Biased, as in Flax. PyTorch's running variances are unbiased, larger by n / (n - 1).
    mean = jnp.mean(x, axes, keepdims=True)
    # E[x²] - E[x]², as in Flax: both sums take one pass over x. Rounding may make it negative.
    return mean, jnp.maximum(0, jnp.mean(jnp.square(x), axes, keepdims=True) - jnp.square(mean))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def normalize(
    x: Array, gain: Array, bias: Array, axes: Axes, epsilon: float, dtype: DTypeLike
) -> Normalized:
    """Return `gain (x - mean) / sqrt(var + epsilon) + bias` in `dtype`, and `mean` and `var`.

    Mean and variance of `x` over `axes` are computed in float32, or float64 for float64. `gain` and
    `bias` have the rank of `x`, with size 1 where they are broadcast.
    """
    return _normalize(x, gain, bias, axes, epsilon, dtype)[0]


def _normalize(
    x: Array, gain: Array, bias: Array, axes: Axes, epsilon: float, dtype: DTypeLike
) -> tuple[Normalized, Saved]:
    # Sums of bfloat16 values would be wrong in the third digit.
    wide = x.astype(_widen(x.dtype))
    mean, var = moments(wide, axes)
    y = (wide - mean) * (jax.lax.rsqrt(var + epsilon) * gain) + bias
    return (y.astype(dtype), mean, var), (x, gain, mean, var, bias)


def _pull_back(
    axes: Axes, epsilon: float, dtype: DTypeLike, saved: Saved, pulls: Normalized
) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gain and bias.

    With c = x - mean, r = 1 / sqrt(var + epsilon) and the gradient g of the output, over n values:
    dgain = r Σ g c, dbias = Σ g, dx = r (gain g - Σ gain g / n - c r² Σ gain g c / n). The
    gradients of mean and var add dmean / n + 2 c dvar / n.
    """
    del dtype
    x, gain, mean, var, bias = saved
    wide = x.astype(mean.dtype)
    g = pulls[0].astype(_widen(pulls[0].dtype))
    n = math.prod(x.shape[axis] for axis in axes)
    r = jax.lax.rsqrt(var + epsilon)
    # Each sum is taken once, at the finest resolution that a gradient needs. Σ g c is taken as
    # Σ g x - mean Σ g: XLA's reductions multiply two arrays but cannot subtract the mean, so g c
    # would be written to memory. It loses fewer digits than E[x²] - E[x]² above.
    fine = jnp.broadcast_shapes(gain.shape, mean.shape, bias.shape)
    total = _sum_to(g, fine)
    product = _sum_to(g * wide, fine) - mean * total
    # A variance that rounding made negative was set to 0, and then does not depend on x.
    slope = 2 * pulls[2] - r**3 * _sum_to(gain * product, mean.shape)
    slope = jnp.where(var > 0, slope, 0) / n
    constant = (pulls[1] - r * _sum_to(gain * total, mean.shape)) / n - slope * mean
    # The last operation reads two arrays of full size. If it added the constant, XLA would repeat
    # all of this for each reader of dx: both gradients of the convolution before and its bias.
    dx = (r * gain) * g + (slope * wide + constant)
    return (
        dx.astype(x.dtype),
        _sum_to(r * product, gain.shape).astype(gain.dtype),
        _sum_to(total, bias.shape).astype(bias.dtype),
    )


normalize.defvjp(_normalize, _pull_back)


def _widen(dtype: DTypeLike) -> jnp.dtype:
    """Return float32 for narrower dtypes, else `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Return the sums of `x` over the axes that have size 1 in `shape`."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 != x.shape[axis])
    return x.sum(axes, keepdims=True)
