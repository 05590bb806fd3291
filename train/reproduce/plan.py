"""The plan: which runs the tables need, and which of them several tables share.

Runs are identified by a hash of their config, without the seed and the paths in PLACES. So a run
that two tables need is trained once, and runs with different settings are never mixed.
"""

import difflib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.cli import parse
from ..config.pages import PACKAGE, import_shipped
from ..errors import UserError
from ..files import hash_content
from ..run.workdir import PLACES
from .records import is_done, read_record

if TYPE_CHECKING:
    from configs.scales import Case, Experiment

HASH_DIGITS = 10
ALL = "all"


class WorkTask(NamedTuple):
    """The runs of one config that the tables need, or one case that is counted.

    `config` has no seed and no paths; it is empty for a case that is counted, which has no
    seeds. `tables` are the experiments that need the task.
    """

    slug: str
    case: "Case"
    config: Mapping[str, Any]
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    tables: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that trains one of the runs alone, or that counts the case."""
        if not self.config:
            return shlex.join(
                f"python -m train.reproduce {self.tables[0]} --rows".split() + [self.case.label]
            )
        flags = [f"--config.{override}" for override in (*self.case.overrides, "seed=SEED")]
        return shlex.join(["python", "-m", "train.main", "--config", self.case.config, *flags])

    @property
    def data(self) -> str:
        """The data section as text: tasks with the same one read the same data."""
        return json.dumps(self.config["data"], sort_keys=True)


class WorkPlan(NamedTuple):
    """The experiments, all tasks that they need, and the seeds that are not done, by slug."""

    experiments: tuple["Experiment", ...]
    tasks: tuple[WorkTask, ...]
    todo: Mapping[str, tuple[int, ...]]


def load_experiment(name: str, scale: str) -> "Experiment":
    """Return an experiment of configs/scales; raise UserError with the reason if there is none."""
    with import_shipped():
        try:
            found: Experiment = import_module(f"{PACKAGE}.scales").load(name, scale)
        except ValueError as error:
            raise UserError(str(error)) from error
    return found


def list_names() -> tuple[str, ...]:
    """Return the names of all experiments."""
    with import_shipped():
        names: tuple[str, ...] = import_module(f"{PACKAGE}.scales").NAMES
    return names


def make_plan(
    names: Sequence[str], scale: str, out: Path, seeds: int | None, rows: Sequence[str]
) -> WorkPlan:
    """Return the plan for the experiments `names`; with `rows`, only cases of these labels train.

    `seeds` replaces the number of seeds of every case. Raises UserError for an unknown name or
    label.
    """
    found = dict.fromkeys((*list_names(), *names) if ALL in names else names)
    experiments = tuple(load_experiment(name, scale) for name in found if name != ALL)
    _check_rows(experiments, rows)
    tasks: dict[str, WorkTask] = {}
    for experiment in experiments:
        for case in experiment.cases:
            if is_run(case) and (not rows or case.label in rows):
                task = make_task(experiment.name, case, seeds)
                tasks[task.slug] = _join(tasks[task.slug], task) if task.slug in tasks else task
    return WorkPlan(experiments, tuple(tasks.values()), find_todo(tasks.values(), out))


def find_todo(tasks: Any, out: Path) -> dict[str, tuple[int, ...]]:
    """Return the seeds of each task whose runs are not done; of a counted case, seed 0."""
    found = {}
    for task in tasks:
        record = read_record(out, task.slug)
        if task.seeds:
            found[task.slug] = tuple(
                seed for seed in task.seeds if not is_done(record, seed, task.measures)
            )
        else:
            found[task.slug] = () if record else (0,)
    return found


def find_slugs(experiment: "Experiment") -> dict[str, str]:
    """Return the slug of each case that is trained or counted, by its label."""
    return {
        case.label: find_slug(experiment.name, case) for case in experiment.cases if is_run(case)
    }


def is_run(case: "Case") -> bool:
    """Return whether a case is trained or counted, and not only cited."""
    return bool(case.seeds if case.config else case.measures)


def find_slug(name: str, case: "Case") -> str:
    """Return the name of the run folder and the record of a case: readable, and with a hash."""
    if not case.config:
        return _make_slug(f"{name} {case.label}", [name, *case])
    config = resolve(case.config, case.overrides)
    levels = config["neuron"].get("levels", 1)
    return _make_slug(f"{case.config} {config['num_steps']}x{levels}", config)


@cache
def resolve(page: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return the config of a page with overrides, as JSON values, without seed and paths."""
    flags = [f"--config.{override}" for override in overrides]
    config, _ = parse(["reproduce", "--config", page, *flags])
    found: dict[str, Any] = json.loads(config.to_json_best_effort())
    del found["seed"]
    for key in PLACES:
        section, _, name = key.rpartition(".")
        found[section].pop(name, None)
    return found


def _make_slug(text: str, content: Any) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48]
    digest = hash_content(json.dumps(content, sort_keys=True))[:HASH_DIGITS]
    return f"{readable}-{digest}"


def make_task(name: str, case: "Case", seeds: int | None) -> WorkTask:
    """Return the task of a case of the experiment `name`; `seeds` replaces its number of seeds."""
    config = resolve(case.config, case.overrides) if case.config else {}
    numbers = tuple(range(seeds or case.seeds)) if config else ()
    measures = tuple(sorted(case.measures))
    return WorkTask(find_slug(name, case), case, config, numbers, measures, (name,))


def _join(one: WorkTask, other: WorkTask) -> WorkTask:
    """Return a task for the seeds and the measures of both."""
    return one._replace(
        seeds=max(one.seeds, other.seeds, key=len),
        measures=tuple(sorted({*one.measures, *other.measures})),
        tables=tuple(dict.fromkeys((*one.tables, *other.tables))),
    )


def _check_rows(experiments: Sequence["Experiment"], rows: Sequence[str]) -> None:
    labels = [case.label for experiment in experiments for case in experiment.cases]
    for row in rows:
        if row not in labels:
            near = difflib.get_close_matches(row, labels, n=3, cutoff=0.3) or labels[:3]
            raise UserError(
                f"there is no row {row!r}. Give labels such as {', '.join(map(repr, near))}."
            )
