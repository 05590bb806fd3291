"""The cost of records and checkpoints, relative to the steps: python -m benchmarks.records_cost

Each round times some epochs of steps twice, in turns and from the same state: the steps alone, and
the steps with the work of train.loop. This work reads the metrics of each step one step late,
writes every 50th to metrics.jsonl and TensorBoard, and at the end of an epoch writes its line and
its last and best checkpoints, waiting for the last one to be on disk. Neither has tests. Prints one
JSON object: for each config the seconds of a step alone, the time added in per cent (wall clock and
processor time), the load of the machine, and the environment. Fashion-MNIST's images are synthetic,
a quarter of the real number.

On a machine that is busy with other work, trust the processor time rather than the wall clock: it
is the time of this process alone, including background threads.
"""

import json
import os
import statistics
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import digits, fashion_mnist
from train.data import load
from train.monitor.nonfinite import Watch
from train.program.program import Program, make_program
from train.records.loggers import open_journal
from train.run.checkpoint import Checkpoints, Progress
from train.run.environment import describe_environment

# name: (config, size of its synthetic data, epochs, rounds)
CASES: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "digits": (digits.get_config, {}, 30, 7),
    "fashion_mnist": (fashion_mnist.get_config, {"shape": (28, 28, 1), "num_train": 15000}, 2, 5),
}


def read_clocks() -> np.ndarray:
    """Return the seconds of the wall clock and of this process's processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def time_steps(program: Program, step: Any, epochs: int) -> np.ndarray:
    """Return the seconds of the steps of some epochs; everything must have been compiled."""
    state, batches = copy_first_state(program), program.batches(0)
    start = read_clocks()
    for _ in range(epochs * program.steps_per_epoch):
        state, _ = step(state, next(batches))
    jax.block_until_ready(state)
    return read_clocks() - start


def time_records(
    program: Program, step: Any, epochs: int, config: Any, workdir: Path
) -> np.ndarray:
    """Return the seconds of the same steps with records and checkpoints."""
    state, batches = copy_first_state(program), program.batches(0)
    watch = Watch(lambda state, step: f"step {step}", skip=0, skipped=0, note=print)
    checkpoints = Checkpoints(workdir, **config.checkpoints)
    with closing(open_journal(config, workdir, 0)) as journal:
        start = read_clocks()
        with closing(checkpoints):
            for epoch in range(1, epochs + 1):
                first = int(state.step) + 1
                for number in range(first, first + program.steps_per_epoch):
                    state, metrics = step(state, next(batches))
                    journal.log_step(epoch, watch.look(state, number, metrics))
                watch.settle(state)
                totals = jax.device_get(state.totals)
                record = {name: float(total) for name, total in totals.items()}
                journal.log_epoch({"step": number, "epoch": epoch, "test_loss": 0.0, **record})
                progress, hold = Progress(best_epoch=epoch), not checkpoints.is_time()
                checkpoints.save_epoch(state, progress, epoch, hold=hold)
        return read_clocks() - start


def copy_first_state(program: Program) -> Any:
    """Return a copy of the first state, since the step donates its argument."""
    return jax.block_until_ready(jax.tree.map(jnp.copy, program.first_state()))


def main() -> None:
    """Measure all cases and print the results."""
    found = {}
    for name, (get_config, synthetic, epochs, rounds) in CASES.items():
        config = get_config()
        dataset = load("synthetic", **synthetic) if synthetic else load(**config.data)
        program = make_program(config, dataset)
        step = program.compile_step()
        time_steps(program, step, 1)  # The first call is slower.
        bare, added = [], []
        for _ in range(rounds):
            with TemporaryDirectory() as folder:
                bare.append(time_steps(program, step, epochs))
                whole = time_records(program, step, epochs, config, Path(folder))
                added.append(whole / bare[-1] - 1)
        clock, processor = (100 * np.stack(added)).round(2).T.tolist()
        found[name] = {
            "epochs_a_round": epochs,
            "steps_an_epoch": program.steps_per_epoch,
            "rounds": rounds,
            "seconds_of_a_step_alone": round(
                statistics.median(each[0] for each in bare) / (epochs * program.steps_per_epoch), 5
            ),
            "added_percent": statistics.median(clock),
            "added_percent_of_each_round": clock,
            "added_percent_of_processor_time": statistics.median(processor),
            "added_percent_of_processor_time_of_each_round": processor,
            "load_of_the_machine": round(os.getloadavg()[1], 1),
        }
    print(json.dumps({"environment": describe_environment(), "cases": found}, indent=1))


if __name__ == "__main__":
    main()
