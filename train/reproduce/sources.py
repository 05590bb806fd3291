"""The copy of the sources from which all runs of a folder start.

The first command makes the copy, and every later one checks it. So an edit of the clone, or of the
copy, never mixes results of different code in one table.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pit_jax

from ..config.pages import PACKAGE, SHIPPED, import_shipped, split_variant
from ..errors import UserError
from ..files import hash_content, hash_file, remove_parts, write_folder
from ..run.environment import find_commit
from .locks import hold_lock

FOLDER, MANIFEST = "sources", "manifest.json"
# The folder of the runs that started from them.
RUNS = "runs"
# The package of the trainer: `train` in a clone, `pit_jax.train` in a wheel.
TRAINER = __package__.rpartition(".")[0]
IGNORED = shutil.ignore_patterns("__pycache__", ".*")


class Sources(NamedTuple):
    """The copied sources in `folder`: the commit of the clone, and SHA-256 by relative path."""

    folder: Path
    commit: str
    files: dict[str, str]


def take_sources(out: Path) -> Sources:
    """Return the sources in `out`; copy the running ones there if it has none.

    Raises UserError if the copy has been changed, or is missing where runs have started from it.
    """
    folder = out / FOLDER
    with hold_lock(out, FOLDER):
        if not folder.exists():
            if any((out / RUNS).glob("*")):
                raise UserError(
                    f"{folder} is missing, from which the runs in {out / RUNS} have started. "
                    "Restore it, or choose another --out."
                )
            remove_parts(folder)
            with write_folder(folder) as part:
                _copy(part)
    return verify_sources(folder)


def verify_sources(folder: Path) -> Sources:
    """Return the sources in `folder`; raise UserError if they are not what was copied."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        sources = Sources(folder, str(manifest["commit"]), dict(manifest["files"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST} is missing or damaged ({error}). Choose another --out."
        ) from error
    there = _hash_files(folder)
    if changed := sorted(
        name for name in sources.files | there if sources.files.get(name) != there.get(name)
    ):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(
            f"the copy of the sources in {folder} was changed: {changed[0]}{more}. Restore it, or "
            "choose another --out."
        )
    return sources


def list_changes(sources: Sources) -> list[str]:
    """Return the files that differ between the running sources and the copy."""
    now = {
        f"{name}/{file}": digest
        for name, place in _find_packages().items()
        for file, digest in _hash_files(place).items()
    }
    names = sorted(sources.files | now)
    return [name for name in names if sources.files.get(name) != now.get(name)]


def list_imported(sources: Sources) -> set[str]:
    """Return the copied files that this process, which started from the copy, has imported.

    Raises AssertionError if it has imported one of our modules from elsewhere.
    """
    ours = {"pit_jax", TRAINER.split(".")[0]}
    loaded = [each for name, each in sys.modules.items() if name.split(".")[0] in ours]
    return {_find_name(sources, module) for module in (*loaded, sys.modules["__main__"])}


def list_pages(sources: Sources, page: str) -> set[str]:
    """Return the copied files that the page of a config imports, with its own."""
    with import_shipped():
        # `import_shipped` removes the modules of pages at the end of its block.
        import_module(f"{PACKAGE}.{split_variant(page)[0]}")
        loaded = [each for name, each in sys.modules.items() if name.startswith(f"{PACKAGE}.")]
        return {_find_name(sources, module) for module in loaded}


def hash_sources(sources: Sources, names: Iterable[str]) -> str:
    """Return a hash of the contents of copied files."""
    return hash_content("\n".join(f"{name} {sources.files[name]}" for name in sorted(names)))


def _find_name(sources: Sources, module: Any) -> str:
    file = Path(module.__file__).resolve()
    assert file.is_relative_to(sources.folder.resolve()), f"{file} is not one of the copied sources"
    return file.relative_to(sources.folder.resolve()).as_posix()


def _copy(part: Path) -> None:
    for name, place in _find_packages().items():
        shutil.copytree(place, part / name, ignore=IGNORED)
    manifest = {"commit": find_commit(), "files": _hash_files(part)}
    (part / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _find_packages() -> dict[str, Path]:
    """Return the folders to copy by name; a wheel has the trainer and the pages in `pit_jax`."""
    library = {"pit_jax": Path(pit_jax.__file__).parent}
    if TRAINER.startswith("pit_jax."):
        return library
    return library | {TRAINER: Path(__file__).parents[1], PACKAGE: SHIPPED}


def _hash_files(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): hash_file(file) for file in _list_files(folder)}


def _list_files(folder: Path) -> Iterable[Path]:
    """Return the files that are copied, without the manifest."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    for file in files:
        parts = file.relative_to(folder).parts
        hidden = any(part == "__pycache__" or part.startswith(".") for part in parts)
        if not hidden and parts != (MANIFEST,):
            yield file
