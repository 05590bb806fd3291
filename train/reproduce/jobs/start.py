"""Carry out a plan: copy the sources, probe, print the plan, and train."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pit_jax.display import print_text

from ...errors import UserError
from ..folder import check_data
from ..plan import WorkPlan, WorkTask
from ..sources import FOLDER, list_changes, take_sources
from .estimate import find_seconds, list_unknown, make_prices, print_plan
from .schedule import Probes, Schedule, run_probes
from .slots import count_cores, limit_slots, list_gpus, make_slots
from .workers import Workers


class JobMaker:
    """A maker of jobs for workers, which read data from `data_dir`.

    `data` has the hashes of the data by section, once the probes have found them.
    """

    def __init__(self, out: Path, data_dir: Path) -> None:
        self._out, self._data_dir = out, data_dir
        self.data: Mapping[str, Mapping[str, str]] = {}

    def make(self, task: WorkTask, seeds: Sequence[int]) -> dict[str, Any]:
        """Return the job that trains some seeds of a task, or counts its case."""
        counts = {"kind": "count", "name": task.tables[0], "case": task.case._asdict()}
        trains = {"kind": "train", "page": task.case.config}
        return {
            "out": str(self._out),
            "slug": task.slug,
            "label": task.case.label,
            "command": task.command,
            "config": task.config,
            "overrides": task.case.overrides,
            "data": self.data.get(task.data, {}) if task.config else {},
            "data_dir": str(self._data_dir),
            "seeds": list(seeds),
            "measures": task.measures,
            **(trains if task.seeds else counts),
        }

    def probe(self, task: WorkTask, *, timed: bool) -> dict[str, Any]:
        """Return the job that looks at the data of a task, and measures its cost if `timed`."""
        return {**self.make(task, ()), "kind": "probe", "timed": timed}


def train_missing(
    plan: WorkPlan,
    out: Path,
    *,
    scale: str,
    data_dir: Path,
    wanted: int | None,
    finish: Callable[[WorkTask], None],
) -> Mapping[tuple[str, int], str]:
    """Train and count what a plan has left; return why runs failed, by slug and seed.

    `wanted` is the number of runs that train at the same time; None: as many as the machine can.
    `finish` is called for each task when all of its runs have ended. Raises UserError if the data
    of all runs are missing, or differ from those of earlier runs, and Stopped after a signal.
    """
    sources = take_sources(out)
    if changes := list_changes(sources):
        print_text(
            f"note: the sources have changed since {out} was begun ({len(changes)} files, such as "
            f"{changes[0]}); its runs use the copy in {FOLDER}/. Choose another --out to use "
            "the new ones."
        )
    slots = make_slots(scale, list_gpus(), count_cores(), wanted)
    jobs = JobMaker(out, data_dir)
    left = [task for task in plan.tasks if plan.todo[task.slug] and task.seeds]
    known = find_seconds(out, plan.tasks)
    print_text("checking the data and timing a few steps ...")
    workers = Workers(out, slots, sources.folder)
    probes = run_probes(workers, _list_probes(left, known, jobs), left)
    check_data(out, probes.data)
    jobs.data = probes.data
    prices = make_prices(plan.tasks, known, probes.costs)
    if wanted is None and len(fitting := limit_slots(slots, prices.memory)) < len(slots):
        workers.limit(slots := fitting)
    print_plan(plan, prices, slots, probes.missing)
    schedule = Schedule(out, _skip_missing(plan, probes), prices, jobs.make, finish)
    schedule.run(workers, len(slots))
    return schedule.failed


def _list_probes(
    left: Sequence[WorkTask], known: Mapping[str, float], jobs: JobMaker
) -> list[dict[str, Any]]:
    """Return probes that time networks without a recorded run, and others that check the data."""
    timed = list_unknown(left, known)
    seen, others = {task.data for task in timed}, []
    for task in left:
        if task.data not in seen:
            seen.add(task.data)
            others.append(task)
    return [jobs.probe(task, timed=True) for task in timed] + [
        jobs.probe(task, timed=False) for task in others
    ]


def _skip_missing(plan: WorkPlan, probes: Probes) -> WorkPlan:
    """Return the plan without the runs whose data are missing, and print which and why.

    Raises UserError if no run is left.
    """
    skipped = [task for task in plan.tasks if task.seeds and task.data in probes.missing]
    for reason in dict.fromkeys(probes.missing.values()):
        rows = [task.case.label for task in skipped if probes.missing[task.data] == reason]
        print_text(f"skipped: {'; '.join(rows)}\n{reason}")
    slugs = {task.slug for task in skipped}
    todo = {slug: () if slug in slugs else seeds for slug, seeds in plan.todo.items()}
    if slugs and not any(todo.values()):
        raise UserError("the data of all remaining runs are missing; see above.")
    return plan._replace(todo=todo)
