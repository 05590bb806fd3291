"""MS-ResNet: shortcuts that carry currents past the neurons (Hu et al. 2024)."""

from functools import partial

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.layers.encoding import repeat_over_time
from pit_jax.models.residual import Layers, ResNet, changes_shape, mean_head, projection

# The initial scale of a norm is the authors' threshold, 1/2. At the end of a branch it is 0, so
# that the block starts as its shortcut.
half = nn.initializers.constant(0.5)


class MSBlock(nn.Module):
    """A residual block of two layers (neuron, conv, norm); its output is a current."""

    features: int
    stride: int
    layers: Layers

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T h w c"]:
        layers = self.layers
        y = layers.conv(self.features, 3, self.stride, name="conv1")(layers.neuron()(x))
        y = layers.norm(scale_init=half, name="norm1")(y)
        y = layers.conv(self.features, 3, name="conv2")(layers.neuron()(y))
        y = layers.norm(scale_init=nn.initializers.zeros, name="norm2")(y)
        if changes_shape(x, self.features, self.stride):
            x = projection(layers, x, self.features, self.stride, scale_init=half)
        return y + x


def current_stem(
    layers: Layers, x: Float[Array, "B t H W C"], width: int, num_steps: int
) -> Float[Array, "B T h w c"]:
    """Apply a 7x7 convolution of stride 2 and a norm, without neuron or pool."""
    x = layers.conv(width, 7, 2, name="stem")(x)
    return repeat_over_time(layers.norm(scale_init=half, name="stem_norm")(x), num_steps)


def neuron_head(
    layers: Layers, x: Float[Array, "B T H W C"], num_classes: int
) -> Float[Array, "B T K"]:
    """Apply a neuron, the mean over space and a linear layer."""
    return mean_head(layers, layers.neuron()(x), num_classes)


# There is no pool in the stem; stage 1 strides instead, so its first block has a projection too.
ms_resnet = partial(
    ResNet, stem=current_stem, block=MSBlock, head=neuron_head, width=64, first_stride=2
)
ms_resnet18 = partial(ms_resnet, stages=(2, 2, 2, 2))
ms_resnet34 = partial(ms_resnet, stages=(3, 4, 6, 3))
