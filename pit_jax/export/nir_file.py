"""Read a .nir file: first the container, then its nodes. Only the container can be damaged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from pit_jax.artifact import ArtifactError
from pit_jax.display import show_name
from pit_jax.export.errors import NotInNIR
from pit_jax.reading import check_declared, quote_error, reading

# The nodes that nir_reader.py converts.
READABLE = (
    *("Conv2d", "Affine", "Linear", "Scale", "SumPool2d", "AvgPool2d", "Flatten", "IF", "LIF"),
    "Threshold",
)
NEURONS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
}
DEEPEST = 8  # Groups in groups; hard links could make a circle.
# HDF5 files are compressed by at most 1032 to 1; small data sets without any bytes are zeros.
EXPANSION, SMALL = 1100, 2**20


def read_file(path: Path) -> nir.NIRGraph:
    """Return the graph in a file, without checking that its nodes fit together.

    Parameters of a neuron may be scalars; they get a common shape. Raises ArtifactError for a
    damaged file and NotInNIR for anything else that a graph cannot be.
    """
    with reading(path, "a NIR graph", error=ArtifactError):
        size = path.stat().st_size
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("node"), h5py.Group):
                raise NotInNIR(f"{path} is an HDF5 file without a NIR graph.")
            tree = _read_group(file["node"], path, size, DEEPEST)
    try:
        return _make_graph(tree)
    except NotInNIR as error:
        raise NotInNIR(f"{path}: {error}") from error


def refuse_kind(name: str, kind: object) -> NotInNIR:
    """Return the error for a node of a kind that cannot be read."""
    return NotInNIR(
        f"{show_name(name):.80} is a {show_name(kind):.80}, which cannot be read; supported are "
        f"{', '.join(READABLE[:-1])} and {READABLE[-1]}."
    )


def _read_group(group: h5py.Group, path: Path, size: int, depth: int) -> dict[str, Any]:
    if not depth:
        raise NotInNIR(f"{path}: its groups are nested more than {DEEPEST} deep.")
    tree: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            tree[name] = _read_group(item, path, size, depth - 1)
        elif isinstance(item, h5py.Dataset):
            stored = min(item.id.get_storage_size(), size)
            check_declared(path, item.name, item.nbytes, SMALL + EXPANSION * stored)
            value = item[()]
            tree[name] = value.decode() if isinstance(value, bytes) else value
    return tree


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
            f"{show_name(name):.80} is no whole {kind} ({quote_error(error)})."
        ) from error
