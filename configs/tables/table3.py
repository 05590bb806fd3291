"""Table 3: S-ACE, NS-ACE and accuracy of LIF, QAT and PIT on CIFAR-10 and CIFAR-100.

The energy analysis computes both measures. The printed S-ACE, 35.84 G, is a rounded 0.56 G of
multiply-accumulates times 16 bits times T x D = 4; see docs/theory/paper_vs_code.md. QAT has no
time steps; its D is 4, like PIT's.
"""

from configs.tables.recipes import BASELINE, PAPER, make_row
from configs.tables.table2 import RESNET18, RESNET18_100

ROWS = (
    make_row(
        "LIF 4x1, CIFAR-10",
        "cifar10:lif",
        BASELINE,
        "",
        94.22,
        RESNET18,
        analysis="energy",
        s_ace_g=35.84,
        ns_ace_g=6.45,
    ),
    make_row(
        "QAT, CIFAR-10", "cifar10:qat", PAPER, "", 95.14, RESNET18, analysis="energy", s_ace_g=35.84
    ),
    make_row(
        "PIT 1x4, CIFAR-10",
        "cifar10:paper",
        PAPER,
        "",
        95.86,
        RESNET18,
        analysis="energy",
        s_ace_g=35.84,
        ns_ace_g=4.31,
    ),
    make_row(
        "LIF 4x1, CIFAR-100",
        "cifar100:lif",
        BASELINE,
        "",
        73.25,
        RESNET18_100,
        analysis="energy",
        s_ace_g=35.84,
        ns_ace_g=7.88,
    ),
    make_row(
        "QAT, CIFAR-100",
        "cifar100:qat",
        PAPER,
        "",
        77.91,
        RESNET18_100,
        analysis="energy",
        s_ace_g=35.84,
    ),
    make_row(
        "PIT 1x4, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "",
        78.83,
        RESNET18_100,
        analysis="energy",
        s_ace_g=35.84,
        ns_ace_g=5.73,
    ),
)
