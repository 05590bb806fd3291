"""NumPy's files: arrays `.npy`, and the `.npz` archives in which SpikingJelly saves events."""

import io
import math
import zipfile
from pathlib import PurePosixPath
from typing import cast

import numpy as np

from pit_jax.events.files import Source, open_recording
from pit_jax.events.headers import name_format
from pit_jax.events.stream import NAMES, convert_events
from pit_jax.reading import FileError, check_declared

# SpikingJelly's archives shrink to a third. Constant columns, such as a single polarity, shrink a
# thousandfold, so a small file may do so too, but not a large one.
_MOST_GROWTH, _ALWAYS_FITS, _LARGEST, _USUAL_GROWTH = 100, 2**26, 2**29, 8


def read_npz(source: Source) -> np.ndarray:
    """Return the events of an `.npz` file with the arrays t, x, y and p, as of SpikingJelly.

    An archive of a single structured array is read too. Raises ValueError for damaged files, and
    for arrays that are not events.
    """
    with open_recording(source, "an .npz file of events") as (file, path, size):
        if not zipfile.is_zipfile(file):
            file.seek(0)
            other = name_format(file.read(32)) or "no zip archive"
            raise FileError(f"{path} is not an .npz file: it is {other}.")
        with zipfile.ZipFile(file) as archive:
            wanted = _choose_members(path, archive.infolist())
            unpacked = sum(member.file_size for member in wanted.values())
            limit = max(_USUAL_GROWTH * size, min(max(_ALWAYS_FITS, _MOST_GROWTH * size), _LARGEST))
            if unpacked > limit:
                raise FileError(
                    f"{path} has {size:,} bytes that expand to {unpacked:,}, more than the "
                    f"{limit:,} that events of a recording may take. Is it damaged?"
                )
            columns = {}
            for name, member in wanted.items():
                with archive.open(member) as content:
                    unzipped = cast(io.BufferedIOBase, content)
                    columns[name] = load_array(unzipped, f"{path} ({name})", member.file_size)
        array, *others = columns.values()
        try:
            return convert_events(columns if others else array)
        except ValueError as error:
            raise FileError(f"{path}: {error}") from error


def _choose_members(path: str, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive with columns of events, or its only array, by name."""
    known = {name for names in NAMES.values() for name in names}
    names = [PurePosixPath(member.filename) for member in members]
    arrays: dict[str, zipfile.ZipInfo] = {}
    for name, member in zip(names, members, strict=True):
        # Other members are notes, or files that macOS adds.
        if name.suffix != ".npy" or name.name.startswith("._"):
            continue
        if name.stem in arrays:
            raise FileError(
                f"{path} has two arrays {name.stem}: {arrays[name.stem].filename} and {name}. Save "
                "each recording in a file of its own."
            )
        arrays[name.stem] = member
    wanted = {name: member for name, member in arrays.items() if name.lower() in known}
    if not wanted and len(arrays) != 1:
        found = ", ".join(sorted(arrays)[:5]) or "no array at all"
        raise FileError(f"{path} has no arrays t, x, y and p, but {found}.")
    return wanted or arrays


def load_array(content: io.BufferedIOBase, path: str, size: int) -> np.ndarray:
    """Return the array of a `.npy` file of `size` bytes; its header is checked first.

    Raises FileError if the header declares more or fewer bytes than there are, and for arrays of
    Python objects.
    """
    major, minor = np.lib.format.read_magic(content)
    if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
        raise FileError(f"{path} is a .npy file of the unknown version {major}.{minor}.")
    # Version 3 differs from 2 only in the encoding of the names of fields.
    read = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    )
    shape, by_column, dtype = read(content)
    if dtype.hasobject:
        raise FileError(f"{path} holds Python objects, which could run code; they are not loaded.")
    declared = math.prod(shape) * dtype.itemsize
    raw = content.read(size)
    if min(shape, default=1) < 0 or not dtype.itemsize or declared < len(raw):
        raise FileError(
            f"{path} is damaged: its header declares {shape} values of {dtype}, {declared:,} "
            f"bytes, but there are {len(raw):,}. Get another copy of it."
        )
    check_declared(path, "values", declared, len(raw))
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if by_column else "C")
