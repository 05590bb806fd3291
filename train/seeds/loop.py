"""Train several seeds of one config, one ordinary run after the other.

Work that does not depend on the seed is done once: loading the data, tracing and compiling the
network. For a small network this work takes longer than training one seed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..extension import resolve_extensions
from ..loading import load_program
from ..loop import train_with
from ..program.program import Program
from ..run.compile_cache import use_compile_cache
from ..run.saved import find_newest_step
from ..run.summary import Summary
from ..session import check_parts
from .folder import copy_with_seed, name_folder, read_finished


class SeedsFailed(UserError):
    """Some seeds failed, the others were trained; `errors` has the errors by seed."""

    def __init__(self, errors: Mapping[int, UserError]) -> None:
        super().__init__("\n".join(f"seed {seed}: {error}" for seed, error in errors.items()))
        self.errors = dict(errors)


@use_compile_cache()
def train_seeds(
    config: ConfigDict,
    seeds: Sequence[int],
    workdir: Path,
    stop: Callable[[], bool] = lambda: False,
    *,
    draw: bool = True,
    report: Callable[[int, Summary], None] = lambda seed, summary: None,
) -> list[Summary] | None:
    """Train one network for each seed, in order; return None if `stop()` became true.

    Each seed is an ordinary run in `workdir/seed_SEED`, with the same bits as from `train`. An
    unfinished run resumes, a finished one is only read. Without `draw` the runs have no figures.
    `report` is called with each seed and its summary, as soon as they are known.

    Raises UserError as `train` does. A seed that fails does not end the others: its error is raised
    at the end, in a SeedsFailed.
    """
    check_parts(config)
    configs = {
        seed: resolve_extensions(copy_with_seed(config, seed), name_folder(workdir, seed))
        for seed in seeds
    }
    found = {
        seed: summary
        for seed, own in configs.items()
        if (summary := read_finished(own.to_dict(), name_folder(workdir, seed), draw=draw))
        is not None
    }
    newest = {
        seed: find_newest_step(name_folder(workdir, seed)) for seed in seeds if seed not in found
    }
    programs = _Programs(fresh=None in newest.values())
    failed: dict[int, UserError] = {}
    for seed, own in configs.items():
        if seed in newest:
            started, folder, label = time.monotonic(), name_folder(workdir, seed), f"seed {seed}: "
            if stop():
                return None
            program = programs.select(own, fresh=newest[seed] is None)
            try:
                summary = train_with(
                    program, own, folder, stop, started=started, label=label, draw=draw
                )
            except UserError as error:
                failed[seed] = error
                continue
            if summary is None:
                return None
            found[seed] = summary
        report(seed, found[seed])
    if failed:
        raise SeedsFailed(failed)
    return [found[seed] for seed in seeds]


class _Programs:
    """The functions of runs that differ in their seed, made for the first one.

    With `fresh`, some of the runs have not begun, and start from the variables of
    `config.pretrained`.
    """

    def __init__(self, *, fresh: bool) -> None:
        self._fresh = fresh
        self._made: tuple[dict[str, Any], Program] | None = None

    def select(self, config: ConfigDict, *, fresh: bool) -> Program:
        """Return the functions of a run, which is `fresh` or resumes."""
        # Seeds that were extended differently have other learning rates, and so another program.
        shared = config.to_dict() | {"seed": 0}
        if self._made is None or self._made[0] != shared:
            self._made = shared, load_program(config, None, fresh=self._fresh)
        program = self._made[1].with_seed(config.seed)
        return program if fresh else program._replace(pretrained="")
