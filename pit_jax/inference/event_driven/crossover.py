"""The crossover of a layer: the firing rate up to which adding spikes is faster than all inputs.

It is looked up in a table of measurements. Both ways give the same currents, so the table affects
time only. `crossover.json` was measured on one machine; for another one run
`python -m pit_jax.inference.event_driven.measure FILE`.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from pit_jax.inference.event_driven.assemble import WeightLayer
from pit_jax.old_names import serve_old_names

Crossover = Callable[[WeightLayer, int], float]
"""A function of a layer and a batch size: the largest share of firing inputs at which the layer
still adds spikes."""

TABLE = Path(__file__).parent / "crossover.json"


def all_event_driven(layer: WeightLayer, batch: int) -> float:
    """Return 1, so that every layer adds its spikes, however many fire."""
    return 1.0


def all_dense(layer: WeightLayer, batch: int) -> float:
    """Return -1, so that every layer adds all inputs, however few fire."""
    return -1.0


def look_up_crossover(
    layer: WeightLayer, batch: int, table: Sequence[dict[str, Any]] | None = None
) -> float:
    """Return the rate measured for the nearest layer of the same kind.

    Sizes are input channels, features, output pixels, pixels of the kernel, and the batch. The
    nearest layer needs the fewest doublings and halvings of these to get the sizes of `layer`.
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
