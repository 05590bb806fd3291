"""The families of networks: the networks of each page and the contents of its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Zoom(NamedTuple):
    """A part of a network with a caption: the module at `path`, or its layers to before `until`."""

    caption: str
    path: str
    until: str = ""


class Picture(NamedTuple):
    """The contents of one SVG, which is named after the network."""

    network: str
    title: str
    zooms: Sequence[Zoom]


@dataclass(frozen=True)
class Family:
    """One page of docs/networks."""

    page: str
    networks: Sequence[str]
    pictures: Sequence[Picture]


FAMILIES = (
    Family(
        "resnet",
        ("resnet18", "resnet19", "resnet20", "resnet34", "resnet8"),
        (
            Picture(
                "resnet18",
                "ResNet18: the neuron before each convolution",
                (
                    Zoom(
                        "A block that changes shape: the shortcut starts at spikes", "stage2_block1"
                    ),
                    Zoom("Any other block", "stage1_block1"),
                ),
            ),
            Picture(
                "resnet19",
                "ResNet19: a neuron after each sum",
                (Zoom("A block that changes shape", "stage2_block1"),),
            ),
        ),
    ),
    Family(
        "sew_resnet",
        ("sew_resnet18", "sew_resnet34", "sew_resnet50", "sew_resnet101", "sew_resnet152"),
        (
            Picture(
                "sew_resnet18",
                "SEW ResNet18: streams of spikes are added",
                (
                    Zoom(
                        "A block that changes shape: the shortcut has its own neuron",
                        "stage2_block1",
                    ),
                    Zoom("Any other block", "stage1_block1"),
                ),
            ),
            Picture(
                "sew_resnet50",
                "SEW ResNet50: bottlenecks",
                (Zoom("A bottleneck", "stage1_block2"),),
            ),
        ),
    ),
    Family(
        "ms_resnet",
        ("ms_resnet18", "ms_resnet34"),
        (
            Picture(
                "ms_resnet18",
                "MS-ResNet18: shortcuts carry currents",
                (
                    Zoom("A block that changes shape", "stage2_block1"),
                    Zoom("Any other block", "stage1_block2"),
                ),
            ),
        ),
    ),
    Family(
        "vgg",
        ("vgg11", "vgg16"),
        (
            Picture(
                "vgg11",
                "VGG11 for event frames",
                (Zoom("A layer that is pooled", "conv2", "conv3"),),
            ),
            Picture("vgg16", "VGG16 for images", ()),
        ),
    ),
    Family(
        "plifnet_cifarnet",
        ("plifnet", "cifarnet"),
        (
            Picture("plifnet", "PLIFNet: the linear layers have neurons too", ()),
            Picture("cifarnet", "CIFARNet: strides instead of pools", ()),
        ),
    ),
    Family(
        "spike_driven_transformer",
        ("spike_driven_transformer",),
        (
            Picture(
                "spike_driven_transformer",
                "Spike-driven Transformer",
                (
                    Zoom(
                        "Attention: key × value summed over space, then × query", "block1/attention"
                    ),
                    Zoom("MLP", "block1/mlp"),
                ),
            ),
        ),
    ),
    Family(
        "e_spikeformer",
        ("e_spikeformer_t", "e_spikeformer_s", "e_spikeformer_m", "e_spikeformer_l"),
        (
            Picture(
                "e_spikeformer_s",
                "E-SpikeFormer-S: convolutional stages, then attention",
                (
                    Zoom(
                        "Separable convolution, at the start of every block",
                        "stage1_block1/separable",
                    ),
                    Zoom("Convolutional MLP of stages 1 to 3", "stage1_block1/mlp"),
                    Zoom(
                        "Attention of stages 4 and 5: query (keyᵀ value)", "stage4_block1/attention"
                    ),
                    Zoom("MLP of stages 4 and 5", "stage4_block1/mlp"),
                ),
            ),
        ),
    ),
)
