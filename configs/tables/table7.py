"""Table 7: ablation of PIT on CIFAR-10, ResNet18, T x D = 1 x 1.

The paper does not state the initial scale of the rows without the input-aware start; here it is 1.
No number of parameters is printed.
"""

from configs.tables.recipes import BASELINE, PAPER, Size, make_row

RESNET18 = Size("", 11_176_906)

ROWS = (
    make_row("ResNet18 1x1", "cifar10:lif", BASELINE, "num_steps=1", 86.73, RESNET18),
    make_row(
        "(i) learnable PIT",
        "cifar10:paper",
        PAPER,
        "neuron.levels=1 neuron.scale_init=ones neuron.strength=0",
        91.34,
        RESNET18,
    ),
    make_row(
        "(ii) input-aware start",
        "cifar10:paper",
        PAPER,
        "neuron.levels=1 neuron.strength=0",
        92.53,
        RESNET18,
    ),
    make_row("PIT 1x1", "cifar10:paper", PAPER, "neuron.levels=1", 93.23, RESNET18),
)
