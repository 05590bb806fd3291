"""Make one page of HTML of some runs: python -m train.report RUN [RUN ...]"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.analysis.plots import scales

from .. import figures
from ..config.arguments import run_program
from ..errors import UserError
from ..files import write_atomically
from ..monitor.health import complaints
from ..run import restore
from ..run.reading import distinct_names, read_config, read_json, read_records
from ..run.summary import steps_and_levels, title
from . import figures as report_figures
from . import page

PROGRAM, NONE = "report", "–"
# The columns of what train.evaluate left in a folder.
EVALUATED = (
    *("file", "checkpoint", "on", "images", "accuracy", "among five"),
    *("negative log-likelihood", "calibration error"),
)


class Run(NamedTuple):
    """All that a page shows of a run; `summary` is empty until it has finished."""

    name: str
    workdir: Path
    config: dict[str, Any]
    starts: list[dict[str, Any]]
    records: list[dict[str, Any]]
    summary: dict[str, Any]
    evaluations: dict[str, dict[str, Any]]
    parameters: tuple[int, int] | None
    first_scales: dict[str, np.ndarray]
    last_scales: dict[str, np.ndarray]


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("report", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Write the page and return 0."""
    _check_out(args.out)
    jax.config.update("jax_platforms", "cpu")  # A run may need all of the accelerator.
    runs = [
        read_run(workdir, name)
        for workdir, name in zip(args.workdirs, distinct_names(args.workdirs), strict=True)
    ]
    _write(args.out, report(runs))
    print(f"{args.out}: {len(runs)} run{'s' if len(runs) > 1 else ''}")
    return 0


def read_run(workdir: Path, name: str) -> Run:
    """Everything of a run; raises UserError for a folder that holds none and for damaged files."""
    files = sorted((workdir / "evaluation").glob("*.json"))
    return Run(
        name,
        workdir,
        config=read_config(workdir),
        starts=read_json(workdir / "environment.json", list) or [],
        records=read_records(workdir / "metrics.jsonl"),
        summary=read_json(workdir / "summary.json", dict) or {},
        evaluations={file.name: read_json(file, dict) for file in files},
        parameters=restore.parameters(workdir),
        first_scales=restore.scales(workdir, "first"),
        last_scales=restore.scales(workdir, "last"),
    )


def report(runs: list[Run]) -> str:
    """The page as text."""
    body: list[str] = []
    if len(runs) > 1:
        links = [(f"run-{i}", run.name) for i, run in enumerate(runs, 1)]
        body.append(page.links([("comparison", "Comparison"), *links]))
        body.append(page.section("comparison", "Comparison", _comparison(runs)))
    for i, run in enumerate(runs, 1):
        body.append(page.section(f"run-{i}", run.name, _run(run, f"run-{i}")))
    of = title(runs[0].config) if len(runs) == 1 else f"{len(runs)} runs"
    return page.page(of, body, PROGRAM)


def _run(run: Run, prefix: str) -> Iterator[str]:
    yield page.table((), _facts(run).items())
    if not run.summary:
        yield page.paragraph("This run has not finished; the page shows it as far as it has come.")
    if run.records:
        yield page.heading("Loss and accuracy")
        yield page.picture(
            f"{prefix}-curves",
            "Training images are augmented and seen in training mode, test images are not.",
            lambda: figures.curves("", run.records),
        )
        yield page.heading("Throughput")
        yield page.picture(
            f"{prefix}-speed",
            "Images a second of training in each epoch, without evaluation.",
            lambda: report_figures.throughput(run.records),
        )
    if rates := run.summary.get("rates"):
        yield page.heading("Firing rates")
        yield page.picture(
            f"{prefix}-rates",
            "Mean integer over D, over the test images, at the end of the run.",
            lambda: figures.firing_rates("", rates),
        )
    if run.last_scales:
        yield from _scales(run, prefix)
    if any(record.get("health") for record in run.records):
        yield from _health(run, prefix)
    if run.evaluations:
        yield page.heading("Evaluations")
        yield page.table(EVALUATED, (_evaluation(*each) for each in run.evaluations.items()))
    yield page.heading("Config and environment")
    yield page.details("config", page.table((), _flat(run.config).items()))
    keys = list(dict.fromkeys(key for start in run.starts for key in start))
    columns = ["", *(f"start {i}" for i in range(1, len(run.starts) + 1))]
    rows = [[key, *(start.get(key, NONE) for start in run.starts)] for key in keys]
    yield page.details("environment of every start", page.table(columns, rows))


def _scales(run: Run, prefix: str) -> Iterator[str]:
    last = report_figures.layers_in_order(run.last_scales, list(run.summary.get("rates", ())))
    yield page.heading("Scales a")
    caption = "Where the neurons' scales lie"
    caption += ", and where they started." if run.first_scales else " in the last checkpoint."
    yield page.picture(f"{prefix}-scales", caption, lambda: scales.scales(last, run.first_scales))
    rows = []
    for layer, a in last.items():
        shown = [f"{value:.4g}" for value in (a.min(), np.median(a), a.max())]
        began = run.first_scales.get(layer)
        start = f"{np.median(began):.4g}" if began is not None else NONE
        rows.append([layer, a.size, *shown, start])
    header = ("neuron layer", "scales", "least", "median", "largest", "median at the start")
    yield page.details("scales as numbers", page.table(header, rows))


def _health(run: Run, prefix: str) -> Iterator[str]:
    records = [record for record in run.records if record.get("health")]
    last = records[-1]["health"]
    yield page.heading("Health")
    yield page.picture(
        f"{prefix}-health",
        "Of every neuron layer, the darker the earlier, on a few fixed training images at the end "
        "of each epoch; the dashed line ends the range in which there is no warning.",
        lambda: report_figures.health(records),
    )
    for complaint in complaints(last).values():
        yield page.paragraph(f"Out of its range at the end: {complaint}.")
    rows = [
        [layer, *(_percent(values.get(measure)) for measure in report_figures.HEALTH)]
        for layer, values in last.items()
    ]
    header = ("neuron layer", *report_figures.HEALTH)
    yield page.details("health as numbers", page.table(header, rows))


def _facts(run: Run) -> dict[str, str]:
    """What a run was and reached, in words."""
    config, tested = run.config, [r for r in run.records if r.get("test_accuracy") is not None]
    best = max(tested, key=lambda record: record["test_accuracy"], default={})
    parameters, scales = run.parameters or (None, None)
    seconds = run.summary.get("seconds")
    speeds = [r["images_per_second"] for r in run.records if r.get("images_per_second")]
    return {
        "data": config["data"]["name"],
        "network": config["model"]["name"],
        "neuron": config["neuron"]["name"],
        "steps, levels": steps_and_levels(config),
        "epochs": f"{tested[-1].get('epoch', NONE) if tested else 0} of {config['epochs']}",
        "test accuracy, last": _percent(tested[-1]["test_accuracy"] if tested else None),
        "test accuracy, best": _percent(best.get("test_accuracy"))
        + (f" (epoch {best['epoch']})" if best.get("epoch") else ""),
        "parameters": NONE if parameters is None else f"{parameters:,}",
        "scales a": NONE if scales is None else f"{scales:,}",
        "wall time": "not finished" if seconds is None else f"{seconds:,.0f} s",
        "images/s, median": f"{np.median(speeds):,.0f}" if speeds else NONE,
        "folder": str(run.workdir),
    }


def _comparison(runs: list[Run]) -> Iterator[str]:
    facts = [_facts(run) for run in runs]
    names = [run.name for run in runs]
    yield page.table(["", *names], ([what, *(fact[what] for fact in facts)] for what in facts[0]))
    if any(run.records for run in runs):
        yield page.heading("Curves")
        yield page.picture(
            "comparison-curves",
            "Solid or dashed with points: test images. Dotted: training, augmented as trained.",
            lambda: report_figures.comparison({run.name: run.records for run in runs}),
        )
    yield page.heading("Config keys that differ")
    flat = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [[key, *(each.get(key, NONE) for each in flat)] for key in keys]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    if differing:
        yield page.table(["", *names], differing)
    else:
        yield page.paragraph("All runs have the same config.")


def _evaluation(name: str, found: dict[str, Any]) -> list[str]:
    calibration = found.get("calibration", {}).get("error")
    likelihood = found.get("negative_log_likelihood")
    return [
        name,
        f"{found.get('checkpoint')}, step {found.get('step')}",
        f"{found.get('split')}",
        f"{found.get('images')}",
        _percent(found.get("accuracy")),
        _percent(found.get("top5_accuracy")),
        NONE if likelihood is None else f"{likelihood:.4f}",
        _percent(calibration),
    ]


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.2%}"


def _flat(config: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flatten_dict(config, sep=".").items()}


def _check_out(out: Path) -> None:
    if out.exists() and not (out.is_file() and page.is_page(out, PROGRAM)):
        raise UserError(f"{out} is no page of this program and is kept; choose another --out.")


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv))
