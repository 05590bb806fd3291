"""The file formats of event cameras and data sets: AEDAT 2.0, AEDAT 3.1 and N-MNIST's."""

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from pit_jax.events.headers import check_chip, find_header_end, make_truncation, name_format
from pit_jax.events.stream import check_pixels, convert_events, pack_events
from pit_jax.paths import read_path
from pit_jax.reading import FileError, reading

# A path, or an open binary file, such as a member of an archive.
Source = str | os.PathLike[str] | io.BufferedIOBase

DVS128 = 128  # Pixels on a side.
_ADDRESSES = 2**15  # A DVS128 sends addresses of 15 bits; bit 15 marks triggers.
_PACKET = struct.Struct("<HHIIIIII")  # type, source, size, offset, overflow, capacity, number, ...
_COMPRESSED = 0x8000  # The highest bit of a packet's type.
_OVERFLOW_Y, _OVERFLOW = 240, 2**13  # A row outside the sensor marks a clock overflow, in µs.
_POLARITY = 1  # The packet type of brightness changes; others are frames, inertia and triggers.


class RecordingExists(FileError, FileExistsError):
    """A file that would be overwritten."""


class SkippedWords(UserWarning):
    """Address words of a recording that are not events of a pixel and were skipped."""

    def __init__(self, path: str, count: int, of: int) -> None:
        super().__init__(
            f"{path}: skipped {count:,} of {of:,} address words that are not events of a pixel, "
            "such as triggers (bit 15)."
        )
        self.count = count


def read_aedat2(source: Source) -> np.ndarray:
    """Return the events of a DVS128 recording in AEDAT 2.0, such as a file of CIFAR10-DVS.

    Address bits: 0 is the polarity, 1 to 7 the column, 8 to 14 the row. Axes and polarity are
    flipped as in SpikingJelly: x = 127 - row, y = 127 - column, p = 1 - bit, so that 1 is ON.
    Special words, such as triggers, are skipped with a `SkippedWords` warning. Raises ValueError
    for a file of another version or camera, if more than a tenth of the words are not addresses of
    a DVS128, and for a file that ends within an event.
    """
    with open_recording(source, "an AEDAT 2.0 recording") as (file, path, _):
        raw = file.read()
        start = find_header_end(raw, path, "2.0", {"3.1": read_aedat31})
        check_chip(raw[:start], path)
        _check_whole(path, start, len(raw), size=8)
        # The format is big-endian: an address and a time of 32 bits each.
        words = np.frombuffer(raw, ">u4", offset=start).reshape(-1, 2)
        address, time, skipped = words[:, 0].astype(np.uint32), words[:, 1], 0
        if len(address) and address.max() >= _ADDRESSES:
            of_pixel = address < _ADDRESSES
            skipped = int(np.count_nonzero(~of_pixel))
            _check_share(path, skipped, len(address))
            address, time = address[of_pixel], time[of_pixel]
        row, column = address >> 8, (address >> 1) & 0x7F
        events = pack_events(time, DVS128 - 1 - row, DVS128 - 1 - column, 1 - (address & 1))
    if skipped:
        warnings.warn(SkippedWords(path, skipped, len(words)), stacklevel=2)
    return events


def write_aedat2(path: str | os.PathLike[str], events: object) -> None:
    """Write `events` so that `read_aedat2` returns them.

    Raises ValueError for pixels outside of 128 x 128 and for times that are negative or need more
    than 32 bits (71 minutes), and if the file cannot be written; FileExistsError if it exists.
    """
    checked = convert_events(events)
    t, x, y, p = (checked[name] for name in "txyp")
    check_pixels(x, y, DVS128, DVS128)
    if len(checked) and not 0 <= t.min() <= t.max() < 2**32:
        raise ValueError("AEDAT 2.0 holds times from 0 to 2**32 - 1 µs; shift the events first.")
    row, column = DVS128 - 1 - x, DVS128 - 1 - y
    address = (row.astype(">u4") << 8) | (column.astype(">u4") << 1) | (1 - p)
    pairs = np.stack([address, t], axis=-1).astype(">u4")
    target = read_path(path)
    file = None
    try:
        file = target.open("xb")  # x: fail rather than overwrite a recording.
        with file:
            file.write(b"#!AER-DAT2.0\r\n# written by pit_jax\r\n" + pairs.tobytes())
    except FileExistsError as error:
        raise RecordingExists(f"{target} exists already; choose another name.") from error
    except BaseException as error:
        if file is not None:
            target.unlink()  # Part of a recording looks like a whole one.
        if isinstance(error, OSError):
            raise FileError(f"{target} cannot be written ({error.strerror}).") from error
        raise


def read_aedat31(source: Source, *, dvs128: bool = False) -> np.ndarray:
    """Return the polarity events of a recording in AEDAT 3.1, such as a file of DVS128-Gesture.

    Events marked invalid are included, as in SpikingJelly and tonic. Raises ValueError for a file
    of another version, for compressed packets and for a file that ends within a packet; with
    `dvs128`, also if the header names another camera.
    """
    with open_recording(source, "an AEDAT 3.1 recording") as (file, path, _):
        raw = file.read()
        at = find_header_end(raw, path, "3.1", {"2.0": read_aedat2})
        if dvs128:
            check_chip(raw[:at], path)
        found = []  # Where the events of each packet start, how many, and the overflows before it.
        while at < len(raw):
            if at + _PACKET.size > len(raw):
                raise make_truncation(path, at, "a packet's header")
            packet = _PACKET.unpack_from(raw, at)
            kind, _, size, _, overflow, capacity, number, _ = packet
            if kind & _COMPRESSED:
                raise FileError(
                    f"{path} has compressed packets, which are not read: the first one is at byte "
                    f"{at}. Write the recording again without compression (Format: RAW)."
                )
            start = at + _PACKET.size
            at = start + capacity * size
            if at > len(raw):
                raise make_truncation(path, start, f"a packet of {capacity * size} bytes")
            if not size:
                raise _refuse_packet(path, start, packet)
            if kind == _POLARITY:
                if size != 8 or number > capacity:
                    raise _refuse_packet(path, start, packet)
                found.append((start, number, overflow))
        return _read_polarities(raw, path, found)


def read_atis(source: Source) -> np.ndarray:
    """Return the events of an N-MNIST or N-Caltech101 `.bin` file, five bytes each.

    Bytes 0 and 1 are x and y, the next bit the polarity, the last 23 bits the time in µs. As in
    the authors' event-Python and in tonic, y = 240 is not an event, but adds 2**13 µs to all later
    times. Raises ValueError for a file that ends within an event, and for files of other formats.
    """
    with open_recording(source, "an N-MNIST recording") as (file, path, _):
        raw = file.read()
        other = name_format(raw)
        if other:
            raise FileError(f"{path} is not an N-MNIST .bin file: it is {other}.")
        _check_whole(path, 0, len(raw), size=5)
        x, y, high, middle, low = np.frombuffer(raw, np.uint8).reshape(-1, 5).T
        time = (high & 0x7F).astype(np.int64) << 16
        time |= (middle.astype(np.uint16) << 8) | low
        overflow = y == _OVERFLOW_Y
        if not overflow.any():
            return pack_events(time, x, y, high >> 7)
        # The marker itself is removed, so it does not matter that its own time is shifted too.
        time += _OVERFLOW * np.cumsum(overflow)
        return pack_events(time, x, y, high >> 7)[~overflow]


@contextmanager
def open_recording(source: Source, kind: str) -> Iterator[tuple[io.BufferedIOBase, str, int]]:
    """Open a file; yield it, its name and its size. Errors of the block name the file."""
    if isinstance(source, str | os.PathLike):
        # An absolute Path needs no expansion, which saves time for the many files of a data set.
        itself = isinstance(source, Path) and source.is_absolute()
        path = cast(Path, source) if itself else read_path(source)
        with reading(path, kind):
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                # Reading a pipe or a device might never end.
                raise FileError(f"{path} is not {kind}, but a folder, a pipe or a device.")
            with path.open("rb") as file:
                yield file, str(path), about.st_size
        return
    if not hasattr(source, "read"):
        raise ValueError(f"expected a path or an open file, got {type(source).__name__}.")
    name = str(getattr(source, "name", "the file"))
    with reading(name, kind):
        raw = source.read()
        if not isinstance(raw, bytes):
            raise FileError(f"{name} must be opened in binary mode: open(path, 'rb').")
        yield io.BytesIO(raw), name, len(raw)


def _check_share(path: str, count: int, of: int) -> None:
    """Raise FileError if more than a tenth of the address words are not of a DVS128."""
    if 10 * count > of:
        raise FileError(
            f"{path} is not a recording of a DVS128: {count:,} of {of:,} address words have bits "
            "that this camera never sends. It is of another camera, of AEDAT 1.0, or damaged."
        )


def _read_polarities(raw: bytes, path: str, found: list[tuple[int, int, int]]) -> np.ndarray:
    """Return the events of all packets of polarity events."""
    # All packets are decoded together, because each may have only a few events.
    content = b"".join(raw[start : start + 8 * number] for start, number, _ in found)
    words = np.frombuffer(content, "<u4").reshape(-1, 2)
    # Bit 0 of the data marks validity, bit 1 polarity, 2 to 16 y and 17 to 31 x. Times have 31
    # bits; the packet counts their overflows.
    data, time = words[:, 0].astype(np.uint32), words[:, 1].astype(np.int64)
    _, counts, overflows = np.array(found or [(0, 0, 0)], np.int64).T
    if len(time) and time.max() >= 2**31:
        place = int(np.searchsorted(np.cumsum(counts), np.argmax(time >= 2**31), "right"))
        start = found[place][0]
        raise _refuse_packet(path, start, _PACKET.unpack_from(raw, start - _PACKET.size))
    if overflows.any():
        time |= np.repeat(overflows << 31, counts)
    return pack_events(time, data >> 17, (data >> 2) & 0x7FFF, (data >> 1) & 1)


def _refuse_packet(path: str, start: int, packet: tuple[int, ...]) -> FileError:
    _, _, size, _, _, capacity, number, _ = packet
    return FileError(
        f"{path} is damaged: the packet at byte {start - _PACKET.size} claims {number} of "
        f"{capacity} events of {size} bytes, but a polarity event has 8, with a time of 31 bits. "
        "Download it again."
    )


def _check_whole(path: str, start: int, end: int, size: int) -> None:
    rest = (end - start) % size
    if rest:
        raise make_truncation(path, end - rest, f"an event of {size} bytes")
