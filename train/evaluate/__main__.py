"""Evaluate a trained network: python -m train.evaluate RUN"""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pit_jax.paths import cut_name
from pit_jax.signals import run_as_program

from .. import figures
from ..config.arguments import run_program
from ..errors import UserError
from ..files import explain_unwritable, hash_content, write_atomically
from ..program.sharding import use_cpu_devices
from ..records.progress import print_evaluation
from ..run.compile_cache import use_compile_cache
from ..run.reading import load_run_config, read_evaluation
from .measure import evaluate


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("evaluate", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Evaluate a checkpoint, write and print the results, and return 0."""
    if args.folder and args.split:
        raise UserError("--folder has no splits; give either --folder or --split.")
    split = args.split or "test"
    config = _load_config(args)
    name = f"{args.checkpoint}_{name_source(split, args.folder)}.json"
    out = args.out or args.workdir / "evaluation" / name
    _check_free(out, args.overwrite)
    use_cpu_devices(config.cpu_devices, config.batch_size, "--cpu-devices")
    result = evaluate(config, args.workdir, args.checkpoint, split, args.folder)
    _write(out, result)
    print_evaluation(result, out)
    return 0


def name_source(split: str, folder: Path | None) -> str:
    """Return the part of a file name for a split, or for images: the latter is never a split."""
    if folder is None:
        return split
    # The hash distinguishes folders of the same name; resolved, because "." has none.
    place = folder.resolve()
    return f"folder_{cut_name(place.name)}_{hash_content(str(place))[:8]}"


def _write(out: Path, result: dict[str, Any]) -> None:
    figure = figures.evaluation(
        f"{result['title']}: {result['checkpoint']} checkpoint on {result['split']}",
        result["confusion"],
        result["classes"],
        result["calibration"]["bins"],
    )
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    with explain_unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        # Written first: it shows --overwrite which program made the picture.
        write_atomically(out, json.dumps(result, indent=1))
        write_atomically(out.with_suffix(".png"), drawn.getvalue())


def _check_free(out: Path, overwrite: bool) -> None:
    if out.suffix != ".json":
        raise UserError(f"--out must end in .json, got {out}.")
    there = [file for file in (out, out.with_suffix(".png")) if os.path.lexists(file)]
    if there and not overwrite:
        raise UserError(f"{there[0]} exists; choose another --out or give --overwrite.")
    if there and not _is_evaluation(out):
        raise UserError(
            f"{there[0]} was not written by this program and is not replaced; choose another --out."
        )


def _is_evaluation(file: Path) -> bool:
    try:
        return read_evaluation(file).keys() >= {"checkpoint", "confusion"}
    except UserError:
        return False


def _load_config(args: argparse.Namespace) -> ConfigDict:
    config = load_run_config(args.workdir, args.data_dir)
    for key in ("batch_size", "cpu_devices"):
        if (value := getattr(args, key)) is not None:
            config[key] = value
        if config[key] < 1:
            raise UserError(f"--{key.replace('_', '-')} must be at least 1, got {config[key]}.")
    return config


if __name__ == "__main__":
    run_as_program(main, sys.argv)
