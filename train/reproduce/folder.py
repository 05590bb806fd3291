"""The folder of the results: its pages, and checks that files and data belong to it."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import hash_content, hash_file, read_file, write_atomically
from ..run.reading import read_json
from ..run.workdir import find_disk_error
from .locks import FOLDER as LOCKS
from .locks import hold_lock
from .pages import write_pages
from .records import FOLDER as RECORDS
from .records import read_records
from .sources import FOLDER as SOURCES

if TYPE_CHECKING:
    from configs.scales import Experiment

# The hash of the data by section of a config, and the hashes of the pages that were written here.
DATA, PAGES = "data.json", "pages.json"
SUFFIXES = ("md", "csv", "tex", "png")


@contextmanager
def explain_disk_errors(out: Path) -> Iterator[None]:
    """Raise UserError if the block cannot write: no permission, a full or a read-only disk."""
    try:
        yield
    except OSError as error:
        reason = find_disk_error(error)
        # The data may be unreadable, too.
        if isinstance(error, PermissionError) and _is_of(out, error.filename):
            reason = error.strerror
        if reason is None:
            raise
        raise UserError(
            f"cannot write to {out} ({reason}). Fix this and repeat the command, or choose another "
            "--out."
        ) from error


def _is_of(out: Path, filename: str | bytes | None) -> bool:
    """Return whether a file is in `out` or above it; true for an unknown file."""
    if filename is None:
        return True
    file, folder = Path(os.fsdecode(filename)).absolute(), out.absolute()
    return file.is_relative_to(folder) or folder.is_relative_to(file)


def check_folder(out: Path, names: list[str], scale: str) -> None:
    """Raise UserError if `out` has other files, edited pages, or pages of another scale."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is not a folder. Choose another --out.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if there and not there & {SOURCES, RECORDS, LOCKS}:
        raise UserError(
            f"{out} is not empty and has no results of train.reproduce. Choose another --out."
        )
    written = _read(out / PAGES)
    for name in names:
        _check_pages(out, name, written)
        # The first line has the command of the page.
        command, _, _ = (read_file(out / f"{name}.tex") or b"").decode().partition("\n")
        if command and f"--scale {scale}" not in command:
            raise UserError(
                f"{out} has {name} at another scale, which this one would replace. Choose another "
                "--out."
            )


def _check_pages(out: Path, name: str, written: Mapping[str, Any]) -> None:
    """Raise UserError for a page of the experiment `name` that is not as this program wrote it."""
    # Some have further pictures, such as table8_levels.png.
    files = [file for suffix in SUFFIXES for file in out.glob(f"{name}[._]*{suffix}")]
    for file in files:
        if not (file.is_file() and hash_file(file) in written.get(file.name, ())):
            raise UserError(
                f"{file} was not written by train.reproduce, or changed since. Move it away, or "
                "choose another --out."
            )


def check_data(out: Path, found: Mapping[str, Mapping[str, str]]) -> None:
    """Note the hashes of data by section; raise UserError if other runs in `out` had other data."""
    with hold_lock(out, DATA):
        known = _read(out / DATA)
        for section, data in found.items():
            if known.get(section, data) != data:
                raise UserError(
                    f"the data {data['name']} differ from those of the other runs in {out}. "
                    "Restore them, give their folder with --data, or choose another --out."
                )
        if found.keys() - known.keys():
            _write(out / DATA, {**known, **found})


def publish(experiment: "Experiment", out: Path, scale: str, seeds: int | None) -> None:
    """Write the pages of an experiment from the records in `out`.

    Raises UserError, and writes nothing, if this program did not write the file of such a name.
    """
    with hold_lock(out, PAGES), tempfile.TemporaryDirectory() as folder:
        written = _read(out / PAGES)
        _check_pages(out, experiment.name, written)
        records = read_records(experiment, out)
        files = write_pages(experiment, records, seeds, Path(folder), scale=scale)
        contents = {file.name: file.read_bytes() for file in files}
        hashes = {name: [hash_content(content)] for name, content in contents.items()}
        # If the program is killed below, some pages are new and others old: both count as ours.
        both = {name: [*written.get(name, ()), *new] for name, new in hashes.items()}
        _write(out / PAGES, {**written, **both})
        for name, content in contents.items():
            write_atomically(out / name, content, shared=True)
        _write(out / PAGES, {**written, **hashes})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(dict(sorted(content.items())), indent=1)
    write_atomically(file, f"{text}\n", shared=True)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(file, dict) or {}
    if not all(isinstance(value, list | dict) for value in found.values()):
        raise UserError(f"{file} was not written by train.reproduce; restore it or move it away.")
    return found
