"""Runs the cells of a workload: a process for each entry, whose turns alternate."""

import json
import math
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.compare import find_quartiles
from benchmarks.peers import PEERS, ROOT, clean_environment
from benchmarks.workload import Cell, Entry, Missing, Workload

# Of one request; torch.compile of 32 steps takes minutes.
MOST_SECONDS = 600
Command = tuple[list[str], dict[str, str]]


def find_command(entry: Entry) -> Command:
    """Return the arguments and the environment of a worker; raise Missing without interpreter."""
    peer = PEERS[entry.peer]
    if not peer.interpreter.exists():
        raise Missing(f"{peer.packages[0]} is not installed: there is no {peer.interpreter}")
    arguments = [str(peer.interpreter), "-m", "benchmarks.worker", entry.peer]
    return arguments, dict(peer.environment)


class Process:
    """A worker and its pipe. A request that fails raises RuntimeError with the reason.

    Its caches of compiled programs are in `caches`; a request lasts at most `seconds`.
    """

    def __init__(self, command: Command, caches: Path, seconds: float = MOST_SECONDS) -> None:
        arguments, variables = command
        self._seconds = seconds
        # Empty caches, so that every entry compiles, and `first_seconds` can be compared.
        fresh = {
            "TMPDIR": str(caches),
            "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
            "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
            "PYTHONPATH": str(ROOT),
        }
        self._stderr = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env={**clean_environment(), **fresh, **variables},
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer; raise Missing or RuntimeError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        timer = threading.Timer(self._seconds, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(self._explain_end())
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            kind = Missing if answer.get("missing") else RuntimeError
            raise kind(answer["reason"])
        return answer

    def _explain_end(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr if line.strip()]
        last = lines[-1][:400] if lines else "it printed nothing"
        return f"the process ended with {code}: {last}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._stderr.close()


class Turn:
    """An entry in a cell: its worker while it lives, and what has been measured."""

    def __init__(self, entry: Entry, workload: str) -> None:
        self.entry, self.workload = entry, workload
        self.process: Process | None = None
        self.status, self.reason = "ok", ""
        self.prepared: dict[str, Any] = {}
        self.seconds: list[float] = []
        self.compiled = 0
        self.repeats, self.peak = 1, math.nan

    def do(self, action: Callable[[], None]) -> None:
        """Do something; on failure keep the reason and end the worker."""
        if self.status != "ok":
            return
        try:
            action()
        except Missing as error:
            self.status, self.reason = "missing", str(error)
        except (RuntimeError, OSError) as error:
            self.status, self.reason = "failed", str(error) or type(error).__name__

    def start(self, command: Callable[[Entry], Command], caches: Path, turn_seconds: float) -> None:
        """Start the worker; it compiles and warms up."""
        self.process = Process(command(self.entry), caches)
        peer, task = self.entry.peer, dict(self.entry.task)
        request = {"workload": self.workload, "peer": peer, "task": task}
        request["turn_seconds"] = turn_seconds
        self.prepared = self.process.ask("prepare", **request)
        fitting = round(turn_seconds / max(self.prepared["seconds"], 1e-9))
        self.repeats = self.prepared["repeats"] or max(1, fitting)

    def measure(self) -> None:
        """Take one turn."""
        assert self.process is not None
        answer = self.process.ask("measure", repeats=self.repeats)
        self.seconds.append(answer["seconds"])
        self.compiled += answer.get("compiled", 0)

    def finish(self) -> None:
        """Read the peak memory."""
        assert self.process is not None
        self.peak = self.process.ask("finish")["peak_mib"]

    def describe(self) -> dict[str, Any]:
        """Return the entry of the record."""
        entry = self.entry
        found = {
            "peer": entry.peer,
            "label": entry.label,
            "against": list(entry.against),
            "task": dict(entry.task),
            "status": self.status,
            "reason": self.reason,
        }
        if self.status != "ok":
            return found
        low, median, high = find_quartiles(self.seconds)
        return found | {
            "versions": self.prepared["versions"],
            "dtype": str(entry.task.get("dtype", "float32")),
            "work": self.prepared["work"],
            "repeats": self.repeats,
            "first_seconds": self.prepared["first_seconds"],
            "seconds": self.seconds,
            "median": median,
            "quartiles": [low, high],
            "peak_mib": self.peak,
            "compiled": self.compiled,
            "details": self.prepared["details"],
        }


def run_cell(
    workload: str,
    cell: Cell,
    rounds: int,
    *,
    command: Callable[[Entry], Command] = find_command,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure a cell and return it for the record."""
    begun, before = time.monotonic(), records.read_load()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    turns = [Turn(entry, workload) for entry in cell.entries]
    with ExitStack() as stack:
        for turn in turns:
            # A folder each: one entry must not find what another has compiled.
            caches = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            turn.do(lambda t=turn, c=caches: t.start(command, c, cell.turn_seconds))
            if turn.process is not None:
                stack.callback(turn.process.close)
            say(f"  {turn.entry.peer}, {turn.entry.label}: {turn.reason or 'ready'}")
        for number in range(rounds):
            # Every other round in reverse, so that no entry always follows the same one.
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn.do(turn.measure)
        for turn in turns:
            turn.do(turn.finish)
    return {
        "name": cell.name,
        "quick": cell.quick,
        "command": f"python -m benchmarks {shlex.join(sys.argv[1:])}",
        "started": started,
        "commit": records.find_commit(),
        "rounds": rounds,
        "load_before": before,
        "load_after": records.read_load(),
        "seconds": round(time.monotonic() - begun, 1),
        "entries": [turn.describe() for turn in turns],
    }


def run(
    workloads: Sequence[Workload],
    out: Path,
    *,
    device: str = "cpu",
    rounds: int | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Measure workloads, and write the record of each after every cell."""
    files = []
    for workload in workloads:
        record = {
            "schema": records.SCHEMA,
            "workload": workload.name,
            "title": workload.title,
            "unit": workload.unit,
            "device": device,
            "machine": records.describe_machine(),
            "cells": [],
        }
        for cell in workload.cells:
            say(f"{workload.name}, {cell.name}:")
            record["cells"].append(run_cell(workload.name, cell, rounds or cell.rounds, say=say))
            file = records.write(record, out)
        files.append(file)
    return files
