"""Reads checkpoints of a run that may still be training; nothing in its folder is changed.

A checkpoint is compared with its manifest before it is read. A run that trains may delete it at any
moment: then an error asks to try again.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.initializers import SCALE_FLOOR

from ..distributed import hosts
from ..errors import UserError
from ..program.sharding import abstract_arrays, place
from ..program.state import TrainState, unwrap_key, wrap_key
from . import manifest
from .checkpoint import find_newest_step
from .summary import count_parameters

# The parameters from which a scale is computed; see pit_jax/neurons/scale.py.
SCALES = ("a", "alpha", "p")
COPY = "Replace it by an intact copy and repeat the command"
OR_RESUME = "or resume the run, which falls back to an intact one"


def find_checkpoint(workdir: Path, which: str) -> Path:
    """Return the folder of the newest checkpoint; raise UserError before the first save."""
    if (step := find_newest_step(workdir, which)) is None:
        raise UserError(
            f"{workdir / which} has no checkpoint yet; one is saved at the end of an epoch."
        )
    return workdir / which / str(step)


def load_state(workdir: Path, which: str, like: TrainState) -> TrainState:
    """Return the newest state of `last` or `best`, sharded like the abstract state `like`.

    Raises UserError before the first save, and for damaged files.
    """
    folder = find_checkpoint(workdir, which)
    _check_whole(folder, f"Try the other --checkpoint, last or best, {OR_RESUME}")
    stored = abstract_arrays(jax.eval_shape(unwrap_key, like), like.step.sharding)
    state = _read(folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(stored))
    return wrap_key(cast(TrainState, state))


def load_best(workdir: Path, step: int, like: TrainState) -> TrainState:
    """Return the state of `best/STEP`, sharded like the abstract state `like`.

    With several processes, only the first reads it and sends it to the others. Raises UserError, in
    all processes, if it is missing or damaged.
    """
    folder = workdir / "best" / str(step)
    stored = jax.eval_shape(unwrap_key, like)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), stored)
    with hosts.raise_on_all_hosts():
        if hosts.is_first():
            if not folder.is_dir():
                raise UserError(f"the checkpoint of the best epoch is missing: {folder}. {COPY}.")
            _check_whole(folder, f"The run needs it for the test accuracy. {COPY}")
            state = _read(folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(state))
    return wrap_key(place(hosts.broadcast(state), like.step.sharding))


def count_saved_parameters(workdir: Path) -> tuple[int, int] | None:
    """Return the numbers of trained parameters without PIT's scales, and of the scales.

    None before the first save.
    """
    if (step := find_newest_step(workdir, "last")) is None:
        return None
    return count_parameters(_read_shapes(workdir / "last" / str(step))["params"])


def load_scales(workdir: Path, which: str) -> dict[str, np.ndarray]:
    """Return the scales of PIT by layer, `[T, C]` or `[C]`; {} before the first save.

    They are the averaged ones in a run with `config.averaging`. Nothing else of the newest
    checkpoint is read, and no device is used.
    """
    if (step := find_newest_step(workdir, which)) is None:
        return {}
    folder = workdir / which / str(step)
    saved = _read_shapes(folder)
    inside = (*_path_to_variables(saved), "params")
    wanted = {
        path
        for path, leaf in flatten_dict(saved).items()
        if path[: len(inside)] == inside and path[-1] in SCALES and hasattr(leaf, "shape")
    }
    found = {
        path[len(inside) :]: leaf for path, leaf in _read_leaves(folder, saved, wanted).items()
    }
    scales = {}
    for (*layer, name), leaf in found.items():
        if name == "a":
            scales["/".join(layer)] = leaf
        elif name == "p" and (*layer, "alpha") in found:
            scales["/".join(layer)] = found[*layer, "alpha"] * leaf
    # A user's own neuron may have a scalar named `a`, which is not a scale for each channel.
    return {layer: np.maximum(a, SCALE_FLOOR) for layer, a in scales.items() if np.ndim(a)}


def load_variables(workdir: Path, which: str | None = None) -> dict[str, Any]:
    """Return the variables with which a run is tested, from its `last` or `best` checkpoint.

    By default this is the best checkpoint, or the last one before the end of the first epoch. The
    variables are the averaged ones in a run with `config.averaging`. Raises UserError before the
    first save, and for damaged files. No device is used.
    """
    best = "best" if find_newest_step(workdir, "best") is not None else "last"
    folder = find_checkpoint(workdir, which or best)
    _check_whole(folder, f"Replace it by an intact copy, {OR_RESUME}")
    saved, dtype = _read_shapes(folder), jax.dtypes.canonicalize_dtype(float)
    outside = _path_to_variables(saved)
    wanted = {
        path
        for path in flatten_dict(saved)
        if path[: len(outside)] == outside and path[len(outside)] in ("params", "batch_stats")
    }
    found = _read_leaves(folder, saved, wanted)

    def convert(leaf: np.ndarray) -> np.ndarray:
        # A run with x64 can start from one without, and the reverse. A user chose other types.
        return leaf.astype(dtype) if leaf.dtype in (np.float32, np.float64) else leaf

    return jax.tree.map(
        convert, unflatten_dict({path[len(outside) :]: leaf for path, leaf in found.items()})
    )


def _path_to_variables(saved: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the path in a state to the variables with which the network is tested."""
    return ("averaged",) if saved.get("averaged") else ()


def _check_whole(folder: Path, advice: str) -> None:
    if what := manifest.find_damage(folder):
        raise UserError(f"the checkpoint {folder} is damaged: {what}. {advice}.")


def _read_leaves(
    folder: Path, saved: Mapping[str, Any], wanted: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], np.ndarray]:
    """Read the `wanted` leaves of a saved state to the host."""
    leaves = {path: leaf for path, leaf in flatten_dict(saved).items() if path in wanted}
    if not leaves:
        return {}
    item = unflatten_dict(leaves)
    # Without a type, Orbax restores each array to the devices on which it was saved.
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
    args = ocp.args.PyTreeRestore(item=item, restore_args=on_host, partial_restore=True)
    found: dict[tuple[str, ...], np.ndarray] = flatten_dict(
        _read(folder, ocp.PyTreeCheckpointHandler(), args)
    )
    return found


def _read_shapes(folder: Path) -> dict[str, Any]:
    """Return the state of a checkpoint as shapes and dtypes."""
    with _explain_damage(folder), _make_checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(folder.absolute()).item_metadata["state"].tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _read(folder: Path, handler: Any, state: Any) -> Any:
    items = ocp.args.Composite(state=state, progress=ocp.args.JsonRestore())
    with _explain_damage(folder), _make_checkpointer(handler) as checkpointer:
        return checkpointer.restore(folder.absolute(), args=items)["state"]


def _make_checkpointer(of_state: Any) -> ocp.Checkpointer:
    # Orbax warns of items without a handler, even if they are not restored.
    handlers = {"state": of_state, "progress": ocp.JsonCheckpointHandler()}
    # With several processes, each reads without waiting for the others.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(**handlers), multiprocessing_options=alone
    )


@contextmanager
def _explain_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many classes.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the checkpoint {folder} cannot be read ({reason}): it is damaged, was saved by "
            "another version of the network, or was just replaced by a newer one. Try again, or "
            "choose the other --checkpoint, last or best."
        ) from error
