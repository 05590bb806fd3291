"""Table 10: accumulates, multiply-accumulates and energy of LIF, I-LIF and PIT on CIFAR-10.

The energy analysis computes them. The printed multiply-accumulates count the stem once, and one or
two for each neuron without the factor T. No convention yields both the printed accumulates and
Table 3; see docs/theory/paper_vs_code.md.
"""

from configs.tables.recipes import BASELINE, PAPER, make_row
from configs.tables.table2 import RESNET18

ROWS = (
    make_row(
        "LIF 4x1",
        "cifar10:lif",
        BASELINE,
        "",
        None,
        RESNET18,
        analysis="energy",
        acs_m=68.04,
        macs_m=2.33,
        energy_uj=71.94,
    ),
    make_row(
        "I-LIF 1x4",
        "cifar10:ilif",
        PAPER,
        "",
        None,
        RESNET18,
        analysis="energy",
        acs_m=56.67,
        macs_m=2.33,
        energy_uj=61.71,
    ),
    make_row(
        "PIT 1x4",
        "cifar10:paper",
        PAPER,
        "",
        None,
        RESNET18,
        analysis="energy",
        acs_m=49.30,
        macs_m=2.88,
        energy_uj=57.64,
    ),
)
