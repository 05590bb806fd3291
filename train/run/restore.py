"""Reads checkpoints of a run that may still go on; nothing in its folder is changed."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.initializers import SCALE_FLOOR

from ..errors import UserError
from ..program.state import TrainState, keyed, unkeyed
from . import manifest
from .checkpoint import steps_in
from .summary import count_parameters

# The parameters that make a scale; see pit_jax/neurons/scale.py.
SCALES = ("a", "alpha", "p")


def newest(workdir: Path, which: str) -> int | None:
    """The step of the newest whole checkpoint in `last`, `best` or `first`; None without one."""
    return max(steps_in(workdir / which), default=None)


def find(workdir: Path, which: str) -> Path:
    """The folder of the newest whole checkpoint; raises UserError before the first save."""
    if (step := newest(workdir, which)) is None:
        raise UserError(
            f"{workdir / which} holds no checkpoint yet; one comes with the end of an epoch."
        )
    return workdir / which / str(step)


def restore(workdir: Path, which: str, like: TrainState) -> TrainState:
    """The newest state of `last` or `best`, placed as the abstract `like` is.

    Raises UserError before the first save, and for files that are damaged.
    """
    folder = find(workdir, which)
    _check_whole(folder, "Take the other --checkpoint, last or best")
    stored = jax.eval_shape(unkeyed, like)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=like.step.sharding), stored
    )
    state = _read(folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(placed))
    return keyed(cast(TrainState, state))


def parameters(workdir: Path) -> tuple[int, int] | None:
    """How many parameters beside PIT's scales a run trains, and of these; None before a save."""
    if (step := newest(workdir, "last")) is None:
        return None
    return count_parameters(_saved(workdir / "last" / str(step))["params"])


def scales(workdir: Path, which: str) -> dict[str, np.ndarray]:
    """The scales that PIT is tested with, `[T, C]` or `[C]` by layer; none before a save.

    These are the averages, in a run that has some. Nothing else of the newest checkpoint is read,
    and no device is used.
    """
    if (step := newest(workdir, which)) is None:
        return {}
    folder = workdir / which / str(step)
    saved = _saved(folder)
    inside = (*_tested(saved), "params")
    wanted = {
        path for path in flatten_dict(saved) if path[: len(inside)] == inside and path[-1] in SCALES
    }
    found = {path[len(inside) :]: leaf for path, leaf in _leaves(folder, saved, wanted).items()}
    made = {}
    for (*layer, name), leaf in found.items():
        if name == "a":
            made["/".join(layer)] = leaf
        elif name == "p" and (*layer, "alpha") in found:
            made["/".join(layer)] = found[*layer, "alpha"] * leaf
    return {layer: np.maximum(scale, SCALE_FLOOR) for layer, scale in made.items()}


def variables(workdir: Path, which: str | None = None) -> dict[str, Any]:
    """What a run tests at its `last` or `best` checkpoint; unless `which` says one, the best, or
    the last before the end of the first epoch.

    These are the averages, in a run that has some. Raises UserError before the first save, and for
    files that are damaged. No device is used.
    """
    best = "best" if newest(workdir, "best") is not None else "last"
    folder = find(workdir, which or best)
    _check_whole(folder, "Put a whole copy in its place")
    saved, dtype = _saved(folder), jax.dtypes.canonicalize_dtype(float)
    outside = _tested(saved)
    wanted = {
        path
        for path in flatten_dict(saved)
        if path[: len(outside)] == outside and path[len(outside)] in ("params", "batch_stats")
    }
    found = _leaves(folder, saved, wanted)
    return unflatten_dict(
        {path[len(outside) :]: leaf.astype(dtype) for path, leaf in found.items()}
    )


def _tested(saved: Mapping[str, Any]) -> tuple[str, ...]:
    """Where in a state the variables lie that the network is tested with."""
    return ("averaged",) if saved.get("averaged") else ()


def _check_whole(folder: Path, advice: str) -> None:
    if what := manifest.damage(folder):
        raise UserError(
            f"the checkpoint {folder} is damaged: {what}. {advice}, or let the run go on, which "
            "falls back to one that is whole."
        )


def _leaves(
    folder: Path, saved: Mapping[str, Any], wanted: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], np.ndarray]:
    """Some leaves of a saved state, on the host."""
    leaves = {path: leaf for path, leaf in flatten_dict(saved).items() if path in wanted}
    if not leaves:
        return {}
    item = unflatten_dict(leaves)
    # Without a type each array would be put where it lay when it was saved.
    on_host = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
    args = ocp.args.PyTreeRestore(item=item, restore_args=on_host, partial_restore=True)
    found: dict[tuple[str, ...], np.ndarray] = flatten_dict(
        _read(folder, ocp.PyTreeCheckpointHandler(), args)
    )
    return found


def _saved(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint as shapes and types."""
    with _unharmed(folder), _checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        tree = checkpointer.metadata(folder.absolute()).item_metadata["state"].tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _read(folder: Path, handler: Any, state: Any) -> Any:
    items = ocp.args.Composite(state=state, progress=ocp.args.JsonRestore())
    with _unharmed(folder), _checkpointer(handler) as checkpointer:
        return checkpointer.restore(folder.absolute(), args=items)["state"]


def _checkpointer(of_state: Any) -> ocp.Checkpointer:
    # Orbax warns of items that it has no handler for, even where nobody wants them.
    handlers = {"state": of_state, "progress": ocp.JsonCheckpointHandler()}
    # Of several processes each reads for itself, without waiting for the others.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(**handlers), multiprocessing_options=alone
    )


@contextmanager
def _unharmed(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and its storage raise many kinds.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the checkpoint {folder} cannot be read ({reason}); it is damaged, of another version "
            "of the network, or its run saved a newer one meanwhile. Try again, or the other "
            "--checkpoint, last or best."
        ) from error
