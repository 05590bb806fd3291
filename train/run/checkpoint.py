"""Checkpoints with Orbax: the first, the last, the best, every few epochs.

Each holds `state`, all fields of `TrainState` (program/state.py), `progress` as JSON, and a
manifest of sizes and sha256 (manifest.py). restore.py reads them for other programs.

A checkpoint is written in this order, in the background:

1. Orbax writes its files to `FOLDER/STEP.orbax-checkpoint-tmp`;
2. `manifest.json` is written in the same folder;
3. the folder is renamed to `FOLDER/STEP`;
4. older checkpoints that are no longer kept are deleted.

Within one save, `last/` does step 2 only after the other folders have done step 3: the progress in
`last/` names the best epoch. A kill therefore leaves one of these:

- during 1 or 2: a folder with a temporary name, which the next start ignores and deletes. The
  older checkpoints are still there;
- between the steps of `best/` and of `last/`: a new best checkpoint and an older last one. The run
  resumes from the newest of all folders, so from this best one, with the same bits;
- between 3 and 4: one checkpoint too many, which the next save deletes.

A power cut can also damage files that have their final name. The manifest shows this at the next
start.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pit_jax.checks.bounds import at_least, set_bounds, whole

from ..distributed import hosts
from ..errors import UserError
from ..files import move_aside
from ..program.sharding import place
from ..program.state import TrainState, unwrap_key, wrap_key
from . import manifest, orbax
from .saved import (
    FOLDERS,
    Progress,
    Saved,
    check_step,
    find_newest_step,
    list_checkpoints,
    read_progress,
)

DAMAGED = "damaged"


class Checkpoints:
    """The checkpoints of one workdir; a step is saved completely or not at all, in the background.

    `last/` has the newest `last` checkpoints, `best/` the best, `first/` step 0 and `every/` one
    every `every_epochs` epochs. Within an epoch one is due every `every_steps` steps. 0 means
    never. Ends of epochs within `seconds_apart` of the latest write can be held in memory: writing
    takes longer than some epochs of a small network.

    Damaged checkpoints that are newer than the newest intact one are moved to `damaged/`, with a
    line on stderr. Raises UserError if all are damaged. `clock` measures `seconds_apart`;
    `write_manifest` completes the folder of a checkpoint before it gets its name.

    With several processes, each of which has the whole state, only the first reads and writes. The
    others call the same methods in the same order.
    """

    @set_bounds(
        last=whole(1),
        every_epochs=whole(0),
        every_steps=whole(0),
        seconds_apart=at_least(0),
    )
    def __init__(
        self,
        workdir: Path,
        last: int = 2,
        every_epochs: int = 0,
        every_steps: int = 0,
        seconds_apart: float = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        write_manifest: Callable[[Path], None] = manifest.write,
    ) -> None:
        self._workdir = workdir.absolute()
        self._every_epochs, self._every_steps = every_epochs, every_steps
        self._seconds_apart, self._clock, self._written = seconds_apart, clock, clock()
        self._managers: dict[str, ocp.CheckpointManager] = {}
        # The step that was saved before its evaluation, and is saved again after it.
        self._replaced: int | None = None
        self._held: dict[str, tuple[int, ocp.args.Composite]] = {}
        self._found: Saved | None = None
        self._opened = ExitStack()
        if not hosts.is_first():
            return
        # Before the managers are made, which list their folders once.
        self._found = _find_newest_whole(self._workdir)
        # One manager for each folder. A single manager with a best_fn would delete the newest
        # checkpoint when an older one is better, and a run must resume from the newest.
        keep = {"last": last, "best": 1, "every": None, "first": None}
        for saved in list_checkpoints(self._workdir):
            orbax.empty_damaged_metadata(self._workdir / str(saved))
        self._workdir.mkdir(parents=True, exist_ok=True)
        plain = self._opened.enter_context(orbax.open_plain_path(self._workdir))
        for name in reversed(FOLDERS):
            # "last" comes last in this order: it waits for the saves of all other folders.
            ahead = list(self._managers.values()) if name == "last" else []
            (plain / name).mkdir(exist_ok=True)
            orbax.remove_incomplete(plain / name)
            self._managers[name] = orbax.open_manager(
                plain / name, keep[name], partial(_complete, ahead, write_manifest)
            )

    def save_first(self, state: TrainState, progress: Progress) -> None:
        """Save the state before the first step."""
        self._hold(["first"], state, progress)
        self._write()

    def save_last(self, state: TrainState, progress: Progress) -> None:
        """Save a state from which the run can resume."""
        self._hold(["last"], state, progress)
        self._write()

    def save_epoch(
        self, state: TrainState, progress: Progress, epoch: int, *, hold: bool = False
    ) -> None:
        """Save the end of an epoch in `last/`, and also in `best/` or `every/` if it belongs there.

        With `hold` it stays in memory until the next write, or a call of `find_last_step` or
        `close`. Then the newest held checkpoint of each folder is written.
        """
        names = ["last"]
        if progress.best_epoch == epoch:
            names.append("best")
        if self._every_epochs and epoch % self._every_epochs == 0:
            names.append("every")
        self._hold(names, state, progress)
        # A run that was stopped in the evaluation of an epoch resumes from the end of this epoch.
        if self._found and self._held["last"][0] == self._found.step:
            self._replaced = self._found.step
        # The next epoch may replace what is held for a folder. In last/ and best/ that is harmless,
        # but each checkpoint of every/ has to be written.
        if not hold or "every" in names:
            self._write()

    def is_time(self) -> bool:
        """Return whether the latest write was at least `seconds_apart` ago."""
        return self._clock() - self._written >= self._seconds_apart

    def is_due(self, step: int) -> bool:
        """Return whether to save after this step within an epoch."""
        return bool(self._every_steps and step and step % self._every_steps == 0)

    def find_last_step(self) -> int | None:
        """Return the step to resume from, after waiting for all saves; None before the first save.

        Only the first process may call it.
        """
        self._write()
        self.wait()
        return find_newest_step(self._workdir)

    def wait(self) -> None:
        """Wait until all saves that have started are on disk."""
        for manager in self._managers.values():
            manager.wait_until_finished()

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the newest intact state, sharded like `like`; None before the first save.

        Raises UserError for the state of another network or optimizer.
        """
        # The others have `_found` None and learn from the first process that there is one.
        if hosts.broadcast_number(self._found and self._found.step) is None:
            return None
        # Orbax cannot store typed PRNG keys, so their raw data are saved. The zeros are the
        # template to restore into, and in the other processes the receiver of the broadcast.
        stored = jax.eval_shape(unwrap_key, like)
        state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), stored)
        progress = Progress()
        with hosts.raise_on_all_hosts():
            if self._found:
                state, progress = self._read(self._found, state)
        return wrap_key(place(hosts.broadcast(state), like.step.sharding)), progress

    def _read(self, saved: Saved, like: TrainState) -> tuple[Any, Progress]:
        folder = self._workdir / str(saved)
        _check_dtypes(saved, orbax.read_shapes(folder), like)
        try:
            state = orbax.restore_state(
                folder, ocp.StandardCheckpointHandler(), ocp.args.StandardRestore(like)
            )
        except ValueError as error:
            # Not damage, since the files match the manifest: the trees differ.
            raise _refuse_other(saved, "it has other parameters") from error
        # Orbax restores an array of another shape without an error.
        for (path, there), here in zip(
            jax.tree.leaves_with_path(state), jax.tree.leaves(like), strict=True
        ):
            if there.shape != here.shape:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                why = f"{name} is {there.shape} in it, {here.shape} in the network"
                raise _refuse_other(saved, why)
        check_step(folder, state.step)
        return state, read_progress(folder)

    def raise_failure(self) -> None:
        """Raise the error of a save that has failed, without waiting for running saves."""
        for manager in self._managers.values():
            # Not check_for_errors, which clears the error: the manager would then believe that the
            # save succeeded, and delete the older checkpoints.
            if not manager.is_saving_in_progress():
                manager.wait_until_finished()

    def close(self) -> None:
        """Write the held checkpoints, and wait until everything is on disk."""
        with self._opened as stack:
            for manager in self._managers.values():
                stack.callback(manager.close)
            self._write()

    def _hold(self, names: list[str], state: TrainState, progress: Progress) -> None:
        if not self._managers:
            return
        # Copied to the host for two reasons. The next step reuses the device memory of a donated
        # state. And of an array on devices Orbax would have each process save its own shards,
        # although the first process has the whole array.
        on_host = jax.device_get(unwrap_key(state))
        items: dict[str, Any] = {
            "state": ocp.args.StandardSave(on_host),
            "progress": ocp.args.JsonSave(progress._asdict()),
        }
        for name in names:
            self._held[name] = int(on_host.step), ocp.args.Composite(**items)

    def _write(self) -> None:
        """Start to write the held checkpoints.

        `last` is completed after the others, because its progress names the best epoch.
        """
        for name in reversed(FOLDERS):
            if name in self._held:
                (step, items), manager = self._held.pop(name), self._managers[name]
                if name == "last" and step == self._replaced:
                    manager.delete(step)
                    self._replaced = None
                # Orbax refuses a step that it has. A run that is stopped right after the end of
                # an epoch saves the same step twice.
                if manager.latest_step() != step:
                    manager.save(step, args=items)
                self._written = self._clock()


def _check_dtypes(saved: Saved, stored: Any, like: Any) -> None:
    """Raise UserError for arrays of other types, which Orbax would convert: x64 was switched.

    environment.json shows that too, but older versions did not record it.
    """
    there, here = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.dtype
            for path, leaf in jax.tree.leaves_with_path(tree)
        }
        for tree in (stored, like)
    )
    for name in sorted(there.keys() & here.keys()):
        if there[name] != here[name]:
            raise UserError(
                f"the checkpoint {saved} has other types of numbers: {name} is {there[name]} in "
                f"it, {here[name]} in this process. JAX_ENABLE_X64 or the code of the network was "
                "changed: undo this, or choose another --workdir."
            )


def _refuse_other(saved: Saved, why: str) -> UserError:
    """Return the error for a checkpoint that was saved by other code with the same config."""
    return UserError(
        f"the checkpoint {saved} does not fit the network or the optimizer ({why}): their code has "
        "changed since it was saved. Undo the change, or choose another --workdir."
    )


def _complete(
    ahead: Sequence[ocp.CheckpointManager],
    write_manifest: Callable[[Path], None],
    unfinished: Path,
) -> None:
    """Write the manifest of a checkpoint after the saves of the managers `ahead` have ended."""
    for manager in ahead:
        # Raises the error of its save, if it failed: then this save fails too.
        manager.wait_until_finished()
    write_manifest(unfinished)


def _find_newest_whole(workdir: Path) -> Saved | None:
    """Return the newest checkpoint that matches its manifest; move newer ones to `damaged/`.

    Nothing is moved if all are damaged: the user may be able to repair one.
    """
    damaged: dict[Saved, str] = {}
    for saved in list_checkpoints(workdir):
        if complaint := manifest.find_damage(workdir / str(saved)):
            damaged[saved] = complaint
            continue
        for each, what in damaged.items():
            aside = _set_aside(workdir, each)
            print(
                f"the checkpoint {each} is damaged: {what}. It was moved to {aside}; "
                f"the run resumes from step {saved.step}, {saved}.",
                file=sys.stderr,
            )
        return saved
    if damaged:
        listed = "; ".join(f"{each}: {what}" for each, what in damaged.items())
        raise UserError(
            f"every checkpoint in {workdir} is damaged:\n  {listed}\n"
            "replace one by an intact copy, or start again in another --workdir."
        )
    return None


def _set_aside(workdir: Path, saved: Saved) -> str:
    """Move a damaged checkpoint to `damaged/`, and return its new path in the workdir."""
    names = (workdir / DAMAGED / f"{saved.name}-{saved.step}-{number}" for number in count())
    return move_aside(workdir / str(saved), names).relative_to(workdir).as_posix()
