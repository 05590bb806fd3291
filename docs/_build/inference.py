"""The pictures of docs/theory/inference.md, and its parts between markers.

`python -m docs._build.diagrams inference` writes all of them except the output of a run, which
`docs._build.printed` writes.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docs._build.pictures import codes, folds

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "theory" / "inference.md"
BENCHMARKS = DOCS.parent / "benchmarks"
AGREEMENT = BENCHMARKS / "spike_driven_agreement.json"
EVENT_DRIVEN = BENCHMARKS / "event_driven.json"
PEERS = "JAX float32", "PyTorch float32", "PyTorch int8"
RUNTIMES = "event-driven", "JAX program.grid", *PEERS
QUICKEST = "microseconds of the quickest tenth"
START, END = "<!-- {} of docs._build.inference -->\n", "<!-- its end -->"


def list_pictures() -> dict[str, Callable[[], str]]:
    """Return the function that draws each picture, by the name of its file."""
    return {one.name: partial(folds.draw, one) for one in folds.FOLDS} | {"codes": codes.draw}


def list_blocks() -> dict[str, Callable[[], str]]:
    """Return the function that writes each table, by the name in its markers."""
    written: dict[str, Callable[[], str]] = {
        "thresholds": codes.make_threshold_table,
        "agreement": make_agreement_table,
        "event_driven": make_runtime_table,
    }
    return written | {one.name: partial(make_cost_block, one) for one in folds.FOLDS}


def write() -> None:
    """Draw the pictures and write the tables into the page."""
    for name, drawn in list_pictures().items():
        folds.get_file(name).parent.mkdir(parents=True, exist_ok=True)
        folds.get_file(name).write_text(drawn())
    for name, written in list_blocks().items():
        PAGE.write_text(replace_block(PAGE.read_text(), name, written()))


def replace_block(page: str, name: str, text: str) -> str:
    """Return `page` with `text` between the markers of `name`."""
    before, _, rest = page.partition(START.format(name))
    return before + START.format(name) + text + END + rest.partition(END)[2]


def read_block(page: str, name: str) -> str:
    """Return the text between the markers of `name`."""
    return page.partition(START.format(name))[2].partition(END)[0]


def make_cost_block(one: folds.Fold) -> str:
    """Return the costs of a fold, as `program.costs` prints them."""
    return f"```text\n{folds.format_costs(one)}\n```\n"


def make_agreement_table() -> str:
    """Return how closely programs agree with trained networks, a row per run and weight format."""
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


def make_runtime_table() -> str:
    """Return the times of a network per runtime, and the firing rates from which a layer loses."""
    measured = json.loads(EVENT_DRIVEN.read_text())
    network = measured["network"]
    rows = [
        f"The network is {network['name']}. Times are in µs per call: the tenth percentile of all "
        "calls, because other programs ran at the same time.\n",
        f"| batch | inputs that fire | {' | '.join(RUNTIMES)} |",
        "|--:" * (len(RUNTIMES) + 2) + "|",
    ]
    for batch, each in network["batches"].items():
        times = " | ".join(f"{each[QUICKEST][name]:,.0f}" for name in RUNTIMES)
        rows.append(f"| {batch} | {each['own rate']:.1%} | {times} |")
    rows += [
        "\nFor single layers, the event-driven runtime is slower from this firing rate on:\n",
        f"| layer | {' | '.join(PEERS)} |",
        "|---" + "|--:" * len(PEERS) + "|",
    ]
    for name, layer in measured["layers"].items():
        rows.append(f"| {name} | {' | '.join(_find_losing_rate(layer, peer) for peer in PEERS)} |")
    return "\n".join(rows) + "\n"


def _find_losing_rate(layer: dict[str, Any], peer: str) -> str:
    own, other = layer["microseconds"]["event-driven"], layer["microseconds"][peer]
    slower = (rate for rate, a, b in zip(layer["rate"], own, other, strict=True) if a > b)
    return f"{rate:.0%}" if (rate := next(slower, None)) is not None else "never"
