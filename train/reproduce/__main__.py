"""Reproduce tables and figures of the paper: python -m train.reproduce table8 --scale laptop"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pit_jax.display import print_text, show_name
from pit_jax.signals import run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from .folder import check_folder, explain_disk_errors, publish
from .jobs.start import train_missing
from .plan import WorkTask, make_plan
from .records import read_records
from .verdicts import judge

if TYPE_CHECKING:
    from configs.scales import Experiment

UNDER = Path("runs/reproduce")


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("reproduce", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Train what is missing and write the pages; return 1 if a run failed, else 0.

    Runs whose data are missing are skipped and do not count as failed. Raises UserError for a
    mistake of the user, and Stopped after a signal.
    """
    out = (args.out or UNDER / args.scale).absolute()
    with explain_disk_errors(out):
        return reproduce(args, out)


def reproduce(args: argparse.Namespace, out: Path) -> int:
    """Train what is missing and write the pages; raise OSError if `out` cannot be written."""
    plan = make_plan(args.names, args.scale, out, args.seeds, args.rows)
    check_folder(out, [experiment.name for experiment in plan.experiments], args.scale)
    out.mkdir(parents=True, exist_ok=True)
    left = {
        experiment.name: {
            task.slug
            for task in plan.tasks
            if experiment.name in task.tables and plan.todo[task.slug]
        }
        for experiment in plan.experiments
    }

    def finish(task: WorkTask) -> None:
        """Write the pages of the experiments for which `task` was the last one."""
        for experiment in plan.experiments:
            slugs = left[experiment.name]
            if task.slug in slugs:
                slugs.remove(task.slug)
                if not slugs:
                    try:
                        publish(experiment, out, args.scale, args.seeds)
                    except UserError as error:  # Raised again at the end: the runs continue.
                        print_text(f"note: {error}", sys.stderr)

    failed: Mapping[Any, str] = {}
    if any(left.values()):
        data_dir = Path(args.data or "data").absolute()
        failed = train_missing(
            plan, out, scale=args.scale, data_dir=data_dir, wanted=args.workers, finish=finish
        )
    for experiment in plan.experiments:
        publish(experiment, out, args.scale, args.seeds)
        print_outcome(experiment, out, args.seeds)
    if failed:
        print_text(f"{len(failed)} runs failed; repeat the command to try them again.", sys.stderr)
    return 1 if failed else 0


def print_outcome(experiment: "Experiment", out: Path, seeds: int | None) -> None:
    """Print where the page of an experiment is, and how many of its claims hold."""
    verdicts = judge(experiment, read_records(experiment, out), seeds)
    counts = Counter(verdict.outcome for verdict in verdicts)
    found = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print_text(f"{show_name(out / experiment.name)}.md" + (f": claims: {found}" if found else ""))


if __name__ == "__main__":
    run_as_program(main, sys.argv)
