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
from pit_jax.layers.normalize import Axes, BatchNorm, normalize
from pit_jax.layers.normalize import moments as moments
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
) -> BatchNorm:
    """Return Flax's batch norm, with one set of statistics and parameters for all steps.

    Its gradient saves less than Flax's own; see `layers.normalize`.

    Args:
        gain: multiplies the initial scale; an initial scale of 0 stays 0.
        momentum: the share of the running statistics that each batch keeps; 0.9 is PyTorch's
            momentum 0.1.
        epsilon: added to the variance before the square root.

    Raises ValueError unless `gain` and `epsilon` are positive and 0 <= `momentum` < 1.
    """
    return BatchNorm(
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
        return _normalize_input(self, x, axes=(0, *range(2, x.ndim - 1)))


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
        deviation = self.alpha * self.threshold
        return _normalize_input(self, x, tuple(range(x.ndim - 1)), deviation)


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
        return _normalize_input(self, x, tuple(range(x.ndim - 1)), make_factor=self.factor)

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
"""The norms by name, as `config.model.norm.name` gives them."""


def multiply_start(gain: float, start: Initializer) -> Initializer:
    """Return an initializer that multiplies the values of `start` by `gain`."""
    if gain == 1:  # Return the same function, so that modules with equal fields compare equal.
        return start
    return lambda key, shape, dtype: gain * start(key, shape, dtype)


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


def _normalize_input(
    norm: nn.Module,
    x: Array,
    axes: Axes,
    deviation: float = 1.0,
    make_factor: Callable[[Array], Array | float] = lambda x: 1.0,
) -> Array:
    """Return `factor (scale deviation (x - mean) / sqrt(var + epsilon) + bias)`.

    All sums are in float32, or float64 under x64. In training, mean and variance are taken over
    `axes`, and update the running statistics. With `use_running_average` they are the running
    statistics.
    """
    dtype = norm.dtype or x.dtype
    # Sums of bfloat16 values would be wrong in the third digit.
    x = x.astype(float)
    running_mean, running_var = make_running_statistics(norm, x.shape[-1], x.dtype)
    start = multiply_start(norm.gain, norm.scale_init)
    scale = _broadcast_row(norm.param("scale", start, x.shape[-1:], x.dtype), x)
    bias = _broadcast_row(norm.param("bias", norm.bias_init, x.shape[-1:], x.dtype), x)
    factor = make_factor(x)
    if norm.use_running_average:
        mean, var = (_broadcast_row(each.value, x) for each in (running_mean, running_var))
        y = scale * (deviation * standardize(x, mean, var)) + bias
        return (y * factor).astype(dtype)
    y, mean, var = normalize(x, scale * deviation * factor, bias * factor, axes, EPSILON, dtype)
    # As in Flax, initialization leaves the running statistics at mean 0 and variance 1.
    if not norm.is_initializing():
        move_statistic(running_mean, mean)
        move_statistic(running_var, var)
    return y


def _broadcast_row(a: Array | np.ndarray, x: Array) -> Array:
    """Return `a` `[C]` with axes of size 1 in front, for callers that disable rank promotion."""
    return jnp.reshape(a, (1,) * (x.ndim - 1) + a.shape)


serve_old_names(__name__)
