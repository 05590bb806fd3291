"""Measures a trained network: python -m train.evaluate --workdir runs/digits

usage: python -m train.evaluate --workdir DIR [--checkpoint last|best] [--split test|train]
                                [--folder DIR] [--out FILE.json] [--overwrite]
                                [--data-dir DIR] [--batch-size N] [--cpu-devices N]

  --workdir       the folder of a run of train.main, finished or not
  --checkpoint    last (the default) or best
  --split         test (the default) or train, without augmentation
  --folder        your own images instead, a folder for each class: DIR/CLASS/*.png
  --out           default: WORKDIR/evaluation/CHECKPOINT_SPLIT.json; a picture comes beside it
  --overwrite     replaces what an earlier evaluation wrote there
  --data-dir      where the data of the run lie now
  --batch-size    default: that of training
  --cpu-devices   default: those of training
  --help          this page

It gives loss, accuracy among the first one and five answers and of each class, the confusion
matrix, calibration, and the firing rate of every neuron layer at each step.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from .. import figures
from ..config.cli import Parser
from ..errors import UserError
from ..files import write_atomically
from ..records.progress import print_evaluation
from ..run.reading import config_of
from .measure import evaluate


def main(argv: Sequence[str]) -> int:
    """Exit code 0, or 2 for a mistake to be mended."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        args = _parse(argv[1:])
        config = _config(args)
        source = args.folder.resolve().name if args.folder else args.split
        out = args.out or args.workdir / "evaluation" / f"{args.checkpoint}_{source}.json"
        _check_free(out, args.overwrite)
        # Before anything asks for a device.
        jax.config.update("jax_num_cpu_devices", config.cpu_devices)
        result = evaluate(config, args.workdir, args.checkpoint, args.split, args.folder)
        _write(out, result)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_evaluation(result, out)
    return 0


def _write(out: Path, result: dict[str, Any]) -> None:
    figure = figures.evaluation(
        f"{result['title']}: {result['checkpoint']} checkpoint on {result['split']}",
        result["confusion"],
        result["classes"],
        result["calibration"]["bins"],
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out.with_suffix(".png"), dpi=150)
        write_atomically(out, json.dumps(result, indent=1))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another --out.") from error


def _check_free(out: Path, overwrite: bool) -> None:
    if out.suffix != ".json":
        raise UserError(f"--out must end in .json, got {out}.")
    there = [file for file in (out, out.with_suffix(".png")) if file.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]} is there already; choose another --out or give --overwrite.")


def _config(args: argparse.Namespace) -> ConfigDict:
    config = config_of(args.workdir, args.data_dir)
    for key in ("batch_size", "cpu_devices"):
        if (value := getattr(args, key)) is not None:
            config[key] = value
        if config[key] < 1:
            raise UserError(f"--{key.replace('_', '-')} must be at least 1, got {config[key]}.")
    return config


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser()
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last")
    parser.add_argument("--split", choices=("test", "train"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--data-dir")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--cpu-devices", type=int)
    args = parser.parse_args(argv)
    if args.folder and args.split:
        raise UserError("--folder has no splits; leave --folder or --split out.")
    args.split = args.split or "test"
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv))
