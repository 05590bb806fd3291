"""Figure 3: training loss, training accuracy and test accuracy on ImageNet-1k over the epochs.

Of the networks in the figure, the text names SEW ResNet34 with PIT and ResNet34 with activations.
"""

from configs.tables.recipes import PAPER, SEW, TORCHVISION, Size, make_row
from configs.tables.table2 import SEW34

RESNET34 = Size("", 21_797_672)

ROWS = (
    make_row("IF SEW ResNet34 4x1", "imagenet:sew", SEW, "", 67.04, SEW34, analysis="learning"),
    make_row(
        "PIT SEW ResNet34 1x4", "imagenet:paper", PAPER, "", 72.66, SEW34, analysis="learning"
    ),
    make_row(
        "ReLU ResNet34", "imagenet:relu", TORCHVISION, "", 73.31, RESNET34, analysis="learning"
    ),
)
