"""Table 11: accuracy of PIT and of earlier methods on CIFAR10-DVS.

PIT's rows are means over three seeds. The 9.33M printed for VGG11 includes PIT's scales for 11
classes and 20 steps, also in rows without PIT. Publications split the recordings differently.
"""

from configs.tables.recipes import (
    MPBN,
    PAPER,
    PLIF_CIFAR10_DVS,
    REAL_SPIKE_EVENTS,
    TDBN_EVENTS,
    TERNARY_EVENTS,
    TET_EVENTS,
    Size,
    cite,
    make_row,
)
from configs.tables.table2 import LOSS, SURROGATE

COUNTED = "9.27M: the printed number includes PIT's scales at T = 20, and 11 classes"
# The first convolution of the networks below reads two polarities instead of three colors: ResNet19
# has 9 x 128 weights fewer than on CIFAR-10.
VGG11 = Size("9.33M", 9_271_498, COUNTED)

ROWS = (
    make_row(
        "tdBN ResNet19 10x1", "cifar10_dvs:lif", TDBN_EVENTS, "", 67.80, Size("12.70M", 12_696_842)
    ),
    make_row(
        "PLIF PLIFNet 20x1",
        "cifar10_dvs:plif",
        PLIF_CIFAR10_DVS,
        "",
        74.80,
        Size("37.31M", 17_427_718, "17.43M: the printed number is of the CIFAR-10 network"),
    ),
    make_row(
        "MPBN ResNet19 10x1",
        "cifar10_dvs:lif",
        MPBN,
        "",
        74.40,
        Size("12.70M", 12_706_314, "12.71M with the norms of the neurons"),
    ),
    cite("IM-Loss ResNet19 10x1", 72.60, "12.70M", "Guo et al. 2022a", LOSS),
    cite("Dspike ResNet18 10x1", 75.40, "11.18M", "Li et al. 2021", SURROGATE),
    make_row("TET VGG11 10x1", "cifar10_dvs:lif", TET_EVENTS, "", 77.33, VGG11),
    make_row(
        "Trainable Ternary ResNet19 10x2",
        "cifar10_dvs:trainable_ternary",
        TERNARY_EVENTS,
        "model=resnet19",
        79.80,
        Size("12.70M", 12_696_860),
    ),
    make_row(
        "Trainable Ternary VGG11 10x2",
        "cifar10_dvs:trainable_ternary",
        TERNARY_EVENTS,
        "",
        76.60,
        Size("9.33M", 9_271_506, COUNTED),
    ),
    make_row(
        "Real Spike ResNet19 10x1",
        "cifar10_dvs:real_spike",
        REAL_SPIKE_EVENTS,
        "model=resnet19",
        72.85,
        Size("12.70M", 12_701_578),
    ),
    make_row(
        "Real Spike VGG16 10x1",
        "cifar10_dvs:real_spike",
        REAL_SPIKE_EVENTS,
        "model=vgg16",
        74.58,
        Size("14.72M", 14_727_690, "14.73M with the amplitudes"),
    ),
    make_row(
        "PIT VGG11 10x1", "cifar10_dvs:paper", PAPER, "neuron.levels=1", 80.50, VGG11, sd=0.08
    ),
    make_row("PIT VGG11 10x4", "cifar10_dvs:paper", PAPER, "", 81.50, VGG11, sd=0.13),
)
