"""Training through our program, `python -m train.main`, measured between lines of its log.

The program runs with its augmentation, logging and checkpoints on generated data. Between its turns
it is stopped by SIGSTOP. A turn continues it, waits for the next step in metrics.jsonl, and
measures TURN_STEPS more. The first turn comes after the first epoch, whose end compiles the
evaluation, and the checkpoint of that epoch is written during the first turn. The second epoch ends
after the fifth turn: an epoch of CIFAR-100 has 1,562 steps of batch 32.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import ROOT
from benchmarks.workload import Subject

EPOCH_STEPS, TURN_STEPS = 30, 4
TEST_IMAGES = 32
MOST_SECONDS = 900
PR_SET_PDEATHSIG = 1  # From <sys/prctl.h>.
COMPILED = "Finished XLA compilation"
FRAMES = "benchmarks.workloads.train_main:make_frames"


def make_frames(
    *, num_frames: int, size: int, num_classes: int, num_train: int, num_test: int
) -> dict[str, Any]:
    """Return event frames of random counts, `{"train": (frames, labels), "test": ...}`."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        frames = rng.poisson(0.3, (count, num_frames, size, size, 2)).astype(np.uint8)
        return frames, np.arange(count) % num_classes

    classes = [str(number) for number in range(num_classes)]
    return {"train": draw(num_train), "test": draw(num_test), "classes": classes}


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends: it may be stopped for ever."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def list_arguments(task: Mapping[str, Any], workdir: Path) -> list[str]:
    """Return the arguments of train.main for a task."""
    steps = task.get("steps_per_epoch", EPOCH_STEPS)
    shape, classes = tuple(task["shape"]), task["classes"]
    changes: dict[str, Any] = {
        "data.num_train": steps * task["batch"],
        "data.num_test": TEST_IMAGES,
        "data.num_classes": classes,
        "batch_size": task["batch"],
        "num_steps": task["steps"],
        "model.dtype": task.get("dtype", "float32"),
        "epochs": 10_000,
        "learning_rate": 1e-3,
        "log_every": 1,
        "loss.name": "cross_entropy",
    }
    if len(shape) == 4:  # Frames.
        changes |= {"data.name": FRAMES, "data.num_frames": shape[0], "data.size": shape[1]}
    else:
        changes |= {"data.name": "synthetic", "data.shape": shape}
    if "levels" in task:
        changes["neuron.levels"] = task["levels"]
    changes |= {f"model.{key}": task[key] for key in ("width", "widths") if key in task}
    changes |= task.get("config_changes", {})
    return [
        *("-m", "train.main", "--config", task["config"]),
        *(f"--config.{name}={value}" for name, value in changes.items()),
        *("--workdir", str(workdir)),
    ]


class TrainingRun(Subject):
    """A run of train.main that advances only in its turns."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        repeats = task.get("turn_steps", TURN_STEPS)
        super().__init__(lambda: None, work=float(task["batch"]), repeats=repeats)
        self._epoch_steps = task.get("steps_per_epoch", EPOCH_STEPS)
        self._folder = Path(tempfile.mkdtemp(prefix="bench-run-"))
        self._metrics = self._folder / "run" / "metrics.jsonl"
        arguments = list_arguments(task, self._folder / "run")
        shown = " ".join(arguments).replace(str(self._folder), "")
        self.details = {"program": f"python {shown}"}
        self._output = (self._folder / "output").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=self._output,
            stderr=self._output,
            cwd=ROOT,
            env={**os.environ, "JAX_LOG_COMPILES": "1"},
            preexec_fn=end_with_parent,
        )

    def prepare(self) -> float:
        """Wait for the first epoch; return the seconds until the first step is logged."""
        start = time.perf_counter()
        self._wait_for(1)
        seconds = time.perf_counter() - start
        self._wait_for(self._epoch_steps + 1)
        self._process.send_signal(signal.SIGSTOP)
        starts = json.loads((self._folder / "run" / "environment.json").read_text())
        self.details["tuning"] = starts[-1]["tuning"]
        return seconds

    def measure(self, repeats: int) -> float:
        """Return the seconds of a step, averaged over at least `repeats`."""
        before = self._find_step()
        self._process.send_signal(signal.SIGCONT)
        # The clock of the step that was interrupted would include the time when it was stopped.
        first = self._wait_for(before + 1)
        start = time.perf_counter()
        last = self._wait_for(first + repeats)
        seconds = time.perf_counter() - start
        self._process.send_signal(signal.SIGSTOP)
        return seconds / (last - first)

    def count_compiled(self) -> int:
        """Return how many programs the run has compiled so far."""
        return self._read_output().count(COMPILED)

    def read_peak_mib(self) -> float:
        """Return the largest resident memory of the program so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def close(self) -> None:
        """End the program and delete its folder."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for(self, step: int) -> int:
        """Wait until a step is logged; return the latest one."""
        until = time.monotonic() + MOST_SECONDS
        while (found := self._find_step()) < step:
            if self._process.poll() is not None or time.monotonic() > until:
                last = self._read_output().strip().splitlines()[-1:]
                self.close()
                raise RuntimeError(f"train.main has not logged step {step}: {last}")
            time.sleep(0.005)
        return found

    def _find_step(self) -> int:
        """Return the latest step of the log; its last line may be incomplete."""
        text = self._metrics.read_text() if self._metrics.exists() else ""
        lines = text.split("\n")[:-1]
        return int(json.loads(lines[-1])["step"]) if lines else 0

    def _read_output(self) -> str:
        return Path(self._output.name).read_text()
