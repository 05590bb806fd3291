"""Analyze trained networks: python -m train.analyze RUN [RUN ...]"""

import argparse
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from pit_jax.display import print_text, show_name
from pit_jax.paths import cut_name
from pit_jax.signals import run_as_program

from .. import data
from ..config.arguments import run_program
from ..errors import UserError
from ..files import explain_unwritable, write_atomically
from ..html import is_page
from ..program import build, sharding
from ..report import page
from ..run import restore
from ..run.compile_cache import use_compile_cache
from ..run.environment import describe_environment
from ..run.network import load_network
from ..run.reading import load_run_config, make_distinct_names, read_run_records
from ..run.subset import check_data
from ..run.summary import format_title
from . import ANALYSES, load_analysis, output
from .subject import Analysis, Subject

PROGRAM, PAGE = "analyze", "index.html"
OTHERS = "results of another run, step or number of samples, in"
# These show lines of metrics.jsonl, which may be later than the best checkpoint.
RECORDS, OF_RECORDS = "records", ("learning", "oscillation")


class Task(NamedTuple):
    """An analysis of a run, or a comparison of several; `id` is its section of the page."""

    name: str
    id: str
    folder: Path
    runs: Sequence[Subject]

    def identify(self) -> list[dict[str, Any]]:
        """Return run, step and number of samples of each run: results of others are not reused.

        Also the step of the latest record, where that is not the step of the checkpoint.
        """
        found: list[dict[str, Any]] = [
            {
                "workdir": str(run.workdir.resolve()),
                "step": run.step,
                "sha256": run.digest,
                "samples": run.wanted,
            }
            for run in self.runs
        ]
        for run, each in zip(self.runs, found, strict=True):
            if self.name in OF_RECORDS and run.checkpoint != "last" and run.records:
                each[RECORDS] = run.records[-1]["step"]
        return found

    def analyze(self) -> Analysis:
        """Run the analysis or comparison and return its result."""
        found: Analysis
        if len(self.runs) > 1:
            found = load_analysis(self.name).compare(self.runs)
        else:
            found = load_analysis(self.name).analyze(self.runs[0])
        return found


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("analyze", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Write the analyses; return 0, or 1 if one of them failed."""
    one = args.workdirs[0] / "analysis" / args.checkpoint
    out = args.out or (one if len(args.workdirs) == 1 else Path("analysis"))
    configs = [_load_config(args, workdir) for workdir in args.workdirs]
    _check_out(out)
    first = configs[0]
    sharding.use_cpu_devices(first.cpu_devices, first.batch_size, "--cpu-devices")
    runs = [
        read_run(workdir, name, config, args.checkpoint, out, args.samples)
        for workdir, name, config in zip(
            args.workdirs, make_distinct_names(args.workdirs), configs, strict=True
        )
    ]
    failed = _write_analyses(runs, args.only, out, args.overwrite)
    print_text(f"written to {show_name(out / PAGE)}")
    if failed:
        print_text(f"failed: {', '.join(failed)}; all others are written.", sys.stderr)
    return 1 if failed else 0


def read_run(
    workdir: Path,
    name: str,
    config: ConfigDict,
    checkpoint: str,
    out: Path,
    samples: int | None = None,
) -> Subject:
    """Return a run at its newest `checkpoint`, placed on all devices of this process.

    Raises UserError for data or a checkpoint that is missing or damaged.
    """
    # Fail before loading data, which may take minutes.
    restore.find_checkpoint(workdir, checkpoint)
    dataset = data.load(**config.data)
    check_data(workdir, dataset)
    # The argument is a batch size; this one divides among all devices.
    mesh = sharding.make_data_mesh(jax.device_count())
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(workdir, checkpoint)
    model, variables = load_network(config, saved, dataset)
    records = read_run_records(workdir)
    return Subject(
        name=name,
        workdir=workdir,
        checkpoint=checkpoint,
        config=config,
        dataset=dataset,
        model=model,
        variables=sharding.place(variables, sharding.make_replicated(mesh)),
        over_batch=sharding.make_batch_sharding(mesh),
        out=out,
        wanted=samples,
        neurons=tuple(
            each for each, what in build.list_classes(config).items() if what != "model.norm"
        ),
        step=saved.step,
        digest=saved.digest,
        # A run that still trains may have lines of later steps than the checkpoint.
        records=[each for each in records if checkpoint != "last" or each["step"] <= saved.step],
    )


def _list_tasks(runs: Sequence[Subject], names: Sequence[str], out: Path) -> list[Task]:
    """Return all analyses in the order of the page, comparisons of runs first."""
    folders = [out]
    if len(runs) > 1:
        folders = [
            out / f"{i}_{cut_name(run.workdir.resolve().name)}" for i, run in enumerate(runs, 1)
        ]
    tasks = []
    for name in names:
        # Intermediate results of a run are in the folder of its own analysis, where a comparison
        # finds them.
        own = [replace(run, out=at / name) for run, at in zip(runs, folders, strict=True)]
        if len(runs) > 1 and hasattr(load_analysis(name), "compare"):
            tasks.append(Task(name, f"comparison-{name}", out / "comparison" / name, own))
    for i, (run, at) in enumerate(zip(runs, folders, strict=True), 1):
        begin = f"run-{i}-" if len(runs) > 1 else ""
        for name in names:
            tasks.append(Task(name, f"{begin}{name}", at / name, [replace(run, out=at / name)]))
    return tasks


def _write_analyses(
    runs: Sequence[Subject], names: Sequence[str], out: Path, overwrite: bool
) -> list[str]:
    """Write the missing analyses, and the page after each; return those that failed."""
    tasks = _list_tasks(runs, names, out)
    for task in _list_tasks(runs, list(ANALYSES), out):
        output.rename_old(task.folder)
    # Before the first analysis, so that a wrong folder is an error at once.
    for task in tasks:
        part = {} if overwrite else output.read_part(task.folder)
        if part and not _is_of(part["of"], task.identify(), ignore=RECORDS):
            raise UserError(
                f"{task.folder} has results of another run, step or number of samples; give "
                "--overwrite or another --out."
            )
    failed: dict[str, str] = {}
    # Written first as well, which marks the folder as one of this program; see `_check_out`.
    others = _write_page(runs, out, failed)
    for i, task in enumerate(tasks, 1):
        label = f"{i}/{len(tasks)} {task.id.replace('-', ' ')}"
        part = {} if overwrite else output.read_part(task.folder)
        # Curves are drawn again when the run has trained on, although its best epoch is the same.
        if part and _is_of(part["of"], task.identify()):
            lines = [f"{label}: already written", *part.get("printed", [])]
            print_text("\n    ".join(lines), flush=True)
            continue
        print(f"{label} ...", flush=True)
        try:
            print_text(f"    {_write_analysis(task)}", flush=True)
        except Exception as error:  # The other analyses are still written.
            failed[task.id] = str(error) or type(error).__name__
            print_text(f"    failed: {failed[task.id]}", flush=True)
            # A UserError or a full disk explains itself; any other exception is a bug and needs its
            # traceback.
            if not isinstance(error, UserError | OSError):
                traceback.print_exc()
        others = _write_page(runs, out, failed)
    if others:
        print_text(f"not on the page: {OTHERS} {', '.join(map(show_name, others))}", sys.stderr)
    return list(failed)


def _is_of(saved: Sequence[Any], now: Sequence[Mapping[str, Any]], ignore: str = "") -> bool:
    """Return whether saved results are those of `now`; older versions saved no hash.

    With `ignore`, this key may differ.
    """
    return len(saved) == len(now) and all(
        isinstance(was, dict)
        and all(is_.get(key) == was[key] for key in was if key != ignore)
        and is_.keys() - was.keys() <= {"sha256", ignore}
        for was, is_ in zip(saved, now, strict=True)
    )


def _write_analysis(task: Task) -> str:
    """Run and write an analysis; return a summary for the terminal."""
    start, of = time.monotonic(), task.identify()
    output.begin(task.folder)
    found = task.analyze()
    by, first = describe_environment(), task.runs[0]
    steps = ", ".join(f"step {each['step']}" for each in of)
    note = (
        f"The {first.checkpoint} checkpoint, {steps}; {by['devices']} x {by['device']}, jax "
        f"{by['jax']}, flax {by['flax']}, commit {by['commit']}."
    )
    output.write(task.folder, found, of, note)
    if not (found.figures or found.tables):
        return f"does not apply: {' '.join(found.remarks)}"
    seconds = time.monotonic() - start
    written = f"figures: {len(found.figures)}, tables: {len(found.tables)}, {seconds:.1f} s"
    return "\n    ".join([*found.printed, written])


def _write_page(runs: Sequence[Subject], out: Path, failed: Mapping[str, str]) -> list[Path]:
    """Write the page of all analyses of these runs, those of earlier commands included.

    Return the folders of `out` with results of others, which are not on the page.
    """
    facts = [_list_facts(run) for run in runs]
    rows = [[key, *(each[key] for each in facts)] for key in facts[0]]
    sections, links = [page.parts.table(["", *(run.name for run in runs)], rows)], []
    others = []
    for task in _list_tasks(runs, list(ANALYSES), out):
        part = output.read_part(task.folder)
        if part and not _is_of(part["of"], task.identify()):
            others.append(task.folder)
            part = {}
        if task.id in failed:
            part = {"title": task.name, "html": page.parts.paragraph(f"Failed: {failed[task.id]}")}
        if not part:
            continue
        heading = part["title"]
        if len(runs) > 1:
            of = "Comparison" if len(task.runs) > 1 else task.runs[0].name
            heading = f"{of}: {heading}"
        links.append((task.id, heading))
        sections.append(page.parts.section(task.id, heading, [part["html"]]))
    if others:
        names = ", ".join(str(folder.relative_to(out)) for folder in others)
        sections.append(page.parts.paragraph(f"Not on this page: {OTHERS} {names}."))
    for run in runs:
        config = page.parts.table((), flatten_dict(run.config.to_dict(), sep=".").items())
        sections.append(page.parts.details(f"config of {run.name}", config))
    name = format_title(runs[0].config) if len(runs) == 1 else f"{len(runs)} runs"
    text = page.render_page(f"Analysis: {name}", [page.parts.links(links), *sections], PROGRAM)
    with explain_unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / PAGE, text)
    return others


def _list_facts(run: Subject) -> dict[str, str]:
    return {
        "run": format_title(run.config),
        "folder": str(run.workdir),
        "checkpoint": f"{run.checkpoint}, step {run.step}, sha256 {run.digest[:12]}",
        "data": f"{run.dataset.name}: {len(run.dataset.train):,} for training, "
        f"{len(run.dataset.test):,} for tests",
        "samples": f"{run.wanted:,}" if run.wanted else "the default of each analysis",
        "devices": f"{run.over_batch.mesh.size} x {jax.devices()[0].device_kind}",
    }


def _check_out(out: Path) -> None:
    """Raise UserError for a folder that this program has not written."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not is_page(out / PAGE, PROGRAM):
        raise UserError(
            f"{out} was not written by this program and is not changed; choose another --out."
        )


def _load_config(args: argparse.Namespace, workdir: Path) -> ConfigDict:
    config = load_run_config(workdir, args.data_dir)
    config.cpu_devices = args.cpu_devices or config.cpu_devices
    return config


if __name__ == "__main__":
    run_as_program(main, sys.argv)
