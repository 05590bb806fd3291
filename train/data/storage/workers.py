"""Processes that work for another one, and neither outlive it nor stop before it."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def count_cores() -> int:
    """Return how many cores this process may use, or how many there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows.
        return os.cpu_count() or 1


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes for functions of modules; they end with this one."""
    # Not fork: libraries have threads by now, and their locks would be copied as they are.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=serve_parent)


def serve_parent() -> None:
    """Ignore signals, which are the parent's to answer, and end with the parent; for workers."""
    # A terminal and a batch system signal all processes of a program at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # Killed: nobody is left to whom anything could be said.
