"""Cases and experiments, and the names of all experiments."""

from collections.abc import Mapping
from typing import NamedTuple

from configs.claims import Claim


class Case(NamedTuple):
    """One row of an experiment: a config that is trained with some seeds, or a cited number.

    Args:
        label: the name of the row within its experiment, such as "PIT ours 1x4, dig200".
        config: a page of configs/ and a variant; empty for a row that is cited or only counted.
        overrides: all overrides without the prefix `--config.`, including those of its group.
        seeds: how many seeds are run by default, from 0.
        row: the label of the row of `configs.tables` that it repeats; empty if the paper has none.
        group: the data and the size of the network; claims compare cases of one group.
        measures: further measures of the trained run, or those that are counted without a run.
        remark: what a reader should know about the row, such as why it is not trained.
    """

    label: str
    config: str = ""
    overrides: tuple[str, ...] = ()
    seeds: int = 0
    row: str = ""
    group: str = ""
    measures: tuple[str, ...] = ()
    remark: str = ""


class Experiment(NamedTuple):
    """A table or a figure of the paper at one scale: its cases, and the claims about them.

    Args:
        name: such as table8.
        title: its caption, in short.
        cases: the rows, in the order of the page.
        claims: the paper's comparisons of these cases.
        analysis: for a figure, the measure that it draws.
        remark: what a reader should know about the experiment as a whole.
    """

    name: str
    title: str
    cases: tuple[Case, ...]
    claims: tuple[Claim, ...]
    analysis: str = ""
    remark: str = ""


SCALES = ("paper", "medium", "laptop", "smoke")
TITLES = {
    "table2": "Accuracy of PIT and of earlier methods on images",
    "table3": "Arithmetic effort of LIF, QAT and PIT",
    "table4": "Strength lambda of the rectified gradient",
    "table5": "Memory of training",
    "table7": "Ablation of PIT at T x D = 1 x 1",
    "table8": "LIF, I-LIF and PIT at T x D = 4",
    "table9": "Steps against levels",
    "table10": "Operations and energy of LIF, I-LIF and PIT",
    "table11": "Accuracy on CIFAR10-DVS",
    "table12": "Accuracy on DVS-Gesture",
    "figure3": "Learning curves",
    "figure4": "Membranes after the last convolution over the steps",
    "figure5": "Loss around the weights",
    "figure6": "Firing rates of the layers over the steps",
    "figure7": "Scales of PIT before and after training",
}
NAMES = tuple(TITLES)
# The measure of train/reproduce/measures.py that each figure draws.
ANALYSES = {
    "figure3": "learning",
    "figure4": "membranes",
    "figure5": "landscape",
    "figure6": "rates",
    "figure7": "scales",
}
REFUSED: Mapping[str, str] = {
    "table1": "it compares formulas; docs/theory/capacity.md checks them without training.",
    "table6": "it lists hyperparameters; they are the settings of configs/cifar10.py and others.",
    "figure1": "it is a drawing of the method; docs/theory/inference.md has ours.",
    "figure2": "it sketches quantization; `python -m train.analyze --only levels` measures it.",
}
