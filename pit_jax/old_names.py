"""Old names, which still work: using one gives a warning or a note with the new name.

Old names are strings in these tables and those of old_exports.py, and nowhere else. To rename
something, add a line there. A module with renamed exports ends with `serve_old_names(__name__)`, a
function with renamed keywords is decorated with `accept_old_keywords`, and a neuron with renamed
fields with `accept_old_fields`.
"""

import functools
import pkgutil
import sys
import warnings
from collections.abc import Callable, Container, Mapping
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any, TypeVar, cast

from pit_jax.display import print_text
from pit_jax.old_exports import EXPORTS, MODULES

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
# Packages that construct a neuron from another one, and all packages whose frames may be between
# the user's call and the constructor.
COPIERS = {"dataclasses", "flax"}
BETWEEN = COPIERS | {"jax", "jaxtyping"}

# Full names of modules and of their exports.
PUBLIC = MODULES | {
    f"{module}.{old}": new if "." in new else f"{module}.{new}"
    for module, exports in EXPORTS.items()
    for old, new in exports.items()
}
# Fields of neurons, which are also keys of a config's neuron section.
FIELDS = {
    "normalise": "normalize",
    "parametrise": "parametrize",
}
# Methods of classes.
METHODS = {
    "clipped": "count_clipped",
}
# Keywords of functions.
KEYWORDS = {
    "pit_jax.export.nir_units.unify_units": {"nodes": "graph"},
    "pit_jax.inference.compiler.fold.fold": {"outlined": "outline"},
    "pit_jax.inference.costs.costs": {"nodes": "graph"},
    "pit_jax.inference.event_driven.runtime.EventDriven.__init__": {"nodes": "graph"},
    "pit_jax.inference.fan_out.count_reached": {"behind": "after"},
    "pit_jax.inference.listing.format_table": {"nodes": "graph"},
    "pit_jax.inference.runtime.step.collect_weights": {"nodes": "graph"},
    "pit_jax.inference.runtime.step.run": {"nodes": "graph"},
    "pit_jax.inference.runtime.step.step": {"nodes": "graph"},
    "pit_jax.inference.runtime.stream.make_jax_advance": {"nodes": "graph"},
    "pit_jax.inference.verify.fingerprint": {"nodes": "graph"},
}
# Keys of a config, with their sections: "optimizer.momentum".
CONFIG_KEYS = {
    "anew": "reinitialize",
}
# Analyses: options of train.analyze, and names of the folders that it writes.
ANALYSES = {
    "quantisation": "quantization",
}
# Classes of saved programs: in files of format 1, and in the fingerprints of all programs.
SAVED_CLASSES = {
    "Sampled": "Pixels",
    "Summed": "Accumulator",
    "Fired": "Spikes",
    "Attended": "LinearAttention",
}


def accept_old_keywords(function: F) -> F:
    """Make a function or a method accept its old keywords too."""
    return _translate(function, KEYWORDS[f"{function.__module__}.{function.__qualname__}"])


def accept_old_fields(cls: type[T]) -> type[T]:
    """Let a neuron class and its subclasses be constructed and read by their old fields."""
    fields = {old: new for old, new in FIELDS.items() if hasattr(cls, new)}

    def accept(derived: Any) -> None:
        if "__init__" in vars(derived):
            derived.__init__ = _translate(derived.__init__, fields)

    def make_derived(derived: Any, /, **keywords: Any) -> None:
        super(cls, derived).__init_subclass__(**keywords)
        accept(derived)  # Here Flax has just generated the constructor of the subclass.

    accept(cls)
    cls.__init_subclass__ = classmethod(make_derived)  # type: ignore[assignment]
    for old, new in fields.items():
        setattr(cls, old, property(partial(_read_field, old, new)))
    return cls


def accept_old_methods(cls: type[T]) -> type[T]:
    """Give a class its old methods."""
    for old, new in METHODS.items():
        if hasattr(cls, new):
            setattr(cls, old, property(partial(_read_field, old, new)))
    return cls


def serve_old_names(module: str, otherwise: Callable[[str], Any] | None = None) -> None:
    """Make a module serve its old names; `otherwise` returns its attributes that are not old.

    `__getattr__` is set from here because a type checker accepts any attribute of a module that
    defines it.
    """

    def read_attribute(name: str) -> Any:
        old = f"{module}.{name}"
        if old not in PUBLIC and otherwise is not None:
            return otherwise(name)
        if old not in PUBLIC:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(old, PUBLIC[old])
        return pkgutil.resolve_name(PUBLIC[old])

    vars(sys.modules[module])["__getattr__"] = read_attribute


class OldModules(MetaPathFinder, Loader):
    """An importer of modules by their old names; the module is the same object under both."""

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, else None."""
        return ModuleSpec(fullname, self) if fullname in PUBLIC else None

    def exec_module(self, module: ModuleType) -> None:
        """Replace `module` by the module with the new name."""
        old = module.__name__
        _warn(old, PUBLIC[old])
        sys.modules[old] = import_module(PUBLIC[old])


def rename_keys(config: Any, section: str = "") -> None:
    """Rename the old keys of a config, a dict or an unlocked ConfigDict, and print a note for each.

    The value of an old key replaces the value of the new one, which is only a default. Sections
    whose `name` is an import path belong to a user's own part and keep their keys.
    """
    is_own = bool(section) and ":" in str(config.get("name", ""))
    for key in list(config):
        if hasattr(value := config[key], "items"):
            rename_keys(value, f"{section}{key}.")
        new = _translate_key(f"{section}{key}").rpartition(".")[2]
        if new != key and not is_own:
            print_note(f"config.{section}{key}", f"config.{section}{new}")
            config[new] = value
            del config[key]


def translate_flag(word: str, keys: Container[str]) -> str:
    """Return a word of a command line, with the new key if it is `--config.KEY` with an old one.

    Only if the new key is among `keys` and the old one is not. Otherwise the old key belongs to a
    user's own part, or the config has neither and reports the word as it was typed.
    """
    flag, equals, value = word.partition("=")
    option, dot, key = flag.partition("config.")
    new = _translate_key(key)
    is_flag = bool(dot) and option.strip("-") in ("", "no")
    if not is_flag or key in keys or new not in keys:
        return word
    print_note(f"config.{key}", f"config.{new}")
    return f"{option}config.{new}{equals}{value}"


def translate_analysis(name: str) -> str:
    """Return the current name of an analysis, given its current or old name."""
    if name in ANALYSES:
        print_note(name, ANALYSES[name])
    return ANALYSES.get(name, name)


@functools.cache
def print_note(old: str, new: str) -> None:
    """Print a note with the new name, once per process."""
    print_text(f"note: {describe(old, new)}", sys.stderr)


def describe(old: str, new: str) -> str:
    """Return the note about a renamed thing."""
    return f"{old} is now called {new}; the old name still works."


def _translate_key(key: str) -> str:
    section, dot, last = key.rpartition(".")
    return CONFIG_KEYS.get(key) or f"{section}{dot}{FIELDS.get(last, last)}"


def _translate(function: F, table: Mapping[str, str]) -> F:
    @functools.wraps(function)
    def translate(*arguments: Any, **keywords: Any) -> Any:
        for old in table.keys() & keywords.keys():
            new, between = table[old], _list_between(sys._getframe(1))
            # Copying a neuron (clone, replace) passes all its fields and then the changed ones, so
            # the new name is there too.
            if new in keywords and COPIERS.isdisjoint(between):
                name = function.__qualname__.removesuffix(".__init__")
                raise TypeError(f"{name} got both {old!r} and {new!r}, its new name; give {new!r}.")
            _warn(old, new, len(between))
            keywords[new] = keywords.pop(old)
        return function(*arguments, **keywords)

    return cast(F, translate)


def _list_between(frame: FrameType | None) -> list[str]:
    """Return the packages of the frames between this module and the user's line."""
    found: list[str] = []
    while frame and (name := frame.f_globals.get("__name__", "").partition(".")[0]) in BETWEEN:
        found.append(name)
        frame = frame.f_back
    return found


def _read_field(old: str, new: str, neuron: Any) -> Any:
    _warn(old, new)
    return getattr(neuron, new)


def _warn(old: str, new: str, further: int = 0) -> None:
    # 1 is this line, 2 its caller and 3 the user's line; `warnings` skips the import system.
    warnings.warn(describe(old, new), FutureWarning, stacklevel=3 + further)


sys.meta_path.append(OldModules())
