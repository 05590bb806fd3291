"""Draw the picture of docs/theory/memory.md and write its table: python -m docs._build.memory"""

import json
from pathlib import Path
from typing import Any

from docs._build.tables import fill_tables
from pit_jax.analysis.plots.memory import parts

DOCS = Path(__file__).parents[1]
PAGE, PICTURE = DOCS / "theory" / "memory.md", DOCS / "images" / "training_memory.png"
MEASURED = DOCS.parent / "benchmarks" / "training_memory.json"
GB = 1e9


def read_rows() -> list[dict[str, Any]]:
    """Return the rows of the benchmark that did not fail."""
    found: list[dict[str, Any]] = json.loads(MEASURED.read_text())
    return [row for row in found if "failed" not in row]


def make_step_table() -> str:
    """Return all rows in GB, next to measurements of a GPU and numbers of the paper."""
    head = (
        "network, neuron, images",
        "weights, statistics, optimizer, gradients",
        "activations",
        "total",
        "compiler",
        "peak",
        "Table 5",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for row in read_rows():
        sizes, compiler = row["parts"], row.get("compiler")
        state = sum(sizes.values()) - sizes["activations"] - sizes["batch"]
        cells = [
            state,
            sizes["activations"],
            row["total"],
            compiler and compiler["argument"] + compiler["temp"],
            row.get("peak"),
        ]
        numbers = ["–" if cell is None else f"{cell / GB:.2f}" for cell in cells]
        paper = "–" if row["paper"] is None else f"{row['paper']:.2f}"
        lines.append("| " + " | ".join([row["name"], *numbers, paper]) + " |")
    return "\n".join(lines) + "\n"


def describe_device() -> str:
    """Return the devices and JAX versions with which the rows were measured."""
    made = sorted(
        {f"{e['device']}, jax {e['jax']}" for e in (r["environment"] for r in read_rows())}
    )
    return f"Made with {'; '.join(made)}.\n"


TABLES = {"steps": make_step_table, "device": describe_device}


def draw() -> None:
    """Draw the parts of all rows, with the peaks that a GPU reported."""
    found = read_rows()
    peaks = {row["name"]: row["peak"] for row in found if row.get("peak")}
    drawn = parts({row["name"]: row["parts"] for row in found}, "A training step by part", peaks)
    drawn.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(fill_tables(PAGE.read_text(), "memory", TABLES))
    draw()
