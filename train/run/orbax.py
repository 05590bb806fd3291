"""The files of a checkpoint that Orbax reads and writes, in folders with any name."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint._src.metadata import step_metadata_serialization  # It has no public name.

from ..files import read_file, write_atomically

# Orbax looks for some of its files by `glob`, which reads `[`, `?`, `*` and a backslash in the name
# of a folder as a pattern. It also takes `gs:/` anywhere in a path for Google's storage.
PLAIN = re.compile(r"[\w/.,+=@%~ -]*")
DESCRIPTORS = Path("/proc/self/fd")
METADATA = "_CHECKPOINT_METADATA"
INCOMPLETE = "*.orbax-checkpoint-tmp*"


@contextmanager
def open_plain_path(folder: Path) -> Iterator[Path]:
    """Yield a path of the existing `folder` in which no character has a meaning for Orbax."""
    if PLAIN.fullmatch(str(folder)):
        yield folder
    elif DESCRIPTORS.is_dir():
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield DESCRIPTORS / str(opened)
        finally:
            os.close(opened)
    else:  # Not on Linux. A killed process leaves the link.
        with tempfile.TemporaryDirectory(prefix="pit_jax-") as place:
            link = Path(place, "run")
            link.symlink_to(folder, target_is_directory=True)
            yield link


def open_manager(
    folder: Path, keep: int | None, complete: Callable[[Path], None]
) -> ocp.CheckpointManager:
    """Return the manager of a folder with a plain path, which keeps the `keep` newest checkpoints.

    `complete` is called with the folder of each checkpoint before that gets its final name.
    """
    # Despite its name, Orbax calls this before it renames the folder of the checkpoint. So no
    # checkpoint is ever without a manifest, and none is deleted before its successor has one.
    options = ocp.AsyncOptions(post_finalization_callback=partial(_complete, folder, complete))
    # By default all processes would take part in every save and wait for each other.
    alone = ocp.options.MultiprocessingOptions(
        active_processes={0}, barrier_sync_key_prefix=folder.name
    )
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            async_options=options,
            multiprocessing_options=alone,
            create=False,
        ),
    )


def _complete(folder: Path, complete: Callable[[Path], None]) -> None:
    for unfinished in folder.glob(INCOMPLETE):
        complete(unfinished)


def remove_incomplete(folder: Path) -> None:
    """Remove the checkpoints that a killed run has left incomplete."""
    # Orbax would remove them in the background, even after its manager is closed.
    for path in folder.glob(INCOMPLETE):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def empty_damaged_metadata(checkpoint: Path) -> None:
    """Empty the file of a checkpoint that a manager reads when it is opened, if it is damaged.

    Orbax writes it after the manifest; nothing in it is needed.
    """
    file = checkpoint / METADATA
    try:
        content = read_file(file)
        if content is not None:
            step_metadata_serialization.deserialize(json.loads(content))
    except Exception:  # The file is a folder, is not JSON, or has values of other types.
        if checkpoint.is_dir() and not file.is_dir():
            write_atomically(file, "{}")


def restore_state(checkpoint: Path, handler: ocp.CheckpointHandler, args: Any) -> Any:
    """Return the state of a checkpoint; the class of errors depends on the damage."""
    # The handler alone: a Checkpointer would read METADATA too, which no manifest lists, and wait
    # for other processes.
    with open_plain_path(checkpoint.absolute()) as plain:
        return handler.restore(plain / "state", args=args)


def read_shapes(checkpoint: Path) -> Any:
    """Return the state of a checkpoint as a tree of shapes and dtypes."""
    with open_plain_path(checkpoint.absolute()) as plain:
        tree = ocp.PyTreeCheckpointHandler().metadata(plain / "state").tree
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
