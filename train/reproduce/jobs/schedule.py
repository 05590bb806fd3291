"""Schedule jobs until every run of a plan is recorded.

Runs that another process is training in the same folder are skipped; this process waits for them at
the end.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pit_jax.display import show_text
from pit_jax.signals import call_at_end, interruptible, is_stopping, saving

from ...errors import UserError
from ...terminal import Terminal
from ..locks import is_locked
from ..plan import WorkPlan, WorkTask
from ..records import find_failure, is_done, read_record, write_run
from .estimate import RunPrices, find_kind, split_chunks
from .probe import RunCost
from .workers import LOG, WAIT_SECONDS, Event, Workers

# Seconds between two checks of the runs of other processes.
LOOK_SECONDS = 1.0
# How often a worker that was killed, say for lack of memory, is replaced until its run has failed.
MOST_CRASHES = 1


class Probes:
    """The results of probes: hashes by data section, reasons for missing data, costs by kind."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, str]] = {}
        self.missing: dict[str, str] = {}
        self.costs: dict[str, tuple[WorkTask, RunCost]] = {}

    def note(self, event: Event, tasks: Mapping[str, WorkTask]) -> None:
        """Note an event of a probe; raise UserError for one that could not start."""
        task = tasks[event.job["slug"]]
        if event.name == "data":
            self.data[task.data] = event.values["data"]
        elif event.name == "missing":
            self.missing[task.data] = event.values["reason"]
        elif event.name == "cost":
            self.costs[find_kind(task)] = task, RunCost(**event.values["cost"])
        elif event.name == "refused":
            raise UserError(event.values["reason"])
        elif event.name == "ended" and task.data not in {**self.data, **self.missing}:
            raise UserError(
                f"the probe of {task.case.label} ended with the exit code "
                f"{event.values['code']}. See {LOG} in its folder."
            )


def run_probes(
    workers: Workers, jobs: Sequence[Mapping[str, Any]], tasks: Sequence[WorkTask]
) -> Probes:
    """Do the probes in `jobs`; raise UserError if one cannot start, Stopped after a signal."""
    by_slug, probes, waiting = {task.slug: task for task in tasks}, Probes(), deque(jobs)
    with call_at_end(workers.kill):
        try:
            while waiting or workers.is_busy:
                while waiting and workers.has_room:
                    workers.start({**waiting.popleft(), "started": time.monotonic()})
                if event := workers.wait(WAIT_SECONDS):
                    probes.note(event, by_slug)
        except BaseException:
            workers.kill()
            raise
    return probes


class Schedule:
    """The jobs of a plan; `make_job` returns the job of a worker for some seeds of a task.

    `finish` is called with each task whose runs have all ended. `failed` has the
    reasons by slug and seed.
    """

    def __init__(
        self,
        out: Path,
        plan: WorkPlan,
        prices: RunPrices,
        make_job: Callable[[WorkTask, Sequence[int]], Mapping[str, Any]],
        finish: Callable[[WorkTask], None],
    ) -> None:
        self._out, self._prices = out, prices
        self._make_job, self._finish = make_job, finish
        self._tasks = {task.slug: task for task in plan.tasks}
        self._left = {slug: set(seeds) for slug, seeds in plan.todo.items() if seeds}
        self._held: set[tuple[str, int]] = set()
        self._crashes: dict[tuple[str, int], int] = {}
        self._waiting: deque[tuple[WorkTask, list[int]]] = deque()
        self.failed: dict[tuple[str, int], str] = {}
        self._progress = Progress(
            TextColumn("{task.fields[runs]} runs left"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Terminal(),
        )
        self._bar, self._total = TaskID(0), 0.0

    def run(self, workers: Workers, slots: int) -> None:
        """Run all jobs; at most `slots` workers run at the same time.

        Raises Stopped after a signal, when the workers have saved and ended, and UserError if a
        worker refuses its job.
        """
        self._split(slots)
        self._total = self._weigh_left()
        self._bar = self._progress.add_task("", total=self._total, runs=self._count())
        with saving("the workers save their runs and end"), call_at_end(workers.kill):
            with self._progress:
                try:
                    self._work(workers)
                finally:
                    workers.stop()
            interruptible(lambda: None)  # Raises Stopped after a signal.

    def _work(self, workers: Workers) -> None:
        looked = time.monotonic()
        while self._left and not is_stopping():
            self._start(workers)
            if event := workers.wait(WAIT_SECONDS):
                self._note(event)
            if self._held and time.monotonic() - looked > LOOK_SECONDS:
                self._look()
                looked = time.monotonic()

    def _split(self, slots: int) -> None:
        found: list[tuple[WorkTask, list[int]]] = []
        for task in self._tasks.values():
            if seeds := sorted(self._left.get(task.slug, ())):
                chunks = split_chunks(task, seeds, self._prices, slots)
                found += [(task, chunk) for chunk in chunks]

        def estimate(job: tuple[WorkTask, list[int]]) -> float:
            task, chunk = job
            return len(chunk) * self._prices.runs.get(task.slug, 0.0)

        # The longest first: at the end no worker is left alone with a long job.
        self._waiting = deque(sorted(found, key=estimate, reverse=True))

    def _start(self, workers: Workers) -> None:
        """Start workers in the free slots, for runs that no other process has or trains."""
        while workers.has_room and self._waiting:
            task, seeds = self._waiting.popleft()
            record, mine = read_record(self._out, task.slug), []
            for seed in seeds:
                if self._is_recorded(task, record, seed):
                    self._end(task, seed)
                elif is_locked(self._out, f"{task.slug}-{seed}"):
                    self._held.add((task.slug, seed))
                else:
                    mine.append(seed)
            if mine:
                workers.start(self._make_job(task, mine))

    def _is_recorded(self, task: WorkTask, record: Mapping[str, Any] | None, seed: int) -> bool:
        return is_done(record, seed, task.measures) if task.seeds else record is not None

    def _note(self, event: Event) -> None:
        task, seed = self._tasks[event.job["slug"]], event.values.get("seed", 0)
        if event.name == "done":
            self._end(task, seed)
        elif event.name == "failed":
            self._fail(task, seed, event.values["reason"])
        elif event.name == "held":
            self._held.add((task.slug, seed))
        elif event.name == "refused":
            raise UserError(event.values["reason"])
        elif event.name == "ended" and not is_stopping():
            self._recover(event.job, task, event.values["code"])

    def _recover(self, job: Mapping[str, Any], task: WorkTask, code: int) -> None:
        """Give the unfinished runs of a worker that was killed to another one, or let one fail."""
        left = [
            seed
            for seed in job["seeds"]
            if seed in self._left.get(task.slug, ()) and (task.slug, seed) not in self._held
        ]
        if not left:
            return
        run = task.slug, left[0]
        self._crashes[run] = self._crashes.get(run, 0) + 1
        if self._crashes[run] > MOST_CRASHES:
            name = signal.Signals(-code).name if code < 0 else f"the exit code {code}"
            reason = f"its process ended with {name} {MOST_CRASHES + 1} times"
            if task.seeds:
                write_run(self._out, *self._make_failure(task), left.pop(0), {"failed": reason})
            self._fail(task, run[1], reason)
        if left:
            self._waiting.appendleft((task, left))

    def _make_failure(self, task: WorkTask) -> tuple[str, dict[str, Any]]:
        job = self._make_job(task, ())
        keys = ("label", "config", "overrides", "command")
        return task.slug, {key: job[key] for key in keys}

    def _look(self) -> None:
        """Check the runs of other processes: end what they finished, train what they left."""
        for slug, seed in sorted(self._held):
            task = self._tasks[slug]
            # Checked before the record, which is written while the lock is held.
            is_free = not is_locked(self._out, f"{slug}-{seed}")
            record = read_record(self._out, slug)
            if self._is_recorded(task, record, seed):
                self._held.remove((slug, seed))
                self._end(task, seed)
            elif is_free:
                self._held.remove((slug, seed))
                if reason := find_failure(record, seed):
                    self._fail(task, seed, reason)
                else:
                    self._waiting.append((task, [seed]))

    def _fail(self, task: WorkTask, seed: int, reason: str) -> None:
        self.failed[task.slug, seed] = reason
        text = f"{task.case.label}, seed {seed} failed: {reason}"
        self._progress.console.print(show_text(text), soft_wrap=True)
        self._end(task, seed)

    def _end(self, task: WorkTask, seed: int) -> None:
        left = self._left.get(task.slug, set())
        if seed not in left:
            return
        left.remove(seed)
        if not left:
            del self._left[task.slug]
            self._print(task)
            self._finish(task)
        completed = self._total - self._weigh_left()
        self._progress.update(self._bar, completed=completed, runs=self._count())

    def _print(self, task: WorkTask) -> None:
        runs = (read_record(self._out, task.slug) or {}).get("runs", {})
        found = [runs.get(str(seed), {}).get("accuracy") for seed in task.seeds]
        if not found or None in found:
            return
        mean = sum(found) / len(found)
        number = f"{len(found)} run{'s' * (len(found) > 1)}"
        line = f"{task.case.label}: {number}, mean accuracy {mean:.2%}"
        self._progress.console.print(show_text(line), soft_wrap=True)

    def _count(self) -> int:
        return sum(map(len, self._left.values()))

    def _weigh_left(self) -> float:
        return sum(self._weigh(slug) * len(seeds) for slug, seeds in self._left.items())

    def _weigh(self, slug: str) -> float:
        return self._prices.runs.get(slug) or 1.0
