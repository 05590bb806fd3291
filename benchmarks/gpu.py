"""Training in bfloat16 and neurons alone on a GPU, within minutes: python -m benchmarks.gpu

Started by scripts/bench_gpu.sh, which says what is needed. First a probe of a minute at most: the
versions, the imports, and one training step. Then entries of W3 and W1, the most important first,
each in a process of its own. Every result is written as it comes, as one line of JSON that names
the device. A repeated command skips what the file has for the same device, and the time limit only
postpones the rest. Peak memory is the device's, or the process's on a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare import find_quartiles
from benchmarks.peers import PEERS, ROOT, clean_environment
from benchmarks.worker import Worker, read_versions
from benchmarks.workload import Entry, Missing
from benchmarks.workloads.resnet import make_entry

OUT = ROOT / "benchmarks" / "results" / "gpu.jsonl"
PROBE_SECONDS, ENTRY_SECONDS, LIMIT_SECONDS = 60, 75, 285
# An entry is not begun with less time than this: compiling alone takes as long.
LEAST_SECONDS = 20
ROUNDS, TURN_SECONDS = 9, 0.3
BATCH, STEPS = 128, (10, 32)
PROBE = "probe"
UNFINISHED = 3  # The exit code if a repeated command would measure more.


class Plan(NamedTuple):
    """An entry of a workload that a GPU measures."""

    workload: str
    entry: Entry

    @property
    def name(self) -> str:
        """The name of its result."""
        task = json.dumps(dict(self.entry.task), sort_keys=True, ensure_ascii=False)
        return f"{self.workload} {self.entry.peer} {self.entry.label} {task}"


def list_plans(*, small: bool) -> list[Plan]:
    """Return what is measured, the most important first."""
    more = {"small": True} if small else {}
    networks = (
        ("pit_jax", "PIT 1×4"),
        ("spikingjelly", "I-LIF 1×4"),
        ("pit_jax", "LIF 4×1"),
        ("spikingjelly", "LIF 4×1"),
        ("spikingjelly-compiled", "I-LIF 1×4"),
        ("spikingjelly-compiled", "LIF 4×1"),
        ("pit_jax", "ReLU"),
        ("pytorch", "ReLU"),
    )
    neurons = (
        ("pit_jax", "LIF"),
        ("spikingjelly", "LIF"),
        ("pit_jax", "PIT"),
        ("spikingjelly", "I-LIF"),
        ("pit_jax", "I-LIF"),
    )
    return [
        # Through the library alone: the trainer needs more packages than an image has.
        *(
            Plan("W3", make_entry(*each, BATCH, through="step", dtype="bfloat16", **more))
            for each in networks
        ),
        *(
            Plan("W1", Entry(peer, neuron, {"neuron": neuron, "steps": steps, **more}))
            for steps in STEPS
            for peer, neuron in neurons
        ),
    ]


def probe() -> dict[str, Any]:
    """Return the versions and devices of all libraries here, and the seconds of one small step."""
    import jax

    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "devices": list(map(str, jax.devices())),
    }
    for peer in ("pit_jax", "spikingjelly"):
        try:
            found |= read_versions(PEERS[peer].packages)
        except Missing as error:
            found[peer] = str(error)
    # A network that compiles in seconds.
    plan = list_plans(small=True)[0]
    step = Entry("pit_jax", "probe", {**plan.entry.task, "network": "resnet8"})
    started = time.perf_counter()
    measure(Plan("W3", step), rounds=1)
    return found | {"step_seconds": round(time.perf_counter() - started, 1)}


def measure(plan: Plan, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure an entry in this process; raise Missing for a library that is not installed."""
    entry, worker = plan.entry, Worker()
    prepared = worker.prepare(
        {"workload": plan.workload, "peer": entry.peer, "task": dict(entry.task)}
    )
    subject = worker.subject
    assert subject is not None
    repeats = max(1, round(TURN_SECONDS / max(prepared["seconds"], 1e-9)))
    compiled = worker.compiled
    seconds = [subject.measure(repeats) for _ in range(rounds)]
    low, median, high = find_quartiles(seconds)
    return {
        **{key: prepared[key] for key in ("versions", "work", "first_seconds", "details")},
        "repeats": repeats,
        "seconds": seconds,
        "median": median,
        "quartiles": [low, high],
        "per_second": round(prepared["work"] / median, 1),
        "peak_mib": round(subject.read_peak_mib(), 1),
        "compiled": worker.compiled - compiled,
    }


def name_device() -> str:
    """Return the name of the first device, as JAX has it."""
    import jax

    return str(jax.devices()[0].device_kind)


def answer(work: str, *, small: bool) -> None:
    """Do the probe or measure an entry, and print the result, in a child process."""

    def compute() -> dict[str, Any]:
        if work == PROBE:
            return {"device": name_device(), **probe()}
        return measure(next(p for p in list_plans(small=small) if p.name == work))

    print_answer(compute)


def print_answer(compute: Callable[[], dict[str, Any]]) -> None:
    """Print what `compute` returns as JSON, or why it failed: the answer that `ask` reads."""
    try:
        result = {"status": "ok", **compute()}
    except Missing as error:
        result = {"status": "missing", "reason": str(error)}
    except Exception as error:
        result = {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:600]}
    print(f"\n{json.dumps(result, ensure_ascii=False)}", flush=True)


def ask(
    work: str,
    *,
    small: bool,
    seconds: float,
    module: str = "benchmarks.gpu",
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the answer of a child process, `python -m module --work`, within `seconds`."""
    command = [sys.executable, "-m", module, "--work", work, *options, *["--small"] * small]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with tempfile.TemporaryFile("w+") as errors:
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=clean_environment() | own, timeout=seconds,
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"status": "late", "reason": f"not finished after {seconds:.0f} s"}
        errors.seek(0)
        printed = [*ended.stdout.splitlines(), ""]
        try:
            found: dict[str, Any] = json.loads(printed[-2])
        except (IndexError, json.JSONDecodeError):
            last = errors.read().strip()[-400:]
            return {"status": "failed", "reason": f"exit code {ended.returncode}: {last}"}
    return found


def read_results(file: Path) -> list[dict[str, Any]]:
    """Return the results in a file; an incomplete last line is no result."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def find_left(plans: Sequence[Plan], results: Sequence[dict[str, Any]], device: str) -> list[Plan]:
    """Return the plans without a result on this device; one that was late or failed is repeated."""
    done = {
        result["name"]
        for result in results
        if result["device"] == device and result["status"] in ("ok", "missing")
    }
    return [plan for plan in plans if plan.name not in done]


def append(file: Path, result: dict[str, Any]) -> None:
    """Write a result as a line of its own, after what a killed process may have left."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as output:
        output.seek(0)
        content = output.read()
        output.write("\n" * (content != "" and not content.endswith("\n")))
        output.write(json.dumps(result, ensure_ascii=False) + "\n")
        output.flush()
        os.fsync(output.fileno())


def run(file: Path, *, small: bool, seconds: float) -> Generator[str, None, int]:
    """Do the probe and measure what is left; yield a line for each result.

    Return the exit code: 0, 1 if the probe failed, or `UNFINISHED`.
    """
    end = time.monotonic() + seconds
    # Tried on a busy CPU, the probe may take longer.
    found = ask(PROBE, small=small, seconds=seconds if small else min(PROBE_SECONDS, seconds))
    device = found.get("device", "unknown")
    append(file, {"name": PROBE, "device": device, **found})
    yield f"probe: {json.dumps(found, ensure_ascii=False)}"
    if found["status"] != "ok":
        return 1
    left = find_left(list_plans(small=small), read_results(file), device)
    for number, plan in enumerate(left):
        remaining = end - time.monotonic()
        if remaining < LEAST_SECONDS:
            yield f"{len(left) - number} results are left; repeat the command to measure them"
            return UNFINISHED
        result = ask(plan.name, small=small, seconds=min(ENTRY_SECONDS, remaining))
        entry = plan.entry
        about = {"workload": plan.workload, "peer": entry.peer, "label": entry.label}
        line = {"name": plan.name, "device": device, **about, "task": dict(entry.task), **result}
        append(file, line)
        yield f"{plan.name}: {result.get('per_second') or result['reason']}"
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the file of the results")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try it on a CPU")
    parser.add_argument("--seconds", type=float, default=LIMIT_SECONDS, help="the time limit")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.work:
        answer(args.work, small=args.small)
        return 0
    lines = run(args.out, small=args.small, seconds=args.seconds)
    while True:
        try:
            print(next(lines), flush=True)
        except StopIteration as ended:
            return int(ended.value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
