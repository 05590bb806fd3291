"""Save a program as a folder: arrays in a .safetensors file, everything else in a manifest.

The manifest has the dataclasses of the program as JSON, with names in place of arrays, and hashes,
versions and the proof. Reading only makes instances of the classes in `CLASSES`; no code from the
file runs.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

import pit_jax
from pit_jax import artifact
from pit_jax.artifact import ArtifactError
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron
from pit_jax.inference.runtime.pixels import Normalization, read_normalization
from pit_jax.inference.runtime.reductions import Cells, Pool, Reshape, Sum
from pit_jax.inference.runtime.step import collect_weights, run
from pit_jax.inference.verify import LayerProof, Report, fingerprint
from pit_jax.old_names import SAVED_CLASSES, serve_old_names
from pit_jax.reading import quote_error, reading

if TYPE_CHECKING:  # program.py imports this module.
    from pit_jax.inference.program import SpikingProgram

# Formats 1 and 2 are still read. 1 has old names of some classes (`SAVED_CLASSES`), and neither has
# a normalization.
KIND, VERSION = "pit_jax.program", 3
ARRAYS = "program.safetensors"
# A program has a copy of its layers for each step, so more could never be compiled; of many, the
# first are enough to see whether shapes fit.
MOST_STEPS, MOST_TRACED = 10_000, 64


def write_program(
    program: "SpikingProgram",
    folder: str | os.PathLike[str],
    proof: Report | None,
    about: Mapping[str, Any] | None,
    overwrite: bool,
) -> None:
    """Write a program to `folder`, with its `proof` and with `about`, any JSON.

    Raises ArtifactError if the folder exists, unless `overwrite` is true and it holds a program,
    and if the program has changed since it was compiled; ValueError for an `about` that JSON cannot
    hold.
    """
    facts, about = describe(program, proof), artifact.read_facts("about", about)
    artifact.check_free(folder, overwrite)
    arrays: dict[str, np.ndarray] = {}
    graph = to_json(program.nodes, arrays)
    notes = {
        **facts,
        "about": about,
        "nodes": graph,
        "arrays": {name: _get_kind(array) for name, array in arrays.items()},
    }
    files = {ARRAYS: _import_safetensors().save(arrays)}
    artifact.write(folder, KIND, VERSION, files, notes, overwrite)


def describe(program: "SpikingProgram", proof: Report | None) -> dict[str, Any]:
    """Return the entries that the manifest of every artifact of a program has.

    Raises ArtifactError if the program has changed since it was compiled, or its proof failed.
    """
    if fingerprint(program.nodes) != program.fingerprint:
        raise ArtifactError("the program was changed since it was compiled; compile it again.")
    if proof is not None and not proof:
        raise ArtifactError(f"the program differs from its grid, so it is not saved:\n{proof}")
    return {
        "versions": {"pit_jax": pit_jax.__version__, "jax": jax.__version__},
        "num_steps": program.num_steps,
        "fingerprint": program.fingerprint,
        "normalization": to_json(program.normalization, {}),
        "proof": to_json(proof, {}),
    }


def read_program(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of the program that `write_program` wrote to `folder`.

    Raises ArtifactError if a file is missing, truncated or changed, or from a newer pit_jax.
    """
    manifest, files = artifact.read(folder, KIND, VERSION)
    _import_safetensors()
    try:
        with reading("the manifest", "of a program of this pit_jax", error=ArtifactError):
            return _read_fields(manifest, files)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


def _read_fields(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    for key in ("arrays", "nodes", "num_steps", "proof", "fingerprint"):
        if key not in manifest:
            raise ArtifactError(f"the manifest has no {key!r}.")
    if ARRAYS not in files:
        raise ArtifactError(f"the manifest has no {ARRAYS!r}.")
    with reading(ARRAYS, "a file of arrays", error=ArtifactError):
        arrays = _import_safetensors().load(files[ARRAYS])
    if {name: _get_kind(array) for name, array in arrays.items()} != manifest["arrays"]:
        raise ArtifactError("the shapes or types of the arrays differ from the manifest.")
    graph = from_json(manifest["nodes"], list[nodes.Node], arrays, "nodes")
    steps = from_json(manifest["num_steps"], int, {}, "num_steps")
    proof = from_json(manifest["proof"], Report | None, {}, "proof")
    if not 1 <= steps <= MOST_STEPS:
        raise ArtifactError(f"num_steps must be from 1 to {MOST_STEPS:,}, got {steps:.6g}.")
    if fingerprint(graph) != manifest["fingerprint"]:
        # The file hashes find damage; this finds a program whose numbers were edited.
        raise ArtifactError("its numbers are not those that were compiled.")
    _check_fit(graph, min(steps, MOST_TRACED))
    return {
        "nodes": graph,
        "num_steps": steps,
        "fingerprint": manifest["fingerprint"],
        "proof": proof,
        "normalization": _read_normalization(manifest.get("normalization"), graph[0].shape[-1]),
    }


def _read_normalization(value: Any, channels: int) -> Normalization | None:
    known = from_json(value, Normalization | None, {}, "normalization")
    try:
        return known and read_normalization(known.mean, known.std, channels)
    except ValueError as error:
        raise ArtifactError(f"its normalization does not fit: {error}") from error


def _check_fit(graph: Sequence[nodes.Node], num_steps: int) -> None:
    """Raise ArtifactError unless the shapes of one image fit through all nodes."""
    first, last = (graph[0], graph[-1]) if graph else (None, None)
    if not isinstance(first, nodes.Pixels) or not isinstance(last, nodes.Accumulator):
        raise ArtifactError("a program must begin with its input and end with a sum.")
    image = jax.ShapeDtypeStruct((1, *first.shape), jnp.float32)

    def outputs(weights: Any, x: Any) -> Any:
        return run(graph, weights, x, num_steps, "slots", lambda outputs: outputs)

    try:
        steps = jax.eval_shape(outputs, collect_weights(graph), image)
    except Exception as error:  # JAX raises many types for shapes and sources that do not fit.
        raise ArtifactError(f"its parts do not fit ({quote_error(error)}).") from error
    for node, output in zip(graph, steps[0], strict=True):
        if not hasattr(node, "neuron") and output.shape[-len(node.shape) :] != node.shape:
            raise ArtifactError(f"a node returns {output.shape[1:]}, not {node.shape}.")


def _get_kind(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _import_safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "a program's folder has a .safetensors file: pip install 'pit-jax[export]'"
        ) from error
    return safetensors.numpy


# A file can name these classes only, so that reading one cannot run code.
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
        *(Report, LayerProof, Normalization),
    )
}
CLASSES |= {old: CLASSES[new] for old, new in SAVED_CLASSES.items()}


def to_json(value: Any, arrays: dict[str, np.ndarray], name: str = "") -> Any:
    """Return `value` as JSON, and add its arrays to `arrays` under names that begin with `name`."""
    if isinstance(value, np.ndarray):
        arrays[name] = np.asarray(value, order="C")
        return {"array": name}
    if is_dataclass(value):
        cls = type(value).__name__
        if CLASSES.get(cls) is not type(value):
            raise TypeError(f"{cls} is not among the classes that a file can hold.")
        return {"class": cls} | {
            field.name: to_json(getattr(value, field.name), arrays, f"{name}.{field.name}")
            for field in fields(value)
        }
    if isinstance(value, (list, tuple)):
        dot = "." if name else ""
        return [to_json(each, arrays, f"{name}{dot}{i}") for i, each in enumerate(value)]
    if type(value) in (bool, int, float, str, NoneType):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a file cannot hold.")


def from_json(value: Any, hint: Any, arrays: Mapping[str, np.ndarray], name: str = "") -> Any:
    """Return the object of type `hint` from which `to_json` made `value`.

    Raises ArtifactError for a class, field or type that this version does not have.
    """
    if get_origin(hint) in (Union, UnionType):
        fitting = [option for option in get_args(hint) if _fits(value, option)]
        if not fitting:
            raise _make_error(value, hint, name)
        return from_json(value, fitting[0], arrays, name)
    if not _fits(value, hint):
        raise _make_error(value, hint, name)
    if is_dataclass(hint):
        return _make_instance(value, hint, arrays, name)
    if hint is np.ndarray:
        if not isinstance(value["array"], str) or value["array"] not in arrays:
            raise ArtifactError(f"{name}: there is no array {value['array']!r:.80}.")
        return arrays[value["array"]]
    if get_origin(hint) in (list, tuple):
        return _make_sequence(value, hint, arrays, name)
    return value


def _make_sequence(value: Any, hint: Any, arrays: Mapping[str, np.ndarray], name: str) -> Any:
    kind, hints = get_origin(hint), get_args(hint)
    if kind is list or hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ArtifactError(f"{name} has {len(value)} entries, not {len(hints)}.")
    dot = "." if name else ""
    return kind(
        from_json(each, one, arrays, f"{name}{dot}{i}")
        for i, (each, one) in enumerate(zip(value, hints, strict=True))
    )


def _make_instance(value: Any, cls: Any, arrays: Mapping[str, np.ndarray], name: str) -> Any:
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
            f"{name}: {cls.__name__} has different fields here ({', '.join(sorted(wrong)):.80}); "
            "load it with the pit_jax version that wrote it."
        )
    return cls(**{key: from_json(value[key], hints[key], arrays, f"{name}.{key}") for key in given})


def _fits(value: Any, hint: Any) -> bool:
    if is_dataclass(hint):
        return isinstance(value, dict) and CLASSES.get(str(value.get("class"))) is hint
    if hint is np.ndarray:
        return isinstance(value, dict) and value.keys() == {"array"}
    if get_origin(hint) in (list, tuple):
        return isinstance(value, list)
    # A field of type float may hold an int, which JSON does not turn into a float.
    return type(value) is hint or (hint is float and type(value) is int)


def _make_error(value: Any, hint: Any, name: str) -> ArtifactError:
    what = f"{value.get('class')!r:.40}" if isinstance(value, dict) else f"{value!r:.40}"
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    known = ", ".join(getattr(option, "__name__", str(option)) for option in options)
    return ArtifactError(
        f"{name} is {what}, but this pit_jax expects {known}; load it with the version that wrote "
        "it."
    )


serve_old_names(__name__)
