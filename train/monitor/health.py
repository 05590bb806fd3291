"""Watches over the health of a run's neuron layers, and says in words when one leaves its range.

The formulas of the measures are in program/probe.py.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from ..config.bounds import at_least, set_bounds
from ..files import write_atomically
from ..program.probe import changes
from ..program.program import Program
from ..program.state import TrainState
from ..run.reading import read_records

FILE, RECORDS = "health.npz", "metrics.jsonl"
MEASURES = ("rate", "silent", "saturated", "floor", "distance", "flips", "oscillating")

# By layer, a number or None for each of MEASURES.
Measures = Mapping[str, Mapping[str, float | None]]


class Limit(NamedTuple):
    """The end of a measure's range: above `most`, or below `least`, it is worth a warning."""

    measure: str
    words: str
    help: str
    least: float = -math.inf
    most: float = math.inf


# Runs of configs/digits.py with ten neurons stay far within, from their first epoch on: no scale at
# the floor, no channel silent or saturated, distances from 32 %, rates of 4 to 70 %, at most 35 %
# flips and 17 % oscillating. PLIF, silent at first, and learning rates 20 times as high do not.
LIMITS = (
    # At the floor a membrane of 0.004 fires 4 already; Eq. 12 starts far above it.
    Limit(
        "floor",
        "{:.3g} % of its scales lie at their floor",
        "a lower learning rate may keep them up; look at the norm before it for channels that "
        "hardly vary",
        most=0.05,
    ),
    # What such channels would carry is lost, and most of them get no gradient any more.
    Limit(
        "silent",
        "{:.3g} % of its channels never fire",
        "a smaller scale, a lower learning rate or another initialization may help",
        most=0.3,
    ),
    # Such a channel is a constant; the membrane is outside the window of its gradient.
    Limit(
        "saturated",
        "{:.3g} % of its channels always fire D",
        "a larger scale, a lower learning rate or another initialization may help",
        most=0.05,
    ),
    # A thousandth of D is one spike of 250 neurons with D = 4.
    Limit(
        "rate",
        "it fires at {:.3g} % of D on average",
        "hardly anything passes it; a smaller scale or threshold may help",
        least=0.001,
    ),
    Limit(
        "rate",
        "it fires at {:.3g} % of D on average",
        "it tells little apart; a larger scale or threshold may help",
        most=0.9,
    ),
    # Spread evenly between the boundaries they are 25 % of a step away, and those outside more.
    Limit(
        "distance",
        "its membranes are {:.3g} % of a step from where they round on average",
        "they pile up where the integers flip; a lower learning rate may help",
        least=0.2,
    ),
    # Spikes that are drawn anew at each step, half of them 0, flip at 50 % and oscillate at 25 %.
    Limit(
        "flips",
        "{:.3g} % of its integers changed in one step",
        "a lower learning rate, or a longer warm-up, may help",
        most=0.5,
    ),
    Limit(
        "oscillating",
        "{:.3g} % of its integers changed and changed back",
        "a lower learning rate, or averaged weights (config.averaging), may help",
        most=0.25,
    ),
)


class Health:
    """The health of every neuron layer, measured at the end of every few epochs; 0 is never.

    A run that resumes after step `begun` reads what was seen of its epoch before, and does not
    repeat the warnings that metrics.jsonl shows already. `note` prints the warnings. Without a
    `workdir` nothing is read or written.
    """

    @set_bounds(every_epochs=at_least(0))
    def __init__(
        self,
        program: Program,
        workdir: Path | None,
        *,
        every_epochs: int,
        begun: int,
        note: Callable[[str], None],
    ) -> None:
        self._program, self._workdir, self._note = program, workdir, note
        self._every_epochs = every_epochs if program.neuron_layers else 0
        # The integers before the last two steps of an epoch.
        self._counts: list[Mapping[str, Array | np.ndarray]] = []
        records = []
        if workdir is not None:
            self._counts += _read(workdir / FILE, begun)
            records = read_records(workdir / RECORDS)
        measured = [
            record["health"] for record in records if "health" in record and record["step"] <= begun
        ]
        self._known = set(find_complaints(measured[-1])) if measured else set()

    def before(self, state: TrainState, number: int) -> None:
        """Look at the state before step `number`, from 1 on, if it is one of an epoch's last two.

        This does not wait for the device.
        """
        epoch, place = divmod(number - 1, self._program.steps_per_epoch)
        if self._is_due(epoch + 1) and place >= self._program.steps_per_epoch - 2:
            self._counts.append(self._program.probe(state).counts)

    def save(self, step: int) -> None:
        """Write what a run that resumes after `step` could not see again."""
        if self._counts and self._workdir is not None:
            file, seen = io.BytesIO(), jax.device_get(self._counts[-1])
            np.savez_compressed(file, step=step, **seen)
            write_atomically(self._workdir / FILE, file.getvalue())

    def end(self, state: TrainState, epoch: int) -> dict[str, Measures]:
        """Return the measures at the end of `epoch`, as `health`; {} where none are due."""
        if not self._is_due(epoch):
            return {}
        look = self._program.probe(state)
        counts, measures = jax.device_get(([*self._counts, look.counts], look.measures))
        self._counts = []
        measured = {}
        for layer in self._program.neuron_layers:
            found = measures[layer] | changes(*(each[layer] for each in counts))
            measured[layer] = {name: _number(found.get(name)) for name in MEASURES}
        found_now = find_complaints(measured)
        for each, text in found_now.items():
            if each not in self._known:
                self._note(f"epoch {epoch}, {text}")
        self._known = set(found_now)
        return {"health": measured}

    def _is_due(self, epoch: int) -> bool:
        return bool(self._every_epochs) and epoch % self._every_epochs == 0


def find_complaints(measured: Measures) -> dict[tuple[str, int], str]:
    """Return what is out of range, in words, by layer and the place of the limit in `LIMITS`."""
    found = {}
    for layer, values in measured.items():
        for place, limit in enumerate(LIMITS):
            value = values.get(limit.measure)
            if value is None or limit.least <= value <= limit.most:
                continue
            bound = f"over {100 * limit.most:g} %"
            if value < limit.least:
                bound = f"under {100 * limit.least:g} %"
            said = limit.words.format(100 * value)
            found[layer, place] = f"{layer}: {said} ({bound}); {limit.help}"
    return found


def _read(file: Path, step: int) -> list[Mapping[str, Array | np.ndarray]]:
    """Return what was saved after `step`; nothing saved after another one, or damaged."""
    try:
        with np.load(io.BytesIO(file.read_bytes())) as file_content:
            seen = dict(file_content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return []
    return [seen] if int(seen.pop("step", -1)) == step else []


def _number(value: Any) -> float | None:
    """Round to four digits; JSON has no NaN."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
