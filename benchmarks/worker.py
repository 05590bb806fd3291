"""The process that runs one entry of a cell: python -m benchmarks.worker PEER

Reads one JSON object per line from the standard input and answers each with one line:

    {"do": "prepare", "workload": "W1", "peer": "pit_jax", "task": {...}, "turn_seconds": 0.2}
    {"do": "measure", "repeats": 3}   ->  {"ok": true, "seconds": 0.012}
    {"do": "finish"}                  ->  {"ok": true, "peak_mib": 812.5, "compiled": 0}

`compiled` counts the programs that JAX compiled during the turns. An answer with "ok": false has
the "reason".
"""

import json
import os
import sys
from importlib import metadata
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.workload import Missing, Subject, load_module


class Worker:
    """The state of a worker between its requests."""

    def __init__(self) -> None:
        self.subject: Subject | None = None
        self.compiled = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks; return the answer."""
        match request["do"]:
            case "prepare":
                return self.prepare(request)
            case "measure":
                assert self.subject is not None, "measure before prepare"
                before = self.compiled + self.subject.count_compiled()
                seconds = self.subject.measure(request["repeats"])
                after = self.compiled + self.subject.count_compiled()
                return {"seconds": seconds, "compiled": after - before}
            case "finish":
                assert self.subject is not None, "finish before prepare"
                peak = self.subject.read_peak_mib()
                self.subject.close()
                return {"peak_mib": round(peak, 1)}
        raise ValueError(f"there is no request {request['do']!r}.")

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make, compile and warm up the subject of a task."""
        cores = request["task"].get("cores")
        if cores and hasattr(os, "sched_setaffinity"):  # Before the library starts its threads.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        versions = read_versions(PEERS[request["peer"]].packages)
        module = load_module(request["workload"])
        self.subject = module.make(request["peer"], request["task"])
        self.count_compilations()
        first = self.subject.prepare()
        # The runner chooses repeats from the seconds of one run, unless they are fixed.
        fixed = self.subject.repeats or request.get("turn_seconds") == 0
        return {
            "first_seconds": round(first, 3),
            "seconds": 0.0 if fixed else self.subject.measure(1),
            "work": self.subject.work,
            "repeats": self.subject.repeats,
            "versions": versions,
            "details": self.subject.details,
        }

    def count_compilations(self) -> None:
        """Count the programs that JAX compiles in this process, if it has JAX."""
        if "jax" not in sys.modules:
            return
        from jax import monitoring

        def listen(event: str, seconds: float, **_: Any) -> None:
            self.compiled += event == "/jax/core/compile/backend_compile_duration"

        monitoring.register_event_duration_secs_listener(listen)


def read_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of distributions; raise Missing for one that is not installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name != "pit_jax":  # In a clone it is not installed.
                raise Missing(f"{name} is not installed in {sys.prefix}") from None
            import pit_jax

            found[name] = pit_jax.__version__
    return found


def main() -> None:
    """Answer requests until the input ends."""
    if sys.argv[1].startswith("pit_jax"):  # As our programs do.
        from pit_jax import tuning

        tuning.restart_tuned()
        tuning.release_signals()
    # What libraries print must not disturb the protocol.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = {"ok": True, **worker.answer(json.loads(line))}
        except Missing as error:
            answer = {"ok": False, "missing": True, "reason": str(error)}
        except Exception as error:
            answer = {"ok": False, "reason": f"{type(error).__name__}: {error}"[:600]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
