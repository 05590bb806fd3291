"""Processes that work for another one, and neither outlive it nor stop before it."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def cores() -> int:
    """How many cores this process may use, where the system tells; else how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows.
        return os.cpu_count() or 1


def pool(workers: int) -> ProcessPoolExecutor:
    """Processes for functions of modules; they end with this one."""
    # Not fork: libraries have threads by now, and their locks would be copied as they are.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=serve_parent)


def serve_parent() -> None:
    """Called first in a worker: signals are its parent's to answer, and it ends with its parent."""
    # A terminal and a batch system signal all processes of a program at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # Killed: nobody is left to whom anything could be said.
