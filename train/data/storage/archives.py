"""Files of a data set in folders, zip archives, and archives inside archives."""

import json
import lzma
import shutil
import sys
import zipfile
import zlib
from collections.abc import Container, Iterable
from functools import cache
from pathlib import Path, PurePath, PurePosixPath

from ...errors import UserError
from ...files import hash_content, write_folder

# Errors of zipfile for damage. A wrong bit can also look like encryption (RuntimeError) or like an
# unknown compression method (NotImplementedError, a RuntimeError).
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)
ENDS = 1 << 16  # Bytes at both ends of a file that enter its fingerprint.


def list_files(place: Path, endings: Container[str], how: str) -> list[tuple[Path, str]] | None:
    """Return the files with one of the `endings` in the folder `place`, or in its zip.

    Each is a pair (file, member of the zip), with the member "" in a folder. Without folder and
    zip, return None. Raises UserError with `how`, the way to get it, for a damaged zip.
    """
    archive = place.with_name(f"{place.name}.zip")
    if place.is_dir():
        return [(file, "") for file in place.rglob("*") if _matches(file, endings)]
    if not archive.is_file():
        return None
    names = [member.filename for member in _list_members(archive, how)]
    return [(archive, name) for name in names if _matches(PurePosixPath(name), endings)]


def extract_archives(archive: Path, root: Path, how: str) -> Path:
    """Extract the zip archives in a zip `archive` to a folder below `root`, once.

    A compressed zip inside a zip can only be read from its start, so without this, each recording
    would cost reading its whole class. Raises UserError for a damaged archive, and if `root`
    cannot be written.
    """
    inner = [
        m for m in _list_members(archive, how) if _matches(PurePosixPath(m.filename), (".zip",))
    ]
    # The folder's name has sizes and checksums of the members: a new archive gets a new folder.
    listed = json.dumps([(member.filename, member.CRC, member.file_size) for member in inner])
    folder = root / f"{archive.stem}-{hash_content(listed)[:16]}"
    if folder.is_dir():
        return folder
    print(f"extracting {archive} once, to {folder}", file=sys.stderr)
    try:
        with write_folder(folder) as part, zipfile.ZipFile(archive) as content:
            for member in inner:
                target = part / PurePosixPath(member.filename).name
                with content.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except DAMAGE as error:
        raise UserError(f"{archive}: {error}; fetch it again: {how}") from error
    except OSError as error:
        raise UserError(
            f"cannot extract {archive} to {folder} ({error.strerror}); choose another folder with "
            "--config.data.cache_dir=DIR."
        ) from error
    return folder


def is_from_macos(name: str | PurePath) -> bool:
    """Return whether macOS added this file to an archive or a folder: `._NAME`, `__MACOSX/`."""
    name = PurePath(name)
    return name.name.startswith("._") or "__MACOSX" in name.parts


def take_fingerprints(places: Iterable[tuple[Path, str]]) -> list[list[int | str]]:
    """Return values that identify each file, or member of a zip, without reading all of it.

    For a file: its size, the time of its last change and the sha256 of its first and last 64 KiB.
    For a member: the size and CRC-32 in the archive's list. Every start of a run opens each file
    once for this. A change in the middle that keeps size and time is not seen. Raises OSError for
    a file that cannot be read.
    """
    # Local caches: the list of a zip is read once for all its members, and again in the next run.
    of_file, of_members = cache(_take_fingerprint), cache(_read_checksums)
    return [of_members(file)[member] if member else of_file(file) for file, member in places]


def _take_fingerprint(file: Path) -> list[int | str]:
    about = file.stat()
    with file.open("rb") as content:
        ends = content.read(ENDS)
        if about.st_size > ENDS:
            content.seek(max(ENDS, about.st_size - ENDS))
            ends += content.read(ENDS)
    return [about.st_size, about.st_mtime_ns, hash_content(ends)[:16]]


def _read_checksums(archive: Path) -> dict[str, list[int | str]]:
    with zipfile.ZipFile(archive) as content:
        return {member.filename: [member.file_size, member.CRC] for member in content.infolist()}


def _list_members(archive: Path, how: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as content:
            return content.infolist()
    except DAMAGE as error:
        raise UserError(f"{archive}: {error}; fetch it again: {how}") from error


def _matches(name: PurePath, endings: Container[str]) -> bool:
    return name.suffix in endings and not is_from_macos(name)
