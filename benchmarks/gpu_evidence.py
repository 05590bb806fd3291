"""The paper's ResNet18 on a GPU, within minutes: python -m benchmarks.gpu_evidence

scripts/gpu_evidence.sh starts it, and lists what it needs. First comes a probe of at most a minute:
the environment, the data, and the time of a training step, from which the epochs are chosen. Then
come runs of four neurons, parity checks and the memory of Table 5, the most important first, each
in a process of its own, several at once on a machine with many cores. Every result is written as
soon as it is known, as a line of JSON that names the device. A repeated command skips the results
that the file has for the same device, so the time limit only postpones the rest.
"""

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from benchmarks.dig200 import print_summary, summarize
from benchmarks.gpu import (
    LIMIT_SECONDS,
    PROBE_SECONDS,
    UNFINISHED,
    append,
    ask,
    find_left,
    print_answer,
)
from benchmarks.gpu import read_results as read_lines
from benchmarks.gpu_work import PROBE, ROWS, SPEED, START, Plan, compute, list_plans
from benchmarks.peers import ROOT
from pit_jax.arguments import path

MODULE = "benchmarks.gpu_evidence"
OUT = ROOT / "benchmarks" / "results" / "gpu_evidence.jsonl"
SEEDS, MOST_EPOCHS, UNKNOWN_EPOCHS = 3, 5, 2
# Time steps of one seed of all rows, and the share of the time that the first seeds may take.
ALL_STEPS, SHARE = 7, 0.5
LEAST_SECONDS = 20  # No result is begun with less time left: compiling alone takes as long.
NO_GPU = (
    "error: no GPU was found; JAX has only {device}. Install JAX for CUDA, or use --small to try "
    "everything in tiny sizes."
)


class Job(NamedTuple):
    """The options of the command."""

    out: Path
    data: Path
    small: bool
    seconds: float
    epochs: int
    seeds: int
    together: int

    def ask(self, name: str, seconds: float, epochs: int) -> dict[str, Any]:
        """Return the answer of a child process."""
        options = [f"--data={self.data}", f"--epochs={epochs}", f"--seeds={self.seeds}"]
        return ask(name, small=self.small, seconds=seconds, module=MODULE, options=options)


def answer(name: str, job: Job) -> None:
    """Compute a result and print it, in a child process."""
    options = {"small": job.small, "epochs": job.epochs, "seeds": job.seeds, "folder": job.data}
    print_answer(partial(compute, name, **options))


def choose_epochs(speed: dict[str, Any], job: Job) -> int:
    """Return the epochs with which one seed of all rows takes half of the time."""
    if job.epochs or job.small:
        return job.epochs or 1
    if speed["status"] != "ok":
        return UNKNOWN_EPOCHS
    usable = SHARE * (job.seconds - PROBE_SECONDS - START)
    return max(1, min(MOST_EPOCHS, int(usable / (ALL_STEPS * speed["epoch_seconds"]))))


def measure_speed(job: Job, device: str, seconds: float) -> dict[str, Any]:
    """Return the time of an epoch and the number of epochs, from the file if it has them."""
    for line in read_lines(job.out):
        if line["name"] == SPEED and line["device"] == device and job.epochs in (0, line["epochs"]):
            return line
    speed = job.ask(SPEED, seconds, job.epochs or MOST_EPOCHS)
    speed |= {"name": SPEED, "device": device, "epochs": choose_epochs(speed, job)}
    append(job.out, speed)
    return speed


def measure_all(
    plans: Sequence[Plan], end: float, together: int, do: Callable[[Plan], None]
) -> int:
    """Call `do` for each plan that ends in time, several at once; return the number left."""
    left, lock = deque(plans), Lock()

    def work() -> None:
        while True:
            with lock:
                remaining = end - time.monotonic()
                fits = (plan for plan in left if max(plan.seconds, LEAST_SECONDS) <= remaining)
                plan = next(fits, None)
                if plan is None:
                    return
                left.remove(plan)
            do(plan)

    with ThreadPoolExecutor(together) as pool:
        for worker in [pool.submit(work) for _ in range(together)]:
            worker.result()
    return len(left)


def run(job: Job, say: Callable[[str], None]) -> int:
    """Run the probe and compute what is missing; return 0, 1 if the probe failed, or UNFINISHED."""
    begun = time.monotonic()
    end = begun + job.seconds
    # Tried on a busy CPU, the probe may take longer.
    limit = job.seconds if job.small else min(PROBE_SECONDS, job.seconds)
    found = job.ask(PROBE, limit, MOST_EPOCHS)
    device = found.get("device", "unknown")
    say(f"probe: {json.dumps(found, ensure_ascii=False)}")
    if found["status"] == "ok" and found["backend"] == "cpu" and not job.small:
        say(NO_GPU.format(device=device))
        return 1
    append(job.out, {"name": PROBE, "device": device, **found})
    if found["status"] != "ok":
        return 1
    speed = measure_speed(job, device, max(limit - (time.monotonic() - begun), LEAST_SECONDS))
    say(f"{speed['epochs']} epochs, as an epoch takes {speed.get('epoch_seconds', '?')} s")
    epochs, lock = speed["epochs"], Lock()
    epoch_seconds = speed.get("epoch_seconds", 0.0) * job.together
    plans = list_plans(small=job.small, epochs=epochs, seeds=job.seeds, epoch_seconds=epoch_seconds)

    def do(plan: Plan) -> None:
        result = job.ask(plan.name, end - time.monotonic(), epochs)
        about = {**plan._asdict(), "device": device, "commit": found["environment"]["commit"]}
        with lock:
            append(job.out, {**about, "epochs": epochs, **result, "name": plan.name})
            say(f"{plan.name}: {describe(plan, result)}")

    left = measure_all(find_left(plans, read_lines(job.out), device), end, job.together, do)
    failed = len(find_left(plans, read_lines(job.out), device)) - left
    if left or failed:
        say(f"{left} results are left and {failed} failed; repeat the command to measure them")
    return UNFINISHED if left or failed else 0


def describe(plan: Plan, result: dict[str, Any]) -> str:
    """Return a result in a line."""
    if result["status"] != "ok":
        return f"{result['status']}: {result['reason']}"
    if plan.work == "run":
        return f"{100 * result['accuracy']:.2f} %, {result['spikes']:.3f} spikes a neuron"
    if plan.work == "memory":
        peak, paper = result["peak"], result["paper"]
        return f"peak {peak / 1e9 if peak else float('nan'):.2f} GB, the paper prints {paper}"
    program = result["program"]
    flips = (f"{100 * result[x]['flipped']:.4f} % in {x}" for x in ("float32", "bfloat16"))
    return (
        f"program and grid are {'equal' if program['equal'] else 'NOT EQUAL'} on "
        f"{result['images']} images; spikes that the CPU does not fire: "
        f"{100 * program['flipped']:.4f} % of the program, {', '.join(flips)}"
    )


def show(results: Sequence[dict[str, Any]], epochs: int) -> None:
    """Print the rows that have runs with this number of epochs, and differences paired by seed."""
    found: dict[str, Any] = {}
    for line in results:
        if line.get("work") == "run" and line["epochs"] == epochs and line["status"] == "ok":
            runs = found.setdefault(line["row"], {"runs": {}})["runs"]
            runs[str(line["seed"])] = {key: line[key] for key in ("accuracy", "spikes")}
    if found:
        print_summary(summarize(found, ROWS))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = os.cpu_count() or 1
    add = parser.add_argument
    add("--out", type=path, default=OUT, help="the file of the results")
    add("--data", type=path, default=Path("data"), help="the folder of Fashion-MNIST")
    add("--small", action="store_true", help="tiny sizes, to try it on a CPU")
    add("--seconds", type=float, default=LIMIT_SECONDS, help="the time limit")
    add("--epochs", type=int, default=0, help="epochs of a run; by default as many as fit, up to 5")
    add("--seeds", type=int, default=SEEDS, help="seeds of each row")
    add("--together", type=int, default=max(1, min(3, cores // 4)), help="processes at once")
    add("--work", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    work = args.__dict__.pop("work")
    job = Job(**vars(args))
    if work:
        answer(work, job)
        return 0
    code = run(job, lambda line: print(line, flush=True))
    results = read_lines(job.out)
    if epochs := [line["epochs"] for line in results if line["name"] == SPEED]:
        show(results, epochs[-1])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
