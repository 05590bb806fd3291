"""Let one process make files that several share, while the others wait."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pit_jax.display import print_text

from ...files import remove_parts, write_folder

try:
    import fcntl
except ImportError:  # Windows has no locks that the system releases when a program is killed.
    fcntl = None  # type: ignore[assignment]

POLL = 0.1  # Seconds between two looks at a lock that another process holds.


@contextmanager
def hold_lock(target: Path, doing: str) -> Iterator[bool]:
    """Keep other processes from making `target` in the block; wait until none does.

    `doing` says what the other process does, for the message while this one waits. Yields False
    where the file system has no locks: then whatever the block writes needs a private name.
    """
    file = target.with_name(f".{target.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(file, doing)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            # Removed while it is locked, so a waiting process finds that the name is gone.
            file.unlink(missing_ok=True)
            os.close(descriptor)


def _lock(file: Path, doing: str) -> int | None:
    """Return the locked `file`, which a killed process unlocks too; None without locks."""
    if fcntl is None:
        return None
    said = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file(descriptor, file):
                return descriptor
        except BlockingIOError:
            if not said:
                print_text(f"waiting for another process that {doing}", sys.stderr)
            said = True
            time.sleep(POLL)
        except OSError:  # Some network file systems have no locks.
            os.close(descriptor)
            return None
        except BaseException:  # Such as Ctrl-C while this process waits.
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_file(descriptor: int, file: Path) -> bool:
    """Return whether the open file still has its name, which its last holder has removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def make_once(
    folder: Path, is_whole: Callable[[], bool], make: Callable[[Path], None], doing: str
) -> None:
    """Make `folder` unless it `is_whole`: in a private folder, which is renamed when complete.

    `make` fills the folder that it gets. One process makes it; others wait, as `hold_lock` says.
    """
    if is_whole():
        return
    with hold_lock(folder, doing) as locked:
        if is_whole():
            return
        if locked:  # Nobody else is writing one, so these are of killed processes.
            remove_parts(folder)
        try:
            with write_folder(folder) as part:
                make(part)
        except OSError:
            # Without locks, another process may have renamed its own folder a moment before.
            if not is_whole():
                raise
