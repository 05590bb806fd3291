"""Dataclasses of a program as JSON and arrays by name, and back: nothing in a file is ever run."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from pit_jax.inference.errors import ArtifactError
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Sum
from pit_jax.inference.verify import LayerProof, Report
from pit_jax.old_names import SAVED_CLASSES

# All that a file can name.
CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *(
            nodes.Pixels,
            nodes.Accumulator,
            nodes.Synapse,
            nodes.Spikes,
            FixedNeuron,
            nodes.Product,
            nodes.LinearAttention,
        ),
        *(Pool, Sum, Reshape, Cells),
        *(Report, LayerProof),
    )
}
CLASSES |= {old: CLASSES[new] for old, new in SAVED_CLASSES.items()}


def described(value: Any, arrays: dict[str, np.ndarray], name: str = "") -> Any:
    """`value` as JSON; its arrays go to `arrays`, under names that begin with `name`."""
    if isinstance(value, np.ndarray):
        arrays[name] = np.asarray(value, order="C")
        return {"array": name}
    if is_dataclass(value):
        cls = type(value).__name__
        if CLASSES.get(cls) is not type(value):
            raise TypeError(f"{cls} is not among the classes that a file can hold.")
        return {"class": cls} | {
            field.name: described(getattr(value, field.name), arrays, f"{name}.{field.name}")
            for field in fields(value)
        }
    if isinstance(value, (list, tuple)):
        dot = "." if name else ""
        return [described(each, arrays, f"{name}{dot}{i}") for i, each in enumerate(value)]
    if type(value) in (bool, int, float, str, NoneType):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a file cannot hold.")


def restored(value: Any, hint: Any, arrays: Mapping[str, np.ndarray], name: str = "") -> Any:
    """What `described` made `value` of, if that is of the type `hint`.

    Raises ArtifactError for classes, fields and types that are not those of this version.
    """
    if get_origin(hint) in (Union, UnionType):
        fitting = [option for option in get_args(hint) if _may_be(value, option)]
        if not fitting:
            raise _unknown(value, hint, name)
        return restored(value, fitting[0], arrays, name)
    if not _may_be(value, hint):
        raise _unknown(value, hint, name)
    if is_dataclass(hint):
        return _instance(value, hint, arrays, name)
    if hint is np.ndarray:
        if value["array"] not in arrays:
            raise ArtifactError(f"{name}: there is no array {value['array']!r}.")
        return arrays[value["array"]]
    if (kind := get_origin(hint)) in (list, tuple):
        hints = get_args(hint)
        if kind is list or hints[-1] is Ellipsis:
            hints = (hints[0],) * len(value)
        if len(hints) != len(value):
            raise ArtifactError(f"{name} has {len(value)} entries, not {len(hints)}.")
        dot = "." if name else ""
        return kind(
            restored(each, one, arrays, f"{name}{dot}{i}")
            for i, (each, one) in enumerate(zip(value, hints, strict=True))
        )
    return value


def _instance(value: Any, cls: Any, arrays: Mapping[str, np.ndarray], name: str) -> Any:
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}
    needed = {
        field.name
        for field in fields(cls)
        if field.default is MISSING and field.default_factory is MISSING
    }
    given = value.keys() - {"class"}
    if wrong := (given - known) | (needed - given):
        raise ArtifactError(
            f"{name}: {cls.__name__} has other fields here ({', '.join(sorted(wrong))}); take "
            "the pit_jax that wrote it."
        )
    return cls(**{key: restored(value[key], hints[key], arrays, f"{name}.{key}") for key in given})


def _may_be(value: Any, hint: Any) -> bool:
    if is_dataclass(hint):
        return isinstance(value, dict) and CLASSES.get(str(value.get("class"))) is hint
    if hint is np.ndarray:
        return isinstance(value, dict) and value.keys() == {"array"}
    if get_origin(hint) in (list, tuple):
        return isinstance(value, list)
    # What is written in Python as a whole number is one, also where any number may be.
    return type(value) is hint or (hint is float and type(value) is int)


def _unknown(value: Any, hint: Any, name: str) -> ArtifactError:
    what = f"{str(value.get('class'))!r}" if isinstance(value, dict) else f"{str(value):.40}"
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    known = ", ".join(getattr(option, "__name__", str(option)) for option in options)
    return ArtifactError(
        f"{name} is {what}, and this pit_jax knows {known} there; take the one that wrote it."
    )
