"""Recordings in folders or zip archives, listed without reading them."""

import filecmp
import re
import sys
import zipfile
from collections.abc import Container, Iterable
from functools import cache
from pathlib import Path, PurePosixPath

from pit_jax.display import print_text, show_name

from ...errors import UserError
from ...files import hash_content
from .archives import DamagedArchive, check_members, explain_damage, is_zip
from .extracted import extract_once
from .names import find_entry, is_system_file, name_archives, normalize_member, simplify, walk

ENDS = 1 << 16  # Bytes at both ends of a file that enter its fingerprint.


def list_files(
    place: Path, endings: Container[str], how: str, cache_dir: Path | None = None
) -> list[tuple[Path, str]] | None:
    """Return the files with one of the `endings` in the folder `place`, or in its archive.

    Each is a pair (file, member of the zip), with the member "" in a folder. Archives other than
    zip, which cannot be read from the middle, are extracted to `cache_dir`. Without folder and
    archive, return None. Raises UserError with `how`, the way to get it, for a damaged archive.
    """
    folder = find_entry(place.parent, place.name)
    archive = find_entry(place.parent, *name_archives([place.name]))
    try:
        if folder is None or not folder.is_dir():
            if archive is None or not archive.is_file():
                return None
            if is_zip(archive) or cache_dir is None:
                return list_zip(archive, endings)
            folder = cache_dir / place.name
            extract_once(archive, folder, endings)
    except DamagedArchive as error:
        raise UserError(f"{archive}: {error.reason}; fetch it again: {how}") from error
    found = [(file, "") for file in walk(folder) if file.suffix.lower() in endings]
    return _drop_copies(found)


def list_zip(archive: Path, endings: Container[str]) -> list[tuple[Path, str]]:
    """Return the pairs of a zip archive and each of its members with one of the `endings`."""
    with explain_damage(archive), zipfile.ZipFile(archive) as content:
        names = dict.fromkeys(member.filename for member in check_members(archive, content))
    found = []
    for name in names:
        normal = normalize_member(archive, name)
        if normal.suffix.lower() in endings and not is_system_file(normal):
            found.append((archive, name))
    return _drop_copies(found)


def show_place(file: Path, member: str) -> str:
    """Return the name of a file, or of a member and its archive, for an error."""
    return f"{show_name(file)}{f' ({show_name(member)})' if member else ''}"


def get_path(file: Path, member: str) -> PurePosixPath:
    """Return the path of a file of `list_files`: its own, or the path in its archive."""
    return normalize_member(file, member) if member else PurePosixPath(file)


def _drop_copies(found: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Drop files such as "1/a (1).bin" or "1/1/a.bin" next to "1/a.bin", and report how many.

    Raises UserError if such a file has another content: nobody knows which one is right.
    """
    keys = [simplify("/".join(_split_name(*pair)[-2:])) for pair in found]
    if len(set(keys)) == len(found):
        return found
    kept: dict[str, tuple[Path, str]] = {}
    for _, pair, key in sorted(
        (len(pair[1] or str(pair[0])), pair, key) for pair, key in zip(found, keys, strict=True)
    ):
        first = kept.setdefault(key, pair)
        if first is not pair and not _is_same(first, pair):
            raise UserError(
                f"{show_place(*first)} and {show_place(*pair)} have the same name, but another "
                "content. Move the one that is wrong out of the folder of the data."
            )
    dropped = len(found) - len(kept)
    print_text(f"{found[0][0].parent}: {dropped} copies of files are skipped", sys.stderr)
    return list(kept.values())


def _is_same(one: tuple[Path, str], other: tuple[Path, str]) -> bool:
    """Return whether two files, or two members of a zip, have the same content."""
    if one[1]:
        checksums = _read_checksums(one[0])
        return checksums[one[1]] == checksums[other[1]]
    return filecmp.cmp(one[0], other[0], shallow=False)


def _split_name(file: Path, member: str) -> list[str]:
    return re.split(r"[/\\]", member) if member else str(file).rsplit("/", 2)


def take_fingerprints(places: Iterable[tuple[Path, str]]) -> list[list[int | str]]:
    """Return values that identify each file, or member of a zip, without reading all of it.

    For a file: its size, the time of its last change and the sha256 of its first and last 64 KiB.
    For a member: the size and CRC-32 in the archive's list. Every start of a run opens each file
    once for this. A change in the middle that keeps size and time is not seen. Raises OSError for
    a file that cannot be read.
    """
    # Caches of this call: the list of a zip is read once for all members, and again in the next
    # run.
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
