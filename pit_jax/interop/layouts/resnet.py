"""Residual networks: torchvision's names and those of four spiking families."""

from functools import partial

from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.neurons import IF, LIF, hard_reset

_BLOCK = "stage{stage}_block{block}"
_THEIRS = "layer{stage}.{block-1}"

# Also timm's, and those of SpikingJelly's SEW ResNets from 0.0.0.0.12 on; a neuron has no weights.
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
    """SEW's repository: convolution and norm sit together in a container of SpikingJelly."""
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


# The published checkpoints, and what the same script saves under SpikingJelly of May 2022 and on.
sew_resnet = _sew(".module")
sew_resnet_sequential = _sew("")

_ms_neurons = {
    "neuron": partial(LIF, decay=0.25, threshold=0.5, reset=hard_reset, detach_reset=True)
}

# Ariande1/MS-ResNet, whose stages are counted from 2.
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
        *torchvision.layers[2:6],
        LayerNames("head", "head"),
    ),
    neurons=_ms_neurons,
)

# HuuYuLong/Complementary-LIF: pre-activation, as SLTT's and DSR's.
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
