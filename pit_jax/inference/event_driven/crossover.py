"""Up to which firing rate a layer goes by its spikes, looked up in a table of measurements.

Either way gives the same currents, so the table is about time and nothing else. `crossover.json`
is of one machine; `python -m pit_jax.inference.event_driven.measure FILE` writes that of another.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from pit_jax.inference.event_driven.assemble import Layer

# The share of its inputs that fire up to which a layer, of a batch of so many, goes by spikes.
Crossover = Callable[[Layer, int], float]

TABLE = Path(__file__).parent / "crossover.json"


def all_event_driven(layer: Layer, batch: int) -> float:
    """Every layer goes by its spikes, however many there are."""
    return 1.0


def all_dense(layer: Layer, batch: int) -> float:
    """No layer goes by its spikes, however few there are."""
    return -1.0


def measured(layer: Layer, batch: int, table: Sequence[dict[str, Any]] | None = None) -> float:
    """The rate measured for the layer of the same kind that is nearest.

    That is the one with the fewest doublings between its size and that of `layer`: of input
    channels, features, output pixels, pixels of the kernel, and the batch, all counted alike.
    """
    rows = _shipped() if table is None else table
    alike = [row for row in rows if row["kind"] == layer.kind]

    def doublings(row: dict[str, Any]) -> float:
        sizes = zip((*layer.size, batch), (*row["size"], row["batch"]), strict=True)
        return sum(abs(math.log2(a / b)) for a, b in sizes)

    return float(min(alike, key=doublings)["rate"]) if alike else 1.0


def from_file(file: Path | str) -> Crossover:
    """As `measured`, with the table in `file`."""
    return partial(measured, table=_read(Path(file)))


@cache
def _shipped() -> list[dict[str, Any]]:
    return _read(TABLE)


def _read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text())["layers"]
    return rows
