"""Tiny experiments for tests of train.reproduce, and a fake worker."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.claims import Claim
from configs.scales import Case, Experiment
from train.reproduce import __main__ as program
from train.reproduce import plan

SHORT = ("epochs=1", "model.stages=(1,)", "tensorboard=False", "health.every_epochs=0")
PIT = Case("PIT, tiny", "smoke:ours", SHORT, seeds=2)
# The loss of its first epoch is not finite.
UNSTABLE = Case("unstable, tiny", "smoke:ours", (*SHORT, "learning_rate=1e30"), seeds=1)
NO_DATA = Case("PIT, own data", "arrays:ours", seeds=2)
CITED = Case("cited", remark="It is another paper's.")

# Reads jobs as a worker does; `answer(job)` sends the events of one.
FAKE_WORKER = """
import json, os, sys, time
from pathlib import Path
def send(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)
def answer(job):
    ANSWER
for line in sys.stdin:
    answer(json.loads(line))
    send("free")
"""


def make_experiment(*cases: Case, name: str = "table7", claims: Sequence[Claim] = ()) -> Experiment:
    return Experiment(name, "tiny experiment", cases, tuple(claims))


def use_experiments(patch: pytest.MonkeyPatch, *experiments: Experiment) -> None:
    """Let the program find these experiments only."""
    by_name = {experiment.name: experiment for experiment in experiments}
    patch.setattr(plan, "load_experiment", lambda name, scale: by_name[name])
    patch.setattr(plan, "list_names", lambda: tuple(by_name))


def reproduce(out: Path, *words: str) -> int:
    """Run the program with one worker and the folder `out`; return its exit code."""
    given = ["--scale", "smoke", "--workers", "1", "--out", str(out), "--data", str(out / "data")]
    return program.main(["reproduce", *words, *given])


def write_fake_worker(folder: Path, answer: str) -> Path:
    """Write sources whose worker answers a job with the Python code `answer`."""
    jobs = folder / "train" / "reproduce" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "worker.py").write_text(FAKE_WORKER.replace("ANSWER", answer.replace("\n", "\n    ")))
    return folder


def read_runs(out: Path, slug: str) -> dict[str, dict]:
    return json.loads((out / "records" / f"{slug}.json").read_text())["runs"]


def list_bytes(out: Path) -> dict[str, bytes]:
    """Return the pages and records of a folder, without the times."""
    found = {}
    for file in sorted([*out.glob("*.*"), *out.glob("records/*")]):
        content = file.read_bytes()
        if file.parent.name == "records":
            record = json.loads(content)
            for run in record["runs"].values():
                run.pop("seconds", None)
            content = json.dumps(record).encode()
        found[file.name] = content
    return found


PYTHON = sys.executable
