"""Figure 7: PIT's scales in ResNet18 at the first and at the last epoch, T x D = 1 x 4."""

from configs.tables.recipes import PAPER, Size, make_row

ROWS = (
    make_row(
        "(a, b) CIFAR-10", "cifar10:paper", PAPER, "", None, Size("", 11_176_906), analysis="scales"
    ),
    make_row(
        "(c, d) CIFAR-100",
        "cifar100:paper",
        PAPER,
        "",
        None,
        Size("", 11_223_076),
        analysis="scales",
    ),
)
