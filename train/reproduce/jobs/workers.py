"""The worker processes: started in slots, read from, and stopped together.

Each is a session of its own, so that Ctrl-C in a terminal reaches only the program, which asks its
workers to save. A worker ends when its stdin is closed, as it is when the program is killed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ..sources import TRAINER
from .slots import Slot

# For output before the first job; each job has its own log in the same folder.
LOG = "logs/workers.log"
# Runs a module with arguments as `python -m` does, from the sources in the folder that comes first.
START = """import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)"""
# Time to save a checkpoint of a large network to a slow disk.
PATIENCE_SECONDS = 300.0
WAIT_SECONDS = 0.2
MODULE = f"{TRAINER}.reproduce.jobs.worker"


class Event(NamedTuple):
    """A line of a worker about its `job`: `free` when it is done, `ended` with the exit code."""

    worker: "Worker"
    job: Mapping[str, Any]
    name: str
    values: Mapping[str, Any]


class Worker:
    """A process that does one job after the other in a slot; its events arrive in `events`."""

    def __init__(self, out: Path, slot: Slot, sources: Path, events: "SimpleQueue[Event]") -> None:
        self.slot = slot
        self._job: Mapping[str, Any] = {}
        # For processes that the worker starts.
        places = [str(sources), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **slot.environment,
            "PYTHONPATH": os.pathsep.join(filter(None, places)),
            "PYTHONUNBUFFERED": "1",
        }
        log = out / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as opened:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(sources), MODULE, str(out)],
                # Not the copy of the sources, which must not change: relative paths in variables,
                # such as JAX_COMPILATION_CACHE_DIR, lead to folders here.
                cwd=log.parent,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=opened,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def give(self, job: Mapping[str, Any]) -> None:
        """Give the worker its next job."""
        self._job = job
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except OSError:  # It has been killed, as the event `ended` reports.
            pass

    def _listen(self, events: "SimpleQueue[Event]") -> None:
        with self._process as process:  # Closes the pipes.
            assert process.stdout is not None
            for line in process.stdout:
                values = json.loads(line)
                events.put(Event(self, self._job, values.pop("event"), values))
        events.put(Event(self, self._job, "ended", {"code": process.returncode}))

    def stop(self) -> None:
        """Ask the worker to save and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once."""
        self._process.kill()


class Workers:
    """The workers of a program, at most one in each slot."""

    def __init__(self, out: Path, slots: Sequence[Slot], sources: Path) -> None:
        self._out, self._sources = out, sources
        self._slots = list(slots)
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []
        self._events: SimpleQueue[Event] = SimpleQueue()

    @property
    def is_busy(self) -> bool:
        """True while a worker has a job."""
        return bool(self._busy)

    @property
    def has_room(self) -> bool:
        """True if a worker can start another job."""
        return bool(self._idle or self._slots)

    def start(self, job: Mapping[str, Any]) -> None:
        """Give a job to an idle worker, or to a new one in a free slot."""
        if self._idle:
            worker = self._idle.pop(0)
        else:
            worker = Worker(self._out, self._slots.pop(0), self._sources, self._events)
        self._busy.append(worker)
        worker.give(job)

    def wait(self, seconds: float) -> Event | None:
        """Return the next event about a job; None if none arrives within `seconds`."""
        try:
            event = self._events.get(timeout=seconds)
        except Empty:
            return None
        was_busy = event.worker in self._busy
        if event.name in ("free", "ended") and was_busy:
            self._busy.remove(event.worker)
        if event.name == "free":
            self._idle.append(event.worker)
        elif event.name == "ended":
            if not was_busy:
                self._idle.remove(event.worker)
            self._slots.append(event.worker.slot)
        return event if was_busy else None

    def limit(self, slots: Sequence[Slot]) -> None:
        """Replace the slots, and end all workers, which must be idle."""
        self.kill()
        while self._idle:
            self.wait(WAIT_SECONDS)
        self._slots = list(slots)

    def stop(self) -> None:
        """Ask all workers to save, and wait until they have ended."""
        for worker in self._busy:
            worker.stop()
        for worker in self._idle:
            worker.kill()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (self._busy or self._idle) and time.monotonic() < deadline:
            self.wait(WAIT_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End all workers at once."""
        for worker in (*self._busy, *self._idle):
            worker.kill()
