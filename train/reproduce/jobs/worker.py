"""A worker process: it does jobs of `work.py` for the program that started it.

It runs from the copied sources; `workers.py` starts it. It reads jobs from stdin, a line of JSON
each, and writes such a line for each event to stdout; everything else goes to logs. It ends when
stdin is closed, so no worker outlives the program, however that ends.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pit_jax.signals import Stopped, is_stopping, run_as_program

Send = Callable[..., None]
LOGS = "logs"


def main(argv: Sequence[str]) -> int:
    """Do one job after the other until stdin is closed; return 0 after a signal, 1 after an error.

    `argv[1]` is the folder of the results.
    """
    out = Path(argv[1])
    send, jobs = redirect_output(), listen()
    # Imported after `listen`, since it takes seconds in which the program may be killed.
    from .work import do_job, prepare

    prepare(out)
    while not is_stopping():
        job = json.loads(jobs.get())
        with write_log(out / LOGS / f"{job['slug']}.log"):
            try:
                do_job(job, send)
            except Stopped:
                break
            except Exception as error:
                traceback.print_exception(error)
                return 1
        send("free")
    return 0


def redirect_output() -> Send:
    """Redirect stdout to stderr; return a function that sends an event to the old stdout."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), file=pipe, flush=True)

    return send


def listen() -> "SimpleQueue[str]":
    """Return the queue of the lines from stdin; at its end this process ends at once."""
    jobs: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        # Not sys.stdin: its lock would be held when the interpreter ends.
        with open(0, closefd=False) as lines:
            for line in lines:
                jobs.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return jobs


@contextmanager
def write_log(file: Path) -> Iterator[None]:
    """Append everything that is printed in the block to `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = os.dup(2)
    with file.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    try:
        yield
    finally:
        for stream in (1, 2):
            os.dup2(before, stream)
        os.close(before)


if __name__ == "__main__":
    run_as_program(main, sys.argv)
