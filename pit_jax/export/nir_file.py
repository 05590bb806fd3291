"""Read a .nir file: first the container, then its nodes. Only the container can be damaged."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

from pit_jax.artifact import ArtifactError
from pit_jax.display import show_name
from pit_jax.export.errors import NotInNIR
from pit_jax.reading import quote_error, reading, run_parser

CHILD = Path(__file__).with_name("nir_container.py")
# The nodes that nir_reader.py converts.
READABLE = (
    *("Conv2d", "Affine", "Linear", "Scale", "SumPool2d", "AvgPool2d", "Flatten", "IF", "LIF"),
    "Threshold",
)
NEURONS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
}
# Two seconds for the start, and four times what compressed weights need, as others may compute too.
SECONDS, BYTES_PER_SECOND = 8, 10_000_000


def read_file(path: Path) -> nir.NIRGraph:
    """Return the graph in a file, without checking that its nodes fit together.

    Parameters of a neuron may be scalars; they get a common shape. Raises ArtifactError for a
    damaged file and NotInNIR for anything else that a graph cannot be.
    """
    with reading(path, "a NIR graph", error=ArtifactError):
        tree = _read_container(path)
    if tree is None:
        raise NotInNIR(f"{path} is an HDF5 file without a NIR graph.")
    try:
        return _make_graph(tree)
    except NotInNIR as error:
        raise NotInNIR(f"{path}: {error}") from error


def _read_container(path: Path) -> dict[str, Any] | None:
    """Return the tree of an HDF5 file, read by a process that can take nothing down."""
    size = path.stat().st_size
    seconds, memory = SECONDS + size // BYTES_PER_SECOND, max(2**30, 20 * size)
    printed = run_parser(CHILD, str(path.absolute()), seconds=seconds, memory=memory)
    tree: dict[str, Any] | None = pickle.loads(printed)
    return tree


def refuse_kind(name: str, kind: object) -> NotInNIR:
    """Return the error for a node of a kind that cannot be read."""
    return NotInNIR(
        f"{show_name(name):.80} is a {show_name(kind):.80}, which cannot be read; supported are "
        f"{', '.join(READABLE[:-1])} and {READABLE[-1]}."
    )


def _make_graph(tree: Mapping[str, Any]) -> nir.NIRGraph:
    nodes, edges, metadata = (tree.get(name, {}) for name in ("nodes", "edges", "metadata"))
    if not isinstance(nodes, Mapping) or not all(isinstance(x, Mapping) for x in nodes.values()):
        raise NotInNIR("it has no nodes.")
    try:
        pairs = [tuple(_decode(name) for name in edge) for edge in edges]
    except (TypeError, UnicodeDecodeError) as error:
        raise NotInNIR(f"its edges are not pairs of names ({quote_error(error)}).") from error
    made = {name: _make_node(name, values) for name, values in nodes.items()}
    known = metadata if isinstance(metadata, Mapping) else {}
    return nir.NIRGraph(made, pairs, dict(known), type_check=False)


def _decode(name: Any) -> Any:
    return name.decode() if isinstance(name, bytes) else name


def _make_node(name: str, values: Mapping[str, Any]) -> nir.NIRNode:
    kind = values.get("type")
    if not isinstance(kind, str) or kind not in (*READABLE, "Input", "Output"):
        raise refuse_kind(name, kind)
    given = dict(values)
    fields = [field for field in NEURONS.get(kind, ()) if field in given]
    try:
        # The class of the node asserts one shape.
        arrays = np.broadcast_arrays(*(given[field] for field in fields))
        given |= {field: np.array(x) for field, x in zip(fields, arrays, strict=True)}
        return getattr(nir, kind).from_dict(given)
    except Exception as error:  # Missing, unknown and misshapen fields raise many types.
        raise NotInNIR(
            f"{show_name(name):.80} is not a complete {kind} ({quote_error(error)})."
        ) from error
