"""Convert a PyTorch state_dict to the variables of a network, completely or not at all."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.interop.layouts import LAYOUTS, score_layouts
from pit_jax.interop.values import check_values
from pit_jax.interop.wrappers import find_prefixes
from pit_jax.old_names import serve_old_names

Path = tuple[str, ...]
Shapes = dict[Path, jax.ShapeDtypeStruct]

_THEIR_LEAF = {
    ("params", "kernel"): "weight",
    ("params", "scale"): "weight",
    ("params", "bias"): "bias",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}


def convert(
    state_dict: Mapping[str, np.ndarray],
    model: nn.Module,
    sample: Array | np.ndarray | jax.ShapeDtypeStruct,
    *,
    layout: str | None = None,
    skip: Sequence[str] = (),
    key: Array | None = None,
) -> dict[str, Any]:
    """Return `{"params": ..., "batch_stats": ...}` of `model` with the values of `state_dict`.

    `sample` is a batch of the network's input, or its shape and dtype. `layout`, one of `LAYOUTS`,
    is detected from the names by default. Layers of `model` listed in `skip`, e.g. `("head",)`, are
    initialized from `key` as in `model.init`, whatever the state_dict has for them. So are the
    parameters of neurons, which no layout has. PIT's scales are initialized from the currents of
    the converted network on `sample`, which must then be a real training batch.

    Raises CheckpointError, which lists every missing, unused and misshapen name, unless each leaf
    of the network matches a name in the state_dict and vice versa. Only num_batches_tracked is
    ignored.
    """
    # Each leaf has one source: the checkpoint, `key` (skipped layers, neurons) or zeros (unread).
    name = layout if layout is not None else find_layout(state_dict)
    if name not in LAYOUTS:
        raise CheckpointError(f"unknown layout {name!r}; known: {', '.join(LAYOUTS)}.")
    leaves = _read_shapes(model, sample)
    _check_skip(skip, leaves)
    start = {path for path in leaves if _is_skipped(path, skip) or is_of_neuron(path, leaves)}
    values, report = _match(state_dict, LAYOUTS[name], leaves, start)
    if report:
        raise CheckpointError(
            f"the checkpoint, read in the layout {name!r}, does not fit {type(model).__name__}:\n  "
            + "; ".join(report)
            + "\nGive the network the fields it was published with, or skip=('head',) to keep the "
            "initial values of a layer."
        )
    if start:
        values |= _start_leaves(model, values, start, sample, key)
    return unflatten_dict(values)


def complete(
    model: nn.Module,
    given: Mapping[str, Any],
    images: Array,
    rngs: dict[str, Array],
    collections: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the variables of `model`: those in `given`, and the missing ones as in `model.init`.

    PIT's scales are initialized from the currents of the given weights on `images`, a training
    batch. `collections` are further ones to return, such as `intermediates`.
    """
    returned = ["params", "batch_stats", *collections]
    _, made = model.apply(given, images, train=True, rngs=rngs, mutable=returned)
    # The training pass has moved the statistics in `made`, so missing ones come from `model.init`.
    start = {"batch_stats": model.init(rngs, images, train=True).get("batch_stats", {})}
    return unflatten_dict(flatten_dict(made) | flatten_dict(start) | flatten_dict(given))


def is_of_neuron(path: Path, leaves: Collection[Path]) -> bool:
    """Return whether the leaf `path` is a parameter of a neuron, not of a weight layer or norm."""
    # Layers of weights have a kernel, norms a scale; parameters of neurons have other names.
    collection, *layer, _ = path
    siblings = [("params", *layer, leaf) for leaf in ("kernel", "scale")]
    return collection == "params" and not any(sibling in leaves for sibling in siblings)


def find_layout(state_dict: Mapping[str, Any]) -> str:
    """Return the name in `LAYOUTS` that matches most names of the state_dict.

    Raises CheckpointError when no layout matches half of the names, or the best two match equally.
    """
    known = score_layouts(state_dict)
    # Layouts share names such as conv1 and fc, so compare how many of the names each one knows.
    best = max(known.values())
    found = [layout for layout, share in known.items() if share == best]
    if best < 0.5:
        prefixes = find_prefixes(state_dict)
        like = ", ".join(show_name(name)[:80] for name in list(state_dict)[:3])
        advice = (
            f"Names that begin with {' or '.join(prefixes)} match one; choose, e.g. "
            f"prefix={next(iter(prefixes))!r}."
            if prefixes
            else f"Known layouts: {', '.join(LAYOUTS)}."
        )
        raise CheckpointError(f"no layout matches names like {like}. {advice}")
    if len(found) > 1:
        raise CheckpointError(
            f"the names match the layouts {' and '.join(found)} equally; choose one, e.g. "
            f"layout={found[0]!r}."
        )
    return found[0]


def _read_shapes(model: nn.Module, sample: Any) -> Shapes:
    """Return the shapes of the network's variables without computing or allocating them."""
    sample = jax.ShapeDtypeStruct(sample.shape, sample.dtype)
    variables = jax.eval_shape(model.init, jax.random.key(0), sample)
    return {
        path: leaf
        for path, leaf in flatten_dict(variables).items()
        if path[0] in ("params", "batch_stats")
    }


def _is_skipped(path: Path, skip: Sequence[str]) -> bool:
    layer = "/".join(path[1:-1])
    return any(layer == name or layer.startswith(f"{name}/") for name in skip)


def _check_skip(skip: Sequence[str], leaves: Shapes) -> None:
    for name in skip:
        if not any(_is_skipped(path, (name,)) for path in leaves):
            layers = dict.fromkeys(path[1] for path in leaves)
            raise CheckpointError(
                f"cannot skip {name!r}: the network has the layers {', '.join(layers)}."
            )


def _match(
    state_dict: Mapping[str, np.ndarray], layout: Layout, leaves: Shapes, start: set[Path]
) -> tuple[dict[Path, Array], list[str]]:
    """Return the values of all `leaves` except those in `start`, and a line per kind of problem."""
    values: dict[Path, Array] = {}
    used: set[str] = set()
    read: list[str] = []
    missing, misshapen = [], []
    for path, leaf in leaves.items():
        ours, wanted = "/".join(path[1:-1]), f"{'/'.join(path)} {leaf.shape}"
        found = _find_source(path, layout)
        if found is None:
            if layout.is_unread(ours):
                values[path] = jnp.zeros(leaf.shape, leaf.dtype)
            elif path not in start:
                missing.append(f"a layer unknown to this layout for {wanted}")
            continue
        name, layer = found
        used.add(name)  # Also for a skipped layer, whose weights would be reported as unused.
        if path in start:
            continue
        if name not in state_dict:
            missing.append(f"{name} for {wanted}")
            continue
        array = state_dict[name]
        turned = _turn_axes(array, leaf.shape, _count_map_channels(layer, leaves))
        if turned is None or not jnp.issubdtype(array.dtype, jnp.floating):
            misshapen.append(f"{name} {array.shape} {array.dtype} for {wanted}")
            continue
        read.append(name)
        # Not leaf.dtype, because Flax makes the statistics of a norm float32 even under x64.
        values[path] = jnp.asarray(np.ascontiguousarray(turned), float)
        # norm(x w + b) equals norm(x w) with the mean less b.
        shift = layout.find_shift(ours) if path[-1] == "mean" else None
        if shift is not None and (bias := state_dict.get(f"{shift}.bias")) is not None:
            used.add(f"{shift}.bias")
            if bias.shape == leaf.shape:
                read.append(f"{shift}.bias")
                values[path] -= jnp.asarray(bias, float)
            else:
                misshapen.append(f"{shift}.bias {bias.shape} {bias.dtype} for {wanted}")
    unused = [
        f"{show_name(name)[:80]} {state_dict[name].shape}"
        for name in _list_unused(state_dict, used)
    ]
    # `load` checks the values too, but a state_dict need not come from `load`.
    check_values(read, lambda name: state_dict[name])
    kinds = {"missing": missing, "unused": unused, "misshapen": misshapen}
    return values, [_list_names(kind, lines) for kind, lines in kinds.items() if lines]


def _find_source(path: Path, layout: Layout) -> tuple[str, LayerNames] | None:
    """Return the name in the checkpoint of our leaf `path` and the row of its layer, or None."""
    if (found := layout.find_source("/".join(path[1:-1]))) is None:
        return None
    theirs, layer = found
    return f"{theirs}.{_THEIR_LEAF.get((path[0], path[-1]), path[-1])}", layer


def _list_unused(names: Iterable[str], used: Collection[str]) -> list[str]:
    # PyTorch's norms count their batches; nothing here depends on that number.
    return [name for name in names if name not in used and not name.endswith("num_batches_tracked")]


def fits(
    state_dict: Mapping[str, np.ndarray],
    model: nn.Module,
    sample: Array | np.ndarray | jax.ShapeDtypeStruct,
    layout: str,
    skip: Sequence[str] = (),
) -> bool:
    """Return whether the names and shapes of a state_dict are those of a network, in a layout.

    The arguments are as for `convert`. No values are read or converted.
    """
    leaves, table = _read_shapes(model, sample), LAYOUTS[layout]
    used = set()
    for path, leaf in leaves.items():
        ours, found = "/".join(path[1:-1]), _find_source(path, table)
        if found is None:
            if not (table.is_unread(ours) or is_of_neuron(path, leaves)):
                return False
            continue
        name, layer = found
        used.add(name)
        if shift := table.find_shift(ours):
            used.add(f"{shift}.bias")
        channels = _count_map_channels(layer, leaves)
        if _is_skipped(path, skip):
            continue
        if name not in state_dict or _turn_axes(state_dict[name], leaf.shape, channels) is None:
            return False
    return not _list_unused(state_dict, used)


def _list_names(kind: str, lines: list[str]) -> str:
    more = f", and {len(lines) - 10} more" if len(lines) > 10 else ""
    return f"{len(lines)} {kind}: {', '.join(lines[:10])}{more}"


def _count_map_channels(layer: LayerNames, leaves: Shapes) -> int | None:
    kernel = ("params", *(layer.map_of or "").split("/"), "kernel")
    return leaves[kernel].shape[-1] if kernel in leaves else None


def _turn_axes(
    theirs: np.ndarray, shape: tuple[int, ...], channels: int | None
) -> np.ndarray | None:
    """Return a view of `theirs` with the axes in our order, or None if it does not have `shape`.

    Out, in, space becomes space, in, out. `channels` is the number of channels of the map that a
    linear layer reads, which PyTorch flattens channels first.
    """
    if theirs.ndim == 2 and channels is not None:
        # Maps are square in all networks whose linear layer reads a whole map.
        size = round((theirs.shape[1] / channels) ** 0.5)
        if theirs.shape[1] != channels * size**2:
            return None
        # PyTorch flattens a map as C, H, W and we as H, W, C.
        theirs = theirs.reshape(-1, channels, size, size).transpose(0, 2, 3, 1)
        theirs = theirs.reshape(len(theirs), -1)
    turned = theirs.transpose(*range(2, theirs.ndim), 1, 0) if theirs.ndim > 1 else theirs
    if turned.shape[:-2] != shape[:-2] and {*turned.shape[:-2], *shape[:-2]} == {1}:
        # Conv1d and Conv2d with kernels of size 1 are the same layer.
        turned = turned.reshape(*(1 for _ in shape[:-2]), *turned.shape[-2:])
    return turned if turned.shape == shape else None


def _start_leaves(
    model: nn.Module, values: dict[Path, Array], start: set[Path], sample: Any, key: Array | None
) -> dict[Path, Array]:
    """Return the leaves in `start`, initialized by the first training batch on top of `values`."""
    names = ", ".join("/".join(path) for path in sorted(start)[:5])
    if key is None:
        raise CheckpointError(
            f"{len(start)} leaves are not in the checkpoint ({names}, ...); give key= to "
            "initialize them, or use a neuron without parameters, such as LIF."
        )
    if isinstance(sample, jax.ShapeDtypeStruct):
        if any(is_of_neuron(path, {*values, *start}) for path in start):
            raise CheckpointError(
                f"neurons are initialized from a training batch ({names}, ...); pass it as sample "
                "instead of its shape."
            )
        # Only layers of weights are missing, and their initial values do not depend on the batch.
        sample = jnp.zeros(sample.shape, sample.dtype)

    @jax.jit
    def run_first_batch(values: dict[Path, Array], sample: Array) -> dict[Path, Array]:
        params, dropout = jax.random.split(key)
        rngs = {"params": params, "dropout": dropout}
        whole = flatten_dict(complete(model, unflatten_dict(values), sample, rngs))
        return {path: leaf for path, leaf in whole.items() if path in start}

    return run_first_batch(values, sample)


serve_old_names(__name__)
