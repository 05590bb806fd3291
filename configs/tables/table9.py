"""Table 9: PIT with more steps or more levels, on CIFAR-10 and CIFAR-100, ResNet18.

PIT at 4 x 1 has 94.83 % on CIFAR-10 here and 95.34 % in Table 8.
"""

from configs.tables.recipes import PAPER, make_row
from configs.tables.table2 import RESNET18, RESNET18_100

ROWS = (
    make_row(
        "PIT 4x1, CIFAR-10", "cifar10:paper", PAPER, "neuron.levels=1 num_steps=4", 94.83, RESNET18
    ),
    make_row(
        "PIT 2x2, CIFAR-10", "cifar10:paper", PAPER, "neuron.levels=2 num_steps=2", 95.47, RESNET18
    ),
    make_row("PIT 1x4, CIFAR-10", "cifar10:paper", PAPER, "", 95.86, RESNET18),
    make_row(
        "PIT 4x1, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "neuron.levels=1 num_steps=4",
        76.91,
        RESNET18_100,
    ),
    make_row(
        "PIT 2x2, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "neuron.levels=2 num_steps=2",
        77.65,
        RESNET18_100,
    ),
    make_row("PIT 1x4, CIFAR-100", "cifar100:paper", PAPER, "", 78.83, RESNET18_100),
)
