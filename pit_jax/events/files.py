"""The file formats of event cameras and data sets: AEDAT 2.0, AEDAT 3.1 and N-MNIST's."""

import io
import os
from pathlib import Path

import numpy as np

from pit_jax.events.stream import EVENT, check_sensor, make_events

# A path, or an open binary file, such as a member of an archive.
Source = str | os.PathLike[str] | io.BufferedIOBase

DVS128 = 128  # Pixels on a side.
_PACKET = np.dtype(
    [
        ("type", "<u2"),
        ("source", "<u2"),
        ("size", "<u4"),
        ("offset", "<u4"),
        ("overflow", "<u4"),
        ("capacity", "<u4"),
        ("number", "<u4"),
        ("valid", "<u4"),
    ]
)
_OVERFLOW_Y, _OVERFLOW = 240, 2**13  # A row outside the sensor marks a clock overflow, in µs.
_POLARITY = 1  # The packet type of brightness changes; others are frames, inertia and triggers.


def read_aedat2(source: Source) -> np.ndarray:
    """Return the events of a DVS128 recording in AEDAT 2.0, such as a file of CIFAR10-DVS.

    Address bits: 0 is the polarity, 1 to 7 the column, 8 to 14 the row. Axes and polarity are
    flipped as in SpikingJelly: x = 127 - row, y = 127 - column, p = 1 - bit, so that 1 is ON.
    Raises ValueError for a file of another version and for a file that ends within an event.
    """
    raw, path = _read_bytes(source)
    start = _find_header_end(raw, path, version="2.0", other="read_aedat31")
    _check_whole(path, start, len(raw), size=8)
    address, time = np.frombuffer(raw, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    # The format is big-endian: an address and a time of 32 bits each.
    row, column = (address >> 8) & 0x7F, (address >> 1) & 0x7F
    return make_events(time, DVS128 - 1 - row, DVS128 - 1 - column, 1 - (address & 1))


def write_aedat2(path: str | os.PathLike[str], events: np.ndarray) -> None:
    """Write `events` so that `read_aedat2` returns them.

    Raises ValueError for pixels outside of 128 x 128 and for times that are negative or need more
    than 32 bits (71 minutes), and FileExistsError if the file exists.
    """
    check_sensor(events, DVS128, DVS128)
    if len(events) and not 0 <= events["t"].min() <= events["t"].max() < 2**32:
        raise ValueError("AEDAT 2.0 holds times from 0 to 2**32 - 1 µs; shift the events first.")
    row, column = DVS128 - 1 - events["x"], DVS128 - 1 - events["y"]
    address = (row.astype(">u4") << 8) | (column.astype(">u4") << 1) | (1 - (events["p"] != 0))
    pairs = np.stack([address, events["t"]], axis=-1).astype(">u4")
    with open(path, "xb") as file:  # x: fail rather than overwrite a recording.
        file.write(b"#!AER-DAT2.0\r\n# written by pit_jax\r\n" + pairs.tobytes())


def read_aedat31(source: Source) -> np.ndarray:
    """Return the polarity events of a recording in AEDAT 3.1, such as a file of DVS128-Gesture.

    Events marked invalid are included, as in SpikingJelly and tonic. Raises ValueError for a file
    of another version and for a file that ends within a packet.
    """
    raw, path = _read_bytes(source)
    at = _find_header_end(raw, path, version="3.1", other="read_aedat2")
    parts = [np.empty(0, EVENT)]
    while at < len(raw):
        if at + _PACKET.itemsize > len(raw):
            raise _make_error(path, at, "a packet's header")
        packet = np.frombuffer(raw, _PACKET, count=1, offset=at)[0]
        at += _PACKET.itemsize
        length = int(packet["capacity"]) * int(packet["size"])
        if at + length > len(raw):
            raise _make_error(path, at, f"a packet of {length} bytes")
        if packet["type"] == _POLARITY:
            if packet["size"] != 8 or packet["number"] > packet["capacity"]:
                raise ValueError(
                    f"{path} is damaged: the packet at byte {at - _PACKET.itemsize} claims "
                    f"{packet['number']} of {packet['capacity']} events of {packet['size']} bytes, "
                    "but a polarity event has 8. Download it again."
                )
            words = np.frombuffer(raw, "<u4", count=2 * int(packet["number"]), offset=at)
            data, time = words.reshape(-1, 2).astype(np.int64).T
            # Bit 0 of the data marks validity, bit 1 polarity, 2 to 16 y and 17 to 31 x. Times have
            # 31 bits; the packet counts their overflows.
            time = time | (int(packet["overflow"]) << 31)
            parts.append(make_events(time, data >> 17, (data >> 2) & 0x7FFF, (data >> 1) & 1))
        at += length
    return np.concatenate(parts)


def read_atis(source: Source) -> np.ndarray:
    """Return the events of an N-MNIST or N-Caltech101 `.bin` file, five bytes each.

    Bytes 0 and 1 are x and y, the next bit the polarity, the last 23 bits the time in µs. As in
    the authors' event-Python and in tonic, y = 240 is not an event, but adds 2**13 µs to all later
    times. Raises ValueError for a file that ends within an event.
    """
    raw, path = _read_bytes(source)
    _check_whole(path, 0, len(raw), size=5)
    x, y, high, middle, low = np.frombuffer(raw, np.uint8).reshape(-1, 5).astype(np.int64).T
    overflow = y == _OVERFLOW_Y
    time = ((high & 0x7F) << 16) | (middle << 8) | low
    # The marker itself is removed, so it does not matter that its own time is shifted too.
    time += _OVERFLOW * np.cumsum(overflow)
    return make_events(time, x, y, high >> 7)[~overflow]


def _read_bytes(source: Source) -> tuple[bytes, str]:
    """Return the bytes of a file and its name."""
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes(), str(source)
    return source.read(), getattr(source, "name", "the file")


def _find_header_end(raw: bytes, path: str, *, version: str, other: str) -> int:
    """Return where the header ends: after its lines with # or, in AEDAT 3.1, an explicit end."""
    first = raw[:32].splitlines()[0] if raw else b""
    named = first.removeprefix(b"#!AER-DAT").decode("latin-1") if b"AER-DAT" in first else None
    # Old recordings of version 2.0 may start with any comment; version 3 is always named.
    if not first.startswith(b"#") or (named or "2.0").strip() != version:
        hint = f"; use {other}" if named else ""
        raise ValueError(f"{path} is not an AEDAT {version} file: it starts with {first!r}{hint}.")
    at = 0
    while raw.startswith(b"#", at):
        end = raw.find(b"\n", at) + 1
        if end == 0:
            raise _make_error(path, at, "a line of the header")
        line, at = raw[at:end], end
        if line.startswith(b"#!END-HEADER"):
            break
    return at


def _check_whole(path: str, start: int, end: int, size: int) -> None:
    rest = (end - start) % size
    if rest:
        raise _make_error(path, end - rest, f"an event of {size} bytes")


def _make_error(path: str, at: int, what: str) -> ValueError:
    return ValueError(
        f"{path} ends within {what} that starts at byte {at}: the file is truncated or "
        "damaged; download or extract it again."
    )
