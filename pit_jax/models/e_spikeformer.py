"""E-SpikeFormer (Yao et al. 2025): convolutional stages, then stages of linear attention."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import MOST_BLOCKS, NORM, each, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron, check_optional_neuron
from pit_jax.layers.attention import check_heads, linear_attention
from pit_jax.layers.conv_norm import ConvNorm, conv_norm
from pit_jax.layers.encoding import add_time_axis, repeat_over_time
from pit_jax.layers.linear import check_channels, dense, uniform_bias, uniform_fan_in
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.layers.remat import REMAT, apply_remat
from pit_jax.old_names import serve_old_names


class SeparableConv(nn.Module):
    """A separable convolution, each of its three convolutions with a neuron before and a norm after
    it: 1 x 1 to twice the channels, `size` x `size` depthwise, and 1 x 1 back."""

    size: int
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        channels = x.shape[-1]
        wide = 2 * channels
        y = self.conv_norm(self.neuron()(x), wide, 1, name="expand")
        y = self.conv_norm(self.neuron()(y), wide, self.size, groups=wide, name="depthwise")
        return self.conv_norm(self.neuron()(y), channels, 1, name="contract")


class ESpikeMLP(nn.Module):
    """An MLP of two layers (neuron, `size` x `size` convolution, norm), to `ratio` times the
    channels and back."""

    ratio: int
    size: int
    use_bias: bool
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        channels = x.shape[-1]
        y = self.layer(self.neuron()(x), channels * self.ratio, name="expand")
        return self.layer(self.neuron()(y), channels, name="contract")

    def layer(
        self, x: Float[Array, "B T H W C"], features: int, name: str
    ) -> Float[Array, "B T H W c"]:
        """Apply a convolution, with a bias if `use_bias`, and its norm."""
        bias = uniform_bias(fan_in=x.shape[-1] * self.size**2) if self.use_bias else None
        return self.conv_norm(x, features, self.size, bias=bias, name=name)


class ESpikeAttention(nn.Module):
    """Linear self-attention whose values have four times the channels, with neurons on its input,
    query, key and value, and on the result before the projection."""

    heads: int
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        channels = x.shape[-1]
        spikes = self.neuron()(x)
        query, key, value = (
            self.neuron()(self.conv_norm(spikes, features, 1, name=name))
            for name, features in [("query", channels), ("key", channels), ("value", 4 * channels)]
        )
        y = self.neuron()(linear_attention(query, key, value, self.heads))
        return self.conv_norm(y, channels, 1, name="projection")


class ConvBlock(nn.Module):
    """A separable 7 x 7 convolution and a 3 x 3 MLP, each added to the current that it reads."""

    mlp_ratio: int
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        x = x + SeparableConv(7, self.neuron, self.conv_norm, name="separable")(x)
        mlp = partial(ESpikeMLP, neuron=self.neuron, conv_norm=self.conv_norm)
        # As published, only the 1 x 1 MLPs of attention blocks have biases.
        return x + mlp(self.mlp_ratio, size=3, use_bias=False, name="mlp")(x)


class AttentionBlock(nn.Module):
    """A separable 3 x 3 convolution, attention and a 1 x 1 MLP, each added to the current that it
    reads."""

    heads: int
    mlp_ratio: int
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        x = x + SeparableConv(3, self.neuron, self.conv_norm, name="separable")(x)
        x = x + ESpikeAttention(self.heads, self.neuron, self.conv_norm, name="attention")(x)
        mlp = partial(ESpikeMLP, neuron=self.neuron, conv_norm=self.conv_norm)
        return x + mlp(self.mlp_ratio, size=1, use_bias=True, name="mlp")(x)


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    widths=each(whole(1)),
    stages=each(whole(0, MOST_BLOCKS)),
    strides=each(whole(1)),
    conv_stages=whole(0),
    heads=whole(1),
    mlp_ratio=whole(1),
    head_neuron=check_optional_neuron,
    norm=NORM,
    dtype=check_dtype,
    remat=REMAT,
)
class ESpikeFormer(nn.Module):
    """E-SpikeFormer: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits
    `[B, T, num_classes]`.

    A stage starts with a convolution and norm, 7 x 7 on pixels or 3 x 3 on spikes, followed by its
    blocks: convolutional in the first `conv_stages` stages, with attention in the others. A side of
    n becomes ceil(n / stride), so that no map vanishes. The mean over space, `head_neuron` and a
    linear head come last. The authors' neuron is `partial(ILIF, decay=0.0, normalize=True)`, with a
    head neuron that does not normalize. The first current of an image is computed once and used at
    every step. Raises ValueError when `widths`, `stages` and `strides` are empty or differ in
    length, when `heads` does not divide the width of a stage with attention, and for an input with
    the wrong rank, number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        num_steps: time steps T.
        widths: channels of each stage.
        stages: blocks in each stage.
        strides: the stride of the convolution that starts each stage.
        conv_stages: the number of convolutional stages; the others have attention.
        heads: the number of attention heads.
        mlp_ratio: the ratio of the channels inside an MLP to those outside.
        head_neuron: another neuron for the head; default: the network's neuron.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128, 192)
    stages: tuple[int, ...] = (1, 1, 2, 6, 2)
    strides: tuple[int, ...] = (2, 2, 2, 2, 1)
    conv_stages: int = 3
    heads: int = 8
    mlp_ratio: int = 4
    head_neuron: Callable[[], nn.Module] | None = None
    norm: Norm = batch_norm
    dtype: DTypeLike | None = None
    remat: str = "none"

    def __post_init__(self) -> None:
        if not 0 < len(self.widths) == len(self.stages) == len(self.strides):
            raise ValueError(
                "widths, stages and strides must have the same length, at least 1; got "
                f"{self.widths}, {self.stages} and {self.strides}."
            )
        for width in self.widths[self.conv_stages :]:
            check_heads(width, self.heads)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        layer = partial(
            conv_norm,
            norm=partial(self.norm, use_running_average=not train, dtype=self.dtype),
            kernel_init=uniform_fan_in,
            dtype=self.dtype,
        )
        parts = self.mlp_ratio, self.neuron, layer
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "stage1_down", x)
        for stage, (width, blocks, stride) in enumerate(
            zip(self.widths, self.stages, self.strides, strict=True), start=1
        ):
            down = partial(layer, features=width, stride=stride, name=f"stage{stage}_down")
            if stage == 1:
                x = down(x, size=7, bias=uniform_bias(fan_in=x.shape[-1] * 7**2))
                x = repeat_over_time(x, self.num_steps)
            else:
                x = down(self.neuron()(x), size=3, bias=uniform_bias(fan_in=x.shape[-1] * 3**2))
            for block in range(1, blocks + 1):
                name = f"stage{stage}_block{block}"
                if stage <= self.conv_stages:
                    x = apply_remat(ConvBlock, self.remat)(*parts, name=name)(x)
                else:
                    x = apply_remat(AttentionBlock, self.remat)(self.heads, *parts, name=name)(x)
        # The shortcuts carry currents, so a neuron fires on their mean before the linear head.
        x = (self.head_neuron or self.neuron)()(jnp.mean(x, axis=(2, 3)))
        weights = nn.initializers.normal(0.02)
        return dense(self.num_classes, kernel_init=weights, dtype=self.dtype, name="head")(x)


# The published sizes; the first width is always half of the second.
e_spikeformer_t = partial(ESpikeFormer, widths=(12, 24, 48, 96, 128))
e_spikeformer_s = partial(ESpikeFormer, widths=(16, 32, 64, 128, 192))
e_spikeformer_m = partial(ESpikeFormer, widths=(24, 48, 96, 192, 240))
e_spikeformer_l = partial(ESpikeFormer, widths=(32, 64, 128, 256, 360))


serve_old_names(__name__)
