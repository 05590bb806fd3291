"""Config pages: finds the file that `--config` names, and calls its get_config().

A page in any folder can import the shipped ones: `from configs import digits`.
"""

import difflib
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pit_jax.paths import read_path
from pit_jax.reading import reading

from ..errors import UserError
from .parts import search_current_folder

# Next to the trainer's package: in a clone the folder configs/, in a wheel pit_jax/configs/.
SHIPPED = Path(__file__).parents[2] / "configs"
PACKAGE = "configs"


class Page(NamedTuple):
    """A page: its config, the default name of its runs, and its variants with their meanings."""

    config: ConfigDict
    name: str
    variants: dict[str, str]


def list_shipped() -> list[str]:
    """Return the names of the shipped pages that are configs."""
    files = sorted(SHIPPED.glob("*.py"))
    return [file.stem for file in files if "def get_config(" in file.read_text()]


def load_page(given: str) -> Page:
    """Return the page that `--config` names, with its config.

    `given` is a path or the name of a shipped page, optionally with a variant after a colon, or the
    config.json of a run. Raises UserError for a page that is missing or fails.
    """
    path, colon, variant = split_variant(given)
    if path.endswith(".json"):
        return _load_saved(path)
    file = find_page(path)
    search_current_folder()
    with import_shipped(file.parent):
        try:
            page = _execute(file)
        except (Exception, SystemExit) as error:  # The code of a page can raise anything.
            raise UserError(f"{path}: {shorten(error)}") from error
        get_config = getattr(page, "get_config", None)
        if not callable(get_config):
            raise UserError(f"{path} has no function get_config(); {SHIPPED}/digits.py has one.")
        arguments = [variant] if colon else []
        if colon and not _can_take(get_config, variant):
            raise UserError(f"{path} has no variants; remove {colon}{variant}.")
        try:
            config = get_config(*arguments)
        except (Exception, SystemExit) as error:
            raise UserError(f"{given}: {shorten(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config() must return a ConfigDict, got {config!r}.")
    # The default name of a run is one name, whatever the variant is called.
    name = file.stem + (f"_{variant.replace(os.sep, '_')}" if variant else "")
    variants = getattr(page, "VARIANTS", {})
    return Page(config, name, dict(variants) if isinstance(variants, Mapping) else {})


def split_variant(given: str) -> tuple[str, str, str]:
    """Split `PAGE:VARIANT` as `str.partition`; a file whose path has a colon is found too."""
    colons = [at for at, character in enumerate(given) if character == ":"]
    for at in [len(given), *reversed(colons)]:
        if at and _read_path(given[:at]).is_file():
            return given[:at], given[at : at + 1], given[at + 1 :]
    return given.partition(":")


def _load_saved(path: str) -> Page:
    """Return the config.json of a run as a page."""
    file = _read_path(path)
    if not file.exists():
        raise UserError(f"there is no config file {path}.")
    with reading(path, "the config of a run", error=UserError, advice="Give another file."):
        saved = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise ValueError("it is not an object")
        return Page(ConfigDict(_restore_tuples(saved)), file.absolute().parent.name, {})


def _read_path(text: str) -> Path:
    try:
        return read_path(text)
    except ValueError as error:
        raise UserError(f"--config {error}") from error


def _restore_tuples(value: Any) -> Any:
    """Return a JSON value with its lists turned back into tuples."""
    if isinstance(value, dict):
        return {key: _restore_tuples(each) for key, each in value.items()}
    return tuple(map(_restore_tuples, value)) if isinstance(value, list) else value


def find_page(path: str) -> Path:
    """Return the file that `--config` names: a path, or the name of a shipped page."""
    file, names = _read_path(path), list_shipped()
    # Before files: a folder or file called "digits", of data for example, is not a page.
    if path in names:
        return SHIPPED / f"{path}.py"
    if file.is_file():
        return file
    # The documentation writes configs/digits.py, which works in any folder.
    if file.suffix == ".py" and file.parent == Path(PACKAGE) and file.stem in names:
        return SHIPPED / file.name
    near = difflib.get_close_matches(file.stem, names, n=1, cutoff=0.6)
    if Path(f"{file}.py").is_file():
        near = [f"{path}.py"]
    hint = f" did you mean {near[0]}?" if near else ""
    raise UserError(
        f"there is no config file {path};{hint} Give a path, or one of {', '.join(names)}."
    )


def load_shipped(name: str) -> ModuleType:
    """Import a module of the shipped folder, such as `base`."""
    with import_shipped():
        return import_module(f"{PACKAGE}.{name}")


@contextmanager
def import_shipped(page_folder: Path | None = None) -> Iterator[None]:
    """Make `import configs` find the shipped folder while the block runs.

    If the page is in another folder called configs/, modules there are found too, after the shipped
    ones. At the end, modules of that name that were imported before are restored.
    """
    # A user's program may have a package `configs` too, which must survive this.
    own = {name: sys.modules.pop(name) for name in _list_loaded()}
    spec = ModuleSpec(PACKAGE, None, is_package=True)
    # A namespace package of two folders, so that `configs.mine` next to the page is found too.
    spec.submodule_search_locations = [str(SHIPPED)]
    neighbors = page_folder.resolve() if page_folder else SHIPPED
    if neighbors.name == PACKAGE and neighbors != SHIPPED:
        spec.submodule_search_locations.append(str(neighbors))
    sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        yield
    finally:
        for name in _list_loaded():
            del sys.modules[name]
        sys.modules.update(own)


def shorten(error: BaseException) -> str:
    """Return the last line of an error's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _list_loaded() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == PACKAGE]


class _PageLoader(SourceFileLoader):
    """A loader that always reads the source of a page."""

    def path_stats(self, path: Any) -> Any:
        # Saved bytecode counts as current if size and second of the file are the same.
        raise OSError(path)


def _execute(file: Path) -> ModuleType:
    # A loader of ours, because a page need not end in .py.
    loader = _PageLoader("config_page", str(file))
    spec = spec_from_file_location(loader.name, file, loader=loader)
    assert spec is not None
    page = sys.modules[loader.name] = module_from_spec(spec)  # Dataclasses look there.
    loader.exec_module(page)
    return page


def _can_take(function: object, variant: str) -> bool:
    try:
        inspect.signature(function).bind(variant)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
