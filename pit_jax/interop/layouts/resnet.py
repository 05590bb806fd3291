"""Layouts of residual networks: torchvision's and four spiking families'."""

from functools import partial

from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.neurons import IF, LIF, hard_reset

_BLOCK = "stage{stage}_block{block}"
_THEIRS = "layer{stage}.{block-1}"

# Also the layout of timm, and of SpikingJelly's SEW ResNets since 0.0.0.0.12.
torchvision = Layout(
    layers=(
        LayerNames("conv1", "stem"),
        LayerNames("bn1", "stem_norm"),
        LayerNames(f"{_THEIRS}.conv{{number}}", f"{_BLOCK}/conv{{number}}"),
        LayerNames(f"{_THEIRS}.bn{{number}}", f"{_BLOCK}/norm{{number}}"),
        LayerNames(f"{_THEIRS}.downsample.0", f"{_BLOCK}/shortcut"),
        LayerNames(f"{_THEIRS}.downsample.1", f"{_BLOCK}/shortcut_norm"),
        LayerNames("fc", "head"),
    ),
    neurons={"neuron": IF},
)


def _sew(container: str) -> Layout:
    """Return SEW's own layout: convolution and norm are in one SpikingJelly container."""
    return Layout(
        layers=(
            LayerNames("conv1", "stem"),
            LayerNames("bn1", "stem_norm"),
            LayerNames(f"{_THEIRS}.conv{{number}}{container}.0", f"{_BLOCK}/conv{{number}}"),
            LayerNames(f"{_THEIRS}.conv{{number}}{container}.1", f"{_BLOCK}/norm{{number}}"),
            LayerNames(f"{_THEIRS}.downsample.0{container}.0", f"{_BLOCK}/shortcut"),
            LayerNames(f"{_THEIRS}.downsample.0{container}.1", f"{_BLOCK}/shortcut_norm"),
            LayerNames("fc", "head"),
        ),
        neurons={"neuron": IF},
    )


# The published checkpoints, and those of the same script with SpikingJelly since May 2022.
sew_resnet = _sew(".module")
sew_resnet_sequential = _sew("")

_ms_neurons = {
    "neuron": partial(LIF, decay=0.25, threshold=0.5, reset=hard_reset, detach_reset=True)
}

# Ariande1/MS-ResNet, which counts stages from 2.
_MS_THEIRS = "conv{stage+1}_x.{block-1}"
ms_resnet = Layout(
    layers=(
        LayerNames("conv1.0", "stem"),
        LayerNames("conv1.1.bn", "stem_norm"),
        LayerNames(f"{_MS_THEIRS}.residual_function.1", f"{_BLOCK}/conv1"),
        LayerNames(f"{_MS_THEIRS}.residual_function.2.bn", f"{_BLOCK}/norm1"),
        LayerNames(f"{_MS_THEIRS}.residual_function.4", f"{_BLOCK}/conv2"),
        LayerNames(f"{_MS_THEIRS}.residual_function.5.bn", f"{_BLOCK}/norm2"),
        LayerNames(f"{_MS_THEIRS}.shortcut.0", f"{_BLOCK}/shortcut"),
        LayerNames(f"{_MS_THEIRS}.shortcut.1.bn", f"{_BLOCK}/shortcut_norm"),
        LayerNames("fc", "head"),
    ),
    neurons=_ms_neurons,
)

spikingjelly_ms_resnet = Layout(
    layers=(
        LayerNames("stem.0", "stem"),
        LayerNames("stem.1", "stem_norm"),
        # The rows of the blocks: convolutions, norms and shortcuts.
        *torchvision.layers[2:6],
        LayerNames("head", "head"),
    ),
    neurons=_ms_neurons,
)

# HuuYuLong/Complementary-LIF: pre-activation, as in SLTT and DSR.
clif_resnet = Layout(
    layers=(
        LayerNames("conv1", "stem"),
        LayerNames(f"{_THEIRS}.bn{{number}}", f"{_BLOCK}/norm{{number}}"),
        LayerNames(f"{_THEIRS}.conv{{number}}", f"{_BLOCK}/conv{{number}}"),
        LayerNames(f"{_THEIRS}.shortcut", f"{_BLOCK}/shortcut"),
        LayerNames("bn1", "norm"),
        LayerNames("linear", "head"),
    ),
    neurons={"neuron": LIF},
)
