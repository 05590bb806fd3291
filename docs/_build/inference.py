"""What docs/theory/inference.md shows and code knows: its pictures, and what stands between its markers.

`python -m docs._build.diagrams inference` writes all of it but what a run printed (docs._build.printed).
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docs._build import codes, folds

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "theory" / "inference.md"
BENCHMARKS = DOCS.parent / "benchmarks"
AGREEMENT = BENCHMARKS / "spike_driven_agreement.json"
EVENT_DRIVEN = BENCHMARKS / "event_driven.json"
PEERS = "JAX float32", "PyTorch float32", "PyTorch int8"
RUNTIMES = "event-driven", "JAX program.grid", *PEERS
QUICKEST = "microseconds of the quickest tenth"
START, END = "<!-- {} of docs._build.inference -->\n", "<!-- its end -->"


def pictures() -> dict[str, Callable[[], str]]:
    """By the name of its file, what draws each picture."""
    return {one.name: partial(folds.drawn, one) for one in folds.FOLDS} | {"codes": codes.drawn}


def blocks() -> dict[str, Callable[[], str]]:
    """By the name in its markers, what writes each table."""
    written: dict[str, Callable[[], str]] = {
        "thresholds": codes.thresholds,
        "agreement": agreement,
        "event_driven": event_driven,
    }
    return written | {one.name: partial(costs, one) for one in folds.FOLDS}


def write() -> None:
    """Draws the pictures and writes the tables into the page."""
    for name, drawn in pictures().items():
        folds.file(name).parent.mkdir(parents=True, exist_ok=True)
        folds.file(name).write_text(drawn())
    for name, written in blocks().items():
        PAGE.write_text(with_block(PAGE.read_text(), name, written()))


def with_block(page: str, name: str, text: str) -> str:
    """`page` with `text` between the markers of `name`."""
    before, _, rest = page.partition(START.format(name))
    return before + START.format(name) + text + END + rest.partition(END)[2]


def block(page: str, name: str) -> str:
    """What stands between the markers of `name`."""
    return page.partition(START.format(name))[2].partition(END)[0]


def costs(one: folds.Fold) -> str:
    """What a fold costs, as `program.costs` prints it."""
    return f"```text\n{folds.costs(one)}\n```\n"


def agreement() -> str:
    """How near programs are to the trained networks, a row for each run and its weights."""
    rows = [
        "| run | weights | samples | spikes and logits | largest logits that agree "
        "| accuracy, program | in floats | logits differ by up to "
        "| spikes that differ, first layer | last layer |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for run in json.loads(AGREEMENT.read_text()):
        flipped = list(run["flipped"].values())
        same = "equal, bit for bit" if run["equal"] else "NOT EQUAL"
        cells = [
            f"`{run['config']}`<br>{run['title']}",
            run["weights"],
            f"{run['samples']:,}",
            same,
            f"{run['top1_agreement']:.2%}, all but {run['differing']}",
            f"{run['accuracy']:.2%}",
            f"{run['reference_accuracy']:.2%}",
            f"{run['largest_difference']:.2g}",
            f"{flipped[0]:.1e}",
            f"{flipped[-1]:.1e}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def event_driven() -> str:
    """How long a network takes in each runtime, and from which firing rate on a layer loses."""
    measured = json.loads(EVENT_DRIVEN.read_text())
    network = measured["network"]
    rows = [
        f"The network is {network['name']}. Times are in µs a call, which a tenth of the calls "
        "stayed below: other work ran beside.\n",
        f"| batch | inputs that fire | {' | '.join(RUNTIMES)} |",
        "|--:" * (len(RUNTIMES) + 2) + "|",
    ]
    for batch, each in network["batches"].items():
        times = " | ".join(f"{each[QUICKEST][name]:,.0f}" for name in RUNTIMES)
        rows.append(f"| {batch} | {each['own rate']:.1%} | {times} |")
    rows += [
        "\nOf single layers, it is slower from this firing rate on:\n",
        f"| layer | {' | '.join(PEERS)} |",
        "|---" + "|--:" * len(PEERS) + "|",
    ]
    for name, layer in measured["layers"].items():
        rows.append(f"| {name} | {' | '.join(_loses(layer, peer) for peer in PEERS)} |")
    return "\n".join(rows) + "\n"


def _loses(layer: dict[str, Any], peer: str) -> str:
    own, other = layer["microseconds"]["event-driven"], layer["microseconds"][peer]
    slower = (rate for rate, a, b in zip(layer["rate"], own, other, strict=True) if a > b)
    return f"{rate:.0%}" if (rate := next(slower, None)) is not None else "never"
