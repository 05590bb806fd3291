"""The proof that the binary spikes of a program are the integers of its grid, and how both compare
with the trained network."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from itertools import repeat, zip_longest
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.artifact import hash_parts
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.old_names import SAVED_CLASSES, accept_old_keywords, serve_old_names

# A program keeps its fingerprint when classes get new names: it hashes the first ones.
FIRST_NAMES = {new: old for old, new in SAVED_CLASSES.items()}


class Reading(NamedTuple):
    """A neuron layer of the trained network on a batch.

    `counts` `[B, T, ...]`, and `position`, its membranes on a scale on which the boundaries of the
    counts are at 1/2, 3/2, ...
    """

    counts: np.ndarray
    position: np.ndarray


Reference = Callable[[Any], tuple[np.ndarray, dict[str, Reading]]]


def make_reference(
    model: nn.Module, variables: Mapping[str, Any], rules: Mapping[str, FiringRule]
) -> Reference:
    """Return the trained network in floats as a function of x.

    It returns logits `[B, K]` and the readings of the neuron layers of `rules`, by path.
    """
    apply = jax.jit(partial(model.apply, variables, mutable=["intermediates"]))

    def read(x: Any) -> tuple[np.ndarray, dict[str, Reading]]:
        logits, probes = apply(x)
        shown = flatten_dict(probes["intermediates"], sep="/")
        readings = {}
        for path, rule in rules.items():
            # A neuron that scales another's spikes has it inside.
            at = next(name[: -len("/count")] for name in shown if _is_count_of(path, name))
            counts = np.asarray(shown[f"{at}/count"][0])
            if f"{at}/rounded" in shown:
                position = np.asarray(shown[f"{at}/rounded"][0])
            else:
                membrane = np.asarray(shown[f"{at}/membrane"][0])
                membrane = abs(membrane) if rule.signed else membrane
                first, step = (_align_time(x, membrane.ndim) for x in (rule.first, rule.step))
                position = (membrane - first) / step + 0.5
            readings[path] = Reading(counts, position)
        return np.asarray(logits).mean(1), readings

    return read


def _is_count_of(path: str, name: str) -> bool:
    return name == f"{path}/count" or (name.startswith(f"{path}/") and name.endswith("/count"))


def _align_time(row: np.ndarray, ndim: int) -> np.ndarray:
    """Return `[1 or T, 1 or C]` with the axes of `[B, T, ..., C]`."""
    return row.reshape(1, len(row), *(1,) * (ndim - 3), row.shape[-1])


@dataclass
class LayerProof:
    """One neuron layer: whether slots and counts are equal at each step, the mean count, and the
    share of counts that are not the trained network's, with how far at most, in levels, those of
    the first step that has any lie from their boundary."""

    path: str
    equal: list[bool]
    rate: float
    flipped: float = 0.0
    distance: float | None = None


@dataclass
class Report:
    """What `SpikingProgram.verify` found; true if the program is its grid, bit for bit.

    `differing` counts the samples whose largest logit is another than that of the trained network
    in floats, `largest_difference` is over all logits; both are None where it is not known, as the
    accuracies are without labels.
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
        """The share of samples whose largest logit is that of the trained network."""
        return None if self.differing is None else 1 - self.differing / self.samples

    @property
    def first_flip(self) -> LayerProof | None:
        """The first layer with a count that is not the trained network's."""
        return next((row for row in self.layers if row.flipped), None)

    def __str__(self) -> str:
        spikes = sum(all(row.equal) for row in self.layers)
        lines = [
            f"{'equal' if self else 'NOT EQUAL'} on {self.samples} samples: spikes of "
            f"{spikes} of {len(self.layers)} layers, logits {'==' if self.logits_equal else '!='}"
        ]
        if not self.untouched:
            lines.append("its numbers are not those that were compiled: the program was changed")
        for row in self.layers:
            if not all(row.equal):
                steps = ", ".join(str(t + 1) for t, same in enumerate(row.equal) if not same)
                lines.append(f"  {row.path}: slots differ from counts at step {steps}")
        if self.clipped:
            lines.append(f"{self.clipped} input values were cut off at the largest input")
        if self.accuracy is not None:
            lines.append(f"{self.accuracy:.2%} of the labels are its largest logit")
        if self.reference_accuracy is not None:
            lines[-1] += f", {self.reference_accuracy:.2%} that of the trained network in floats"
        if self.top1_agreement is not None:
            lines.append(
                f"with the trained network in floats: {self.top1_agreement:.2%} of the largest "
                f"logits agree, all but {self.differing}; no logit differs by more than "
                f"{self.largest_difference:.3g}"
            )
            if (first := self.first_flip) is None:
                lines.append("all spikes agree")
            else:
                lines.append(
                    f"its first other spikes are in {first.path}: {first.flipped:.2e} of them, "
                    f"up to {first.distance:.2g} levels from their boundary"
                )
        return "\n".join(lines)


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
    """Run a program and its grid on every batch, and the trained network where it is known.

    Raises ValueError for no sample at all, for values that are not finite, and for labels that are
    not one for each sample.
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
    """What the batches so far showed."""

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
            "a batch holds values that are not finite, of which networks in floats and in "
            "integers say different things; leave them out."
        )
    if y is not None and np.shape(y) != (len(x),):
        raise ValueError(f"labels are one for each of {len(x)} samples, got {np.shape(y)}.")


def _pair_labels(batches: Iterable[Any], labels: Iterable[Any] | None) -> Iterable[tuple[Any, Any]]:
    """Yield each batch with its labels, or None; raises ValueError where one is missing."""
    if labels is None:
        yield from zip(batches, repeat(None), strict=False)
        return
    missing = object()
    for x, y in zip_longest(batches, labels, fillvalue=missing):
        if x is missing or y is missing:
            raise ValueError(
                "labels are one array for each batch, but there are more "
                f"{'labels' if x is missing else 'batches'}; give as many of both."
            )
        yield x, y


def _compare_layer(
    path: str, slots: Any, counts: Any, worth: tuple[int, ...], reading: Reading | None
) -> LayerProof:
    slots, counts = np.asarray(slots), np.asarray(counts)
    size = abs(slots)
    binary = (size <= 1) & (slots >= (0 if (counts >= 0).all() else -1))
    levels = np.asarray(worth, np.int32).reshape(-1, *(1,) * (slots.ndim - 3))
    same = ((slots * levels).sum(2) == counts) & binary.all(2)
    if max(worth) == 1:  # Thermometer: a count of k fills the first k slots.
        same &= np.all(size[:, :, 1:] <= size[:, :, :-1], axis=2)
    equal = [bool(same[:, t].all()) for t in range(counts.shape[1])]
    row = LayerProof(path, equal, float(abs(counts).mean()))
    if reading is not None and (other := reading.counts != counts).any():
        # Only of the first step with flips: they change the membranes of later ones.
        step = next(t for t in range(other.shape[1]) if other[:, t].any())
        position = reading.position[:, step][other[:, step]]
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
