"""Verify on samples that the binary spikes of a program equal the counts of its grid.

The report also compares both with the trained network in floats.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import repeat, zip_longest
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.artifact import hash_parts
from pit_jax.display import html_lines
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.trace import Outline
from pit_jax.old_names import SAVED_CLASSES, accept_old_keywords, serve_old_names
from pit_jax.tuning import compiler_options

# Fingerprints hash the first names of classes, so that renaming a class does not change them.
FIRST_NAMES = {new: old for old, new in SAVED_CLASSES.items()}


class Reading(NamedTuple):
    """A neuron layer of the trained network on a batch.

    `counts` are `[B, T, ...]`. `position` has the membranes on a scale with the boundaries between
    counts at 1/2, 3/2, ...
    """

    counts: np.ndarray
    position: np.ndarray


Reference = Callable[[Any], tuple[np.ndarray, dict[str, Reading]]]


def make_reference(
    outline_for: Callable[[tuple[int, ...]], Outline], rules: Mapping[str, FiringRule]
) -> Reference:
    """Return the trained network in floats as a function of x.

    `outline_for` returns the network as it is traced for inputs of a shape. The function returns
    logits `[B, K]` and the readings of the neuron layers of `rules`, by path.
    """

    def run(x: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
        logits, probes = outline_for(x.shape).run(x)
        return logits, {path: _find_probes(probes[path]) for path in rules}

    jitted = jax.jit(run, compiler_options=compiler_options("evaluate"))

    def read(x: Any) -> tuple[np.ndarray, dict[str, Reading]]:
        logits, probes = jitted(x)
        readings = {}
        for path, rule in rules.items():
            sown = probes[path]
            if "rounded" in sown:
                position = np.asarray(sown["rounded"])
            else:
                membrane = np.asarray(sown["membrane"])
                # Count k begins at first + (k - 1) step, which is mapped to k - 1/2.
                membrane = abs(membrane) if rule.signed else membrane
                first, step = (_align_time(x, membrane.ndim) for x in (rule.first, rule.step))
                position = (membrane - first) / step + 0.5
            readings[path] = Reading(np.asarray(sown["count"]), position)
        logits = np.asarray(logits)
        return (logits.mean(1) if logits.ndim == 3 else logits), readings

    return read


def _find_probes(sown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a neuron recorded, or the neuron inside it, whose spikes it scales."""
    found = {name[-1]: values[0] for name, values in flatten_dict(sown).items()}
    return {name: found[name] for name in ("count", "membrane", "rounded") if name in found}


def _align_time(row: np.ndarray, ndim: int) -> np.ndarray:
    """Reshape `[1 or T, 1 or C]` to broadcast against `[B, T, ..., C]`."""
    return row.reshape(1, len(row), *(1,) * (ndim - 3), row.shape[-1])


@dataclass
class LayerProof:
    """The comparison of one neuron layer.

    `equal` says for each step whether slots and counts agree. `rate` is the mean count. `flipped`
    is the share of counts that differ from the trained network's, and `distance` the largest
    distance in levels of their membranes from a boundary, at the first step with such a count.
    """

    path: str
    equal: list[bool]
    rate: float
    flipped: float = 0.0
    distance: float | None = None


@dataclass(repr=False)
class Report:
    """The result of `SpikingProgram.verify`; true if program and grid agree bit for bit.

    `differing` counts the samples for which program and trained network have different largest
    logits, and `largest_difference` is the maximum over all logits. Both are None if the trained
    network is not known, and accuracies are None without labels.
    """

    samples: int
    untouched: bool
    logits_equal: bool
    layers: list[LayerProof]
    clipped: int
    differing: int | None = None
    largest_difference: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None

    def __bool__(self) -> bool:
        return self.untouched and self.logits_equal and all(all(row.equal) for row in self.layers)

    @property
    def top1_agreement(self) -> float | None:
        """The share of samples whose largest logit is the same in the trained network."""
        return None if self.differing is None else 1 - self.differing / self.samples

    @property
    def first_flip(self) -> LayerProof | None:
        """The first layer with a count that differs from the trained network's."""
        return next((row for row in self.layers if row.flipped), None)

    def __str__(self) -> str:
        spikes = sum(all(row.equal) for row in self.layers)
        logits = "and logits are equal" if self.logits_equal else "are equal, logits are not"
        samples = "1 sample" if self.samples == 1 else f"{self.samples:,} samples"
        lines = [
            f"{'verified' if self else 'NOT EQUAL'} on {samples}: spikes of "
            f"{spikes} of {len(self.layers)} layers {logits}"
        ]
        if not self.untouched:
            lines.append("the program was changed: its numbers are not those that were compiled")
        for row in self.layers:
            if not all(row.equal):
                steps = ", ".join(str(t + 1) for t, same in enumerate(row.equal) if not same)
                lines.append(f"  {row.path}: slots differ from counts at step {steps}")
        if self.clipped:
            lines.append(f"{self.clipped} input values were clipped at the largest input")
        if self.accuracy is not None:
            lines.append(f"accuracy {self.accuracy:.2%}")
        if self.reference_accuracy is not None:
            lines[-1] += f", of the trained network in floats {self.reference_accuracy:.2%}"
        if self.top1_agreement is not None:
            lines.append(
                f"the largest logit of the trained network in {self.top1_agreement:.2%} of the "
                f"samples, all but {self.differing}; logits differ by at most "
                f"{self.largest_difference:.3g}"
            )
            if (first := self.first_flip) is None:
                lines.append("all spikes agree")
            else:
                lines.append(
                    f"spikes differ first in {first.path}: {first.flipped:.2e} of them, at most "
                    f"{first.distance:.2g} levels from their boundary"
                )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_lines(self)


@accept_old_keywords
def fingerprint(graph: Sequence[Any]) -> str:
    """Return a hash of all numbers of a program."""
    return hash_parts(_list_bytes(list(graph)))


def _list_bytes(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value):
        name = type(value).__name__
        yield FIRST_NAMES.get(name, name).encode()
        for each in fields(value):
            yield each.name.encode()
            yield from _list_bytes(getattr(value, each.name))
    elif isinstance(value, (list, tuple)):
        yield f"[{len(value)}".encode()
        for each in value:
            yield from _list_bytes(each)
    else:
        yield repr(value).encode()


def prove(program: Any, batches: Iterable[Any], labels: Iterable[Any] | None = None) -> Report:
    """Compare a program with its grid on every batch, and with the trained network if known.

    Raises ValueError without any sample, for values that are not finite, and unless there is one
    label for each sample.
    """
    tally = _Tally()
    for x, y in _pair_labels(batches, labels):
        if len(x):
            tally.add(program, x, y)
    if not tally.samples:
        raise ValueError("there is nothing to verify with: no batch, or an empty one.")
    return tally.report(program, labels is not None)


@dataclass
class _Tally:
    """Sums over the batches so far."""

    samples: int = 0
    clipped: int = 0
    differing: int = 0
    correct: int = 0
    reference_correct: int = 0
    logits_equal: bool = True
    difference: float = 0.0
    rows: dict[str, LayerProof] = field(default_factory=dict)

    def add(self, program: Any, x: Any, y: Any) -> None:
        _check_batch(x, y)
        worth = program.slots
        own_logits, slots = program.watch(x, "slots")
        logits, counts = program.watch(x, "counts")
        logits = np.asarray(logits)
        self.logits_equal &= np.array_equal(logits, np.asarray(own_logits))
        self.clipped += program.count_clipped(x)
        reference = program.reference(x) if program.reference else None
        for path in counts:
            reading = reference[1][path] if reference else None
            row = _compare_layer(path, slots[path], counts[path], worth[path], reading)
            if path in self.rows:
                row = _merge_rows(self.rows[path], self.samples, row, len(x))
            self.rows[path] = row
        if reference:
            self.differing += int((reference[0].argmax(-1) != logits.argmax(-1)).sum())
            self.difference = max(self.difference, float(abs(reference[0] - logits).max()))
        if y is not None:
            self.correct += int((logits.argmax(-1) == y).sum())
            if reference:
                self.reference_correct += int((reference[0].argmax(-1) == y).sum())
        self.samples += len(x)

    def report(self, program: Any, has_labels: bool) -> Report:
        known = program.reference is not None
        both = known and has_labels
        return Report(
            samples=self.samples,
            untouched=fingerprint(program.nodes) == program.fingerprint,
            logits_equal=self.logits_equal,
            layers=list(self.rows.values()),
            clipped=self.clipped,
            differing=self.differing if known else None,
            largest_difference=self.difference if known else None,
            accuracy=self.correct / self.samples if has_labels else None,
            reference_accuracy=self.reference_correct / self.samples if both else None,
        )


def _check_batch(x: Any, y: Any) -> None:
    if not np.isfinite(np.asarray(x)).all():
        raise ValueError(
            "a batch holds values that are not finite, for which networks in floats and in "
            "integers differ by definition; remove them."
        )
    if y is not None and np.shape(y) != (len(x),):
        raise ValueError(f"each of {len(x)} samples must have a label, got {np.shape(y)}.")


def _pair_labels(batches: Iterable[Any], labels: Iterable[Any] | None) -> Iterable[tuple[Any, Any]]:
    """Yield each batch with its labels, or None; raises ValueError if one of them is missing."""
    if labels is None:
        yield from zip(batches, repeat(None), strict=False)
        return
    missing = object()
    for x, y in zip_longest(batches, labels, fillvalue=missing):
        if x is missing or y is missing:
            raise ValueError(
                "labels must be one array for each batch, but there are more "
                f"{'labels' if x is missing else 'batches'}; give as many of both."
            )
        yield x, y


def _compare_layer(
    path: str, slots: Any, counts: Any, worth: tuple[int, ...], reading: Reading | None
) -> LayerProof:
    slots, counts = np.asarray(slots), np.asarray(counts)
    size = abs(slots)
    # Only a layer with negative counts (ternary) may send -1.
    binary = (size <= 1) & (slots >= (0 if (counts >= 0).all() else -1))
    levels = np.asarray(worth, np.int32).reshape(-1, *(1,) * (slots.ndim - 3))
    same = ((slots * levels).sum(2) == counts) & binary.all(2)
    if max(worth) == 1:  # Thermometer: a count of k fills the first k slots.
        same &= np.all(size[:, :, 1:] <= size[:, :, :-1], axis=2)
    equal = [bool(same[:, t].all()) for t in range(counts.shape[1])]
    row = LayerProof(path, equal, float(abs(counts).mean()))
    if reading is not None and (other := reading.counts != counts).any():
        # Only at the first step with differences: these change the membranes of all later steps.
        step = next(t for t in range(other.shape[1]) if other[:, t].any())
        position = reading.position[:, step][other[:, step]]
        # Boundaries are at k + 1/2: x - floor(x) - 1/2 is the distance to the nearest one.
        row.distance = float(abs(position - np.floor(position) - 0.5).max())
        row.flipped = float(other.mean())
    return row


def _merge_rows(a: LayerProof, samples: int, b: LayerProof, more: int) -> LayerProof:
    share = samples / (samples + more)
    distances = [d for d in (a.distance, b.distance) if d is not None]
    return LayerProof(
        a.path,
        [x and y for x, y in zip(a.equal, b.equal, strict=True)],
        share * a.rate + (1 - share) * b.rate,
        share * a.flipped + (1 - share) * b.flipped,
        max(distances, default=None),
    )


serve_old_names(__name__)
