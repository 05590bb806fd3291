"""The learning curves of a run, and how soon runs reach where others end."""

from collections.abc import Sequence
from typing import Any

from pit_jax.analysis.learning import compare_curves
from pit_jax.analysis.plots.learning import curves

from ..figures import select_points
from ..run.reading import read_records
from .subject import Analysis, Plot, Subject, Table

TITLE = "Learning curves"
KEYS = (("train_loss", 1), ("train_accuracy", 100), ("test_accuracy", 100))
EPOCHS = ("epoch", *(key for key, _ in KEYS), "test_loss")
CAPTION = (
    "Training loss and accuracy, augmented and in training mode, and test accuracy after each "
    "epoch (Fig. 3)."
)

Points = tuple[list[float], list[float]]


def analyze(subject: Subject) -> Analysis:
    """Return loss and accuracy over the epochs."""
    panels = _make_panels(subject)
    if not panels[-1][0]:
        return Analysis(TITLE, ["No epoch has ended yet."])
    figures = {"curves": Plot(lambda: curves({_make_label(subject): panels}), CAPTION)}
    return Analysis(TITLE, (), {"epochs": Table(EPOCHS, _make_rows(subject))}, figures)


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return curves of several runs, and the epoch at which each reaches the end of each."""
    found = {run.name: _make_panels(run) for run in runs}
    found = {name: panels for name, panels in found.items() if panels[-1][0]}
    drawn = {_make_label(run): found[run.name] for run in runs if run.name in found}
    if not found:
        return Analysis(TITLE, ["No epoch has ended yet."])
    when = compare_curves({name: panels[-1] for name, panels in found.items()})
    header = ("run", "last_test_accuracy", *(f"reaches_{name}_at_epoch" for name in found))
    rows = [
        [name, round(panels[-1][1][-1] / 100, 6), *when[name].values()]
        for name, panels in found.items()
    ]
    baseline = next(iter(found.values()))[-1][1][-1]
    return Analysis(
        TITLE,
        [
            "An epoch is one pass over the training samples; with more time steps it costs more. "
            "Each run is one seed. Empty: never reached."
        ],
        {
            "epochs_to_reach": Table(header, rows),
            "epochs": Table(
                ("run", *EPOCHS), [[run.name, *row] for run in runs for row in _make_rows(run)]
            ),
        },
        {"curves": Plot(lambda: curves(drawn, baseline), CAPTION)},
    )


def _make_label(subject: Subject) -> str:
    return f"{subject.name}, {len(subject.dataset.test):,} test samples"


def _read_epochs(subject: Subject) -> list[dict[str, Any]]:
    records = read_records(subject.workdir / "metrics.jsonl")
    return [record for record in records if "test_accuracy" in record]


def _make_rows(subject: Subject) -> list[list[Any]]:
    return [[record.get(name) for name in EPOCHS] for record in _read_epochs(subject)]


def _make_panels(subject: Subject) -> list[Points]:
    ended = _read_epochs(subject)
    return [select_points(ended, key, scale) for key, scale in KEYS]
