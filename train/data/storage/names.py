"""Normalize names of files from other programs and operating systems, for folders and archives.

Archives have `./` or backslashes in their names, Windows and Kaggle repack them, browsers number
copies, and some file systems change the case or decompose accents.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath

from pit_jax.reading import FileError, reading

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# Files and folders of Windows, macOS, network drives and notebooks that are not hidden.
_SYSTEM = {
    *("__macosx", "icon\r", "network trash folder", "temporary items", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("$recycle.bin", "recycler", "system volume information", "__pycache__"),
    *("@eadir", "@__thumb", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
}
# "a (1).zip" of browsers and Windows, "a - Copy.zip" and "a copy 2.zip".
_COPY = re.compile(r"( ?\(\d+\)| - copy( \(\d+\))?| copy( \d+)?)(?=\.|$)")


def is_system_file(name: str | PurePath) -> bool:
    """Return whether an operating system or a program made this file or a folder above it.

    `name` is relative to the folder of the data: hidden files are among these, and the user may
    have the data in a hidden folder.
    """
    parts = name.parts if isinstance(name, PurePath) else PurePath(name).parts
    return any(
        # iCloud leaves `.NAME.icloud` in place of a file that it has not downloaded.
        (part[0] == "." and part not in (".", "..") and not part.endswith(".icloud"))
        or part.casefold() in _SYSTEM
        for part in parts
    )


@lru_cache(maxsize=1 << 17)  # A member is normalized when it is listed, sorted and read.
def normalize_member(archive: Path, name: str) -> PurePosixPath:
    """Return the name of a member of `archive` as a relative path with composed accents.

    Raises FileError for a name that leads out of the archive's folder.
    """
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    if ".." in parts:
        raise FileError(
            f"{archive} has the member {name!r}, which is outside of the archive. Get another "
            "copy of it."
        )
    # Absolute names are read as relative ones, as tar and unzip do.
    if parts and re.fullmatch("[A-Za-z]:", parts[0]):
        del parts[0]
    return PurePosixPath(unicodedata.normalize("NFC", "/".join(parts)))


def simplify(name: str) -> str:
    """Return a file name without case, decomposed accents and the mark of a copy, to compare it."""
    folded = unicodedata.normalize("NFC", name).casefold()
    # Most of 70,000 names are not copies, and the expression takes most of the time here.
    return _COPY.sub("", folded) if "(" in folded or "copy" in folded else folded


def find_entry(folder: Path, *names: str) -> Path | None:
    """Return the first of `names` in `folder`, by its exact name or else as `simplify` sees it."""
    with reading(folder, "a folder"):
        for name in names:
            if (folder / name).exists():
                return folder / name
    wanted = [simplify(name) for name in names]
    found = [path for path in list_entries(folder) if simplify(path.name) in wanted]
    return min(found, key=lambda path: (wanted.index(simplify(path.name)), path), default=None)


def list_entries(folder: Path) -> list[Path]:
    """Return the files and folders in `folder`, sorted; none if it is no folder."""
    if not folder.is_dir():
        return []
    with reading(folder, "a folder"):
        return sorted(folder.iterdir())


def list_places(root: Path, *names: str) -> Iterator[Path]:
    """Yield the folders `names` of `root` that exist, each with the folders that others make in it.

    SpikingJelly has `download`, `extract` and `events_np`, torchvision `raw`; "Extract all" of
    Windows and of 7-Zip makes a folder of an archive's name around its folder. The last one is
    `root` itself.
    """
    for name in (*names, ""):
        place = find_entry(root, name) if name else root
        if place is not None and place.is_dir():
            yield place
            for inner in ("extract", "download", "raw", place.name, "events_np"):
                if (place / inner).is_dir():
                    yield place / inner


def name_archives(stems: Iterable[str], endings: Sequence[str] = ARCHIVES) -> tuple[str, ...]:
    """Return the file names that an archive of one of `stems` may have."""
    return tuple(f"{stem}{ending}" for stem in stems for ending in endings)


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` and in its folders, without system files."""
    for place, files in _walk(folder):
        yield from (place / name for name in files if not is_system_file(name))


def walk_folders(folder: Path) -> Iterator[Path]:
    """Yield `folder` and the folders in it, outer ones first, without system folders."""
    return (place for place, _ in _walk(folder))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    with reading(folder, "a folder"):
        for place, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not is_system_file(name))
            yield Path(place), files


def _raise(error: OSError) -> None:
    raise error
