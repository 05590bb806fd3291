"""Figure 5: the loss around the weights of ResNet18 on CIFAR-10, T x D = 1 x 1."""

from configs.tables.recipes import BASELINE, PAPER, Size, make_row

RESNET18 = Size("", 11_176_906)

ROWS = (
    make_row(
        "(a, c) LIF", "cifar10:lif", BASELINE, "num_steps=1", None, RESNET18, analysis="landscape"
    ),
    make_row(
        "(b, d) PIT",
        "cifar10:paper",
        PAPER,
        "neuron.levels=1",
        None,
        RESNET18,
        analysis="landscape",
    ),
)
