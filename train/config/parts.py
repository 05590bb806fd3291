"""The parts that sections of a config name, and the options that each of them takes.

A section has a `name` and keyword arguments for the callable of that name: one of ours, from a
table below, or a user's own, as an import path `package.module:Name`. The tables are import paths
too, resolved when a section is used: this module must import neither JAX nor any part.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from pit_jax.display import show_value

from ..errors import UserError
from .docstrings import read_arguments
from .own import find_line, summarize_error

MISSING = inspect.Parameter.empty


class Kind(NamedTuple):
    """A kind of part: the table of ours, and the parameters that a config cannot set.

    The program passes the first `positions` parameters and those in `given`. A section without a
    `name` is for the function `only`. The section also has the parameters of `extra`; those of
    `words` replace parameters of the part with the same names.
    """

    table: str = ""
    positions: int = 0
    given: tuple[str, ...] = ()
    only: str = ""
    extra: str = ""
    words: str = ""


class Option(NamedTuple):
    """A key of a section: type and default of the parameter, and its meaning from the docstring."""

    annotation: Any
    default: Any
    meaning: str


class Options(NamedTuple):
    """The keys that `owner`, a part, takes; an `open` part also takes any others."""

    owner: str
    known: dict[str, Option]
    open: bool


KEYS = ".keys"
# Names of data sets such as `tfds/NAME`: functions that take NAME first.
COLLECTIONS = "..data:COLLECTIONS"
NEURON = Kind("pit_jax.neurons:NEURONS")
KINDS = {
    "": Kind(only=f"{KEYS}:RunKeys"),
    "data": Kind("..data:DATASETS", given=("data_dir",), extra="..data:load"),
    "augment": Kind(only=f"{KEYS}:AugmentKeys"),
    # The first parameters are (key, images), of mixes also labels.
    "augment.policy": Kind("..data.augment:POLICIES", positions=2, words=f"{KEYS}:FillKeys"),
    "augment.cutout": Kind(only="..data.augment:cutout", positions=2, extra=f"{KEYS}:FillKeys"),
    "augment.erase": Kind(only="..data.augment:random_erasing", positions=2),
    "augment.mix": Kind("..data.augment:MIXES", positions=3),
    "model": Kind("pit_jax.models:MODELS", given=("num_classes", "neuron", "num_steps")),
    "model.norm": Kind(
        "pit_jax.layers.norm:NORMS",
        given=("use_running_average", "scale_init", "bias_init", "dtype", "name"),
    ),
    "neuron": NEURON,
    "loss": Kind("..program.losses:LOSSES", positions=2),
    "optimizer": Kind("..program.optim:OPTIMIZERS", positions=1),
    "schedule": Kind(
        "..program.optim:SCHEDULES", positions=1, given=("steps", "warmup_steps", "end")
    ),
    "checkpoints": Kind(only=f"{KEYS}:CheckpointKeys"),
    "health": Kind(only=f"{KEYS}:HealthKeys"),
    "wandb": Kind(only=f"{KEYS}:WandbKeys"),
}
# Sections that a config can omit, in addition to those whose default is a part (`is_optional`).
OPTIONAL = ("augment", "augment.policy", "augment.cutout", "augment.erase", "augment.mix")
# The default part of a section that no page wrote.
DEFAULTS = {"model.norm": "batch_norm", "schedule": "cosine"}
# Keys of any section that take the name of one of our functions, and the tables of these.
FUNCTIONS = {
    "reset": "pit_jax.neurons.step:RESETS",
    "spike": "pit_jax.surrogate:SPIKES",
    "scale_init": "pit_jax.initializers:SCALE_INITS",
    "parametrize": "pit_jax.neurons.scale:PARAMETRIZATIONS",
}


def find_kind(what: str) -> Kind | None:
    """Return the kind of the section `config.WHAT`; None for a key that is not a section."""
    section, _, last = what.rpartition(".")
    if section == "model" and last.endswith("_neuron"):
        return NEURON
    return KINDS.get(what)


def list_inner(what: str) -> list[str]:
    """Return the full names of the sections that the section `config.WHAT` can contain."""
    return [each for each in KINDS if each and each.rpartition(".")[0] == what]


def is_optional(what: str) -> bool:
    """Return whether a config can omit the section `config.WHAT`."""
    return what in (*OPTIONAL, "model.norm", "schedule") or what.endswith("_neuron")


def find_part(what: str, name: Any = None) -> Callable[..., Any]:
    """Return the callable that `config.WHAT.name` names.

    Raises UserError for an unknown name, listing the known ones, and for a broken import path.
    """
    kind = find_kind(what) or Kind()
    if kind.only:
        only: Callable[..., Any] = _load(kind.only)
        return only
    table, collections = list_names(what), list_collections(what)
    if isinstance(name, str) and name in table:
        return table[name]
    collection, slash, inner = name.partition("/") if isinstance(name, str) else ("", "", "")
    if slash and collection in collections:
        # The newest version is always read. A colon, as in NAME:1.0.0, would be an import path.
        if not inner or ":" in inner:
            raise UserError(
                f"config.data.name is {show_value(name)}; give the name of a data set without a "
                f"version, such as {collection}/NAME."
            )
        return partial(collections[collection], inner)
    if isinstance(name, str) and ":" in name:
        return import_part(name, f"{what}.name")
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    named = [*sorted(table), *(f"{each}/NAME" for each in collections)]
    names = f"{', '.join(named)}, or " if named else ""
    path = "an import path package.module:Name."
    raise UserError(f"config.{what}.name is {show_value(name)}; it can be {names}{path}{hint}")


def list_names(what: str) -> Mapping[str, Callable[..., Any]]:
    """Return our parts for the section `config.WHAT` by name."""
    kind = find_kind(what) or Kind()
    table: Mapping[str, Callable[..., Any]] = _load(kind.table) if kind.table else {}
    return table


def list_collections(what: str) -> Mapping[str, Callable[..., Any]]:
    """Return the functions for names such as `tfds/NAME`, which only the section `data` has."""
    found: Mapping[str, Callable[..., Any]] = _load(COLLECTIONS) if what == "data" else {}
    return found


def list_options(what: str, function: Callable[..., Any]) -> Options:
    """Return the keys of the section `config.WHAT` if it names `function`."""
    kind = find_kind(what) or Kind()
    owner, known, is_open = _read_options(function, kind.positions, kind.given)
    for name, each in list_names(what).items():
        owner = name if each is function else owner
    if kind.only:
        owner = "it"
    if kind.extra:
        known |= _read_options(_load(kind.extra), 0, ("name",)).known
    # Programs pass `fill` as gray levels, which a config names with a word.
    if kind.words:
        words = _read_options(_load(kind.words), 0, ()).known
        known |= {name: option for name, option in words.items() if name in known}
    return Options(owner, known, is_open)


def find_function(key: str, name: Any) -> Any:
    """Return the function that `config.KEY` names: one of ours, or an import path.

    Values that are not strings are returned unchanged. Raises UserError for an unknown name.
    """
    if not isinstance(name, str):
        return name
    last = key.rpartition(".")[2]
    table: dict[str, Any] = dict(_load(FUNCTIONS[last])) if last in FUNCTIONS else {}
    # A function is also known by its Python name: "hard_reset" as well as "hard".
    named = table | {getattr(each, "__name__", label): each for label, each in table.items()}
    if name in named:
        return named[name]
    if ":" in name:
        return import_part(name, key)
    near = difflib.get_close_matches(name, table, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    can_be = f"{', '.join(table)}, or an import path" if table else "an import path"
    raise UserError(f"config.{key} is {name!r}; it can be {can_be} module:function.{hint}")


def list_functions(key: str) -> list[str]:
    """Return the names of our functions for a key such as `neuron.reset`."""
    last = key.rpartition(".")[2]
    return list(_load(FUNCTIONS[last])) if last in FUNCTIONS else []


def import_part(path: str, key: str) -> Any:
    """Import `package.module:Name`, the value of `config.KEY`; the current folder comes first.

    Raises UserError for a module that does not exist or fails, and for a name that it lacks.
    """
    module_name, _, name = path.partition(":")
    search_current_folder()
    try:
        # A script without a main guard may even exit when it is imported.
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # A user's module can raise anything.
        place = find_line(error, path)
        reason = f"{place}: {summarize_error(error)}" if place else str(error).strip()
        advice = " Start the program in the folder that holds it, or install it." * (not place)
        raise UserError(
            f"config.{key} is {path!r}, but {module_name} cannot be imported ({reason}).{advice}"
        ) from error
    try:
        found = module
        for each in name.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UserError(
            f"config.{key} is {path!r}, but {module.__file__ or module_name} has no {name!r}{hint}"
        ) from error
    if not callable(found):
        raise UserError(f"config.{key} is {path!r}, which cannot be called: it is {found!r}.")
    return found


def search_current_folder() -> None:
    """Let imports search the current folder first, as `python -m` does."""
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def list_parameters(function: Callable[..., Any]) -> list[str] | None:
    """Return the names that a part takes by keyword; None for a part with `**kwargs`."""
    parameters = _read_signature(function).parameters.values()
    if any(each.kind == each.VAR_KEYWORD for each in parameters):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in parameters if each.kind in named]


def get_name(function: Callable[..., Any]) -> str:
    """Return the name of a callable, through any `functools.partial`, else of its class."""
    if isinstance(function, partial):
        return get_name(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module, __package__), name)


def _read_options(function: Callable[..., Any], positions: int, given: tuple[str, ...]) -> Options:
    parameters = list(_read_signature(function).parameters.values())
    # By position: users may name these parameters as they like.
    fixed = [each.name for each in parameters[:positions] if each.kind != each.KEYWORD_ONLY]
    if _is_module(function):
        fixed += ["parent", "name"]
    meanings = read_arguments(function)
    known = {
        each.name: Option(each.annotation, each.default, meanings.get(each.name, ""))
        for each in parameters
        if each.name not in (*fixed, *given)
        and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    }
    is_open = any(each.kind == each.VAR_KEYWORD for each in parameters)
    return Options(get_name(function), known, is_open)


def _is_module(function: Callable[..., Any]) -> bool:
    """Return whether a callable makes a Flax module, which has the fields `parent` and `name`."""
    while isinstance(function, partial):
        function = function.func
    # Tests for a dataclass, without importing Flax, so that --help is fast.
    return isinstance(function, type) and hasattr(function, "__dataclass_fields__")


def _read_signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # A user's annotation can raise anything when evaluated.
        pass
    # One broken annotation must not hide the types of the others: evaluate one by one.
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):  # A function in C may have no signature.
        return inspect.Signature([inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)])
    while isinstance(function, partial):
        function = function.func
    # Annotations are evaluated where they were written, in the module of the callable.
    names = vars(sys.modules.get(getattr(function, "__module__", ""), inspect))
    parameters = [
        each.replace(annotation=_evaluate(each.annotation, names))
        for each in found.parameters.values()
    ]
    return found.replace(parameters=parameters)


def _evaluate(annotation: Any, names: Mapping[str, Any]) -> Any:
    """Evaluate a string annotation with `names`; return `MISSING` if that fails."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))
    except Exception:
        return MISSING
