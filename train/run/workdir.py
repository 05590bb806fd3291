"""The folder of one run.

It has config.json, environment.json, subset.json, metrics.jsonl, the checkpoints and the lock; at
the end summary.json, curves.png and rates.png. docs/guide/training.md lists them all.
"""

import errno
import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from flax.traverse_util import flatten_dict

from pit_jax.display import print_text
from pit_jax.old_names import rename_keys

from ..config.limits import count_epochs, list_extensions
from ..errors import UserError
from ..files import read_file, replace_file, write_atomically
from .reading import read_summary
from .saved import FOLDERS, find_newest_step, read_copy

try:
    import fcntl
except ImportError:  # Windows has no locks that the system releases when a program is killed.
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
# A run that was killed while it claimed a folder may have left these files: they are ignored.
BEGUN = {LOCK, "config.json.part"}
# These keys may change when a run resumes: where the data are, how many workers read them, what is
# saved and logged. The number of devices may change too, although it changes the order of sums.
PLACES = ("data.data_dir", "data.cache_dir", "data.workers")
MAY_MOVE = (
    *PLACES,
    "cpu_devices",
    *("checkpoints.last", "checkpoints.every_epochs", "checkpoints.every_steps"),
    "checkpoints.seconds_apart",
    *("evaluate_every", "health.every_epochs", "metrics", "profile_steps"),
    *("tensorboard", "wandb.project"),
)
# What a run writes to its folder, in addition to the folders of checkpoints.
FILES = (
    *("config.json", "environment.json", "subset.json", "data.json", "metrics.jsonl", LOCK),
    *("health.npz", "nonfinite.json", "wandb.json", "summary.json", "curves.png", "rates.png"),
)
# The summary of a run before it was extended, with the number of its epochs.
EARLIER = "summary_{}.json"
PARTS = (*FOLDERS, "damaged", "tensorboard", "wandb", "profile")
# Other programs have a config.json too, but none of these next to it.
OF_RUN = (*FOLDERS, "environment.json", "metrics.jsonl", LOCK)
# Differing keys that an error lists.
MOST_KEYS = 8
# Errors of a disk that is full or read-only.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def check_kinds(workdir: Path) -> None:
    """Raise UserError if something else is where a run would write a file or a folder.

    A pipe would block the run, and a device could be read forever.
    """
    earlier = [file.name for file in workdir.glob(EARLIER.format("*"))]
    for name in (*FILES, *(f"{name}.part" for name in FILES), *earlier):
        file = workdir / name
        if os.path.lexists(file) and file.exists() and not file.is_file():
            raise UserError(f"{file} is not a file; move it away or choose another --workdir.")
    for name in PARTS:
        folder = workdir / name
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{folder} is not a folder; move it away or choose another --workdir.")


def check_outside(workdir: Path) -> None:
    """Raise UserError if a new folder would be inside the folder of another run."""
    for folder in workdir.resolve().parents:
        if (folder / "config.json").is_file() and any((folder / name).exists() for name in OF_RUN):
            raise UserError(
                f"{workdir} would be inside the folder of another run, {folder}; choose another "
                "--workdir."
            )


def open_lock(workdir: Path, flock: Callable[[IO[str], int], None] | None = None) -> IO[str]:
    """Lock the workdir and return the open lock file; the system unlocks it when the process ends.

    The file says which process holds the lock. It is never deleted: a run could lock the deleted
    file while another one locks a new file of the same name.
    """
    # Not "w", which would erase the name of the process that holds the lock.
    file = (workdir / LOCK).open("a+")
    try:
        if not fcntl:
            raise OSError(errno.ENOSYS, "this system has no such locks")
        (flock or fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            file.seek(0)
            holder = file.read().strip() or "another process"
        raise UserError(
            f"the workdir {workdir} is in use by {holder}. Wait until it ends, stop it, or choose "
            "another --workdir."
        ) from None
    except OSError as error:  # Some network file systems have no locks.
        print_text(
            f"{workdir} cannot be locked ({error.strerror}): make sure that no other run uses it.",
            sys.stderr,
        )
    file.truncate(0)
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    file.write(f"process {os.getpid()} on {platform.node()}, since {since}")
    file.flush()
    return file


@contextmanager
def claim(
    workdir: Path, config: Mapping[str, Any], lock: Callable[[Path], IO[str]] = open_lock
) -> Iterator[None]:
    """Make `workdir` the folder of a run with `config`, or check that it is one.

    No other run can claim it during the block; `lock` returns the locked file. Raises UserError,
    and writes nothing, if the folder cannot be written, has files of something else, belongs to a
    run with another config, or is in use.
    """
    with _explain_os_errors(workdir):
        # Before the lock, so that a refused run does not even write the lock file.
        _check(workdir, config)
        workdir.mkdir(parents=True, exist_ok=True)
        opened = lock(workdir)
    with opened:
        with _explain_os_errors(workdir):
            # Again under the lock: another run may have begun here in between.
            _check(workdir, config)
            write_atomically(workdir / "config.json", json.dumps(config, indent=2))
            _set_summary_aside(workdir, config)
        yield
        # The file must not name a process that has ended.
        opened.truncate(0)


def _set_summary_aside(workdir: Path, config: Mapping[str, Any]) -> None:
    """Rename summary.json if the run is being extended: then it is the summary of fewer epochs."""
    # At every start, not only at the first of an extension, which a kill may have ended before.
    if list_extensions(config) and (summary := read_summary(workdir)):
        epochs = summary.get("epochs", config["epochs"])
        if epochs < count_epochs(config):
            replace_file(workdir / "summary.json", workdir / EARLIER.format(epochs))


def select_fixed_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config, as `model.width`, that must not change when a run resumes."""
    return _drop_keys(MAY_MOVE, config)


def compare_configs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words each key that must not change and is not the same in both configs.

    `new` may have more extensions.
    """
    # Compared as JSON, as which the old config was written: tuples become lists.
    was, now = select_fixed_keys(old), select_fixed_keys(json.loads(json.dumps(new)))
    before, after = (_to_list(config.get("extend")) for config in (was, now))
    if after[: len(before)] == before:
        was |= {"extend": now.get("extend")}
    differing = [key for key in was | now if was.get(key) != now.get(key)]
    return [f"{key}: {was.get(key)!r} saved, {now.get(key)!r} given" for key in differing]


def _to_list(extend: Any) -> list[Any]:
    """Return the extensions in a config that was read from JSON, and may be damaged."""
    return extend if isinstance(extend, list) else [extend] if extend else []


def list_changes(changes: Sequence[str]) -> str:
    """Return the first of the changes in one line; a damaged config may have very many."""
    more = len(changes) - MOST_KEYS
    return "; ".join(changes[:MOST_KEYS]) + (f"; and {more} more" if more > 0 else "")


def select_shared_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config that must be equal in all processes of a run."""
    return _drop_keys(PLACES, config)


def _drop_keys(keys: Collection[str], config: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten_dict(config, sep=".")
    return {key: value for key, value in flat.items() if key not in keys}


def find_disk_error(error: BaseException | None) -> str | None:
    """Return the reason if `error`, or one that caused it, is of a full or read-only disk."""
    while error is not None:
        for number in NO_ROOM:
            # TensorStore does not raise OSError, but quotes the system's message.
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _explain_os_errors(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir."
        ) from error


def _check(workdir: Path, config: Mapping[str, Any]) -> None:
    file = workdir / "config.json"
    there = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    if file.is_file():
        saved = _read_config(file)
        if saved.keys().isdisjoint(config):  # Many programs have a file of this name.
            raise UserError(f"{file} is not the config of a run; choose another --workdir.")
        _check_same(workdir, saved, config)
        _check_checkpoint(workdir, config)
    elif there & {*FOLDERS, "metrics.jsonl"}:
        raise UserError(
            f"{file} is missing, but {workdir} has other files of a run: restore it, or choose "
            "another --workdir."
        )
    elif there - BEGUN:
        raise UserError(
            f"{workdir} is not empty and not the folder of a run; choose another --workdir."
        )
    else:
        check_outside(workdir)


def _read_config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(file) or b"")
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
        rename_keys(found)
    except (RecursionError, ValueError) as error:  # Not text, not JSON, or not an object.
        raise UserError(f"{file} is damaged ({error}); choose another --workdir.") from error
    return found


def _check_same(workdir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if changes := compare_configs(old, new):
        longer = [key for key in changes if key.startswith("epochs: ")] == changes
        raise UserError(
            f"{workdir} belongs to a run with another config:\n  {list_changes(changes)}\n"
            f"choose another --workdir, or resume that run with --config {workdir / 'config.json'}."
            + " To train it for more epochs when it has finished, give --config.extend."
            * longer
        )


def _check_checkpoint(workdir: Path, config: Mapping[str, Any]) -> None:
    """Raise UserError if the newest checkpoint was saved with another config.

    As when config.json was changed, and is given by --config.
    """
    saved, copy = read_copy(workdir, "config.json")
    if not copy:
        return
    rename_keys(was := json.loads(copy))
    if changes := compare_configs(was, config):
        raise UserError(
            f"{workdir / saved} was saved with another config:\n  {list_changes(changes)}\n"
            "give that config, or choose another --workdir."
        )


@contextmanager
def explain_full_disk(workdir: Path) -> Iterator[None]:
    """Raise UserError, naming the newest checkpoint, when the disk is full or read-only."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (reason := find_disk_error(error)):
            raise
        saved = find_newest_step(workdir)
        kept = (
            "nothing was saved yet" if saved is None else f"the checkpoint of step {saved} is kept"
        )
        raise UserError(
            f"cannot write to {workdir}: {reason}; {kept}. Fix this and repeat the command to "
            "resume."
        ) from error
