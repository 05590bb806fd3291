"""A short measured probe of a run: its data, the time of a step and an evaluation, its memory."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from ... import data
from ...config.limits import count_epochs
from ...data.dataset import Dataset
from ...files import hash_content
from ...program.program import make_program
from ...run.compile_cache import use_compile_cache
from ...run.subset import INPUT

try:
    import resource
except ImportError:  # Windows.
    resource = None  # type: ignore[assignment]

# A measurement ends after this many steps or seconds.
STEPS, SECONDS = 20, 4.0


class RunCost(NamedTuple):
    """The cost of a run: seconds of a step, an evaluation and the start; bytes of memory.

    `steps` and `evaluations` are their numbers in the whole run.
    """

    step: float
    evaluation: float
    start: float
    memory: int
    steps: int
    evaluations: int
    device: str

    @property
    def run(self) -> float:
        """The seconds of a run without its start."""
        return self.step * self.steps + self.evaluation * self.evaluations


def hash_data(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of the data and a hash of their description, as in data.json of a run."""
    # The last digits in "input" depend on the processor.
    kept = {key: value for key, value in described.items() if key != INPUT}
    return {
        "name": str(described["name"]),
        "sha256": hash_content(json.dumps(kept, sort_keys=True)),
    }


def load_data(config: ConfigDict) -> Dataset:
    """Return the data of a run; raise UserError if they are missing, saying how to get them."""
    dataset: Dataset = data.load(**config.data)
    return dataset


@use_compile_cache()
def measure_cost(config: ConfigDict, dataset: Dataset, started: float) -> RunCost:
    """Return the cost of a run with `config`.

    `started` is the time of the monotonic clock, which the processes of a machine share, when this
    process began. Other clocks may be set in between.
    """
    program = make_program(config, dataset)
    state, step = program.first_state(), program.compile_step()
    batches = program.batches(0)
    state, _ = jax.block_until_ready(step(state, next(batches)))
    start = time.monotonic() - started
    begun, number = time.perf_counter(), 0
    while number < min(STEPS, program.steps_per_epoch * count_epochs(config) - 1):
        state, _ = jax.block_until_ready(step(state, next(batches)))
        number += 1
        if time.perf_counter() - begun > SECONDS:
            break
    of_step = (time.perf_counter() - begun) / max(number, 1)
    batches.close()
    of_evaluation = _time_evaluation(program, state)
    epochs = count_epochs(config)
    every = config.get("evaluate_every", 1)
    return RunCost(
        step=of_step,
        evaluation=of_evaluation,
        start=start,
        memory=find_peak_memory(),
        steps=program.steps_per_epoch * epochs,
        evaluations=-(-epochs // every) if every else 1,
        device=jax.devices()[0].device_kind,
    )


def _time_evaluation(program: Any, state: Any) -> float:
    begun = time.perf_counter()
    program.evaluate(state)
    first = time.perf_counter() - begun
    if first > SECONDS:  # Its compilation is short in comparison.
        return first
    program.evaluate(state)
    return time.perf_counter() - begun - first


def find_peak_memory() -> int:
    """Return the peak of this process in bytes, on the GPU or the host; 0 if it is unknown."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource else 0
    # In KiB, but on macOS in bytes.
    on_host = peak if sys.platform == "darwin" else peak * 1024
    return int(stats.get("peak_bytes_in_use", on_host))
