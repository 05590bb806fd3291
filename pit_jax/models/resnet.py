"""Pre-activation residual networks for small images (Meng et al. 2022; Huang et al. 2024)."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.layers.encoding import check_channels, repeat_over_time, with_time

Norm = Callable[..., nn.Module]

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# PyTorch's start of a linear layer: uniform within 1 / sqrt(fan_in).
uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_bias(fan_in: int) -> Callable[..., Array]:
    """PyTorch's start of a bias: uniform within 1 / sqrt(fan_in)."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class PreActBlock(nn.Module):
    """norm, neuron, conv, norm, neuron, conv; the shortcut starts at the first neuron's spikes."""

    features: int
    stride: int
    neuron: Callable[[], nn.Module]
    norm: Norm
    dropout: float
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"], train: bool) -> Float[Array, "B T h w c"]:
        conv = partial(_conv, self.features, dtype=self.dtype)
        spikes = self.neuron()(self.norm(name="norm1")(x))
        y = conv(3, self.stride, spikes.shape[-1], name="conv1")(spikes)
        y = self.neuron()(self.norm(name="norm2")(y))
        # One mask for all steps of a sample, as SpikingJelly's.
        y = nn.Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train)(y)
        y = conv(3, 1, self.features, name="conv2")(y)
        if self.stride != 1 or spikes.shape[-1] != self.features:
            spikes = conv(1, self.stride, spikes.shape[-1], name="shortcut")(spikes)
        return y + spikes


class PreActResNet(nn.Module):
    """Spiking pre-activation ResNet: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits
    `[B, T, num_classes]`.

    The stem is one convolution without norm or neuron; a stage halves the resolution, except the
    first; the tail is norm, neuron, mean over space, dropout and a linear head at every step. With
    `num_steps` > 1 an image's stem current is computed once and enters at every step. `dtype` is
    that of the computation; parameters are float32 (float64 under x64). Raises ValueError when the
    input has another rank, number of steps or channels than the network.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    stages: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    stem_stride: int = 1
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            param_dtype=float,
        )
        x = with_time(x, self.num_steps)
        if self.has_variable("params", "stem"):
            check_channels(x, self.get_variable("params", "stem")["kernel"])
        stem = _conv(
            self.width,
            3,
            self.stem_stride,
            x.shape[-1],
            use_bias=False,
            dtype=self.dtype,
            name="stem",
        )
        x = repeat_over_time(stem(x), self.num_steps)
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                x = PreActBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and block == 0 else 1,
                    neuron=self.neuron,
                    norm=norm,
                    dropout=self.dropout,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x, train)
        x = self.neuron()(norm(name="norm")(x))
        x = jnp.mean(x, axis=(2, 3))
        x = nn.Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train)(x)
        head = nn.Dense(
            self.num_classes,
            kernel_init=uniform_fan_in,
            dtype=self.dtype,
            param_dtype=float,
            name="head",
        )
        return head(x)


def _conv(
    features: int,
    size: int,
    stride: int,
    in_features: int,
    *,
    use_bias: bool = True,
    dtype: DTypeLike | None,
    name: str,
) -> nn.Conv:
    # SAME would pad a stride-2 convolution by (0, 1), PyTorch by (1, 1).
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=use_bias,
        kernel_init=kaiming_normal,
        bias_init=uniform_bias(in_features * size * size),
        dtype=dtype,
        param_dtype=float,
        name=name,
    )


# Sizes are data: the paper's ResNet18, and one block a stage for a laptop.
resnet18 = partial(PreActResNet, stages=(2, 2, 2, 2), width=64)
resnet8 = partial(PreActResNet, stages=(1, 1, 1), width=16)
