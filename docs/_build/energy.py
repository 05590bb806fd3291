"""Write the tables of docs/theory/energy.md: python -m docs._build.energy [RUN ...]

The totals of the given runs replace docs/_build/energy_runs.json first. Each needs the output of
`python -m train.analyze RUN --only energy`.
"""

import csv
import json
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from docs._build.tables import fill_tables, format_table
from pit_jax.analysis.energy import TABLE_3, TABLE_10, paper_table3, paper_table10, s_ace
from pit_jax.models import create
from pit_jax.models.count import LayerCount, count_layers
from pit_jax.neurons import PIT

DOCS = Path(__file__).parents[1]
PAGE, RUNS = DOCS / "theory" / "energy.md", Path(__file__).with_name("energy_runs.json")


@cache
def count_resnet18(num_classes: int = 10) -> Sequence[LayerCount]:
    """Count the layers of the paper's ResNet18 for images of CIFAR, from shapes."""
    model = create("resnet18", num_classes=num_classes, neuron=partial(PIT, levels=4))
    return count_layers(model, (1, 32, 32, 3))


def count_macs(num_classes: int = 10) -> int:
    """Count the multiply-accumulates of one step."""
    return sum(layer.macs for layer in count_resnet18(num_classes))


def make_table3() -> str:
    """Return Table 3 as printed, next to its recomputed columns."""
    head = ["data", "method", "T×D", "S-ACE, printed", "recomputed", "NS-ACE, printed", "its rate"]
    rows = []
    for row in TABLE_3:
        ace, _ = paper_table3(
            count_macs(int(row.data[5:])), 0.0, steps=row.steps or 1, levels=row.levels or 4
        )
        cells = [row.data, row.method, f"{row.steps}×{row.levels}" if row.steps else "–"]
        cells += [f"{row.s_ace:.2f}", f"{ace / 1e9:.2f}"]
        if row.ns_ace is None:
            cells += ["–", "–"]
        else:
            cells += [f"{row.ns_ace:.2f}", f"{row.ns_ace * 1e9 / ace:.2%}"]
        rows.append(cells)
    return format_table(head, rows, left=3)


def make_convention_table() -> str:
    """Return S-ACE of ResNet18 on CIFAR-10 for 16-bit weights and T·D = 4, by convention."""
    ace = partial(s_ace, weight_bits=16)
    stem, rest = count_resnet18()[0].macs, count_macs() - count_resnet18()[0].macs
    others = ace(rest, steps=1, spike_bits=4)
    paper, _ = paper_table3(count_macs(), 0.0, steps=1, levels=4)
    found = [
        ("0.56 G, rounded, × 16 × 4 (`paper_table3`)", paper),
        ("4 bits for all layers, exact", ace(count_macs(), steps=1, spike_bits=4)),
        (
            "pixels of 8 bits, once (`report`'s own for T = 1, D = 4)",
            ace(stem, steps=1, spike_bits=8) + others,
        ),
        (
            "pixels of 8 bits at each of 4 steps",
            ace(stem, steps=4, spike_bits=8) + others,
        ),
        ("pixels of 16 bits, once", ace(stem, steps=1, spike_bits=16) + others),
        ("five levels in 3 bits, for all layers", ace(count_macs(), steps=1, spike_bits=3)),
    ]
    rows = [[name, f"{number / 1e9:.3f}"] for name, number in found]
    return format_table(["what is charged", "S-ACE, G"], rows, left=1)


def make_table10() -> str:
    """Return Table 10 with MACs and energies recomputed from its ACs."""
    head = ["method", "T×D", "ACs (M)", "MACs (M), printed", "recomputed", "µJ, printed"]
    head += ["recomputed", "rate of its ACs", "with T·D"]
    neurons = sum(layer.neurons for layer in count_resnet18())
    stem = count_resnet18()[0].macs
    rows = []
    for row in TABLE_10:
        products, energy = paper_table10(stem, neurons, row.acs * 1e6, scaled=row.method == "PIT")
        rate = row.acs * 1e6 / (count_macs() - stem)
        numbers = [f"{row.acs:.2f}", f"{row.macs:.2f}", f"{products / 1e6:.6f}"]
        numbers += [f"{row.energy:.2f}", f"{energy / 1e6:.3f}", f"{rate:.2%}", f"{rate / 4:.2%}"]
        rows.append([row.method, f"{row.steps}×{row.levels}", *numbers])
    return format_table(head, rows, left=2)


def make_rate_table() -> str:
    """Return the ACs of Table 10 that follow from the rates of Table 3 on CIFAR-10."""
    rest = count_macs() - count_resnet18()[0].macs
    printed = {row.method: row.acs for row in TABLE_10}
    head = ["method", "rate, Table 3", "ACs (M) of that rate", "with T·D", "ACs (M), Table 10"]
    rows = []
    for row in TABLE_3[:3]:
        if row.ns_ace is not None:
            rate = row.ns_ace / row.s_ace
            numbers = [f"{rate:.2%}", f"{rate * rest / 1e6:.1f}", f"{4 * rate * rest / 1e6:.1f}"]
            rows.append([row.method, *numbers, f"{printed[row.method]:.2f}"])
    return format_table(head, rows, left=1)


def make_run_table() -> str:
    """Return the energies of trained networks, from docs/_build/energy_runs.json."""
    head = ["run", "accumulations", "MACs", "µJ", "of the twin", "memory, µJ", "of the twin"]
    head += ["µJ by Table 10's rule", "commit"]
    rows = []
    for run in json.loads(RUNS.read_text()):
        honest, twin = run["honest"], run["twin"]
        numbers = [f"{honest['accumulations']:,.0f}", f"{honest['macs']:,.0f}"]
        energies = [honest["energy_pj"], twin["energy_pj"], run["memory_pj"], run["twin_memory_pj"]]
        energies.append(run["paper_table10"]["energy_pj"])
        rows.append(
            [f"`{run['config']}`", *numbers, *(f"{x / 1e6:.2f}" for x in energies), run["commit"]]
        )
    return format_table(head, rows, left=1)


def read_run(run: Path) -> dict[str, Any]:
    """Return the totals of an analyzed run, with its config and commit."""
    folder = run / "analysis/last/energy"
    with open(folder / "energy_totals.csv") as lines:
        totals = {line.pop("convention"): line for line in csv.DictReader(lines)}
    with open(folder / "energy.csv") as lines:
        by_layer = list(csv.DictReader(lines))
    environment = json.loads((run / "environment.json").read_text())[-1]
    return {
        "config": environment["arguments"].split()[1],
        "commit": environment["commit"],
        **{
            name: sum(float(line[name]) for line in by_layer)
            for name in ("memory_pj", "twin_memory_pj")
        },
        **{
            name: {field: float(value) for field, value in line.items() if value}
            for name, line in totals.items()
        },
    }


TABLES = {
    "table3": make_table3,
    "conventions": make_convention_table,
    "table10": make_table10,
    "rates": make_rate_table,
    "runs": make_run_table,
}


if __name__ == "__main__":
    if sys.argv[1:]:
        RUNS.write_text(json.dumps([read_run(Path(run)) for run in sys.argv[1:]], indent=1) + "\n")
    PAGE.write_text(fill_tables(PAGE.read_text(), "energy", TABLES))
