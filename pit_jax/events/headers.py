"""The start of an event file: its format, its version, and the camera that its header names."""

import io
import re
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from pit_jax.reading import FileError

Reader = Callable[[io.BufferedIOBase], np.ndarray]

# First bytes of other formats. The events of N-MNIST and N-Caltech101 start with none of these.
MAGIC = {
    b"#!AER-DAT": "an AEDAT file",
    b"#ROSBAG": "a ROS bag",
    b"Event Stream": "an Event Stream file (.es)",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x89HDF\r\n": "an HDF5 file",
    b"\x89PNG\r\n": "a PNG image",
    b"PK\3\4": "a zip archive (.zip, .npz)",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b\x08": "compressed by gzip",
    b"\xfd7zXZ": "compressed by xz",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"\xff\xd8\xff": "a JPEG image",
    b"MATLAB 5.0": "a MATLAB file (.mat)",
    b"version https://git-lfs": "a pointer of git-lfs, without the content",
}
_LONGEST = 2**22  # Most bytes of a header; the preferences of jAER in it have some 100,000.
_VERSION = re.compile(rb"#!AER-DAT(\d+\.\d+)\s*$")
# Keys of jAER, of cAER and of scripts; the values are names such as ch.unizh.ini.jaer...DVS128.
# Each pattern takes linear time for any header.
_CHIP = re.compile(rb"#+\s*(?:AEChip|chip|camera|sensor|source \d+)\s*[:=]\s*(\S.*)", re.I)
_MENTION = re.compile(
    rb"\b(?:C?DAVIS-?\d\w*|s?DVS-?\d\w*|DVS[- ]Gen\w*|Tmpdiff\d\w*|DVXplorer\w*|CeleX\w*|"
    rb"Cochlea\w*|ATIS|Prophesee|EVK\d\w*|IMX\d\w*)\b",
    re.I,
)
# jAER's first class for this camera was Tmpdiff128; its addresses are the same.
_DVS128 = re.compile(rb"(?:\b|\.|_)(?:DVS|Tmpdiff)[-_ ]?128(?!\d)", re.I)


class CameraError(FileError):
    """A recording of another camera than the one that is read."""


def name_format(raw: bytes) -> str:
    """Return the name of the format whose first bytes `raw` has; "" if it is unknown."""
    # Two letters, because the first event of N-Caltech101 may be at x=37, y=65, and look like "%A".
    if re.match(rb"% ?[A-Za-z]{2}", raw):
        return "a Prophesee recording (.raw, .dat)"
    start = raw[:32].lower()
    return next((name for magic, name in MAGIC.items() if start.startswith(magic.lower())), "")


def find_header_end(raw: bytes, path: str, version: str, readers: Mapping[str, Reader]) -> int:
    """Return where the header of an AEDAT file of this `version` ends.

    The header ends after its lines with # or at an explicit end. Raises FileError for another
    version or format, and names the one of `readers` (by version) that reads the file.
    """
    first = raw[:32].splitlines()[0] if raw else b""
    named = _VERSION.match(first)
    # Old recordings of version 2.0 may start with any comment; version 3 is always named.
    found = named[1].decode() if named else "2.0"
    if not first.startswith(b"#") or found != version or (name_format(raw) and not named):
        format_name = f"AEDAT {found}" if named else name_format(raw)
        reader = readers.get(found) if named else None
        hint = f"; use {reader.__name__}" if reader and _can_read(reader, raw) else ""
        raise FileError(
            f"{path} is not an AEDAT {version} file: it starts with {first!r}{hint}."
            + (f" It is {format_name}." if format_name else "")
        )
    at = 0
    while raw.startswith(b"#", at):
        end = raw.find(b"\n", at) + 1
        if end == 0:
            raise make_truncation(path, at, "a line of the header")
        line, at = raw[at:end].lower(), end
        if at > _LONGEST:
            raise FileError(f"{path} is damaged: its header has more than {_LONGEST:,} bytes.")
        if line.startswith((b"#!end-header", b"#end of ascii", b"# end of ascii")):
            break
    return at


def check_chip(header: bytes, path: str) -> None:
    """Raise CameraError if the header names a camera other than a DVS128."""
    lines = header.splitlines()
    chips = [found[1].strip() for line in lines if (found := _CHIP.match(line))]
    if not chips:
        # The preferences, in XML, may belong to any camera that jAER knows.
        chips = [name for line in lines if b"<" not in line for name in _MENTION.findall(line)]
    if chips and not any(_DVS128.search(chip) for chip in chips):
        chip = chips[0].decode("latin-1")
        # A Java class, such as eu.seebetter.ini.chips.davis.DAVIS240C.
        chip = chip if " " in chip else chip.rpartition(".")[2] or chip
        raise CameraError(
            f"{path} is a recording of the camera {chip[:60]!r}, not of a DVS128, which has other "
            "addresses and another size. Convert it with the software of that camera."
        )


def make_truncation(path: str, at: int, what: str) -> FileError:
    """Return the error for a file that ends within `what`, which starts at byte `at`."""
    return FileError(
        f"{path} ends within {what} that starts at byte {at}: the file is truncated or "
        "damaged; download or extract it again."
    )


def _can_read(reader: Reader, raw: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader(io.BytesIO(raw))
        except ValueError:
            return False
    return True
