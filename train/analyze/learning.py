"""The learning curves of a run, and when runs reach the last accuracies of others."""

from collections.abc import Sequence
from typing import Any

from pit_jax.analysis.learning import compare_curves
from pit_jax.analysis.plots.learning import curves

from ..figures import select_points
from ..run.reading import find_split, select_epochs
from .subject import Analysis, Plot, Subject, Table

TITLE = "Learning curves"
CAPTION = (
    "Training loss and accuracy (in training mode, with augmentation) and {split} accuracy after "
    "each epoch (Fig. 3)."
)

Points = tuple[list[float], list[float]]


def analyze(subject: Subject) -> Analysis:
    """Return loss and accuracy over the epochs."""
    panels = _make_panels(subject)
    if not panels[-1][0]:
        return Analysis(TITLE, ["No epoch has been evaluated yet."])
    split = _find_split(subject)
    table = Table(_make_header([split]), _make_rows(subject, [split]))
    return Analysis(
        TITLE, (), {"epochs": table}, {"curves": _plot({_make_label(subject): panels}, split)}
    )


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return the curves of several runs, and when each reaches the last accuracy of each."""
    found = {run.name: _make_panels(run) for run in runs}
    found = {name: panels for name, panels in found.items() if panels[-1][0]}
    drawn = {_make_label(run): found[run.name] for run in runs if run.name in found}
    if not found:
        return Analysis(TITLE, ["No epoch has been evaluated yet."])
    when = compare_curves({name: panels[-1] for name, panels in found.items()})
    splits = sorted({_find_split(run) for run in runs if run.name in found})
    split = " or ".join(splits)
    last = f"last_{split.replace(' ', '_')}_accuracy"
    header = ("run", last, *(f"reaches_{name}_at_epoch" for name in found))
    rows = [
        # Panels are in percent; rounded, because 100 x / 100 may differ from x in the last bit.
        [name, round(panels[-1][1][-1] / 100, 6), *when[name].values()]
        for name, panels in found.items()
    ]
    # The line of the figure is the last accuracy of the first run.
    baseline = next(iter(found.values()))[-1][1][-1]
    epochs = [[run.name, *row] for run in runs for row in _make_rows(run, splits)]
    return Analysis(
        TITLE,
        [
            "An epoch is one pass over the training samples; with more time steps it costs more. "
            "Each run is one seed. An empty cell means that the accuracy was never reached."
        ],
        {
            "epochs_to_reach": Table(header, rows),
            "epochs": Table(("run", *_make_header(splits)), epochs),
        },
        {"curves": _plot(drawn, split, baseline)},
    )


def _plot(drawn: dict[str, list[Points]], split: str, baseline: float | None = None) -> Plot:
    labels = ("training loss", "training accuracy (%)", f"{split} accuracy (%)")
    return Plot(lambda: curves(drawn, baseline, labels), CAPTION.format(split=split))


def _make_label(subject: Subject) -> str:
    split = _find_split(subject)
    samples = getattr(subject.dataset, split)
    return f"{subject.name}, {len(samples):,} {split} samples"


def _read_epochs(subject: Subject) -> list[dict[str, Any]]:
    return select_epochs(subject.records)


def _find_split(subject: Subject) -> str:
    return find_split(_read_epochs(subject))


def _make_header(splits: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the table of epochs, for runs that were evaluated on `splits`."""
    columns = [f"{split}_{name}" for name in ("accuracy", "loss") for split in splits]
    return ("epoch", "train_loss", "train_accuracy", *columns)


def _make_rows(subject: Subject, splits: Sequence[str]) -> list[list[Any]]:
    header = _make_header(splits)
    return [[record.get(name) for name in header] for record in _read_epochs(subject)]


def _make_panels(subject: Subject) -> list[Points]:
    """Return the points of training loss, training accuracy and evaluated accuracy."""
    ended = _read_epochs(subject)
    keys = (("train_loss", 1), ("train_accuracy", 100), (f"{_find_split(subject)}_accuracy", 100))
    return [select_points(ended, key, scale) for key, scale in keys]
