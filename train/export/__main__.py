"""Compile a trained network to binary spikes: python -m train.export RUN --format FORMAT"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("export", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Export a checkpoint in a format and return 0."""
    if args.pixels and args.format != "stablehlo":
        raise UserError("--pixels is only for --format stablehlo.")
    out = args.out or args.workdir / "export" / name_output(args)
    _export(args, _load_config(args), out)
    print_text(f"written to {show_name(out)}")
    return 0


def name_output(args: argparse.Namespace) -> str:
    """Return the name of the folder of a program: other options never get the same one."""
    options = [args.weights, args.code, "pixels" * args.pixels]
    other = [option for option in options if option not in ("float32", "thermometer", "")]
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
    _raise_user_errors(artifact.check_free, out, args.overwrite)
    dataset = data.load(**config.data)
    check_data(args.workdir, dataset)
    if args.pixels and not dataset.mean:
        raise UserError(
            f"--pixels needs a network for pixels 0 to 255; the samples of {dataset.name} enter "
            "the network unchanged. Export without --pixels."
        )
    options = {"weights": args.weights, "code": args.code}
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(args.workdir, args.checkpoint)
    about = _describe_program(args, saved, config, dataset)
    program = compile_run.compile_checkpoint(config, saved, dataset, **options)
    report = compile_run.verify_program(program, config, dataset)
    print_text(f"{format_title(config)}\n{report}")
    if not report:
        raise UserError(
            "the program differs from the quantized network, so nothing is written. Please report "
            "this bug."
        )
    _raise_user_errors(_write, program, report, out, args, dataset, about)
    proof = about | {
        "samples": report.samples,
        "equal": bool(report),
        "top1_agreement": report.top1_agreement,
        "report": to_json(report, {}),
    }
    write_atomically(out / PROOF, json.dumps(proof, indent=1))


def _write(
    program: SpikingProgram,
    report: Report,
    out: Path,
    args: argparse.Namespace,
    dataset: Dataset,
    about: dict[str, Any],
) -> None:
    frames = len(dataset.test.shape) == 4
    if args.format == "directory":
        program.save(out, proof=report, about=about, overwrite=args.overwrite)
        return
    if args.format == "stablehlo":
        export.to_stablehlo(
            program,
            out,
            frames=frames,
            pixels=compile_run.compute_pixel_values(dataset) if args.pixels else None,
            proof=report,
            about=about,
            overwrite=args.overwrite,
        )
        return
    with tempfile.TemporaryDirectory() as folder, remove_if_stopped(Path(folder)):
        path = Path(folder) / f"program.{args.format}"
        if args.format == "onnx":
            export.to_onnx(program, path, frames=frames)
        else:
            export.to_nir(program, path)
        # A folder with a manifest, as for the other formats.
        files = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    kind = f"pit_jax.{args.format}"
    artifact.write(out, kind, 1, files, {"about": about}, args.overwrite)


def _describe_program(
    args: argparse.Namespace, saved: Checkpoint, config: ConfigDict, dataset: Dataset
) -> dict[str, Any]:
    """Return where the program comes from, its input, and the classes of its logits."""
    shape = ["batch", *dataset.test.shape]
    takes: dict[str, Any] = {"shape": shape, "holds": "counts of events, as they are"}
    if len(dataset.test.shape) == 3:
        takes["holds"] = "values as they are in the data set"
    if args.pixels:
        takes["holds"] = "pixels 0..255, as they are"
    elif dataset.mean:
        takes["holds"] = "pixels 0..255 as (x / 255 - mean) / std of each channel"
        takes |= {"mean": dataset.mean, "std": dataset.std}
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
        "input": takes,
        "classes": list(dataset.classes) or [str(k) for k in range(dataset.num_classes)],
        "environment": describe_environment(),
    }


def _raise_user_errors(call: Any, *args: Any) -> None:
    """Call `call`, and raise its errors as UserError."""
    try:
        call(*args)
    except (ArtifactError, NotInNIR) as error:
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
