"""A program as a folder: its arrays, and a manifest with the rest, hashes, versions and proof."""

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pit_jax
from pit_jax import artifact
from pit_jax.inference.described import described, restored
from pit_jax.inference.errors import ArtifactError
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.step import run, weights_of
from pit_jax.inference.verify import Report, fingerprint

Nodes = Sequence[nodes.Node]

# Format 1 has the classes' earlier names.
KIND, VERSION = "pit_jax.program", 2
ARRAYS = "program.safetensors"


class Stored(NamedTuple):
    """What a folder has of a program."""

    nodes: Nodes
    num_steps: int
    fingerprint: str
    proof: Report | None


def write(
    program: Stored, folder: str | os.PathLike[str], about: Mapping[str, Any], overwrite: bool
) -> None:
    """Writes a program to `folder`, with what there is to say `about` it, as JSON has it.

    Raises ArtifactError when the folder is there already, unless it shall `overwrite` another
    program's, and when the program is not the one that was compiled.
    """
    said = facts(program)
    artifact.check_free(folder, overwrite)
    arrays: dict[str, np.ndarray] = {}
    graph = described(program.nodes, arrays)
    notes = {
        **said,
        "about": dict(about),
        "nodes": graph,
        "arrays": {name: _kind(array) for name, array in arrays.items()},
    }
    files = {ARRAYS: _safetensors().save(arrays)}
    artifact.write(folder, KIND, VERSION, files, notes, overwrite)


def facts(program: Stored) -> dict[str, Any]:
    """What every artifact of a program says of it.

    Raises ArtifactError when it is not the one that was compiled, or its proof failed.
    """
    if fingerprint(program.nodes) != program.fingerprint:
        raise ArtifactError("the program was changed since it was compiled; compile it again.")
    if program.proof is not None and not program.proof:
        raise ArtifactError(f"the program is not its grid:\n{program.proof}")
    return {
        "versions": {"pit_jax": pit_jax.__version__, "jax": jax.__version__},
        "num_steps": program.num_steps,
        "fingerprint": program.fingerprint,
        "proof": described(program.proof, {}),
    }


def read(folder: str | os.PathLike[str]) -> Stored:
    """The program that `write` put into `folder`.

    Raises ArtifactError when a file is missing, cut off or changed, or holds what this version of
    pit_jax does not know.
    """
    manifest, files = artifact.read(folder, KIND, VERSION)
    try:
        arrays = _safetensors().load(files[ARRAYS])
        if {name: _kind(array) for name, array in arrays.items()} != manifest["arrays"]:
            raise ArtifactError("the arrays have other shapes or types than the manifest says.")
        graph = restored(manifest["nodes"], list[nodes.Node], arrays, "nodes")
        steps = restored(manifest["num_steps"], int, {}, "num_steps")
        proof = restored(manifest["proof"], Report | None, {}, "proof")
        if fingerprint(graph) != manifest["fingerprint"]:
            raise ArtifactError("its numbers are not those that were compiled.")
        _check_fit(graph, steps)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error
    except KeyError as error:
        raise ArtifactError(f"{folder}: the manifest has no {error}.") from error
    return Stored(graph, steps, manifest["fingerprint"], proof)


def _check_fit(graph: Sequence[nodes.Node], num_steps: int) -> None:
    """Follows the shapes of one image through all nodes."""
    first, last = (graph[0], graph[-1]) if graph else (None, None)
    if not isinstance(first, nodes.Pixels) or not isinstance(last, nodes.Accumulator):
        raise ArtifactError("a program begins with its input and ends with a sum.")
    image = jax.ShapeDtypeStruct((1, *first.shape), jnp.float32)

    def outputs(weights: Any, x: Any) -> Any:
        return run(graph, weights, x, num_steps, "slots", lambda outputs: outputs)

    try:
        steps = jax.eval_shape(outputs, weights_of(graph), image)
    except Exception as error:  # Of shapes, sources and types that do not fit.
        raise ArtifactError(f"its parts do not fit ({error}).") from error
    for node, output in zip(graph, steps[0], strict=True):
        if not hasattr(node, "neuron") and output.shape[-len(node.shape) :] != node.shape:
            raise ArtifactError(f"a part gives {output.shape[1:]}, not {node.shape}.")


def _kind(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "a program's folder has a .safetensors file: pip install 'pit-jax[export]'"
        ) from error
    return safetensors.numpy
