"""What this library aims at in speed and memory, relative to others, and what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.compare import compare
from benchmarks.workloads import pipeline

PIPELINE, STEP = pipeline.PARTS
PIT, LIF, ILIF = "PIT 1×4", "LIF 4×1", "I-LIF 1×4"
OURS, KEPT, RIVAL = "pit_jax", "pit_jax-kept", "spikingjelly"


class Aim(NamedTuple):
    """A ratio to another library in a cell of a workload.

    `ours` and `theirs` are labels of the cell. `least` is the aim for speeds; `most` for memory.
    """

    what: str
    workload: str
    cell: str
    ours: str
    peer: str
    theirs: str
    least: float = 0.0
    most: float = 0.0


def list_layer_aims() -> Iterator[Aim]:
    """Yield the aims for neurons alone."""
    for ours, theirs, of_many in (
        ("LIF", "LIF", 2.5),
        ("I-LIF", "I-LIF", 3.5),
        ("PIT", "I-LIF", 2.5),
    ):
        for steps in (1, 4, 10, 32):
            cell = f"{'LIF' if ours == 'LIF' else 'I-LIF and PIT'} T={steps}"
            what = f"{ours} alone, T = {steps}"
            yield Aim(what, "W1", cell, ours, RIVAL, theirs, of_many if steps >= 10 else 1.0)
            if steps <= 10:
                # PIT learns its scale, which the neuron it is compared with does not have.
                least = 0.8 if ours == "PIT" else 1.0
                yield Aim(what, "W1", cell, ours, f"{RIVAL}-compiled", theirs, least)


def list_other_aims() -> Iterator[Aim]:
    """Yield the aims for a layer with LIF over 500 steps, VGG11 on frames, and input pipelines."""
    for peer in (RIVAL, "snntorch", "norse", "spyx", "jaxpike"):
        yield Aim("linear layer and LIF, T = 500", "W2", "n=2048", "LIF", peer, "LIF", 1.0)
    rows = (("LIF 10×1", "LIF 10×1"), ("I-LIF 10×4", "I-LIF 10×4"), ("PIT 10×4", "I-LIF 10×4"))
    for ours, theirs in rows:
        yield Aim(f"training VGG11, {ours}", "W5", "batch 16", ours, RIVAL, theirs, 1.0)
    for case in pipeline.CASES:
        yield Aim(f"pipeline, {case}", "W7", case, PIPELINE, OURS, STEP, 10)


AIMS = (
    Aim("training, ReLU", "W3", "batch 32", "ReLU", "pytorch", "ReLU", 0.93),
    Aim(f"training, {PIT}", "W3", "batch 32", PIT, RIVAL, ILIF, 1.2),
    Aim(f"training, {LIF}", "W3", "batch 32", LIF, RIVAL, LIF, 1.0),
    Aim(f"training, {PIT}, to our ReLU", "W3", "batch 32", PIT, OURS, "ReLU", 0.93),
    Aim(f"peak memory, {PIT}", "W3", "batch 128, memory", PIT, RIVAL, ILIF, most=0.75),
    Aim(f"peak memory, {LIF}", "W3", "batch 128, memory of LIF", LIF, RIVAL, LIF, most=1.1),
    Aim("inference, ReLU, batch 128", "W6", "batch 128", "ReLU", "pytorch", "ReLU", 1.0),
    Aim(f"inference, {PIT}, batch 128", "W6", "batch 128", PIT, RIVAL, ILIF, 1.2),
    *list_layer_aims(),
    *list_other_aims(),
)


def list_results(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each aim: what, to which library, aim, measured, measured with kept memory.

    The last one compares our kept memory with that library as it is. What was not measured is
    empty. An aim that is missed is bold.
    """
    cells = {(x["workload"], cell["name"]): cell for x in records for cell in x["cells"]}
    for aim in AIMS:
        # In older records one cell has the memory of both neurons.
        older = (aim.workload, aim.cell.partition(" of ")[0])
        cell = cells.get((aim.workload, aim.cell)) or cells.get(older, {"entries": []})
        entries = {(x["peer"], x["label"]): x for x in cell["entries"] if x["status"] == "ok"}
        theirs = entries.get((aim.peer, aim.theirs))
        shown = []
        for peer in (OURS, KEPT):
            ours = entries.get((peer, aim.ours))
            shown.append(show(aim, ours, theirs) if ours and theirs else "")
        wanted = f"≤ {aim.most:g}" if aim.most else f"≥ {aim.least:g}"
        yield (aim.what, f"{aim.peer}, {aim.theirs}", wanted, *shown)


def show(aim: Aim, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the measured ratio; bold if it misses the aim."""
    if aim.most:
        ratio = ours["peak_mib"] / theirs["peak_mib"]
        missed = ratio > aim.most
    else:
        ratio = compare(ours["seconds"], theirs["seconds"]).median
        missed = ratio < aim.least
    return f"**{ratio:.2f}**" if missed else f"{ratio:.2f}"
