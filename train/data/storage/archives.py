"""Reads the files in tar and zip archives, and in archives inside archives, to their checksums."""

import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from pit_jax.reading import FileError, quote_error, reading

from ...errors import UserError
from .names import find_entry, is_system_file, normalize_member, simplify, walk_folders
from .tar import BLOCK, list_members

# Errors of the parsers for damage. A wrong bit can also look like encryption (RuntimeError) or like
# an unknown compression method (NotImplementedError, a RuntimeError).
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(EOFError, RuntimeError, ValueError, OverflowError, MemoryError),
)
CHUNK = 1 << 20
IN_MEMORY = 1 << 28  # Bytes of all files that are read into memory; CIFAR has 186 MB.
# An archive may expand to EXPANSION times its size plus FREE bytes. Event data expand to 2 to 10
# times their size, images hardly, bombs to 1,000 times.
EXPANSION, FREE = 200, 1 << 30
# The first bytes of files that are not read here, and the names of their kinds.
FOREIGN = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x04\x22\x4d\x18": "an lz4 archive",
    b"\x1f\x9d": "a .Z archive",
    b"LZIP": "an lzip archive",
    b"PK\x07\x08": "a part of a split zip archive",
    b"MZ": "a program, perhaps an archive that extracts itself",
    b"<": "a web page",
    b"version https://git-lfs": "a pointer of git-lfs",
}
# The methods of compression that Python reads in a zip; Windows also writes 9, other programs 93.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


class DamagedArchive(UserError):
    """An archive that is truncated, or that differs from its checksum; `reason` says how."""

    def __init__(self, archive: Path, reason: str) -> None:
        super().__init__(archive, reason)
        self.archive, self.reason = archive, reason

    def __str__(self) -> str:
        return f"{self.archive} is not a complete archive ({self.reason}). Get another copy of it."


@dataclass(frozen=True)
class Entry:
    """A file in an archive; `read` its content before the next one is asked for."""

    archive: Path
    name: PurePosixPath
    size: int
    read_part: Callable[[int], bytes]

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes, or the rest; raise UserError for damage."""
        with explain_damage(self.archive):
            return self.read_part(count)


@contextmanager
def explain_damage(archive: Path) -> Iterator[None]:
    """Raise DamagedArchive for everything that parsers raise for damaged bytes in the block."""
    try:
        yield
    except (UserError, FileError):
        raise
    except (*DAMAGE, OSError) as error:
        # Other numbers are errors of the disk. bz2's error has no number; zipfile may seek to a
        # negative position.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise DamagedArchive(archive, quote_error(error)) from error


def iterate_files(archive: Path) -> Iterator[Entry]:
    """Yield the files in a tar archive, compressed or not, or in a zip.

    Names are normalized; files that systems made are skipped. Checksums have been compared when
    the iteration has ended, for a zip those of the files that were read: use nothing before. Raises
    UserError for a damaged archive, and for one that expands too far.
    """
    with explain_damage(archive):
        yield from _iterate_zip(archive) if is_zip(archive) else _iterate_tar(archive)


def is_zip(archive: Path) -> bool:
    """Return whether the file is a zip archive by its first bytes; raise UserError if foreign."""
    with archive.open("rb") as file:
        start = file.read(32)
    for magic, kind in FOREIGN.items():
        if start.lstrip().startswith(magic):
            raise UserError(
                f"{archive} is {kind}, which is not read. Use a zip or tar.gz instead, or extract "
                "it."
            )
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _iterate_tar(archive: Path) -> Iterator[Entry]:
    with archive.open("rb") as file:
        start = file.read(6)
    opener = next((of for magic, of in OPENERS.items() if start.startswith(magic)), None)
    size = archive.stat().st_size
    end = size if opener is None else FREE + EXPANSION * size
    bound = "the archive stops at byte" if opener is None else "from its size it cannot be above"
    with opener(archive) if opener else archive.open("rb") as stream:
        _check_start(archive, stream.read(BLOCK), is_compressed=opener is not None)
        for member in list_members(stream, 0, end, bound):
            name = normalize_member(archive, member.name)
            if is_system_file(name):
                continue
            if member.is_link:
                read: Callable[[int], bytes] = _refuse_link(archive, name)
            else:
                read = _Slice(stream, member.offset, member.size).read
            yield Entry(archive, name, member.size, read)
        # The checksum of gzip is at the end of the stream, which is after the end of the tar.
        # Without reading on, a wrong bit would go unnoticed.
        while opener is not None and stream.read(CHUNK):
            if stream.tell() > end:
                raise ValueError(f"it expands to more than {end:,} bytes")


def _check_start(archive: Path, start: bytes, *, is_compressed: bool) -> None:
    """Raise UserError for a file of another kind, which would be reported as a damaged tar."""
    if is_compressed and start.startswith((*OPENERS, b"PK\x03\x04")):
        raise UserError(f"{archive} has another archive in it. Extract it, and use that one.")
    if not is_compressed and any(start) and start[257:262] != b"ustar":
        try:
            tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise UserError(
                f"{archive} is no tar or zip archive. Get another copy of it."
            ) from error


class _Slice:
    """The bytes of one member of a tar."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self._stream, self._at, self._left = stream, offset, size

    def read(self, count: int) -> bytes:
        count = self._left if count < 0 else min(count, self._left)
        self._stream.seek(self._at)
        content = self._stream.read(count)
        if len(content) < count:
            raise EOFError("it ends within a file")
        self._at, self._left = self._at + count, self._left - count
        return content


def _refuse_link(archive: Path, name: PurePosixPath) -> Callable[[int], bytes]:
    def refuse(count: int) -> bytes:
        raise UserError(
            f"{archive} stores {name} as a link. Pack the files themselves (tar --dereference "
            "--hard-dereference), or extract it."
        )

    return refuse


def _iterate_zip(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as content:
        for member in check_members(archive, content):
            name = normalize_member(archive, member.filename)
            if is_system_file(name) or member.is_dir():
                continue
            with _Member(content, member) as opened:
                yield Entry(archive, name, member.file_size, opened.read)


class _Member:
    """A member of a zip, which is opened when it is read, and then read to its checksum."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "_Member":
        return self

    def read(self, count: int) -> bytes:
        if self._file is None:
            self._file = self._archive.open(self._member)
        return self._file.read(count)

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            while not any(error) and self._file.read(CHUNK):
                pass
            self._file.close()


def check_members(archive: Path, content: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members of a zip after comparing their sizes with the archive's.

    A bomb has members that overlap, or that expand by thousands.
    """
    members, there = content.infolist(), archive.stat().st_size
    packed = sum(member.compress_size for member in members)
    unpacked = sum(member.file_size for member in members)
    if packed > there or unpacked > FREE + EXPANSION * there:
        raise ValueError(
            f"it has {there:,} bytes, but its members declare {packed:,}, extracted {unpacked:,}"
        )
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in METHODS:
            how = (
                "encrypted" if member.flag_bits & 1 else f"packed by method {member.compress_type}"
            )
            raise UserError(
                f"{archive}: {member.filename} is {how}, which is not read. "
                "Extract the archive; if that fails, fetch it again."
            )
    return members


def read_named(place: Path, names: Sequence[str], inner: str) -> dict[str, bytes]:
    """Return the contents of the files `names` in a folder or an archive, as far as they are there.

    The files may be in the folder `inner` or in another one, and have other cases. Raises UserError
    for a damaged archive and for files that are too large for memory.
    """
    if place.is_dir():
        return _read_folder(place, names)
    wanted = {simplify(name): name for name in names}
    found: dict[str, bytes] = {}
    ranks: dict[str, tuple[bool, bool, int]] = {}
    for entry in iterate_files(place):
        name = wanted.get(simplify(entry.name.name))
        if name is None:
            continue
        # Of files with one name, the one in the official folder counts, and then the outermost one.
        parent = simplify(entry.name.parent.name)
        rank = (parent != simplify(inner), entry.name.name != name, len(entry.name.parts))
        if rank <= ranks.get(name, rank):
            _check_memory(place, entry.size + sum(map(len, found.values())))
            found[name], ranks[name] = entry.read(), rank
    return found


def has_files(archive: Path, names: Sequence[str]) -> bool:
    """Return whether a file is a zip archive with files of all `names`, in whatever folder."""
    try:
        if not archive.is_file() or not is_zip(archive):
            return False
        found = {simplify(entry.name.name) for entry in _iterate_zip(archive)}
    except (UserError, FileError, *DAMAGE, OSError):  # It may be of another data set.
        return False
    return {simplify(name) for name in names} <= found


def _read_folder(place: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Return the files of the first folder in `place` that has all; else of the fullest one."""
    best: dict[str, Path] = {}
    for folder in walk_folders(place):
        paths = {name: find_entry(folder, name) for name in names}
        found = {name: path for name, path in paths.items() if path is not None and path.is_file()}
        best = max(best, found, key=len)
        if len(best) == len(names):
            break
    with reading(place, "a folder"):
        _check_memory(place, sum(path.stat().st_size for path in best.values()))
        return {name: path.read_bytes() for name, path in best.items()}


def _check_memory(place: Path, size: int) -> None:
    if size > IN_MEMORY:
        raise UserError(f"{place}: the files of the data set have {size:,} bytes, too many for it.")
