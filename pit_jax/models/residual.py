"""The frame of every residual network: a stem, stages of blocks and a head, all passed in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import BLOCKS, NORM, each, function, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron
from pit_jax.layers.encoding import add_time_axis, repeat_over_time
from pit_jax.layers.linear import (
    Initializer,
    check_channels,
    conv,
    dense,
    uniform_bias,
)
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.layers.remat import REMAT, apply_remat


@dataclass(frozen=True)
class Layers:
    """The layers from which stem, blocks and head of one network are built.

    `neuron()` and `norm(name=...)` make modules; `conv` and `dense` are the functions of
    `pit_jax.layers.linear` in the network's dtype; `dropout(rate)` draws one mask for all steps of
    a sample, as in SpikingJelly. Norm and dropout are set to training or evaluation.
    """

    neuron: Callable[[], nn.Module]
    norm: Norm
    conv: Callable[..., nn.Conv]
    dense: Callable[..., nn.Dense]
    dropout: Callable[[float], nn.Module]

    @classmethod
    def bind(
        cls, neuron: Callable[[], nn.Module], norm: Norm, dtype: DTypeLike | None, train: bool
    ) -> "Layers":
        """Return the layers in a dtype, for training or evaluation."""
        return cls(
            neuron=neuron,
            norm=partial(norm, use_running_average=not train, dtype=dtype),
            conv=partial(conv, dtype=dtype),
            dense=partial(dense, dtype=dtype),
            dropout=partial(nn.Dropout, broadcast_dims=(1,), deterministic=not train),
        )


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    stem=function(),
    block=function(),
    head=function(),
    stages=each(BLOCKS, least=1),
    width=whole(1),
    first_stride=whole(1),
    norm=NORM,
    dtype=check_dtype,
    remat=REMAT,
)
class ResNet(nn.Module):
    """Spiking residual network: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits
    `[B, T, num_classes]`.

    `stem(layers, x, width, num_steps)` turns an image, passed as one step, or frames into T steps;
    the layers before its first neuron run once per image. The blocks of stage i are
    `block(features=width * 2**i, stride=..., layers=...)`; the first has stride 2, in stage 0
    `first_stride`. `head(layers, x, num_classes)` returns the logits of every step. Raises
    ValueError when there is no stage or a stage has no block, and for an input with the wrong rank,
    number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        stem: the layers before the first stage, a function (layers, x, width, num_steps).
        block: makes a residual block from the keywords features, stride, layers and name.
        head: the layers after the last stage, a function (layers, x, num_classes).
        stages: blocks in each stage; every stage but the first halves the map and doubles the
            channels.
        width: channels of the first stage.
        num_steps: time steps T.
        first_stride: the stride of the first stage.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    stem: Callable[..., Array]
    block: Callable[..., nn.Module]
    head: Callable[..., Array]
    stages: tuple[int, ...]
    width: int
    num_steps: int = 1
    first_stride: int = 1
    norm: Norm = batch_norm
    dtype: DTypeLike | None = None
    remat: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        layers = Layers.bind(self.neuron, self.norm, self.dtype, train)
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "stem", x)
        # An image has one step here; the stem repeats its current before the first neuron.
        x = self.stem(layers, x, self.width, self.num_steps)
        make_block = apply_remat(self.block, self.remat)
        for stage, blocks in enumerate(self.stages):
            for block in range(blocks):
                # Only the first block of a stage changes the resolution.
                first = self.first_stride if stage == 0 else 2
                x = make_block(
                    features=self.width * 2**stage,
                    stride=first if block == 0 else 1,
                    layers=layers,
                    name=f"stage{stage + 1}_block{block + 1}",
                )(x)
        return self.head(layers, x, self.num_classes)


def image_stem(
    layers: Layers, x: Float[Array, "B t H W C"], width: int, num_steps: int
) -> Float[Array, "B T h w c"]:
    """Apply ImageNet's stem: 7x7 convolution of stride 2, norm, neuron, max-pool of the spikes."""
    x = layers.conv(width, 7, 2, name="stem")(x)
    x = repeat_over_time(layers.norm(name="stem_norm")(x), num_steps)
    # The pool follows the neuron, as in SEW's code. Over scaled spikes it commutes with a > 0.
    # Flax accepts explicit padding with one batch axis only, so time is an axis of the window.
    pad = ((0, 0), (1, 1), (1, 1))
    return nn.max_pool(layers.neuron()(x), (1, 3, 3), strides=(1, 2, 2), padding=pad)


def projection(
    layers: Layers,
    x: Float[Array, "B T H W C"],
    features: int,
    stride: int,
    scale_init: Initializer = nn.initializers.ones,
) -> Float[Array, "B T h w c"]:
    """Apply the shortcut of a block that changes shape: 1x1 convolution and norm."""
    x = layers.conv(features, 1, stride, name="shortcut")(x)
    return layers.norm(scale_init=scale_init, name="shortcut_norm")(x)


def changes_shape(x: Float[Array, "B T H W C"], features: int, stride: int) -> bool:
    """Return whether a block changes the resolution or the number of channels."""
    return stride != 1 or x.shape[-1] != features


def mean_head(
    layers: Layers, x: Float[Array, "B T H W C"], num_classes: int
) -> Float[Array, "B T K"]:
    """Apply the mean over space and a linear layer with PyTorch's initial values."""
    x = jnp.mean(x, axis=(2, 3))
    # SEW's and MS-ResNet's code average over T before this layer, which is linear: the mean over T
    # of these logits is the same.
    return layers.dense(num_classes, bias=uniform_bias(x.shape[-1]), name="head")(x)
