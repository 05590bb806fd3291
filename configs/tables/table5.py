"""Table 5: memory of training with PIT and with the baselines, on CIFAR-10 and ImageNet-1k.

The printed numbers are GB of GPU memory with the authors' code. The memory analysis lists what one
of our training steps stores.
"""

from configs.tables.recipes import BASELINE, PAPER, SEW, make_row
from configs.tables.table2 import RESNET18, RESNET19, SEW18, SEW34

ROWS = (
    make_row(
        "LIF ResNet18 4x1, CIFAR-10",
        "cifar10:lif",
        BASELINE,
        "",
        94.22,
        RESNET18,
        analysis="memory",
        memory_gb=2.21,
    ),
    make_row(
        "LIF ResNet19 4x1, CIFAR-10",
        "cifar10:lif",
        BASELINE,
        "model.name=resnet19",
        95.49,
        RESNET19,
        analysis="memory",
        memory_gb=4.45,
    ),
    make_row(
        "PIT ResNet18 1x4, CIFAR-10",
        "cifar10:paper",
        PAPER,
        "",
        95.86,
        RESNET18,
        analysis="memory",
        memory_gb=2.43,
    ),
    make_row(
        "PIT ResNet19 1x4, CIFAR-10",
        "cifar10:paper",
        PAPER,
        "model.name=resnet19",
        96.72,
        RESNET19,
        analysis="memory",
        memory_gb=4.70,
    ),
    make_row(
        "IF SEW ResNet18 4x1, ImageNet",
        "imagenet:sew",
        SEW,
        "model.name=sew_resnet18",
        63.18,
        SEW18,
        analysis="memory",
        memory_gb=13.65,
    ),
    make_row(
        "IF SEW ResNet34 4x1, ImageNet",
        "imagenet:sew",
        SEW,
        "",
        67.04,
        SEW34,
        analysis="memory",
        memory_gb=18.86,
    ),
    make_row(
        "PIT SEW ResNet18 1x4, ImageNet",
        "imagenet:paper",
        PAPER,
        "model.name=sew_resnet18",
        69.39,
        SEW18,
        analysis="memory",
        memory_gb=17.87,
    ),
    make_row(
        "PIT SEW ResNet34 1x4, ImageNet",
        "imagenet:paper",
        PAPER,
        "",
        72.66,
        SEW34,
        analysis="memory",
        memory_gb=24.66,
    ),
)
