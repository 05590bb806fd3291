"""Figure 6: firing rates of the layers of ResNet18 over the steps, on CIFAR-10.

The paper states neither T nor D; here they are 4 and 1, as in Table 8.
"""

from configs.tables.recipes import BASELINE, PAPER, Size, make_row

RESNET18 = Size("", 11_176_906)

ROWS = (
    make_row("(a) LIF", "cifar10:lif", BASELINE, "", None, RESNET18, analysis="rates"),
    make_row(
        "(b) PIT",
        "cifar10:paper",
        PAPER,
        "neuron.levels=1 num_steps=4",
        None,
        RESNET18,
        analysis="rates",
    ),
)
