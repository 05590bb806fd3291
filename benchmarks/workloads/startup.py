"""W8: seconds from the start of a command to the end of its first training step.

Ours is `python -m train.main`, unchanged: the step has ended when metrics.jsonl has its line.
"cold" starts with an empty compilation cache, "cached" with the cache of an earlier start. The
peers import their library, make the network and take one step of W3; they read no data and save
nothing.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers import ROOT
from benchmarks.workload import Cell, Entry, Missing, Subject, Workload
from benchmarks.workloads.resnet import make_entry

PATIENCE_SECONDS, POLL_SECONDS = 600, 0.002
# A line for each step. It is written while the next step runs, as soon as its step has ended.
EVERY_STEP = "--config.log_every=1"
# Generated images of the real shape, fewer than the real data sets have.
CIFAR = (
    "--config=cifar100",
    "--config.batch_size=32",
    "--config.data.name=synthetic",
    "--config.data.shape=(32,32,3)",
    "--config.data.num_train=2048",
)
FASHION = (
    "--config=fashion_mnist",
    "--config.data.name=synthetic",
    "--config.data.shape=(28,28,1)",
    "--config.data.num_train=8192",
)
DIGITS = ("--config=digits",)
SMALL = ("--config=digits", "--config.model.width=4", "--config.batch_size=16")
CACHES = ("cold", "cached")
LABELS = tuple(f"train.main, {cache}" for cache in CACHES)
# Its arguments are the peer and the task.
PEER_PROGRAM = """
import json, sys
from benchmarks.workload import load_module
load_module("W3").make(sys.argv[1], json.loads(sys.argv[2])).run()
print("stepped", flush=True)
"""


def make_cell(name: str, words: tuple[str, ...], *peers: Entry) -> Cell:
    """Return the cell of a command line, with an empty and with a filled cache."""
    ours = [
        Entry("pit_jax", label, {"words": list(words), "cache": cache})
        for label, cache in zip(LABELS, CACHES, strict=True)
    ]
    return Cell(name, (*ours, *peers), rounds=3, turn_seconds=0, quick=True)


def make_peer(peer: str, label: str) -> Entry:
    """Return the entry of a program of a peer that takes one step of W3."""
    # PyTorch's default layout: trying both takes more steps.
    step = make_entry(peer, label, 32, layout="contiguous").task
    return Entry(peer, label, {"step": dict(step)}, LABELS)


WORKLOAD = Workload(
    name="W8",
    title="From the start of the command to the end of the first training step",
    unit="starts",
    cells=(
        make_cell(
            "ResNet18, batch 32",
            CIFAR,
            make_peer("pytorch", "ReLU"),
            make_peer("spikingjelly", "I-LIF 1×4"),
        ),
        make_cell("digits", DIGITS),
        make_cell("Fashion-MNIST", FASHION),
    ),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return starts of our program, or of a program of the peer."""
    is_small = bool(task.get("small"))
    if "words" in task:
        words = SMALL if is_small else task["words"]
        return Start([*words, EVERY_STEP], is_cached=task["cache"] == "cached")
    if peer not in ("pytorch", "spikingjelly"):
        raise Missing(f"starts of {peer} are not measured")
    return PeerStart(peer, {**task["step"], "small": True} if is_small else task["step"])


class Process(Subject):
    """Starts of a program, which take the seconds that `start` returns."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__(self.start, 1, details)

    def start(self) -> float:
        """Start the program and end it after its first step; return the seconds until then."""
        raise NotImplementedError

    def prepare(self) -> float:
        """Return 0: one start leaves nothing to the next."""
        return 0.0

    def measure(self, repeats: int) -> float:
        """Return the mean seconds of `repeats` starts."""
        return sum(self.start() for _ in range(repeats)) / repeats

    def read_peak_mib(self) -> float:
        """Return the largest resident memory of a start."""
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


class Start(Process):
    """Starts of train.main, each in a folder of its own."""

    def __init__(self, words: list[str], *, is_cached: bool) -> None:
        super().__init__({"command": f"python -m train.main {' '.join(words)}"})
        self._words, self._is_cached, self._number = words, is_cached, 0
        self._folder = tempfile.TemporaryDirectory(prefix="pit_jax_startup_")

    def start(self) -> float:
        """Start the program and kill it after its first step; return the seconds until then."""
        self._number += 1
        folder = Path(self._folder.name)
        run, log = folder / f"run{self._number}", folder / f"log{self._number}"
        cache = folder / ("cache" if self._is_cached else f"cache{self._number}")
        command = [sys.executable, "-m", "train.main", *self._words, str(run)]
        variables = {**read_shell(), "JAX_COMPILATION_CACHE_DIR": str(cache)}
        with log.open("w") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=output, stderr=output
            )
            try:
                seconds = wait_for_line(run / "metrics.jsonl", process, started)
            finally:
                process.kill()
                process.wait()
        if seconds is None:
            raise RuntimeError(f"train.main took no step: {log.read_text()[-500:]}")
        return seconds

    def prepare(self) -> float:
        """Fill the cache by a start that is not counted, and return its seconds."""
        return self.start() if self._is_cached else 0.0

    def close(self) -> None:
        """Remove the folders of all starts."""
        self._folder.cleanup()


class PeerStart(Process):
    """Starts of a program of a peer that takes one training step."""

    def __init__(self, peer: str, task: dict[str, Any]) -> None:
        super().__init__({"command": f"the first step of W3, {json.dumps(task)}"})
        self._command = [sys.executable, "-c", PEER_PROGRAM, peer, json.dumps(task)]

    def start(self) -> float:
        """Start the program; return the seconds until the end of its step."""
        started = time.perf_counter()
        with subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - started
        if line.strip() != b"stepped":
            raise RuntimeError(f"the program took no step and ended with {process.returncode}")
        return seconds


def read_shell() -> dict[str, str]:
    """Return the environment without the settings of a worker: programs apply them themselves."""
    own = ("GLIBC_TUNABLES", "PIT_JAX_RESTARTED", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in own}


def wait_for_line(file: Path, process: subprocess.Popen[bytes], started: float) -> float | None:
    """Return the seconds from `started` to the first line; None if the process ends without it."""
    while (now := time.perf_counter()) < started + PATIENCE_SECONDS:
        if file.exists() and file.stat().st_size:
            return now - started
        if process.poll() is not None:
            return None
        time.sleep(POLL_SECONDS)
    return None
