"""Reads checkpoints of a run that may still be training; nothing in its folder is changed.

A checkpoint is compared with its manifest before it is read. A run that trains may delete it at any
moment: then an error asks to try again.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.initializers import SCALE_FLOOR
from pit_jax.old_names import rename_keys

from ..distributed import hosts
from ..errors import UserError
from ..program.sharding import abstract_arrays, place
from ..program.state import TrainState, unwrap_key, wrap_key
from . import manifest, orbax
from .reading import read_config
from .saved import Checkpoint, check_step, find_newest_step, read_progress
from .summary import count_parameters
from .workdir import compare_configs, list_changes

# The parameters from which a scale is computed; see pit_jax/neurons/scale.py.
SCALES = ("a", "alpha", "p")
COPY = "Replace it by an intact copy and repeat the command"
OR_RESUME = "or resume the run, which falls back to an intact one"


def identify_checkpoint(workdir: Path, which: str | None = None) -> Checkpoint:
    """Return the newest checkpoint of `last` or `best`; raise UserError before the first save.

    By default this is the best checkpoint, or the last one before the end of the first epoch.
    """
    if which is None:
        which = "best" if find_newest_step(workdir, "best") is not None else "last"
    if (step := find_newest_step(workdir, which)) is None:
        raise UserError(
            f"{workdir / which} has no checkpoint yet; one is saved at the end of an epoch."
        )
    found = Checkpoint(workdir, which, step, "")
    return found._replace(digest=manifest.compute_digest(found.folder))


def find_checkpoint(workdir: Path, which: str) -> Path:
    """Return the folder of the newest checkpoint; raise UserError before the first save."""
    return identify_checkpoint(workdir, which).folder


def load_state(workdir: Path, which: str, like: TrainState) -> TrainState:
    """Return the newest state of `last` or `best`, sharded like the abstract state `like`."""
    return read_state(identify_checkpoint(workdir, which), like)


def read_state(checkpoint: Checkpoint, like: TrainState) -> TrainState:
    """Return the state of a checkpoint, sharded like the abstract state `like`.

    Raises UserError for damaged files.
    """
    _check_whole(checkpoint, f"Try the other --checkpoint, last or best, {OR_RESUME}")
    _check_config(checkpoint)
    stored = abstract_arrays(jax.eval_shape(unwrap_key, like), like.step.sharding)
    state = _read(
        checkpoint.folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(stored)
    )
    check_step(checkpoint.folder, state.step)
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
            best = Checkpoint(workdir, "best", step, manifest.compute_digest(folder))
            _check_whole(best, f"The run needs it for the test accuracy. {COPY}")
            state = _read(folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(state))
            check_step(folder, state.step)
    return wrap_key(place(hosts.broadcast(state), like.step.sharding))


def count_saved_parameters(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the numbers of trained parameters without PIT's scales, and of the scales."""
    return count_parameters(_read_shapes(checkpoint.folder)["params"])


def load_scales(workdir: Path, which: str) -> dict[str, np.ndarray]:
    """Return the scales of PIT by layer, `[T, C]` or `[C]`; {} before the first save."""
    if find_newest_step(workdir, which) is None:
        return {}
    return read_scales(identify_checkpoint(workdir, which))


def read_scales(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Return the scales of PIT by layer, `[T, C]` or `[C]`.

    They are the averaged ones in a run with `config.averaging`. Of the checkpoint, only they and
    the step are read, and no device is used.
    """
    _check_whole(checkpoint, f"{COPY}, {OR_RESUME}")
    saved = _read_shapes(checkpoint.folder)
    inside = (*_path_to_variables(saved), "params")
    wanted = {
        path
        for path, leaf in flatten_dict(saved).items()
        if path[: len(inside)] == inside and path[-1] in SCALES and hasattr(leaf, "shape")
    }
    found = _read_leaves(checkpoint.folder, saved, wanted | {("step",)})
    check_step(checkpoint.folder, found.pop(("step",)))
    return select_scales(
        unflatten_dict({path[len(inside) :]: leaf for path, leaf in found.items()})
    )


def select_scales(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the scales of PIT among some parameters, by layer, `[T, C]` or `[C]`."""
    found = {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] in SCALES}
    scales = {}
    for (*layer, name), leaf in found.items():
        if name == "a":
            scales["/".join(layer)] = leaf
        elif name == "p" and (*layer, "alpha") in found:
            scales["/".join(layer)] = found[*layer, "alpha"] * leaf
    # A user's own neuron may have a scalar named `a`, which is not a scale for each channel.
    return {layer: np.maximum(a, SCALE_FLOOR) for layer, a in scales.items() if np.ndim(a)}


def load_variables(workdir: Path, which: str | None = None) -> dict[str, Any]:
    """Return the variables of the checkpoint that `identify_checkpoint` finds."""
    return read_variables(identify_checkpoint(workdir, which))


def read_variables(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the variables with which a run is tested, from one of its checkpoints.

    They are the averaged ones in a run with `config.averaging`. Raises UserError for damaged files.
    No device is used.
    """
    _check_whole(checkpoint, f"Replace it by an intact copy, {OR_RESUME}")
    _check_config(checkpoint)
    saved = _read_shapes(checkpoint.folder)
    dtype = jax.dtypes.canonicalize_dtype(float)
    outside = _path_to_variables(saved)
    wanted = {
        path
        for path in flatten_dict(saved)
        if path[: len(outside)] == outside and path[len(outside)] in ("params", "batch_stats")
    }
    found = _read_leaves(checkpoint.folder, saved, wanted | {("step",)})
    check_step(checkpoint.folder, found.pop(("step",)))

    def convert(leaf: np.ndarray) -> np.ndarray:
        # A run with x64 can start from one without, and the reverse. A user chose other types.
        return leaf.astype(dtype) if leaf.dtype in (np.float32, np.float64) else leaf

    return jax.tree.map(
        convert, unflatten_dict({path[len(outside) :]: leaf for path, leaf in found.items()})
    )


def _path_to_variables(saved: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the path in a state to the variables with which the network is tested."""
    return ("averaged",) if saved.get("averaged") else ()


def _check_whole(checkpoint: Checkpoint, advice: str) -> None:
    folder = checkpoint.folder
    if not folder.is_dir() or checkpoint.digest != manifest.compute_digest(folder):
        raise UserError(f"{folder} was just replaced by a newer checkpoint. Try again.")
    if what := manifest.find_damage(folder):
        raise UserError(f"the checkpoint {folder} is damaged: {what}. {advice}.")


def _check_config(checkpoint: Checkpoint) -> None:
    """Raise UserError if a checkpoint was saved with another config than its folder has."""
    copy = read_progress(checkpoint.folder).files.get("config.json")
    if copy is None:  # An older version saved this checkpoint.
        return
    now = read_config(checkpoint.workdir)
    rename_keys(was := json.loads(copy))
    if changes := compare_configs(was, now):
        file = checkpoint.workdir / "config.json"
        raise UserError(
            f"{file} is not the config with which {checkpoint.folder} was saved:\n"
            f"  {list_changes(changes)}\nrestore the config, or the checkpoint, from a copy."
        )


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
    with _explain_damage(folder):
        shapes: dict[str, Any] = orbax.read_shapes(folder)
    return shapes


def _read(folder: Path, handler: Any, args: Any) -> Any:
    with _explain_damage(folder):
        return orbax.restore_state(folder, handler, args)


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
