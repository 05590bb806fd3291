"""Figure 4: membranes after the last convolution of VGG11 over the steps, on CIFAR10-DVS.

The paper states neither T nor D; here they are 10 and 4, as in Table 11.
"""

from configs.tables.recipes import BASELINE, PAPER, Size, make_row

VGG11 = Size("", 9_271_498)

ROWS = (
    make_row("(a) LIF", "cifar10_dvs:lif", BASELINE, "", None, VGG11, analysis="membranes"),
    make_row("(b) I-LIF", "cifar10_dvs:ilif", PAPER, "", None, VGG11, analysis="membranes"),
    make_row("(c) PIT", "cifar10_dvs:paper", PAPER, "", None, VGG11, analysis="membranes"),
)
