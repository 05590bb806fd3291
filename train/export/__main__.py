"""Compile a trained network to binary spikes: python -m train.export RUN --format FORMAT"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pit_jax import artifact, export
from pit_jax.display import print_text, show_name
from pit_jax.export import NotInNIR
from pit_jax.inference import ArtifactError, Report, SpikingProgram
from pit_jax.inference.storage import to_json
from pit_jax.signals import remove_if_stopped, run_as_program

from .. import data
from ..config.arguments import run_program
from ..data import Dataset
from ..errors import UserError
from ..files import write_atomically
from ..run import restore
from ..run.compile_cache import use_compile_cache
from ..run.environment import describe_environment
from ..run.reading import load_run_config, parse_starts, read_starts
from ..run.saved import Checkpoint, read_progress
from ..run.subset import check_data
from ..run.summary import format_title
from . import compile_run

# For each format, the package that has to be installed, and the extra that installs it.
FORMATS = {
    "directory": ("safetensors", "train"),
    "stablehlo": ("flatbuffers", "train"),
    "onnx": ("onnx", "onnx"),
    "nir": ("nir", "export"),
}
PROOF = "proof.json"
# Formats whose files take either raw pixels or normalized floats.
WITH_INPUT = ("stablehlo", "onnx")


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("export", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Export a checkpoint in a format and return 0."""
    if args.input and args.format not in WITH_INPUT:
        raise UserError(
            f"--input is only for --format {' and '.join(WITH_INPUT)}; a directory takes pixels "
            "and normalized floats, and NIR normalized floats."
        )
    out = args.out or args.workdir / "export" / name_output(args)
    _export(args, _load_config(args), out)
    print_text(f"written to {show_name(out)}")
    return 0


def name_output(args: argparse.Namespace) -> str:
    """Return the name of the folder of a program: other options never get the same one."""
    options = [args.weights, args.code, args.input]
    usual = ("float32", "thermometer", "pixels", None)
    other = [option for option in options if option not in usual]
    return "_".join([args.checkpoint, args.format, *other])


def _export(args: argparse.Namespace, config: ConfigDict, out: Path) -> None:
    # Loading and compiling may take minutes: mistakes are reported first.
    package, extra = FORMATS[args.format]
    if find_spec(package) is None:
        raise UserError(
            f"--format {args.format} needs {package}: pip install 'pit-jax[{extra}]', or in a "
            f"clone pip install '.[{extra}]'."
        )
    restore.find_checkpoint(args.workdir, args.checkpoint)
    with _as_user_errors():
        artifact.check_free(out, args.overwrite)
    dataset = data.load(**config.data)
    check_data(args.workdir, dataset)
    choose_input(args, dataset)
    options = {"weights": args.weights, "code": args.code}
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(args.workdir, args.checkpoint)
    about = _describe_program(args, saved, config, dataset)
    program = compile_run.compile_checkpoint(config, saved, dataset, **options)
    # NIR and ONNX cannot express all programs, which is reported before the verification.
    files = _make_files(program, args, dataset)
    report = compile_run.verify_program(program, config, dataset)
    print_text(f"{format_title(config)}\n{report}")
    if not report:
        raise UserError(
            "the program differs from the quantized network, so nothing is written. Please report "
            "this bug."
        )
    with _as_user_errors():
        _write(program, report, out, args, dataset, files, about)
    proof = about | {
        "samples": report.samples,
        "equal": bool(report),
        "top1_agreement": report.top1_agreement,
        "report": to_json(report, {}),
    }
    write_atomically(out / PROOF, json.dumps(proof, indent=1))


def choose_input(args: argparse.Namespace, dataset: Dataset) -> str:
    """Return the input of the program: `pixels`, `normalized`, or `both`."""
    is_bytes = dataset.test.dtype == np.uint8
    if args.format == "directory" and is_bytes:
        return "both"
    if args.input == "pixels" and not is_bytes:
        raise UserError(
            f"--input pixels needs uint8 data; the samples of {dataset.name} are "
            f"{dataset.test.dtype} and enter the network unchanged. Use --input normalized."
        )
    return args.input or ("pixels" if is_bytes and args.format in WITH_INPUT else "normalized")


def _make_files(
    program: SpikingProgram, args: argparse.Namespace, dataset: Dataset
) -> dict[str, bytes]:
    """Return the files of an ONNX or NIR export by name; none for other formats.

    Raises UserError for a program that NIR cannot express.
    """
    if args.format not in ("onnx", "nir"):
        return {}
    with tempfile.TemporaryDirectory() as folder, remove_if_stopped(Path(folder)):
        path = Path(folder) / f"program.{args.format}"
        with _as_user_errors():
            if args.format == "onnx":
                frames, taken = len(dataset.test.shape) == 4, choose_input(args, dataset)
                export.to_onnx(program, path, frames=frames, input=taken)
            else:
                export.to_nir(program, path)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def _write(
    program: SpikingProgram,
    report: Report,
    out: Path,
    args: argparse.Namespace,
    dataset: Dataset,
    files: dict[str, bytes],
    about: dict[str, Any],
) -> None:
    if args.format == "directory":
        program.save(out, proof=report, about=about, overwrite=args.overwrite)
    elif args.format == "stablehlo":
        export.to_stablehlo(
            program,
            out,
            frames=len(dataset.test.shape) == 4,
            input=choose_input(args, dataset),
            proof=report,
            about=about,
            overwrite=args.overwrite,
        )
    else:
        # A folder with a manifest, as for the other formats.
        artifact.write(out, f"pit_jax.{args.format}", 1, files, {"about": about}, args.overwrite)


def _describe_input(dataset: Dataset, taken: str) -> dict[str, Any]:
    """Return the shape, type and meaning of inputs, and the normalization of pixels."""
    dtype = {"pixels": "uint8", "normalized": "float32", "both": "uint8 or float32"}[taken]
    described = {"shape": ["batch", *dataset.test.shape], "dtype": dtype}
    if not dataset.mean:
        frames = len(dataset.test.shape) == 4
        holds = "counts of events, as they are" if frames else "values as they are in the data set"
        return described | {"holds": holds}
    pixels, floats = "pixels 0..255, as they are", "(x / 255 - mean) / std of each channel"
    holds = {
        "pixels": f"{pixels}; the program normalizes them to {floats}",
        "normalized": f"pixels 0..255 as {floats}",
        "both": f"uint8: {pixels}; float32: {floats}",
    }[taken]
    return described | {"holds": holds, "mean": dataset.mean, "std": dataset.std}


def _describe_program(
    args: argparse.Namespace, saved: Checkpoint, config: ConfigDict, dataset: Dataset
) -> dict[str, Any]:
    """Return where the program comes from, its input, and the classes of its logits."""
    # A run may have resumed since, with other code: the checkpoint has a copy of its own starts.
    copy = read_progress(saved.folder).files.get("environment.json")
    starts = parse_starts(copy.encode()) if copy else read_starts(args.workdir)
    return {
        "title": format_title(config),
        "data": dataset.name,
        "split": "test",
        "seed": config.seed,
        "checkpoint": args.checkpoint,
        "step": saved.step,
        "checkpoint_sha256": saved.digest,
        "commit_of_training": starts[-1].get("commit", "unknown") if starts else "unknown",
        "weights": args.weights,
        "code": args.code,
        "input": _describe_input(dataset, choose_input(args, dataset)),
        "classes": list(dataset.classes) or [str(k) for k in range(dataset.num_classes)],
        "environment": describe_environment(),
    }


@contextmanager
def _as_user_errors() -> Iterator[None]:
    """Raise errors of exports and of files within the block as UserError."""
    try:
        yield
    except NotInNIR as error:
        raise UserError(f"{error} Choose --format stablehlo, onnx or directory.") from error
    except ArtifactError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot write ({error}); choose another --out.") from error


def _load_config(args: argparse.Namespace) -> ConfigDict:
    config = load_run_config(args.workdir, args.data_dir)
    if args.batch_size is not None:
        config.batch_size = args.batch_size
    if config.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {config.batch_size}.")
    return config


if __name__ == "__main__":
    run_as_program(main, sys.argv)
