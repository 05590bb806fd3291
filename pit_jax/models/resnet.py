"""ResNets with the neuron before each convolution, or after each convolution and sum."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DROPOUT, Interval, function, set_bounds, whole
from pit_jax.layers.encoding import repeat_over_time
from pit_jax.layers.linear import Initializer, uniform_bias
from pit_jax.layers.norm import Norm, batch_norm, no_norm
from pit_jax.models.feedforward import check_map
from pit_jax.models.residual import (
    Layers,
    ResNet,
    changes_shape,
    image_stem,
    mean_head,
    projection,
)


class PreActBlock(nn.Module):
    """A block of two layers (norm, neuron, conv); its shortcut carries the first one's spikes."""

    features: int
    stride: int
    layers: Layers
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w c"]:
        layers = self.layers
        spikes = layers.neuron()(layers.norm(name="norm1")(x))
        y = self.conv(3, self.stride, spikes, name="conv1")
        y = layers.neuron()(layers.norm(name="norm2")(y))
        y = layers.dropout(self.dropout)(y)
        y = self.conv(3, 1, y, name="conv2")
        # The shortcut has no norm: the next block normalizes the sum.
        if changes_shape(spikes, self.features, self.stride):
            spikes = self.conv(1, self.stride, spikes, name="shortcut")
        return y + spikes

    def conv(
        self, size: int, stride: int, x: Float[Array, "B T H W C"], name: str
    ) -> Float[Array, "B T h w c"]:
        """Apply a convolution with PyTorch's initial bias."""
        # The published 11.18M parameters include these biases, although the next batch norm
        # subtracts the mean and with it the bias.
        bias = uniform_bias(fan_in=x.shape[-1] * size * size)
        return self.layers.conv(self.features, size, stride, bias=bias, name=name)(x)


def plain_stem(
    layers: Layers,
    x: Float[Array, "B t H W C"],
    width: int,
    num_steps: int,
    *,
    stride: int,
) -> Float[Array, "B T h w c"]:
    """Apply a 3x3 convolution without norm or neuron."""
    # Unlike the convolutions of the blocks, the published stem has no bias.
    return repeat_over_time(layers.conv(width, 3, stride, name="stem")(x), num_steps)


def preact_head(
    layers: Layers, x: Float[Array, "B T H W C"], num_classes: int, *, dropout: float
) -> Float[Array, "B T K"]:
    """Apply norm, neuron, mean over space, dropout and a linear layer."""
    x = layers.neuron()(layers.norm(name="norm")(x))
    x = layers.dropout(dropout)(jnp.mean(x, axis=(2, 3)))
    return layers.dense(num_classes, name="head")(x)


@set_bounds(stem_stride=whole(1), dropout=DROPOUT)
def preact_resnet(
    *,
    num_classes: int,
    neuron: Callable[[], nn.Module],
    stages: tuple[int, ...],
    width: int,
    num_steps: int = 1,
    stem_stride: int = 1,
    dropout: float = 0.0,
    norm: Norm = batch_norm,
    dtype: DTypeLike | None = None,
    remat: str = "none",
) -> ResNet:
    """Return the pre-activation network for small images (Meng et al. 2022; Huang et al. 2024).

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        stages: blocks in each stage; every stage but the first halves the map and doubles the
            channels.
        width: channels of the first stage.
        num_steps: time steps T.
        stem_stride: the stride of the first convolution.
        dropout: the dropout rate in the blocks and before the head, with one mask for all steps.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """
    return ResNet(
        num_classes=num_classes,
        neuron=neuron,
        stem=partial(plain_stem, stride=stem_stride),
        block=partial(PreActBlock, dropout=dropout),
        head=partial(preact_head, dropout=dropout),
        stages=stages,
        width=width,
        num_steps=num_steps,
        norm=norm,
        dtype=dtype,
        remat=remat,
    )


# The paper's ResNet18, and a network with one block per stage for a laptop.
resnet18 = partial(preact_resnet, stages=(2, 2, 2, 2), width=64)
resnet8 = partial(preact_resnet, stages=(1, 1, 1), width=16)


class BasicBlock(nn.Module):
    """A block of conv, norm, neuron, conv, norm, whose second neuron follows the shortcut's sum.

    `shortcut(layers, x, features, stride)` is the shortcut of a block that changes shape;
    `last_scale` initializes the scale of the last norm.
    """

    features: int
    stride: int
    layers: Layers
    shortcut: Callable[..., Array] = projection
    last_scale: Initializer = nn.initializers.ones
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w c"]:
        layers = self.layers
        y = layers.conv(self.features, 3, self.stride, name="conv1")(x)
        y = layers.neuron()(layers.norm(name="norm1")(y))
        y = layers.dropout(self.dropout)(y)
        y = layers.conv(self.features, 3, name="conv2")(y)
        y = layers.norm(scale_init=self.last_scale, name="norm2")(y)
        if changes_shape(x, self.features, self.stride):
            x = self.shortcut(layers, x, self.features, self.stride)
        return layers.neuron()(y + x)


def neuron_stem(
    layers: Layers, x: Float[Array, "B t H W C"], width: int, num_steps: int
) -> Float[Array, "B T H W c"]:
    """Apply a 3x3 convolution, a norm and a neuron."""
    # Before the repetition, so that convolution and norm run once for an image.
    x = layers.norm(name="stem_norm")(layers.conv(width, 3, name="stem")(x))
    return layers.neuron()(repeat_over_time(x, num_steps))


def hidden_head(
    layers: Layers, x: Float[Array, "B T H W C"], num_classes: int
) -> Float[Array, "B T K"]:
    """Apply the mean over space, a linear layer of half the width, a neuron and the head."""
    x = jnp.mean(x, axis=(2, 3))
    # Both layers have a bias, as in TET's code; the network then has 12,697,994 parameters.
    fan_in, hidden = x.shape[-1], x.shape[-1] // 2
    x = layers.neuron()(layers.dense(hidden, bias=uniform_bias(fan_in), name="hidden")(x))
    return layers.dense(num_classes, bias=uniform_bias(hidden), name="head")(x)


# The topology of tdBN's ResNet19 (Zheng et al. 2021) with the head of TET (Deng et al. 2022).
resnet19 = partial(
    ResNet, stem=neuron_stem, block=BasicBlock, head=hidden_head, stages=(3, 3, 2), width=128
)
resnet34 = partial(
    ResNet, stem=image_stem, block=BasicBlock, head=mean_head, stages=(3, 4, 6, 3), width=64
)


def triple_stem(
    layers: Layers, x: Float[Array, "B t H W C"], width: int, num_steps: int, *, dropout: float
) -> Float[Array, "B T h w c"]:
    """Apply 3x3 convolution, norm, neuron three times, with dropout between; then average-pool."""
    check_map(x, pools=1)
    x = neuron_stem(layers, x, width, num_steps)
    for name in ("stem2", "stem3"):
        x = layers.conv(width, 3, name=name)(layers.dropout(dropout)(x))
        x = layers.neuron()(layers.norm(name=f"{name}_norm")(x))
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


def pooled_projection(
    layers: Layers, x: Float[Array, "B T H W C"], features: int, stride: int
) -> Float[Array, "B T h w c"]:
    """Average over space, then apply `projection` without a stride.

    A last odd row or column forms cells of its own, averaged over the pixels that exist.
    """
    window = (stride, stride)
    x = nn.avg_pool(x, window, strides=window, padding="SAME", count_include_pad=False)
    return projection(layers, x, features, stride=1)


def flat_head(
    layers: Layers, x: Float[Array, "B T H W C"], num_classes: int
) -> Float[Array, "B T K"]:
    """Apply a linear layer without bias to all positions and channels."""
    x = x.reshape(*x.shape[:2], -1)
    start = nn.initializers.normal(0.01)
    return layers.dense(num_classes, bias=None, kernel_init=start, name="head")(x)


@set_bounds(norm=function(optional=True), dropout=Interval(0, 1, open_most=True, optional=True))
def resnet20(
    *,
    num_classes: int,
    neuron: Callable[[], nn.Module],
    stages: tuple[int, ...] = (2, 2, 2, 2),
    width: int = 64,
    num_steps: int = 1,
    norm: Norm | None = None,
    dropout: float | None = None,
    dtype: DTypeLike | None = None,
    remat: str = "none",
) -> ResNet:
    """Return the widened ResNet20 of Diet-SNN (Rathi and Roy 2021), which has no norm, or with a
    `norm` the ResNet20 of Ternary Spike and MPBN (Guo et al. 2024, 2023b).

    With a norm, shortcuts average-pool instead of striding, the head reads the mean over space and
    has a bias, and the scale of the last norm of a block starts at 0.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        stages: blocks in each stage; every stage but the first halves the map and doubles the
            channels.
        width: channels of the first stage.
        num_steps: time steps T.
        norm: the norm of every layer, one of layers.norm.NORMS; default: none, as in Diet-SNN.
        dropout: the dropout rate in the stem and the blocks; default: 0.2 without a norm, else 0.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """
    block: Callable[..., nn.Module]
    if norm is None:
        norm, published_dropout, block, head = no_norm, 0.2, BasicBlock, flat_head
    else:
        # With a scale of 0 in its last norm a branch is silent, and the block starts as its
        # shortcut.
        zeros = nn.initializers.zeros
        block = partial(BasicBlock, shortcut=pooled_projection, last_scale=zeros)
        published_dropout, head = 0.0, mean_head
    rate = published_dropout if dropout is None else dropout
    return ResNet(
        num_classes=num_classes,
        neuron=neuron,
        stem=partial(triple_stem, dropout=rate),
        block=partial(block, dropout=rate),
        head=head,
        stages=stages,
        width=width,
        num_steps=num_steps,
        norm=norm,
        dtype=dtype,
        remat=remat,
    )
