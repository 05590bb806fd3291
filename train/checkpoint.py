"""Checkpoints with Orbax: `last` to resume from, `best` by test accuracy."""

from pathlib import Path
from typing import Any, NamedTuple

import orbax.checkpoint as ocp

from train.state import TrainState


class Progress(NamedTuple):
    """What a run knows beside its state: seconds spent, best test accuracy and its epoch."""

    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = 0


class Checkpoints:
    """The checkpoints of one workdir; a step is saved whole or not at all, in the background."""

    def __init__(self, workdir: Path) -> None:
        # Two managers: one with a best_fn deletes the newest checkpoint for an older, better one.
        options = ocp.CheckpointManagerOptions(max_to_keep=1, cleanup_tmp_directories=True)
        folders = (workdir.absolute() / "last", workdir.absolute() / "best")
        self._last, self._best = (
            ocp.CheckpointManager(folder, options=options) for folder in folders
        )

    def save_last(self, state: TrainState, progress: Progress) -> None:
        """Saves where to resume."""
        _save(self._last, state, progress)

    def save_best(self, state: TrainState, progress: Progress) -> None:
        """Saves the best so far."""
        _save(self._best, state, progress)

    def last_step(self) -> int | None:
        """The step to resume from; None before the first save."""
        step: int | None = self._last.latest_step()
        return step

    def restore_last(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest state, placed as the abstract `like` is; None before the first save."""
        if (step := self.last_step()) is None:
            return None
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()
        )
        found = self._last.restore(step, args=items)
        return found["state"], Progress(**found["progress"])

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._last.close()
        self._best.close()


def _save(manager: ocp.CheckpointManager, state: TrainState, progress: Progress) -> None:
    if manager.latest_step() == (step := int(state.step)):
        return
    items: dict[str, Any] = {
        "state": ocp.args.StandardSave(state),
        "progress": ocp.args.JsonSave(progress._asdict()),
    }
    manager.save(step, args=ocp.args.Composite(**items))
