"""Write, check and read NIR graphs, a format of simulators and neuromorphic chips."""

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import numpy as np

import pit_jax
from pit_jax import artifact
from pit_jax.artifact import ArtifactError
from pit_jax.display import show_name, show_value
from pit_jax.export.errors import NotInNIR, import_extra
from pit_jax.export.nir_values import read_whole
from pit_jax.inference.program import SpikingProgram
from pit_jax.inference.runtime import nodes
from pit_jax.paths import read_path
from pit_jax.reading import reading

if TYPE_CHECKING:
    import nir

# Seconds per step, the default of most NIR readers.
DT = 1e-4
HASH = "sha256"


def to_nir(
    program: SpikingProgram,
    path: str | os.PathLike[str] | None = None,
    *,
    dt: float = DT,
    overwrite: bool = False,
) -> "nir.NIRGraph":
    """Return the program as a NIR graph; with `path`, write it to a file too.

    The graph maps pixels `[C, H, W]` to logits `[K]` at each step of `dt` seconds; the mean over
    the steps is the output of the program.

    A simulator with Euler steps of `dt` computes the same spikes and logits if its inputs are
    multiples of the metadata's `input_step` within `input_limit` and its floats have `precision`.
    Raises NotInNIR for parts that NIR cannot express exactly, and ArtifactError if the file exists
    and `overwrite` is False.
    """
    nir = import_extra("nir", "export", "write a NIR graph")
    from pit_jax.export.nir_writer import Writer

    if path is not None:
        artifact.check_file_free(path, overwrite)
    if not 0 < dt < np.inf:
        raise ValueError(f"dt, the seconds per step, must be above 0, got {dt}.")
    pixels = program.nodes[0]
    assert isinstance(pixels, nodes.Pixels)
    writer = Writer(program.nodes, program.num_steps, dt)
    metadata: dict[str, Any] = {
        "pit_jax": pit_jax.__version__,
        "program": program.fingerprint,
        "num_steps": program.num_steps,
        "dt": dt,
        "precision": writer.precision,
        "input_step": writer.input_step,
        "input_limit": pixels.bound * pixels.unit,
    }
    graph = nir.NIRGraph(writer.nodes, writer.edges, metadata=metadata)
    # Hash the graph, not the file: HDF5 files with equal content may differ in bytes.
    graph.metadata[HASH] = _hash_graph(graph)
    if path is not None:
        path = read_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        artifact.replace_file(path, lambda part: nir.write(part, graph))
    return graph


def from_nir(
    source: "nir.NIRGraph | str | os.PathLike[str]",
    *,
    num_steps: int | None = None,
    dt: float | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a NIR graph or file as a network of this package's neurons, and its variables.

    `model.apply(variables, x)` maps images `[B, H, W, C]` or frames `[B, T, H, W, C]`, or vectors
    without H and W, to outputs `[B, T, ...]`. Graphs of `to_nir` store their `num_steps` and `dt`;
    if their `precision` is float64, they are exact under `jax.enable_x64`. The hash in their
    metadata is checked; graphs of other tools have none. If the gain of a neuron's current is not 1
    or dt / tau, its threshold is divided by the gain, with a warning.
    Raises ArtifactError for a damaged file and NotInNIR for nodes without a counterpart.
    """
    nir = import_extra("nir", "export", "read a NIR graph")
    from pit_jax.export.nir_file import read_file
    from pit_jax.export.nir_reader import find_folded, read_graph

    if isinstance(source, nir.NIRGraph):
        graph, where = source, "the graph"
    else:
        path = read_path(source)
        if not path.is_file():
            raise ArtifactError(f"there is no file {path}.")
        graph, where = read_file(path), str(path)
    numbers = _read_metadata(graph, where, num_steps, dt)
    is_known = dt is not None or "dt" in graph.metadata
    try:
        network = read_graph(graph, *numbers, is_known)
    except NotInNIR as error:
        named = f"{error}" if graph is source else f"{where}: {error}"
        # Names of nodes may have any characters.
        raise NotInNIR(show_name(named)) from error
    if folded := find_folded(graph, numbers[1]):
        _warn_of_gains(folded, where, numbers[1], is_known)
    return network


def _warn_of_gains(folded: Mapping[str, float], where: str, dt: float, is_known: bool) -> None:
    name, gain = max(folded.items(), key=lambda pair: abs(np.log(pair[1])))
    more = f" and {len(folded) - 1} more" if len(folded) > 1 else ""
    default = "" if is_known else " Give dt if the graph is for steps other than this default."
    warnings.warn(
        f"{where}: the gain of {show_name(name):.80} ({gain:.4g} at dt = {dt:g} s){more} was "
        f"folded into its threshold.{default}",
        stacklevel=3,
    )


def _read_metadata(
    graph: "nir.NIRGraph", where: str, num_steps: int | None, dt: float | None
) -> tuple[int, float]:
    """Return the number of steps and their length; raise ArtifactError if the hash is another."""
    known = graph.metadata
    if HASH in known:
        # Other tools may store anything under this name.
        found = known[HASH].decode("latin-1") if isinstance(known[HASH], bytes) else known[HASH]
        with reading(where, "a NIR graph that can be hashed", error=ArtifactError):
            same = isinstance(found, str) and found == _hash_graph(graph)
        if not same:
            raise ArtifactError(
                f"{where} does not match its hash; get another copy, or export it again."
            )
    steps = known.get("num_steps") if num_steps is None else num_steps
    if steps is None:
        raise ValueError(f"{where} does not store its number of steps; give num_steps.")
    seconds = np.asarray(known.get("dt", DT) if dt is None else dt)
    if seconds.dtype.kind not in "iuf" or seconds.size != 1 or not 0 < seconds.item() < np.inf:
        raise ValueError(
            f"dt, the seconds per step, must be above 0, got {show_value(seconds.tolist())}."
        )
    return read_whole(where, "num_steps", steps, 1), float(seconds.item())


def _hash_graph(graph: "nir.NIRGraph") -> str:
    """Return a hash of nodes, edges and metadata that is the same after writing and reading."""
    values = (
        {name: node.to_dict() for name, node in graph.nodes.items()},
        {f"{a} -> {b}": "" for a, b in graph.edges},
        {key: value for key, value in graph.metadata.items() if key != HASH},
    )
    return artifact.hash_parts(part for value in values for part in _list_bytes(value))


def _list_bytes(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        # HDF5 does not keep the order of keys.
        for key in sorted(value):
            yield f"{key}:".encode()
            yield from _list_bytes(value[key])
    elif isinstance(value, str | bytes):
        # Strings may come back from a file as bytes.
        yield value.encode() if isinstance(value, str) else value
    else:
        array = np.asarray(value)
        # Integers may come back from a file in another width.
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array
        yield f"{array.dtype.str}{array.shape}".encode()
        yield np.ascontiguousarray(array).tobytes()
