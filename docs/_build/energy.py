"""Writes the tables of docs/theory/energy.md: python -m docs._build.energy [RUN ...]

With runs that `python -m train.analyze RUN --only energy` has been through, docs/_build/energy_runs.json takes
their totals first.
"""

import csv
import json
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from docs._build.tables import filled, table
from pit_jax.analysis.energy import TABLE_3, TABLE_10, paper_table3, paper_table10, s_ace
from pit_jax.models import create
from pit_jax.models.count import LayerCount, count_layers
from pit_jax.neurons import PIT

DOCS = Path(__file__).parents[1]
PAGE, RUNS = DOCS / "theory" / "energy.md", Path(__file__).with_name("energy_runs.json")


@cache
def resnet18(num_classes: int = 10) -> Sequence[LayerCount]:
    """The layers of the paper's ResNet18 for images of CIFAR, from shapes."""
    model = create("resnet18", num_classes=num_classes, neuron=partial(PIT, levels=4))
    return count_layers(model, (1, 32, 32, 3))


def macs(num_classes: int = 10) -> int:
    """The multiply-accumulates of one step."""
    return sum(layer.macs for layer in resnet18(num_classes))


def table3() -> str:
    """Table 3 and what its columns follow from."""
    head = ["data", "method", "T×D", "S-ACE, printed", "recomputed", "NS-ACE, printed", "its rate"]
    rows = []
    for row in TABLE_3:
        ace, _ = paper_table3(
            macs(int(row.data[5:])), 0.0, steps=row.steps or 1, levels=row.levels or 4
        )
        cells = [row.data, row.method, f"{row.steps}×{row.levels}" if row.steps else "–"]
        cells += [f"{row.s_ace:.2f}", f"{ace / 1e9:.2f}"]
        if row.ns_ace is None:
            cells += ["–", "–"]
        else:
            cells += [f"{row.ns_ace:.2f}", f"{row.ns_ace * 1e9 / ace:.2%}"]
        rows.append(cells)
    return table(head, rows, left=3)


def conventions() -> str:
    """S-ACE of ResNet18 on CIFAR-10 at 16 bits of weight and T·D = 4, by what is charged."""
    ace = partial(s_ace, weight_bits=16)
    stem, rest = resnet18()[0].macs, macs() - resnet18()[0].macs
    others = ace(rest, steps=1, spike_bits=4)
    paper, _ = paper_table3(macs(), 0.0, steps=1, levels=4)
    found = [
        ("0.56 G, rounded, × 16 × 4 (`paper_table3`)", paper),
        ("all layers alike, exact", ace(macs(), steps=1, spike_bits=4)),
        (
            "pixels of 8 bits, once (`report`'s own for T = 1, D = 4)",
            ace(stem, steps=1, spike_bits=8) + others,
        ),
        (
            "pixels of 8 bits at each of 4 steps",
            ace(stem, steps=4, spike_bits=8) + others,
        ),
        ("pixels of 16 bits, once", ace(stem, steps=1, spike_bits=16) + others),
        ("five levels in 3 bits, all layers alike", ace(macs(), steps=1, spike_bits=3)),
    ]
    rows = [[name, f"{number / 1e9:.3f}"] for name, number in found]
    return table(["what is charged", "S-ACE, G"], rows, left=1)


def table10() -> str:
    """Table 10: its MACs and energies follow from its ACs, which no rate of Table 3 explains."""
    head = ["method", "T×D", "ACs (M)", "MACs (M), printed", "recomputed", "µJ, printed"]
    head += ["recomputed", "rate of its ACs", "with T·D"]
    neurons = sum(layer.neurons for layer in resnet18())
    stem = resnet18()[0].macs
    rows = []
    for row in TABLE_10:
        products, energy = paper_table10(stem, neurons, row.acs * 1e6, scaled=row.method == "PIT")
        rate = row.acs * 1e6 / (macs() - stem)
        numbers = [f"{row.acs:.2f}", f"{row.macs:.2f}", f"{products / 1e6:.6f}"]
        numbers += [f"{row.energy:.2f}", f"{energy / 1e6:.3f}", f"{rate:.2%}", f"{rate / 4:.2%}"]
        rows.append([row.method, f"{row.steps}×{row.levels}", *numbers])
    return table(head, rows, left=2)


def rates() -> str:
    """The ACs that Table 3's rates on CIFAR-10 would give Table 10."""
    rest = macs() - resnet18()[0].macs
    printed = {row.method: row.acs for row in TABLE_10}
    head = ["method", "rate, Table 3", "ACs (M) of that rate", "with T·D", "ACs (M), Table 10"]
    rows = []
    for row in TABLE_3[:3]:
        if row.ns_ace is not None:
            rate = row.ns_ace / row.s_ace
            numbers = [f"{rate:.2%}", f"{rate * rest / 1e6:.1f}", f"{4 * rate * rest / 1e6:.1f}"]
            rows.append([row.method, *numbers, f"{printed[row.method]:.2f}"])
    return table(head, rows, left=1)


def runs() -> str:
    """Trained networks, as docs/_build/energy_runs.json has them."""
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
    return table(head, rows, left=1)


def read(run: Path) -> dict[str, Any]:
    """The totals of an analyzed run, with the config and commit that it was trained with."""
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
    "table3": table3,
    "conventions": conventions,
    "table10": table10,
    "rates": rates,
    "runs": runs,
}


if __name__ == "__main__":
    if sys.argv[1:]:
        RUNS.write_text(json.dumps([read(Path(run)) for run in sys.argv[1:]], indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text(), "energy", TABLES))
