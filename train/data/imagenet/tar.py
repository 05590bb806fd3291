"""Walks through tar archives by their headers, also through one that lies inside another."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A regular file of an archive: its name, and where in the archive its content lies."""

    name: str
    offset: int
    size: int


def list_members(file: BinaryIO, start: int, end: int) -> Iterator[Member]:
    """Yield the files of the archive at bytes `[start, end)` of `file`; only headers are read.

    Raises `ValueError` with the offset where the archive is cut off or damaged.
    """
    at = start
    while True:
        file.seek(at)
        header = file.read(min(BLOCK, end - at))
        if len(header) < BLOCK:
            raise ValueError(f"it is cut off: it has no end mark, where it stops, at byte {end}")
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ValueError(f"at byte {at} is no header of a tar archive ({error})") from error
        content = at + BLOCK
        if content + info.size > end:
            raise ValueError(
                f"it is cut off: {info.name} at byte {at} goes on to byte {content + info.size}, "
                f"but the archive stops at byte {end}"
            )
        if info.isreg():
            yield Member(info.name, content, info.size)
        at = content + -(-info.size // BLOCK) * BLOCK
