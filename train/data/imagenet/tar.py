"""Lists the files of tar archives, and of archives inside them, by their headers."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A regular file of an archive: its name, and the bytes of its content in the archive."""

    name: str
    offset: int
    size: int


def list_members(file: BinaryIO, start: int, end: int) -> Iterator[Member]:
    """Yield the files of the archive at bytes `[start, end)` of `file`; only headers are read.

    Raises `ValueError` with the offset at which the archive is truncated or damaged.
    """
    # Not tarfile: it accepts archives that stop between two members, and its errors have no offset.
    at = start
    while True:
        file.seek(at)
        header = file.read(min(BLOCK, end - at))
        if len(header) < BLOCK:
            raise ValueError(f"it is truncated: it stops at byte {end} without an end mark")
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ValueError(f"expected a tar header at byte {at} ({error})") from error
        content = at + BLOCK
        if content + info.size > end:
            raise ValueError(
                f"it is truncated: {info.name} at byte {at} ends at byte {content + info.size}, "
                f"but the archive stops at byte {end}"
            )
        if info.isreg():
            yield Member(info.name, content, info.size)
        at = content + -(-info.size // BLOCK) * BLOCK
