"""The learning curves of a run, and how soon runs reach where others end."""

from collections.abc import Sequence
from typing import Any

from pit_jax.analysis.learning import compare_curves
from pit_jax.analysis.plots.learning import curves

from ..figures import select_points
from ..run.reading import read_records
from .subject import Analysis, Drawn, Table, Trained

TITLE = "Learning curves"
KEYS = (("train_loss", 1), ("train_accuracy", 100), ("test_accuracy", 100))
EPOCHS = ("epoch", *(key for key, _ in KEYS), "test_loss")
CAPTION = (
    "Training loss and accuracy, augmented and in training mode, and test accuracy after each "
    "epoch (Fig. 3)."
)

Points = tuple[list[float], list[float]]


def analyze(trained: Trained) -> Analysis:
    """Loss and accuracy over the epochs."""
    panels = _panels(trained)
    if not panels[-1][0]:
        return Analysis(TITLE, ["No epoch has ended yet."])
    figures = {"curves": Drawn(lambda: curves({_label(trained): panels}), CAPTION)}
    return Analysis(TITLE, (), {"epochs": Table(EPOCHS, _epochs(trained))}, figures)


def compare(runs: Sequence[Trained]) -> Analysis:
    """Curves of several runs, and the epoch at which each reaches the end of each."""
    found = {run.name: _panels(run) for run in runs}
    found = {name: panels for name, panels in found.items() if panels[-1][0]}
    drawn = {_label(run): found[run.name] for run in runs if run.name in found}
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
                ("run", *EPOCHS), [[run.name, *row] for run in runs for row in _epochs(run)]
            ),
        },
        {"curves": Drawn(lambda: curves(drawn, baseline), CAPTION)},
    )


def _label(trained: Trained) -> str:
    return f"{trained.name}, {len(trained.dataset.test):,} test samples"


def _ended(trained: Trained) -> list[dict[str, Any]]:
    records = read_records(trained.workdir / "metrics.jsonl")
    return [record for record in records if "test_accuracy" in record]


def _epochs(trained: Trained) -> list[list[Any]]:
    return [[record.get(name) for name in EPOCHS] for record in _ended(trained)]


def _panels(trained: Trained) -> list[Points]:
    ended = _ended(trained)
    return [select_points(ended, key, scale) for key, scale in KEYS]
