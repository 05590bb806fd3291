"""Convolutions and linear layers with PyTorch's padding and initialization."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import INITIALIZER, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.layers.convolve import convolve

Initializer = Callable[..., Array]

# PyTorch's kaiming_normal_(mode="fan_out"), the authors' choice for ResNets and VGGs. Unlike
# "truncated_normal", "normal" has no cut-off, as in PyTorch.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's initial weights: uniform within 1 / sqrt(fan_in), whose variance is 1 / (3 fan_in).
uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@set_bounds(fan_in=whole(1))
def uniform_bias(fan_in: int) -> Initializer:
    """Return PyTorch's initializer of a bias: uniform within 1 / sqrt(fan_in)."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


@set_bounds(
    features=whole(1),
    size=whole(1),
    stride=whole(1),
    bias=INITIALIZER,
    groups=whole(1),
    dtype=check_dtype,
)
def conv(
    features: int,
    size: int,
    stride: int = 1,
    *,
    bias: Initializer | None = None,
    groups: int = 1,
    kernel_init: Initializer = kaiming_normal,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> nn.Conv:
    """Return a `size` x `size` convolution over the last three axes, padded by `size // 2`.

    `bias` is the initializer of its bias, or None for no bias. Parameters are float32 (float64
    under x64) for any `dtype` of the computation. Raises ValueError unless `groups` divides
    `features`.
    """
    if features % groups:
        raise ValueError(f"groups must be a divisor of {features}, the features, got {groups}.")
    # SAME would pad a stride-2 convolution by (0, 1), PyTorch pads by (1, 1): other pixels.
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        feature_group_count=groups,
        use_bias=bias is not None,
        kernel_init=kernel_init,
        bias_init=bias or nn.initializers.zeros,
        dtype=dtype,
        param_dtype=float,
        conv_general_dilated=convolve,
        name=name,
    )


@set_bounds(features=whole(1), bias=INITIALIZER, dtype=check_dtype)
def dense(
    features: int,
    *,
    bias: Initializer | None = nn.initializers.zeros,
    kernel_init: Initializer = uniform_fan_in,
    dtype: DTypeLike | None = None,
    name: str | None = None,
) -> nn.Dense:
    """Return a linear layer over the last axis; `bias` and `dtype` are as for `conv`."""
    return nn.Dense(
        features,
        use_bias=bias is not None,
        kernel_init=kernel_init,
        bias_init=bias or nn.initializers.zeros,
        dtype=dtype,
        param_dtype=float,
        name=name,
    )


# The smallest side of images that need not be square to look like images.
LEAST_SIDE = 32


def check_channels_last(x: Float[Array, "B T H W C"]) -> None:
    """Raise ValueError if the height is a number of channels, and the other axes are an image.

    No image has 1 to 4 rows and as many channels as columns, or 2 to 4 rows and dozens of columns
    and channels. A sequence of 1 x N values with other numbers of channels passes.
    """
    height, width, channels = x.shape[2:]
    is_square = 1 <= height <= 4 < width and width == channels
    if is_square or (2 <= height <= 4 and min(width, channels) >= LEAST_SIDE):
        raise ValueError(
            f"the input has images of {height} x {width} pixels with {channels} channels; should "
            f"channels come last, as in [B, H, W, C]? For {height} channels first, pass "
            "jnp.moveaxis(x, -3, -1)."
        )


def check_channels(network: nn.Module, first: str, x: Float[Array, "B T H W C"]) -> None:
    """Raise ValueError unless `x` has as many channels as the convolution `first` takes.

    Before `network` is initialized, any number is allowed, unless the shape can only be that of
    images with the channels first.
    """
    if not network.has_variable("params", first):
        check_channels_last(x)
        return
    channels: int = network.get_variable("params", first)["kernel"].shape[-2]
    if x.shape[-1] != channels:
        raise ValueError(
            f"the network was initialized for {channels} input channels, but the input has "
            f"{x.shape[-1]}; channels come last, as in [B, H, W, C]."
        )
