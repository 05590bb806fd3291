"""Measures the health of neuron layers, and warns when a measure leaves its normal range.

The formulas of the measures are in program/probe.py.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from pit_jax.checks.bounds import set_bounds, whole
from pit_jax.reading import FileError, reading

from ..files import read_file, write_atomically
from ..program.probe import compare_counts
from ..program.program import Program
from ..program.state import TrainState
from ..run.reading import read_records

FILE, RECORDS = "health.npz", "metrics.jsonl"
MEASURES = ("rate", "silent", "saturated", "floor", "distance", "flips", "oscillating")

# For each layer, a number or None for each of MEASURES.
Measures = Mapping[str, Mapping[str, float | None]]


class Limit(NamedTuple):
    """A limit of a measure: a value above `most`, or below `least`, causes a warning.

    `help` lists what may help, the likeliest first.
    """

    measure: str
    words: str
    help: tuple[str, ...]
    least: float = -math.inf
    most: float = math.inf


class Complaint(NamedTuple):
    """The warning about one layer: the indices of its limits in `LIMITS`, and the text."""

    limits: tuple[int, ...]
    text: str


SMALLER, LARGER = "a smaller scale or threshold", "a larger scale or threshold"
RATE, START = "a lower learning rate", "another initialization"
# For a layer that gets the advice of both: some of its channels need one, and some the other.
UNEVEN = "a norm before it that equalizes its channels"
# Measured: runs of configs/digits.py with ten neurons stay far inside these limits from their first
# epoch on. They have no scale at the floor, no silent or saturated channel, distances of at least
# 32 %, rates of 4 to 70 %, at most 35 % flips and 17 % oscillating. PLIF, which is silent at first,
# and learning rates that are 20 times as high exceed them.
LIMITS = (
    # With a = 0.001 a membrane of 0.004 fires 4; Eq. 12 initializes scales far above that. Norms
    # with channels that hardly vary lead there too.
    Limit(
        "floor",
        "{:.3g} % of its scales are at their floor",
        (LARGER, RATE, "a look at the norm before it for channels that hardly vary"),
        most=0.05,
    ),
    # A silent channel carries no information, and most of them no longer get a gradient.
    Limit("silent", "{:.3g} % of its channels never fire", (SMALLER, RATE, START), most=0.3),
    # A saturated channel is a constant: its membrane is outside the window of the gradient.
    Limit("saturated", "{:.3g} % of its channels always fire D", (LARGER, RATE, START), most=0.05),
    # With D = 4, a thousandth of D is one spike for 250 neurons.
    Limit("rate", "it fires at {:.3g} % of D on average", (SMALLER,), least=0.001),
    Limit("rate", "it fires at {:.3g} % of D on average", (LARGER,), most=0.9),
    # Membranes that are uniform between the boundaries have a mean distance of 25 %, and those
    # outside of all boundaries a larger one. Below, they pile up where the counts flip.
    Limit(
        "distance",
        "its membranes are on average {:.3g} % of a step away from a rounding boundary",
        (RATE,),
        least=0.2,
    ),
    # Random spikes, redrawn at each step with probability ½, flip at 50 % and oscillate at 25 %.
    Limit(
        "flips",
        "{:.3g} % of its counts changed in one step",
        (RATE, "a longer warm-up"),
        most=0.5,
    ),
    Limit(
        "oscillating",
        "{:.3g} % of its counts changed and changed back",
        (RATE, "averaged weights (config.averaging)"),
        most=0.25,
    ),
)
# Warnings of one epoch; those about further layers are only counted.
MOST_WARNINGS = 3
# After this number of steps, running statistics of a norm keep a tenth of their start (0.9^22).
SETTLED_STEPS = 22


class Health:
    """The health of every neuron layer, measured after every `every_epochs` epochs; never for 0.

    A run that resumes after step `begun` reads the counts that it saved in the same epoch, and does
    not repeat warnings for which metrics.jsonl has the measures. `note` prints the warnings.
    Without a `workdir` nothing is read or written.
    """

    @set_bounds(every_epochs=whole(0))
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
        # The counts before the last two steps of an epoch. Flips need one state before the last
        # one, oscillations two.
        self._counts: list[Mapping[str, Array | np.ndarray]] = []
        records = []
        if workdir is not None:
            self._counts += _read(workdir / FILE, begun, program.neuron_layers)
            records = read_records(workdir / RECORDS)
        measured = [
            record["health"] for record in records if "health" in record and record["step"] <= begun
        ]
        self._known = _list_limits(find_complaints(measured[-1])) if measured else set()

    def before(self, state: TrainState, number: int) -> None:
        """Measure the state before step `number` if it is one of the last two of an epoch.

        Steps count from 1. This does not wait for the device.
        """
        epoch, place = divmod(number - 1, self._program.steps_per_epoch)
        if self._is_due(epoch + 1) and place >= self._program.steps_per_epoch - 2:
            self._counts.append(self._program.probe(state).counts)

    def save(self, step: int) -> bytes | None:
        """Save the counts that a run which resumes after `step` could not compute again.

        Return what was written; None if the run can compute all.
        """
        if not self._counts or self._workdir is None:
            return None
        file, seen = io.BytesIO(), jax.device_get(self._counts)
        counts: dict[str, Any] = {
            layer: np.stack([each[layer] for each in seen]) for layer in seen[0]
        }
        np.savez_compressed(file, step=step, looks=len(seen), **counts)
        write_atomically(self._workdir / FILE, file.getvalue())
        return file.getvalue()

    def end(self, state: TrainState, epoch: int) -> dict[str, Measures]:
        """Return the measures at the end of `epoch` under the key `health`; {} if none are due."""
        if not self._is_due(epoch):
            return {}
        look = self._program.probe(state)
        counts, measures = jax.device_get(([*self._counts, look.counts], look.measures))
        self._counts = []
        measured = {}
        for layer in self._program.neuron_layers:
            found = measures[layer] | compare_counts(*(each[layer] for each in counts))
            measured[layer] = {name: _round(found.get(name)) for name in MEASURES}
        self._warn(find_complaints(measured), epoch, bool(getattr(state, "batch_stats", None)))
        return {"health": measured}

    def _warn(self, found: Mapping[str, Complaint], epoch: int, has_norms: bool) -> None:
        """Print the new warnings, those of the layers with most limits first."""
        changed = {layer for layer, _ in _list_limits(found) - self._known}
        new = [layer for layer in found if layer in changed]
        new.sort(key=lambda layer: -len(found[layer].limits))
        for layer in new[:MOST_WARNINGS]:
            self._note(f"epoch {epoch}, {found[layer].text}")
        steps = epoch * self._program.steps_per_epoch
        if len(new) > MOST_WARNINGS:
            rest = len(new) - MOST_WARNINGS
            self._note(
                f"epoch {epoch}, {rest} more layers have measures out of range; {RECORDS} has the "
                "measures of all layers"
            )
        if new and has_norms and steps < SETTLED_STEPS:
            self._note(
                f"first of all train longer: after {steps} steps the running statistics of norms, "
                "with which this is measured, are still close to their start"
            )
        self._known = _list_limits(found)

    def _is_due(self, epoch: int) -> bool:
        return bool(self._every_epochs) and epoch % self._every_epochs == 0


def find_complaints(measured: Measures) -> dict[str, Complaint]:
    """Return a warning for each layer with measures out of range."""
    found = {}
    for layer, values in measured.items():
        words = {
            place: text
            for place, limit in enumerate(LIMITS)
            if (text := _describe(limit, values.get(limit.measure)))
        }
        if words:
            helps = _merge([LIMITS[place].help for place in words])
            text = f"{layer}: {', '.join(words.values())}; {helps} may help"
            found[layer] = Complaint(tuple(words), text)
    return found


def _list_limits(found: Mapping[str, Complaint]) -> set[tuple[str, int]]:
    return {(layer, place) for layer, each in found.items() for place in each.limits}


def _describe(limit: Limit, value: float | None) -> str:
    """Return in words how a measure is out of range, or an empty string."""
    if value is None or limit.least <= value <= limit.most:
        return ""
    side, bound = ("under", limit.least) if value < limit.least else ("over", limit.most)
    return f"{limit.words.format(100 * value)} ({side} {100 * bound:g} %)"


def _merge(helps: list[tuple[str, ...]]) -> str:
    """Return the advice of several limits as one list, without a contradiction."""
    found = list(dict.fromkeys(each for one in helps for each in one))
    if SMALLER in found and LARGER in found:
        found = [UNEVEN, *(each for each in found if each not in (SMALLER, LARGER))]
    return " or ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def _read(file: Path, step: int, layers: Sequence[str]) -> list[Mapping[str, Array | np.ndarray]]:
    """Return the counts of `layers` that were saved after `step`; [] if damaged or of another."""
    counts: list[Mapping[str, Array | np.ndarray]]
    if (content := read_file(file)) is None:
        return []
    try:
        with reading(file), np.load(io.BytesIO(content)) as file_content:
            seen = dict(file_content)
            # Older versions saved one look, without its number.
            looks = int(seen.pop("looks", 0))
            same = int(seen.pop("step", -1)) == step and seen.keys() == set(layers)
            counts = [{layer: seen[layer][look] for layer in layers} for look in range(looks)]
    except FileError:
        return []
    return (counts or [seen]) if same else []


def _round(value: Any) -> float | None:
    """Return a number with four digits, or None for NaN, which JSON does not have."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
