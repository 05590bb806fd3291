"""Table 12: accuracy of PIT and of earlier methods on DVS-Gesture.

PIT's rows are means over three seeds. The text of Appendix E.4 says T = 10, the table T = 20.
The 9.33M printed for VGG11 includes PIT's scales, also in rows without PIT.
"""

from configs.tables.recipes import (
    CLIF,
    PAPER,
    PLIF_GESTURE,
    REAL_SPIKE_EVENTS,
    TERNARY_EVENTS,
    Size,
    make_row,
)

COUNTED = "9.28M: the printed number includes PIT's scales"
# With 11 classes, a class more than on CIFAR10-DVS: 4,609 more values in the linear layer.
VGG11 = Size("9.33M", 9_276_107, COUNTED)

ROWS = (
    make_row(
        "PLIF PLIFNet 20x1",
        "dvs_gesture:plif",
        PLIF_GESTURE,
        "",
        97.57,
        Size("37.31M", 1_698_311, "1.70M: the printed number is of the CIFAR-10 network"),
    ),
    make_row(
        "CLIF VGG11 20x1",
        "dvs_gesture:clif",
        CLIF,
        "",
        97.92,
        Size("9.33M", 9_501_387, "9.50M: PIT's number is printed; CLIF's VGG11 ends in 7 x 7"),
    ),
    make_row(
        "Trainable Ternary VGG11 20x2",
        "dvs_gesture:trainable_ternary",
        TERNARY_EVENTS,
        "",
        96.42,
        Size("9.33M", 9_276_115, COUNTED),
    ),
    make_row(
        "Real Spike VGG11 20x1",
        "dvs_gesture:real_spike",
        REAL_SPIKE_EVENTS,
        "",
        96.21,
        Size("9.33M", 9_278_859, COUNTED),
    ),
    make_row(
        "PIT VGG11 20x1", "dvs_gesture:paper", PAPER, "neuron.levels=1", 98.23, VGG11, sd=0.05
    ),
    make_row("PIT VGG11 20x2", "dvs_gesture:paper", PAPER, "", 98.26, VGG11, sd=0.08),
)
