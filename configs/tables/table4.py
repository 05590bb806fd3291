"""Table 4: accuracy of PIT over lambda of Eq. 13, the strength of the rectified gradient."""

from configs.tables.recipes import PAPER, make_row
from configs.tables.table2 import RESNET18, RESNET18_100

ROWS = (
    make_row(
        "lambda 0.1, CIFAR-10", "cifar10:paper", PAPER, "neuron.strength=0.1", 95.73, RESNET18
    ),
    make_row(
        "lambda 0.01, CIFAR-10", "cifar10:paper", PAPER, "neuron.strength=0.01", 95.86, RESNET18
    ),
    make_row(
        "lambda 0.001, CIFAR-10", "cifar10:paper", PAPER, "neuron.strength=0.001", 95.70, RESNET18
    ),
    make_row(
        "lambda 0.1, CIFAR-100", "cifar100:paper", PAPER, "neuron.strength=0.1", 78.10, RESNET18_100
    ),
    make_row(
        "lambda 0.01, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "neuron.strength=0.01",
        78.83,
        RESNET18_100,
    ),
    make_row(
        "lambda 0.001, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "neuron.strength=0.001",
        79.01,
        RESNET18_100,
    ),
)
