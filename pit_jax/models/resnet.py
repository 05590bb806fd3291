"""Pre-activation residual networks for small images (Meng et al. 2022; Huang et al. 2024)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.layers.encoding import check_channels, repeat_over_time, with_time
from pit_jax.layers.linear import conv, dense, uniform_bias
from pit_jax.layers.norm import Norm, batch_norm


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
        spikes = self.neuron()(self.norm(name="norm1")(x))
        y = self.conv(3, self.stride, spikes, name="conv1")
        y = self.neuron()(self.norm(name="norm2")(y))
        # One mask for all steps of a sample, as SpikingJelly's.
        y = nn.Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train)(y)
        y = self.conv(3, 1, y, name="conv2")
        if self.stride != 1 or spikes.shape[-1] != self.features:
            spikes = self.conv(1, self.stride, spikes, name="shortcut")
        return y + spikes

    def conv(
        self, size: int, stride: int, x: Float[Array, "B T H W C"], name: str
    ) -> Float[Array, "B T h w c"]:
        bias = uniform_bias(fan_in=x.shape[-1] * size * size)
        return conv(self.features, size, stride, bias=bias, dtype=self.dtype, name=name)(x)


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
        norm = partial(batch_norm, use_running_average=not train, dtype=self.dtype)
        x = with_time(x, self.num_steps)
        if self.has_variable("params", "stem"):
            check_channels(x, self.get_variable("params", "stem")["kernel"])
        stem = conv(self.width, 3, self.stem_stride, dtype=self.dtype, name="stem")
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
        return dense(self.num_classes, dtype=self.dtype, name="head")(x)


# Sizes are data: the paper's ResNet18, and one block a stage for a laptop.
resnet18 = partial(PreActResNet, stages=(2, 2, 2, 2), width=64)
resnet8 = partial(PreActResNet, stages=(1, 1, 1), width=16)
