"""The sections of a report: one for each run, and one that compares the runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.analysis.plots import scales

from .. import figures
from ..config.limits import count_epochs
from ..config.own import shorten_name
from ..monitor.health import find_complaints
from ..run import restore
from ..run.reading import (
    find_split,
    read_config,
    read_evaluation,
    read_run_records,
    read_starts,
    read_summary,
    select_epochs,
    select_metrics,
)
from ..run.saved import Checkpoint, find_newest_step
from ..run.summary import format_steps_and_levels, format_title
from . import figures as report_figures
from .page import parts, render_page, show_figure

PROGRAM, NONE = "report", "–"
# The columns of the table of evaluations by train.evaluate; one may be empty.
AMONG_FIVE = "among five"
EVALUATED = (
    *("file", "checkpoint", "on", "images", "accuracy", AMONG_FIVE),
    *("negative log-likelihood", "calibration error"),
)


class RunRecord(NamedTuple):
    """The data that a page shows of a run; `summary` is empty until the run has finished."""

    name: str
    workdir: Path
    config: dict[str, Any]
    starts: list[dict[str, Any]]
    records: list[dict[str, Any]]
    summary: dict[str, Any]
    evaluations: dict[str, dict[str, Any]]
    first_scales: dict[str, np.ndarray]
    saved: Checkpoint | None
    last_scales: dict[str, np.ndarray]
    parameters: tuple[int, int] | None

    @property
    def split(self) -> str:
        """The split on which the run's epochs were evaluated."""
        return find_split(self.records)


def read_run(workdir: Path, name: str) -> RunRecord:
    """Read the files of a run; raise UserError if there is no run, or a file is damaged."""
    files = sorted((workdir / "evaluation").glob("*.json"))
    config = read_config(workdir)
    saved = None
    if find_newest_step(workdir, "last") is not None:
        saved = restore.identify_checkpoint(workdir, "last")
    return RunRecord(
        name,
        workdir,
        config=config,
        starts=read_starts(workdir),
        records=read_run_records(workdir),
        summary=read_summary(workdir),
        evaluations={file.name: read_evaluation(file) for file in files},
        first_scales=restore.load_scales(workdir, "first"),
        saved=saved,
        last_scales=restore.read_scales(saved) if saved else {},
        parameters=restore.count_saved_parameters(saved) if saved else None,
    )


def make_page(runs: list[RunRecord]) -> str:
    """Return the page of `runs`."""
    body: list[str] = []
    if len(runs) > 1:
        links = [(f"run-{i}", run.name) for i, run in enumerate(runs, 1)]
        body.append(parts.links([("comparison", "Comparison"), *links]))
        body.append(parts.section("comparison", "Comparison", _compare(runs)))
    for i, run in enumerate(runs, 1):
        body.append(parts.section(f"run-{i}", run.name, _show_run(run)))
    of = format_title(runs[0].config) if len(runs) == 1 else f"{len(runs)} runs"
    return render_page(of, body, PROGRAM)


def _show_run(run: RunRecord) -> Iterator[str]:
    yield parts.table((), _list_facts(run).items())
    if not run.summary:
        yield parts.paragraph("This run has not finished; the page shows its epochs so far.")
    if run.records:
        yield parts.heading("Loss and accuracy")
        yield show_figure(
            f"Training images are augmented and seen in training mode, {run.split} images are not.",
            lambda: figures.curves("", run.records, run.split),
        )
        if any(map(select_metrics, select_epochs(run.records))):
            yield parts.heading("Metrics")
            yield show_figure(
                f"The metrics of config.metrics, over the {run.split} images.",
                lambda: report_figures.metrics(run.records),
            )
        yield parts.heading("Throughput")
        yield show_figure(
            "Images a second of training in each epoch, without evaluation.",
            lambda: report_figures.throughput(run.records),
        )
    if rates := run.summary.get("rates"):
        yield parts.heading("Firing rates")
        yield show_figure(
            "Mean count over D, on the test images, at the end of the run.",
            lambda: figures.firing_rates("", rates),
        )
    if run.last_scales:
        yield from _show_scales(run)
    if report_figures.list_measures(run.records):
        yield from _show_health(run)
    if run.evaluations:
        yield parts.heading("Evaluations")
        yield parts.table(*_tabulate_evaluations(run.evaluations))
    yield from _show_config(run)


def _show_scales(run: RunRecord) -> Iterator[str]:
    last = report_figures.order_layers(run.last_scales, list(run.summary.get("rates", ())))
    yield parts.heading("Scales a")
    step = run.saved.step if run.saved else 0
    caption = f"The scales of the neurons in the last checkpoint, step {step:,}"
    caption += ", and at the start." if run.first_scales else "."
    yield show_figure(caption, lambda: scales.scales(last, run.first_scales))
    rows = []
    for layer, a in last.items():
        shown = [f"{value:.4g}" for value in (a.min(), np.median(a), a.max())]
        began = run.first_scales.get(layer)
        start = f"{np.median(began):.4g}" if began is not None else NONE
        rows.append([layer, a.size, *shown, start])
    header = ("neuron layer", "scales", "least", "median", "largest", "median at the start")
    yield parts.details("scales as numbers", parts.table(header, rows))


def _show_health(run: RunRecord) -> Iterator[str]:
    records = [record for record in run.records if record.get("health")]
    last = records[-1]["health"]
    yield parts.heading("Health")
    measures, drawn = report_figures.list_measures(records), report_figures.list_drawn(records)
    if drawn:
        yield show_figure(
            "Measures of every neuron layer (earlier layers are darker), on a few fixed training "
            "images at the end of each epoch. Beyond the dashed line there is a warning.",
            lambda: report_figures.health(records),
        )
    if zero := [report_figures.HEALTH[name] for name in measures if name not in drawn]:
        yield parts.paragraph(f"Always 0: {', '.join(zero)}.")
    for complaint in find_complaints(last).values():
        yield parts.paragraph(f"Out of range at the end: {complaint.text}.")
    rows = [
        [layer, *(_format_percent(values.get(measure)) for measure in measures)]
        for layer, values in last.items()
    ]
    header = ("neuron layer", *measures)
    yield parts.details("health as numbers", parts.table(header, rows))


def _show_config(run: RunRecord) -> Iterator[str]:
    yield parts.heading("Config and environment")
    yield parts.details("config", parts.table((), _flatten(run.config).items()))
    keys = list(dict.fromkeys(key for start in run.starts for key in start))
    columns = ["", *(f"start {i}" for i in range(1, len(run.starts) + 1))]
    rows = [[key, *(start.get(key, NONE) for start in run.starts)] for key in keys]
    yield parts.details("environment of every start", parts.table(columns, rows))


def _list_facts(run: RunRecord) -> dict[str, str]:
    """Return the rows of the table of a run: its config and results."""
    config, ended = run.config, select_epochs(run.records)
    parameters, num_scales = run.parameters or (None, None)
    seconds = run.summary.get("seconds")
    speeds = [r["images_per_second"] for r in run.records if r.get("images_per_second")]
    return {
        "data": shorten_name(config["data"]["name"]),
        "network": shorten_name(config["model"]["name"]),
        "neuron": shorten_name(config["neuron"]["name"]),
        "steps, levels": format_steps_and_levels(config),
        "epochs": f"{ended[-1].get('epoch', NONE) if ended else 0} of {count_epochs(config)}",
        **_list_accuracies(run, ended),
        **_list_metrics(run, ended),
        "parameters": NONE if parameters is None else f"{parameters:,}",
        "scales a": NONE if num_scales is None else f"{num_scales:,}",
        "wall time": "not finished" if seconds is None else f"{seconds:,.0f} s",
        "images/s, median": f"{np.median(speeds):,.0f}" if speeds else NONE,
        "folder": str(run.workdir),
    }


def _list_accuracies(run: RunRecord, ended: list[dict[str, Any]]) -> dict[str, str]:
    """Return the last and best accuracies by split; `ended` has the records of the epochs."""
    key = f"{run.split}_accuracy"
    # Not every epoch is evaluated. `max` returns the first of equal epochs, which is also the one
    # whose checkpoint a run keeps.
    evaluated = [record for record in ended if key in record]
    best = max(evaluated, key=lambda record: record[key], default={})
    accuracies = [evaluated[-1][key] if evaluated else None, best.get(key)]
    epoch = f" (epoch {best['epoch']})" if best.get("epoch") else ""
    if run.split == "test":
        last, most = map(_format_percent, accuracies)
        return {"test accuracy, last": last, "test accuracy, best": most + epoch}
    # The test images are evaluated only when the run ends.
    tested = [run.summary.get("last_accuracy"), run.summary.get("best_accuracy")]
    last, most, test_last, test_most = map(_format_percent, [*accuracies, *tested])
    return {
        "test accuracy, last": test_last,
        "test accuracy, best": test_most + (epoch if run.summary else ""),
        "validation accuracy, last": last,
        "validation accuracy, best": most + epoch,
    }


def _list_metrics(run: RunRecord, ended: list[dict[str, Any]]) -> dict[str, str]:
    """Return the metrics of `config.metrics` at the end of the last epoch with an evaluation."""
    measured = [found for found in map(select_metrics, ended) if found]
    found = measured[-1] if measured else {}
    return {
        f"{run.split} {name}, last": NONE if value is None else f"{value:.4g}"
        for name, value in found.items()
    }


def _compare(runs: list[RunRecord]) -> Iterator[str]:
    facts = [_list_facts(run) for run in runs]
    names = [run.name for run in runs]
    all_facts = dict.fromkeys(what for fact in facts for what in fact)
    rows = [[what, *(fact.get(what, NONE) for fact in facts)] for what in all_facts]
    yield parts.table(["", *names], rows)
    if any(run.records for run in runs):
        yield parts.heading("Curves")
        yield show_figure(
            "Solid or dashed lines with points: test or validation images. Dotted lines: augmented "
            "training images.",
            lambda: report_figures.comparison({run.name: run.records for run in runs}),
        )
    yield parts.heading("Config keys that differ")
    flat = [_flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [[key, *(each.get(key, NONE) for each in flat)] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    if differing:
        yield parts.table(["", *names], differing)
    else:
        yield parts.paragraph("All runs have the same config.")


def _tabulate_evaluations(
    evaluations: dict[str, dict[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, without the column `AMONG_FIVE` if it would be empty."""
    rows = [list(EVALUATED), *(_list_evaluation(*each) for each in evaluations.items())]
    if not any("top5_accuracy" in found for found in evaluations.values()):
        place = EVALUATED.index(AMONG_FIVE)
        rows = [row[:place] + row[place + 1 :] for row in rows]
    return rows[0], rows[1:]


def _list_evaluation(name: str, found: dict[str, Any]) -> list[str]:
    calibration = found.get("calibration", {}).get("error")
    likelihood = found.get("negative_log_likelihood")
    return [
        name,
        f"{found.get('checkpoint')}, step {found.get('step')}",
        f"{found.get('split')}",
        f"{found.get('images')}",
        _format_percent(found.get("accuracy")),
        _format_percent(found.get("top5_accuracy")),
        NONE if likelihood is None else f"{likelihood:.4f}",
        _format_percent(calibration),
    ]


def _format_percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.2%}"


def _flatten(config: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flatten_dict(config, sep=".").items()}
