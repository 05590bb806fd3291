"""Worker processes that neither outlive their parent nor stop before it."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from pit_jax.signals import SIGNALS, hold_signals


def count_cores() -> int:
    """Return the number of cores that this process may use, or of all if that is unknown."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows.
        return os.cpu_count() or 1


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes that run functions of modules and end with this process."""
    # Not fork: it would copy locks that threads of other libraries hold, and nobody would release
    # them in the child.
    context = multiprocessing.get_context("spawn")
    with hold_signals():
        return _Pool(workers, mp_context=context, initializer=serve_parent)


class _Pool(ProcessPoolExecutor):
    """A pool whose workers, which start when work is submitted, receive no signals."""

    def submit(self, *arguments: Any, **options: Any) -> Future[Any]:
        """Submit a call of a function, as ProcessPoolExecutor does."""
        with hold_signals():
            return super().submit(*arguments, **options)


def serve_parent() -> None:
    """Ignore signals and end with the parent; to be called in a worker.

    Terminals and batch systems signal all processes of a program at once. Only the parent answers,
    because it may need its workers for the rest of its step, and it ends them afterwards.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # The parent was killed: no handler or message could reach anyone.
