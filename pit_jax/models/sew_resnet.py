"""SEW ResNet: residual blocks that join two streams of spikes (Fang et al. 2021a)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import function, set_bounds
from pit_jax.checks.neurons import check_neuron, check_optional_neuron
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.models.residual import (
    Layers,
    ResNet,
    changes_shape,
    image_stem,
    mean_head,
    projection,
)

Join = Callable[[Array, Array], Array]


def add(shortcut: Float[Array, "*N"], branch: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return the sum, integers that grow by at most one stream with every block."""
    return shortcut + branch


def conjunction(shortcut: Float[Array, "*N"], branch: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return AND of binary spikes: 1 where both fire."""
    return shortcut * branch


def iand(shortcut: Float[Array, "*N"], branch: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Return IAND of binary spikes: the shortcut where the branch is silent, else 0."""
    return shortcut * (1 - branch)


JOINS: dict[str, Join] = {"add": add, "and": conjunction, "iand": iand}


class SEWBlock(nn.Module):
    """A block of two layers (conv, norm, neuron), whose spikes are joined with the shortcut's.

    A block that changes shape has a projection with its own neuron, `downsample_neuron()`.
    """

    features: int
    stride: int
    layers: Layers
    join: Join
    downsample_neuron: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w c"]:
        layers = self.layers
        y = layers.conv(self.features, 3, self.stride, name="conv1")(x)
        y = layers.neuron()(layers.norm(name="norm1")(y))
        y = layers.conv(self.features, 3, name="conv2")(y)
        y = layers.neuron()(layers.norm(name="norm2")(y))
        if changes_shape(x, self.features, self.stride):
            x = self.downsample_neuron()(projection(layers, x, self.features, self.stride))
        # No neuron follows, so that the shortcut stays an identity.
        return self.join(x, y)


class SEWBottleneck(nn.Module):
    """A `SEWBlock` of three convolutions, 1x1, 3x3 and 1x1, the last to four times `features`."""

    features: int
    stride: int
    layers: Layers
    join: Join
    downsample_neuron: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w c"]:
        layers, wide = self.layers, 4 * self.features
        y = layers.conv(self.features, 1, name="conv1")(x)
        y = layers.neuron()(layers.norm(name="norm1")(y))
        # The stride is on the 3x3 convolution, as in torchvision, not on the first 1x1.
        y = layers.conv(self.features, 3, self.stride, name="conv2")(y)
        y = layers.neuron()(layers.norm(name="norm2")(y))
        y = layers.conv(wide, 1, name="conv3")(y)
        y = layers.neuron()(layers.norm(name="norm3")(y))
        # True in stage 1 too, where the channels change from 64 to 256.
        if changes_shape(x, wide, self.stride):
            x = self.downsample_neuron()(projection(layers, x, wide, self.stride))
        return self.join(x, y)


@set_bounds(
    neuron=check_neuron,
    downsample_neuron=check_optional_neuron,
    block=function("; or use SEWBlock, SEWBottleneck"),
)
def sew_resnet(
    *,
    num_classes: int,
    neuron: Callable[[], nn.Module],
    stages: tuple[int, ...],
    block: Callable[..., nn.Module] = SEWBlock,
    width: int = 64,
    num_steps: int = 1,
    join: Join | str = add,
    downsample_neuron: Callable[[], nn.Module] | None = None,
    norm: Norm = batch_norm,
    dtype: DTypeLike | None = None,
    remat: str = "none",
) -> ResNet:
    """Return the SEW ResNet whose blocks end in `join(shortcut, branch)`.

    Raises ValueError for an unknown name in `join`.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        stages: blocks in each stage; every stage but the first halves the map and doubles the
            channels.
        block: makes a residual block: SEWBlock, or SEWBottleneck of three convolutions.
        width: channels of the first stage.
        num_steps: time steps T.
        join: joins the shortcut with the branch: add, and, iand, or a function (shortcut, branch).
        downsample_neuron: another neuron for the projections; default: the network's neuron.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """
    if isinstance(join, str):
        if join not in JOINS:
            raise ValueError(
                f"unknown join {join!r}; use {', '.join(JOINS)}, or a function of "
                "(shortcut, branch)."
            )
        join = JOINS[join]
    function(f"; or use {', '.join(JOINS)}")("join", join)
    return ResNet(
        num_classes=num_classes,
        neuron=neuron,
        stem=image_stem,
        # Real Spike, for example, needs plain neurons after projections.
        block=partial(block, join=join, downsample_neuron=downsample_neuron or neuron),
        head=mean_head,
        stages=stages,
        width=width,
        num_steps=num_steps,
        norm=norm,
        dtype=dtype,
        remat=remat,
    )


sew_resnet18 = partial(sew_resnet, stages=(2, 2, 2, 2))
sew_resnet34 = partial(sew_resnet, stages=(3, 4, 6, 3))
sew_resnet50 = partial(sew_resnet, stages=(3, 4, 6, 3), block=SEWBottleneck)
sew_resnet101 = partial(sew_resnet, stages=(3, 4, 23, 3), block=SEWBottleneck)
sew_resnet152 = partial(sew_resnet, stages=(3, 8, 36, 3), block=SEWBottleneck)
