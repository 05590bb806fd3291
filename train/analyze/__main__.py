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

from .. import data
from ..config.arguments import run_program
from ..errors import UserError
from ..files import write_atomically
from ..program import build, sharding
from ..report import page
from ..run import restore
from ..run.checkpoint import find_newest_step
from ..run.environment import describe
from ..run.reading import config_of, distinct_names
from ..run.summary import title
from . import ANALYSES, by_name, output
from .subject import Analysis, Trained

PROGRAM, PAGE = "analyze", "index.html"


class Part(NamedTuple):
    """An analysis of a run, or a comparison of several: its name, place on the page, and folder."""

    name: str
    id: str
    folder: Path
    runs: Sequence[Trained]

    def of(self) -> list[dict[str, Any]]:
        """What it is of, told apart from other runs, checkpoints and samples."""
        return [
            {
                "workdir": str(run.workdir.resolve()),
                "step": find_newest_step(run.workdir, run.checkpoint),
                "samples": run.wanted,
            }
            for run in self.runs
        ]

    def analysis(self) -> Analysis:
        """Makes it."""
        found: Analysis
        if len(self.runs) > 1:
            found = by_name(self.name).compare(self.runs)
        else:
            found = by_name(self.name).analyze(self.runs[0])
        return found


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("analyze", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Return 0, or 1 if an analysis failed."""
    one = args.workdirs[0] / "analysis" / args.checkpoint
    out = args.out or (one if len(args.workdirs) == 1 else Path("analysis"))
    configs = [_config(args, workdir) for workdir in args.workdirs]
    _check_out(out)
    # Before anything asks for a device.
    jax.config.update("jax_num_cpu_devices", configs[0].cpu_devices)
    runs = [
        read_run(workdir, name, config, args.checkpoint, out, args.samples)
        for workdir, name, config in zip(
            args.workdirs, distinct_names(args.workdirs), configs, strict=True
        )
    ]
    failed = _write(runs, args.only, out, args.overwrite)
    print(f"written to {out / PAGE}")
    if failed:
        print(f"failed: {', '.join(failed)}; all others are there.", file=sys.stderr)
    return 1 if failed else 0


def read_run(
    workdir: Path,
    name: str,
    config: ConfigDict,
    checkpoint: str,
    out: Path,
    samples: int | None = None,
) -> Trained:
    """A run at its newest `checkpoint`, wherever that was made, on all devices that there are.

    Raises UserError for data or a checkpoint that is missing or damaged.
    """
    restore.find_checkpoint(workdir, checkpoint)  # Before what takes minutes.
    dataset = data.load(**config.data)
    mesh = sharding.data_mesh(jax.device_count())
    variables = restore.load_variables(workdir, checkpoint)
    return Trained(
        name=name,
        workdir=workdir,
        checkpoint=checkpoint,
        config=config,
        dataset=dataset,
        model=build.network(config, dataset),
        variables=sharding.place(variables, sharding.replicated(mesh)),
        over_batch=sharding.over_batch(mesh),
        out=out,
        wanted=samples,
    )


def _parts(runs: Sequence[Trained], names: Sequence[str], out: Path) -> list[Part]:
    """All that is wanted in the order of the page: of several runs first what compares them."""
    folders = [out]
    if len(runs) > 1:
        folders = [out / f"{i}_{run.workdir.resolve().name}" for i, run in enumerate(runs, 1)]
    parts = []
    for name in names:
        # What is kept of a run is found by its own analysis and by the comparison.
        own = [replace(run, out=at / name) for run, at in zip(runs, folders, strict=True)]
        if len(runs) > 1 and hasattr(by_name(name), "compare"):
            parts.append(Part(name, f"comparison-{name}", out / "comparison" / name, own))
    for i, (run, at) in enumerate(zip(runs, folders, strict=True), 1):
        begin = f"run-{i}-" if len(runs) > 1 else ""
        for name in names:
            parts.append(Part(name, f"{begin}{name}", at / name, [replace(run, out=at / name)]))
    return parts


def _write(runs: Sequence[Trained], names: Sequence[str], out: Path, overwrite: bool) -> list[str]:
    """Makes what is not there, and the page after each; gives those that failed."""
    parts = _parts(runs, names, out)
    for part in _parts(runs, list(ANALYSES), out):
        output.rename_old(part.folder)
    for part in parts:
        there = {} if overwrite else output.read_part(part.folder)
        if there and there["of"] != part.of():
            raise UserError(
                f"{part.folder} is of another run, step or number of samples; give --overwrite or "
                "another --out."
            )
    failed: dict[str, str] = {}
    _write_page(runs, out, failed)
    for i, part in enumerate(parts, 1):
        told = f"{i}/{len(parts)} {part.id.replace('-', ' ')}"
        if not overwrite and output.read_part(part.folder):
            print(f"{told}: is there already", flush=True)
            continue
        print(f"{told} ...", flush=True)
        try:
            print(f"    {_made(part)}", flush=True)
        except Exception as error:  # One that fails leaves the others as they are.
            failed[part.id] = str(error) or type(error).__name__
            print(f"    failed: {failed[part.id]}", flush=True)
            if not isinstance(error, UserError):
                traceback.print_exc()
        _write_page(runs, out, failed)
    return list(failed)


def _made(part: Part) -> str:
    """Makes and writes an analysis; gives what it came to, in words."""
    began, of = time.monotonic(), part.of()
    output.begin(part.folder)
    found = part.analysis()
    by, first = describe(), part.runs[0]
    steps = ", ".join(f"step {each['step']}" for each in of)
    note = (
        f"The {first.checkpoint} checkpoint, {steps}; {by['devices']} x {by['device']}, jax "
        f"{by['jax']}, flax {by['flax']}, commit {by['commit']}."
    )
    output.write(part.folder, found, of, note)
    if not (found.figures or found.tables):
        return f"left out: {' '.join(found.remarks)}"
    seconds = time.monotonic() - began
    return f"figures: {len(found.figures)}, tables: {len(found.tables)}, {seconds:.1f} s"


def _write_page(runs: Sequence[Trained], out: Path, failed: Mapping[str, str]) -> None:
    """All that is there of these runs, whenever it was made."""
    facts = [_facts(run) for run in runs]
    rows = [[key, *(each[key] for each in facts)] for key in facts[0]]
    sections, links = [page.parts.table(["", *(run.name for run in runs)], rows)], []
    for part in _parts(runs, list(ANALYSES), out):
        there = output.read_part(part.folder)
        if part.id in failed:
            there = {"title": part.name, "html": page.parts.paragraph(f"Failed: {failed[part.id]}")}
        if not there:
            continue
        heading = there["title"]
        if len(runs) > 1:
            of = "Comparison" if len(part.runs) > 1 else part.runs[0].name
            heading = f"{of}: {heading}"
        links.append((part.id, heading))
        sections.append(page.parts.section(part.id, heading, [there["html"]]))
    for run in runs:
        config = page.parts.table((), flatten_dict(run.config.to_dict(), sep=".").items())
        sections.append(page.parts.details(f"config of {run.name}", config))
    name = title(runs[0].config) if len(runs) == 1 else f"{len(runs)} runs"
    text = page.render_page(f"Analysis: {name}", [page.parts.links(links), *sections], PROGRAM)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / PAGE, text)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


def _facts(run: Trained) -> dict[str, str]:
    return {
        "run": title(run.config),
        "folder": str(run.workdir),
        "checkpoint": f"{run.checkpoint}, step {find_newest_step(run.workdir, run.checkpoint)}",
        "data": f"{run.dataset.name}: {len(run.dataset.train):,} for training, "
        f"{len(run.dataset.test):,} for tests",
        "samples": f"{run.wanted:,}" if run.wanted else "as each analysis says",
        "devices": f"{run.over_batch.mesh.size} x {jax.devices()[0].device_kind}",
    }


def _check_out(out: Path) -> None:
    """What it holds must be of an earlier call, as its page tells."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not page.is_page(out / PAGE, PROGRAM):
        raise UserError(
            f"{out} holds no analysis of this program and is kept; choose another --out."
        )


def _config(args: argparse.Namespace, workdir: Path) -> ConfigDict:
    config = config_of(workdir, args.data_dir)
    config.cpu_devices = args.cpu_devices or config.cpu_devices
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv))
