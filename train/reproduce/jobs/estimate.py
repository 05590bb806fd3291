"""The time and memory that a plan takes, estimated from recorded runs and from probes."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from ...host_memory import GIB
from ...terminal import Terminal
from ..plan import WorkPlan, WorkTask
from ..records import read_record
from .probe import RunCost

# Seeds are split among processes only if one trains at least this many times as long as a process
# takes to start.
LEAST_STARTS = 4
# The start of a process whose program is in the compilation cache, if no probe has measured it.
START_SECONDS = 10.0


class RunPrices(NamedTuple):
    """Seconds of a run by slug, seconds of a start by kind of network, and peak memory in bytes."""

    runs: Mapping[str, float]
    starts: Mapping[str, float]
    memory: int

    def find_start(self, task: WorkTask) -> float:
        """Return the seconds from the start of a process to its first step."""
        return self.starts.get(find_kind(task), START_SECONDS)


def find_kind(task: WorkTask) -> str:
    """Return data and network of a task as text; within a kind, cost is proportional to T."""
    return json.dumps([task.config.get(key) for key in ("data", "model")], sort_keys=True)


def find_seconds(out: Path, tasks: Sequence[WorkTask]) -> dict[str, float]:
    """Return the median seconds of the recorded runs by slug."""
    found = {}
    for task in tasks:
        runs = (read_record(out, task.slug) or {}).get("runs", {}).values()
        if seconds := [run["seconds"] for run in runs if "seconds" in run]:
            found[task.slug] = statistics.median(seconds)
    return found


def list_unknown(tasks: Sequence[WorkTask], known: Mapping[str, float]) -> list[WorkTask]:
    """Return one task of each kind of network that no recorded run has."""
    kinds = {find_kind(task) for task in tasks if task.slug in known}
    first: dict[str, WorkTask] = {}
    for task in tasks:
        if task.seeds and find_kind(task) not in kinds:
            first.setdefault(find_kind(task), task)
    return list(first.values())


def make_prices(
    tasks: Sequence[WorkTask],
    known: Mapping[str, float],
    costs: Mapping[str, tuple[WorkTask, RunCost]],
) -> RunPrices:
    """Return the cost of the runs of `tasks`; `costs` are the probes by kind.

    A kind without recorded runs and without a probe, whose data are missing, costs nothing.
    """
    of_kind: dict[str, float] = {}
    for task in tasks:
        if task.slug in known:
            of_kind.setdefault(find_kind(task), known[task.slug] / _count_work(task))
    for kind, (task, cost) in costs.items():
        of_kind.setdefault(kind, cost.run / _count_work(task))
    runs = {
        task.slug: known.get(task.slug, of_kind.get(find_kind(task), 0.0) * _count_work(task))
        for task in tasks
    }
    starts = {kind: cost.start for kind, (_, cost) in costs.items()}
    return RunPrices(runs, starts, max((cost.memory for _, cost in costs.values()), default=0))


def _count_work(task: WorkTask) -> float:
    """Return the work of a run relative to others of its kind."""
    return float(task.config.get("num_steps", 1) * task.config.get("epochs", 1))


def split_chunks(
    task: WorkTask, seeds: Sequence[int], prices: RunPrices, slots: int
) -> list[list[int]]:
    """Split the seeds of a task for processes that train them one after the other.

    Several processes share a task only if each trains much longer than it takes to start.
    """
    total = len(seeds) * prices.runs.get(task.slug, 0.0)
    worth = int(total / (LEAST_STARTS * prices.find_start(task)))
    number = max(1, min(len(seeds), slots, worth))
    return [list(seeds[first::number]) for first in range(number)]


def estimate_seconds(plan: WorkPlan, prices: RunPrices, slots: int) -> float:
    """Return the seconds that the runs of a plan take with this number of slots."""
    total = 0.0
    for task in plan.tasks:
        if task.seeds and (seeds := plan.todo[task.slug]):
            chunks = len(split_chunks(task, seeds, prices, slots))
            total += len(seeds) * prices.runs.get(task.slug, 0.0) + chunks * prices.find_start(task)
    return total / slots


def print_plan(
    plan: WorkPlan, prices: RunPrices, slots: Sequence[Any], missing: Mapping[str, str]
) -> None:
    """Print the runs of each experiment and the estimate for all."""
    table = Table("", title="runs", title_justify="left")
    for name in ("needed", "done", "to do", "shared", "seconds each"):
        table.add_column(name, justify="right")
    seen: set[str] = set()
    for experiment in plan.experiments:
        tasks = [task for task in plan.tasks if experiment.name in task.tables and task.seeds]
        own = [task for task in tasks if task.slug not in seen]
        seen |= {task.slug for task in tasks}
        needed = sum(len(task.seeds) for task in tasks)
        shared = needed - sum(len(task.seeds) for task in own)
        todo = sum(len(plan.todo[task.slug]) for task in own if task.data not in missing)
        done = sum(len(task.seeds) - len(plan.todo[task.slug]) for task in own)
        seconds = [prices.runs[task.slug] for task in own if prices.runs.get(task.slug)]
        each = f"{min(seconds):,.1f} – {max(seconds):,.1f}" if seconds else "–"
        table.add_row(experiment.name, *map(str, (needed, done, todo, shared)), each)
    console = Terminal()
    console.print(table)
    names = [slot.name for slot in slots]
    memory = f", {prices.memory / GIB:.1f} GiB each" if prices.memory else ""
    trained = tuple(task for task in plan.tasks if task.seeds and task.data not in missing)
    seconds_left = estimate_seconds(plan._replace(tasks=trained), prices, len(slots))
    runs = f"{len(slots)} run{'s' * (len(slots) > 1)} at a time"
    console.print(
        f"about {format_time(seconds_left)} with {runs} "
        f"({', '.join(dict.fromkeys(names))}{memory})",
        soft_wrap=True,
    )


def format_time(seconds: float) -> str:
    """Return a time in words: `40 s`, `12 minutes`, `3.5 hours`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
