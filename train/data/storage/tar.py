"""Lists the files of tar archives, and of archives inside them, by their headers."""

import re
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE
MOST_HEADERS = 150_000  # N-MNIST has up to 140,000; a bomb of a few MB can have millions.
LONGEST_NAME = 1 << 16  # Most bytes of a record of names and times; real ones have hundreds.
# Records before a member, with its real name, its size and other data: POSIX 2001, and GNU.
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
LINKS = (b"1", b"2")
# Links, devices, folders and pipes have no content, whatever size their header has.
NO_CONTENT = (*LINKS, b"3", b"4", b"5", b"6")


class Member(NamedTuple):
    """A file of an archive: its name, and the bytes of its content in the archive.

    The content of a link is elsewhere.
    """

    name: str
    offset: int
    size: int
    is_link: bool = False


def list_members(
    file: BinaryIO, start: int, end: int, bound: str = "the archive stops at byte"
) -> Iterator[Member]:
    """Yield the files of the archive at bytes `[start, end)` of `file`; only headers are read.

    Folders and devices are skipped. `file` is only read forward if the caller reads each member
    before it requests the next one. Raises `ValueError` with the offset at which the archive is
    truncated or damaged; in this error, `bound` explains why nothing is after `end`.
    """
    # Not tarfile: it accepts archives that stop between two members, it never ends if a size is
    # negative, and its errors have no offset.
    at, changed = start, dict[str, Any]()
    for _ in range(MOST_HEADERS):
        file.seek(at)
        header = file.read(max(0, min(BLOCK, end - at)))
        if len(header) < BLOCK:
            raise ValueError(
                f"it is truncated: it stops at byte {at + len(header)} without an end mark"
            )
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise ValueError(f"expected a tar header at byte {at} ({error})") from error
        name, content = changed.get("path", info.name), at + BLOCK
        size = 0 if info.type in NO_CONTENT else changed.get("size", info.size)
        if size < 0:
            raise ValueError(f"it is damaged: {name} at byte {at} has a size of {size} bytes")
        if content + size > end:
            raise ValueError(
                f"it is truncated: {name} at byte {at} ends at byte {content + size}, "
                f"but {bound} {end}"
            )
        if info.type in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
            if size > LONGEST_NAME:
                raise ValueError(f"it is damaged: a name at byte {at} has {size} bytes")
            # A global record (of git archive) has comments; a link's target is not needed.
            changed |= _read_record(info.type, file.read(size), at)
        elif info.type == tarfile.GNUTYPE_SPARSE or "sparse" in changed:
            raise ValueError(
                f"{name} at byte {at} is stored as a sparse file: pack it without --sparse"
            )
        else:
            if info.isreg() or info.type in LINKS:
                yield Member(name, content, size, info.type in LINKS)
            changed = {}
        at = content + -(-size // BLOCK) * BLOCK
    raise ValueError(f"it has more than {MOST_HEADERS:,} headers")


def _read_record(kind: bytes, content: bytes, at: int) -> dict[str, Any]:
    """Return the changes of a record to the next member: `path`, `size`, or that it is `sparse`."""
    if kind == LONG_NAME:
        return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    changed: dict[str, Any] = {}
    while kind == PAX and content.strip(b"\0"):
        match = re.match(rb"(\d{1,9}) ([^=]+)=", content)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(content):
            raise ValueError(f"it is damaged: expected a POSIX record at byte {at}")
        value = content[match.end() : length - 1].decode("utf-8", "surrogateescape")
        key, content = match[2], content[length:]
        if key == b"size":
            if not re.fullmatch(r"\d{1,18}", value):
                raise ValueError(f"it is damaged: a record at byte {at} has the size {value!r}")
            changed["size"] = int(value)
        elif key == b"path":
            changed["path"] = value
        elif key.startswith(b"GNU.sparse"):
            changed["sparse"] = 1
    return changed
