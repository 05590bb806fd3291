"""Classify your own images or event recordings: python -m train.predict RUN FILES..."""

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.special import softmax

from pit_jax.display import escape_formula, print_text, show_name
from pit_jax.run import Run
from pit_jax.signals import run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from ..files import explain_unwritable, read_file, write_atomically
from ..run.compile_cache import use_compile_cache
from ..run.opened import OpenedRun, open_folder
from ..terminal import Terminal, track
from .samples import (
    FileSamples,
    check_kind,
    check_there,
    find_files,
    is_of_events,
    read_samples,
)
from .sheet import Prediction, draw_sheet

HEADER = ("file", "class", "probability")
# The most rows that are printed; the file has all.
MOST_ROWS = 20


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("predict", run, argv[1:])


@use_compile_cache()
def run(args: argparse.Namespace) -> int:
    """Classify the files, write and print the results, and return 0."""
    # Every mistake is reported before the files are read and the network is compiled.
    _check_free(args.out, args.overwrite)
    check_there(args.files)
    opened = open_folder(args.workdir, args.checkpoint, args.data_dir)
    check_kind(opened.layout)
    files, notes = find_files(args.files, opened.layout.test.shape)
    # Images need only the shape. The data set is needed to make frames of a recording.
    events = is_of_events(opened.layout.test.shape)
    _check_kept(files, args.out)
    samples = read_samples(files, opened.load() if events else opened.layout)
    _make_folder(args.out)
    for note in [*notes, *samples.notes, *_note_classes(args.files, files, opened.run)]:
        print_text(f"note: {note}.", sys.stderr)
    predictions = classify(opened.run, samples, args.batch_size)
    _write(args.out, predictions, samples, opened)
    _print(predictions, args.out)
    return 0


def classify(network: Run, samples: FileSamples, batch_size: int | None = None) -> list[Prediction]:
    """Return the class and the probability of each sample; show a progress bar.

    Raises UserError for logits that are not finite.
    """
    size = batch_size or network.config["batch_size"]
    starts = range(0, len(samples.files), size)
    found = [
        # With the batch size of training, as in train.evaluate, so that both agree.
        network.logits(samples.images[start : start + size], size)
        for start in track(starts, "classifying")
    ]
    logits = np.concatenate(found)
    if wrong := [file for file, row in zip(samples.files, logits, strict=True) if _is_bad(row)]:
        raise UserError(
            f"the logits of {len(wrong):,} of {len(logits):,} files are not finite, first those of "
            f"{wrong[0]}. Try the other --checkpoint, last or best."
        )
    answers = logits.argmax(axis=1)
    # In float64, so that the probabilities of two logits that differ in the last bit differ.
    chances = softmax(logits.astype(np.float64), axis=1)[np.arange(len(logits)), answers]
    return [
        Prediction(file, network.classes[answer], round(float(chance), 6))
        for file, answer, chance in zip(samples.files, answers, chances, strict=True)
    ]


def _is_bad(row: np.ndarray) -> bool:
    return not np.isfinite(row).all()


def format_predictions(predictions: Sequence[Prediction], suffix: str) -> str:
    """Return the content of a `.csv` or a `.json` file."""
    rows = [(str(each.file), each.name, each.probability) for each in predictions]
    if suffix == ".json":
        listed = [dict(zip(HEADER, row, strict=True)) for row in rows]
        return json.dumps(listed, indent=1, ensure_ascii=False)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([*map(escape_formula, row)] for row in rows)
    return written.getvalue()


def _write(
    out: Path, predictions: Sequence[Prediction], samples: FileSamples, opened: OpenedRun
) -> None:
    about = opened.run.about
    title = f"{about['title']}, {about['checkpoint']} checkpoint"
    figure = draw_sheet(title, predictions, samples.images, opened.run.classes)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150)
    with explain_unwritable(out):
        # Written first: --overwrite recognizes by it that this program made the picture.
        write_atomically(out, format_predictions(predictions, out.suffix.lower()))
        write_atomically(out.with_suffix(".png"), drawn.getvalue())


def _print(predictions: Sequence[Prediction], out: Path) -> None:
    table = Table(*HEADER)
    for file, name, probability in predictions[:MOST_ROWS]:
        table.add_row(show_name(file), show_name(name), f"{probability:.1%}")
    Terminal().print(table)
    if (more := len(predictions) - MOST_ROWS) > 0:
        counts = Counter(each.name for each in predictions).most_common(MOST_ROWS)
        listed = ", ".join(f"{show_name(name)}: {count:,}" for name, count in counts)
        print_text(f"and {more:,} more; in all: {listed}")
    print_text(f"written to {show_name(out)} and {show_name(out.with_suffix('.png').name)}")


def _note_classes(places: Sequence[Path], files: Sequence[Path], network: Run) -> list[str]:
    """Return a note if the files are in folders that are named after classes."""
    folders = {file.parent.name for file in files}
    if len(places) > 1 or len(folders) < 2 or not folders <= set(network.classes):
        return []
    return [
        f"the folders in {places[0]} are named after classes, which are not read here; "
        "train.evaluate --folder measures the accuracy on them"
    ]


def _check_free(out: Path, overwrite: bool) -> None:
    """Raise UserError for a wrong suffix, and for files that this program may not replace."""
    if out.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"--out must end in .csv or .json, got {out}.")
    there = [file for file in (out, out.with_suffix(".png")) if os.path.lexists(file)]
    if there and not overwrite:
        raise UserError(f"{there[0]} exists; choose another --out or give --overwrite.")
    if there and not _is_predictions(out):
        raise UserError(
            f"{there[0]} was not written by this program and is not replaced; choose another --out."
        )


def _check_kept(files: Sequence[Path], out: Path) -> None:
    """Raise UserError if the contact sheet would replace one of the files."""
    sheet = out.with_suffix(".png").resolve()
    for file in files:
        if file.resolve() == sheet:
            raise UserError(f"{file} would be replaced by the picture; choose another --out.")


def _is_predictions(file: Path) -> bool:
    """Return whether this program wrote a file."""
    try:
        text = (read_file(file) or b"").decode()
        if file.suffix.lower() == ".csv":
            return text.startswith(",".join(HEADER) + "\n")
        rows = json.loads(text)
        return bool(rows) and all(tuple(row) == HEADER for row in rows)
    except (UserError, ValueError, TypeError, RecursionError):
        return False


def _make_folder(out: Path) -> None:
    with explain_unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK):
            raise PermissionError(0, "no permission")


if __name__ == "__main__":
    run_as_program(main, sys.argv)
