"""NumPy's files: arrays `.npy`, and the `.npz` archives in which SpikingJelly saves events."""

import io
import math
import zipfile
from pathlib import PurePosixPath
from typing import cast

import numpy as np

from pit_jax.events.files import Source, open_recording
from pit_jax.events.stream import NAMES, convert_events
from pit_jax.reading import FileError, check_declared

# SpikingJelly's archives shrink to a third. Constant columns, such as a single polarity, shrink a
# thousandfold, so a small file may do so too, but not a large one.
_MOST_GROWTH, _ALWAYS_FITS, _LARGEST = 100, 2**26, 2**29


def read_npz(source: Source) -> np.ndarray:
    """Return the events of an `.npz` file with the arrays t, x, y and p, as of SpikingJelly.

    Raises ValueError for damaged files, and for arrays that are not events.
    """
    with open_recording(source, "an .npz file of events") as (file, path, size):
        if not zipfile.is_zipfile(file):
            raise FileError(f"{path} is not an .npz file: it is no zip archive.")
        with zipfile.ZipFile(file) as archive:
            known = {name for names in NAMES.values() for name in names}
            members = {PurePosixPath(m.filename).stem: m for m in archive.infolist()}
            wanted = {name: m for name, m in members.items() if name.lower() in known}
            unpacked = sum(member.file_size for member in wanted.values())
            limit = min(max(_ALWAYS_FITS, _MOST_GROWTH * size), _LARGEST)
            if unpacked > limit:
                raise FileError(
                    f"{path} has {size:,} bytes that grow to {unpacked:,}, more than the "
                    f"{limit:,} that events of a recording may take. Is it damaged?"
                )
            columns = {}
            for name, member in wanted.items():
                with archive.open(member) as content:
                    unzipped = cast(io.BufferedIOBase, content)
                    columns[name] = load_array(unzipped, f"{path} ({name})", member.file_size)
            missing = sorted(set(members) - set(wanted))
        if not columns:
            raise FileError(f"{path} has no arrays t, x, y and p, but {', '.join(missing[:5])}.")
        try:
            return convert_events(columns)
        except ValueError as error:
            raise FileError(f"{path}: {error}") from error


def load_array(content: io.BufferedIOBase, path: str, size: int) -> np.ndarray:
    """Return the array of a `.npy` file of `size` bytes; its header is checked first.

    Raises FileError if the header declares more or fewer bytes than there are, and for arrays of
    Python objects.
    """
    major, _ = np.lib.format.read_magic(content)
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
            f"bytes, but there are {len(raw):,}. Take another copy of it."
        )
    check_declared(path, "values", declared, len(raw))
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if by_column else "C")
