"""The rows of `configs.tables` that cases repeat, and those that are counted without training."""

from collections.abc import Mapping

from configs.scales.types import Case
from configs.tables import (
    Row,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    table2,
    table3,
    table4,
    table5,
    table7,
    table8,
    table9,
    table10,
    table11,
    table12,
)

TABLES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        *(table2, table3, table4, table5, table7, table8, table9, table10, table11, table12),
        *(figure3, figure4, figure5, figure6, figure7),
    )
}
# The suffix in the label of a row that is counted.
COUNTED = ", counted"
# The measure that is counted from the shapes of the full networks, by experiment.
MEASURES = {"table3": "s_ace", "table5": "memory", "table10": "macs"}
# The row that a case repeats, by experiment and label; `PIT` is any reading of PIT.
REPEATED: Mapping[str, Mapping[str, str]] = {
    "table2": {
        "Real Spike 4x1": "Real Spike ResNet19 4x1",
        "Trainable Ternary 2x2": "Trainable Ternary ResNet19 2x2",
        "PIT 1x2": "PIT ResNet18 1x2",
        "PIT 1x4": "PIT ResNet18 1x4",
    },
    "table3": {
        "LIF 4x1": "LIF 4x1, CIFAR-10",
        "QAT 1x4": "QAT, CIFAR-10",
        "PIT 1x4": "PIT 1x4, CIFAR-10",
    },
    "table4": {
        f"PIT 1x4 lambda {strength}": f"lambda {strength}, CIFAR-10"
        for strength in ("0.1", "0.01", "0.001")
    },
    "table7": {
        "LIF 1x1": "ResNet18 1x1",
        "PIT ones 1x1 lambda 0": "(i) learnable PIT",
        "PIT 1x1 lambda 0": "(ii) input-aware start",
        "PIT 1x1": "PIT 1x1",
    },
    "table8": {each: each for each in ("LIF 4x1", "I-LIF 1x4", "PIT 4x1", "PIT 1x4")},
    "table9": {f"PIT {split}": f"PIT {split}, CIFAR-10" for split in ("4x1", "2x2", "1x4")},
    "table10": {each: each for each in ("LIF 4x1", "I-LIF 1x4", "PIT 1x4")},
    "table11": {
        "Real Spike 10x1": "Real Spike VGG16 10x1",
        "Trainable Ternary 10x2": "Trainable Ternary VGG11 10x2",
        "PIT 10x1": "PIT VGG11 10x1",
        "PIT 10x4": "PIT VGG11 10x4",
    },
    "table12": {
        "CLIF 10x1": "CLIF VGG11 20x1",
        "Real Spike 10x1": "Real Spike VGG11 20x1",
        "Trainable Ternary 10x2": "Trainable Ternary VGG11 20x2",
        "PIT 10x1": "PIT VGG11 20x1",
        "PIT 10x2": "PIT VGG11 20x2",
    },
    "figure3": {
        "LIF 4x1": "IF SEW ResNet34 4x1",
        "PIT 1x4": "PIT SEW ResNet34 1x4",
        "ReLU": "ReLU ResNet34",
    },
    "figure4": {"LIF 10x1": "(a) LIF", "I-LIF 10x4": "(b) I-LIF", "PIT 10x4": "(c) PIT"},
    "figure5": {"LIF 1x1": "(a, c) LIF", "PIT 1x1": "(b, d) PIT"},
    "figure6": {"LIF 4x1": "(a) LIF", "PIT 4x1": "(b) PIT"},
    "figure7": {"PIT 1x4": "(a, b) CIFAR-10"},
}


def load_rows(name: str) -> tuple[Row, ...]:
    """Return the rows of a table or figure of the paper."""
    return TABLES[name].ROWS


def find_printed(name: str) -> dict[str, Mapping[str, float]]:
    """Return the printed values of each row by its label."""
    return {row.label: row.printed for row in load_rows(name)}


def find_row(name: str, label: str) -> str:
    """Return the label of the row that a case repeats; empty if there is none."""
    for reading in ("paper", "released", "ours"):
        label = label.replace(f"PIT {reading}", "PIT")
    return REPEATED.get(name, {}).get(label, "")


def count_rows(name: str) -> tuple[Case, ...]:
    """Return a case for each row of a table whose measure needs no training; none for others."""
    if name not in MEASURES:
        return ()
    return tuple(
        Case(
            f"{row.label}{COUNTED}",
            row=row.label,
            group="full network",
            measures=(MEASURES[name],),
            remark=f"Counted from shapes. {row.remark}".strip(),
        )
        for row in load_rows(name)
    )
