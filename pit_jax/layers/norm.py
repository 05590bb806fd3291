"""Batch norms: over all steps together, over each step, or with a factor per step.

A network takes its norm as a callable with the keywords `use_running_average`, `scale_init`,
`bias_init`, `dtype` and `name`, which returns a module `[B, T, ..., C] -> [B, T, ..., C]`. Each
norm learns `scale` and `bias` `[C]` and stores `mean` and `var` `[C]` in `batch_stats`, so one can
replace another. Each also takes a `gain`, which multiplies its initial scale. `NORMS` has them
under the names that a config uses.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import POSITIVE, Interval, flag, set_bounds
from pit_jax.checks.dtypes import check_dtype
from pit_jax.layers.linear import Initializer
from pit_jax.old_names import serve_old_names

Norm = Callable[..., Callable[[Array], Array]]

# Flax's momentum is the share that stays, PyTorch's the share that is replaced: 0.1 there.
MOMENTUM = 0.9
EPSILON = 1e-5


@set_bounds(
    gain=POSITIVE, momentum=Interval(0, 1, open_most=True), epsilon=POSITIVE, dtype=check_dtype
)
def batch_norm(
    use_running_average: bool | None = None,
    *,
    gain: float = 1.0,
    momentum: float = MOMENTUM,
    epsilon: float = EPSILON,
    scale_init: Initializer = nn.initializers.ones,
    bias_init: Initializer = nn.initializers.zeros,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> nn.BatchNorm:
    """Return Flax's batch norm, with one set of statistics and parameters for all steps.

    Args:
        gain: multiplies the initial scale; an initial scale of 0 stays 0.
        momentum: the share of the running statistics that each batch keeps; 0.9 is PyTorch's
            momentum 0.1.
        epsilon: added to the variance before the square root.

    Raises ValueError unless `gain` and `epsilon` are positive and 0 <= `momentum` < 1.
    """
    return nn.BatchNorm(
        use_running_average,
        momentum=momentum,
        epsilon=epsilon,
        scale_init=multiply_start(gain, scale_init),
        bias_init=bias_init,
        dtype=dtype,
        param_dtype=float,
        name=name,
    )


@set_bounds(use_running_average=flag, dtype=check_dtype, gain=POSITIVE)
class PerStepBatchNorm(nn.Module):
    """A batch norm over batch and space of each step, as in PyTorch networks that run step by step,
    such as those of CLIF (Huang et al. 2024).

    All steps share scale, bias and running statistics, which are updated T times per batch, in the
    order of the steps. Batch norm through time (BNTT, Kim & Panda 2021) differs: it has separate
    statistics and parameters for every step. At T = 1 this is `batch_norm`.

    Args:
        gain: multiplies the initial scale; an initial scale of 0 stays 0.
    """

    use_running_average: bool
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T *N C"]) -> Float[Array, "B T *N C"]:
        x = _standardize_input(self, x, axes=(0, *range(2, x.ndim - 1)))
        return _apply_affine(self, x).astype(self.dtype or x.dtype)


@set_bounds(
    use_running_average=flag, threshold=POSITIVE, alpha=POSITIVE, dtype=check_dtype, gain=POSITIVE
)
class TDBatchNorm(nn.Module):
    """A threshold-dependent batch norm, tdBN (Zheng et al. 2021), which normalizes to the standard
    deviation `alpha * threshold` and then applies scale and bias.

    With `alpha * threshold` = 1 this is `batch_norm`.

    Args:
        threshold: the threshold of the neurons that follow.
        alpha: 1, or 1 / sqrt(2) where the norm is on an input of a residual sum.
        gain: multiplies the initial scale; an initial scale of 0 stays 0.
    """

    use_running_average: bool
    threshold: float = 1.0
    alpha: float = 1.0
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T *N C"]) -> Float[Array, "B T *N C"]:
        x = _standardize_input(self, x, axes=tuple(range(x.ndim - 1)))
        return _apply_affine(self, self.alpha * self.threshold * x).astype(self.dtype or x.dtype)


@set_bounds(use_running_average=flag, dtype=check_dtype, gain=POSITIVE)
class TEBN(nn.Module):
    """A temporal effective batch norm (Duan et al. 2022): `batch_norm` times a learned factor per
    step, `p` `[T]`, which multiplies both scale and bias and starts at 1.

    A norm that runs before the input is repeated over time sees one step, so it has one factor.
    Raises ValueError when the number of steps of the input differs from the size of `p`.

    Args:
        gain: multiplies the initial scale; an initial scale of 0 stays 0.
    """

    use_running_average: bool
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    dtype: DTypeLike | None = None
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T *N C"]) -> Float[Array, "B T *N C"]:
        x = _apply_affine(self, _standardize_input(self, x, axes=tuple(range(x.ndim - 1))))
        return (x * self.factor(x)).astype(self.dtype or x.dtype)

    def factor(self, x: Array) -> Array:
        steps = x.shape[1]
        if self.has_variable("params", "p"):
            (known,) = jnp.shape(self.get_variable("params", "p"))
            if known != steps:
                raise ValueError(
                    f"the factors p of {self.name or 'TEBN'} are for T={known} steps, but the "
                    f"input {x.shape} has T={steps}; initialize again, or pass {known} steps."
                )
        p = self.param("p", nn.initializers.ones, (steps,), x.dtype)
        return p.reshape(1, steps, *(1,) * (x.ndim - 2))


def no_norm(
    *,
    use_running_average: bool = False,
    scale_init: Initializer | None = None,
    bias_init: Initializer | None = None,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> Callable[[Array], Array]:
    """Return the identity, for a network without norms; ignore the fields of a norm."""
    del use_running_average, scale_init, bias_init, dtype, name
    return lambda x: x


NORMS: dict[str, Norm] = {
    "batch_norm": batch_norm,
    "PerStepBatchNorm": PerStepBatchNorm,
    "TDBatchNorm": TDBatchNorm,
    "TEBN": TEBN,
    "no_norm": no_norm,
}


def multiply_start(gain: float, start: Initializer) -> Initializer:
    """Return an initializer that multiplies the values of `start` by `gain`."""
    if gain == 1:  # Return the same function, so that modules with equal fields compare equal.
        return start
    return lambda key, shape, dtype: gain * start(key, shape, dtype)


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and biased variance over `axes`, which are kept with size 1."""
    # Biased, as in Flax. PyTorch's running variances are unbiased, larger by n / (n - 1).
    mean = jnp.mean(x, axes, keepdims=True)
    # E[x²] - E[x]², as in Flax: both sums take one pass over x. Rounding may make it negative.
    return mean, jnp.maximum(0, jnp.mean(jnp.square(x), axes, keepdims=True) - jnp.square(mean))


def standardize(x: Array, mean: Array, var: Array) -> Array:
    """Return (x - mean) / sqrt(var + 1e-5)."""
    return (x - mean) * jax.lax.rsqrt(var + EPSILON)


def make_running_statistics(
    norm: nn.Module, channels: int, dtype: DTypeLike
) -> tuple[nn.Variable, nn.Variable]:
    """Return the variables `mean` and `var` `[C]` of `norm` in `batch_stats`, initially 0 and 1."""
    return (
        norm.variable("batch_stats", "mean", jnp.zeros, (channels,), dtype),
        norm.variable("batch_stats", "var", jnp.ones, (channels,), dtype),
    )


def move_statistic(running: nn.Variable, rows: Array) -> None:
    """Move a running statistic `[C]` by a tenth of the way to each row of `[..., C]` in turn."""
    # One row per step for the per-step norm, else a single row.
    for row in rows.reshape(-1, rows.shape[-1]):
        running.value = MOMENTUM * running.value + (1 - MOMENTUM) * row


def _standardize_input(norm: nn.Module, x: Array, axes: tuple[int, ...]) -> Array:
    """Return (x - mean) / deviation in float32, or float64 under x64.

    In training, mean and deviation are taken over `axes`, and update the running statistics. With
    `use_running_average` they are the running statistics.
    """
    # Sums of bfloat16 values would be wrong in the third digit.
    x = x.astype(float)
    running_mean, running_var = make_running_statistics(norm, x.shape[-1], x.dtype)
    if norm.use_running_average:
        return standardize(
            x, _broadcast_row(running_mean.value, x), _broadcast_row(running_var.value, x)
        )
    mean, var = moments(x, axes)
    # As in Flax, initialization leaves the running statistics at mean 0 and variance 1.
    if not norm.is_initializing():
        move_statistic(running_mean, mean)
        move_statistic(running_var, var)
    return standardize(x, mean, var)


def _apply_affine(norm: nn.Module, x: Array) -> Array:
    start = multiply_start(norm.gain, norm.scale_init)
    scale = norm.param("scale", start, x.shape[-1:], x.dtype)
    bias = norm.param("bias", norm.bias_init, x.shape[-1:], x.dtype)
    return _broadcast_row(scale, x) * x + _broadcast_row(bias, x)


def _broadcast_row(a: Array | np.ndarray, x: Array) -> Array:
    """Return `a` `[C]` with axes of size 1 in front, for callers that disable rank promotion."""
    return jnp.reshape(a, (1,) * (x.ndim - 1) + a.shape)


serve_old_names(__name__)
