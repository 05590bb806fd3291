"""Up to which firing rate a layer goes by its spikes, looked up in a table of measurements.

Both ways give the same currents, so the table is about time and nothing else. `crossover.json`
is of one machine; `python -m pit_jax.inference.event_driven.measure FILE` writes that of another.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from pit_jax.inference.event_driven.assemble import WeightLayer
from pit_jax.old_names import serve_old_names

# From a layer and a batch size to the largest share of its inputs that fire with which it still
# goes by its spikes.
Crossover = Callable[[WeightLayer, int], float]

TABLE = Path(__file__).parent / "crossover.json"


def all_event_driven(layer: WeightLayer, batch: int) -> float:
    """Return 1: every layer goes by its spikes, however many there are."""
    return 1.0


def all_dense(layer: WeightLayer, batch: int) -> float:
    """Return -1: no layer goes by its spikes, however few there are."""
    return -1.0


def look_up_crossover(
    layer: WeightLayer, batch: int, table: Sequence[dict[str, Any]] | None = None
) -> float:
    """Return the rate measured for the nearest layer of the same kind.

    The nearest has the fewest doublings between its size and that of `layer`: of input channels,
    features, output pixels, pixels of the kernel, and the batch, each counted once.
    """
    rows = _read_shipped() if table is None else table
    same_kind = [row for row in rows if row["kind"] == layer.kind]

    def count_doublings(row: dict[str, Any]) -> float:
        sizes = zip((*layer.size, batch), (*row["size"], row["batch"]), strict=True)
        return sum(abs(math.log2(a / b)) for a, b in sizes)

    return float(min(same_kind, key=count_doublings)["rate"]) if same_kind else 1.0


def load_crossover(file: Path | str) -> Crossover:
    """Return `look_up_crossover` with the table in `file`."""
    return partial(look_up_crossover, table=_read(Path(file)))


@cache
def _read_shipped() -> list[dict[str, Any]]:
    return _read(TABLE)


def _read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text())["layers"]
    return rows


serve_old_names(__name__)
