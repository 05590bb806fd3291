"""What records and checkpoints cost, of the time of the steps: python -m benchmarks.records_cost

Each round times some epochs of steps twice, in turns and from the same state: alone, and with all
that train.loop does beside them: the metrics of each step read one step late, a line of
metrics.jsonl and a point in TensorBoard for one of 50, and at the end of an epoch its line and its
checkpoints, the last and the best, with the wait for the last of them to be on disk. Neither has
tests. Prints one JSON object: for each config the seconds of a step alone, what the rest adds in
per cent, of the clock and of the time that the processor works, the load of the machine, and the
environment. Fashion-MNIST's images are made up, a quarter of them.

On a machine that is busy with other work the clock tells little, and the processor's time more: it
is that of this process alone, and has all that is done in the background too.
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

# name: (config, the size of its data where they are made up, epochs, rounds)
CASES: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "digits": (digits.get_config, {}, 30, 7),
    "fashion_mnist": (fashion_mnist.get_config, {"shape": (28, 28, 1), "num_train": 15000}, 2, 5),
}


def now() -> np.ndarray:
    """Seconds of the clock, and of the processor's time that this process took."""
    return np.array([time.perf_counter(), time.process_time()])


def alone(program: Program, step: Any, epochs: int) -> np.ndarray:
    """Seconds of the steps of some epochs, after everything is compiled."""
    state, batches = fresh(program), program.batches(0)
    start = now()
    for _ in range(epochs * program.steps_per_epoch):
        state, _ = step(state, next(batches))
    jax.block_until_ready(state)
    return now() - start


def recorded(program: Program, step: Any, epochs: int, config: Any, workdir: Path) -> np.ndarray:
    """Seconds of the same steps, on record and in checkpoints."""
    state, batches = fresh(program), program.batches(0)
    watch = Watch(lambda state, step: f"step {step}", skip=0, skipped=0, note=print)
    checkpoints = Checkpoints(workdir, **config.checkpoints)
    with closing(open_journal(config, workdir, 0)) as journal:
        start = now()
        with closing(checkpoints):
            for epoch in range(1, epochs + 1):
                first = int(state.step) + 1
                for number in range(first, first + program.steps_per_epoch):
                    state, metrics = step(state, next(batches))
                    journal.step(epoch, watch.look(state, number, metrics))
                watch.settle(state)
                totals = jax.device_get(state.totals)
                record = {name: float(total) for name, total in totals.items()}
                journal.epoch({"step": number, "epoch": epoch, "test_loss": 0.0, **record})
                progress, hold = Progress(best_epoch=epoch), not checkpoints.is_time()
                checkpoints.save_epoch(state, progress, epoch, hold=hold)
        return now() - start


def fresh(program: Program) -> Any:
    return jax.block_until_ready(jax.tree.map(jnp.copy, program.first_state()))


def main() -> None:
    found = {}
    for name, (get_config, made_up, epochs, rounds) in CASES.items():
        config = get_config()
        dataset = load("synthetic", **made_up) if made_up else load(**config.data)
        program = make_program(config, dataset)
        step = program.compile_step()
        alone(program, step, 1)  # The first one is slower.
        bare, added = [], []
        for _ in range(rounds):
            with TemporaryDirectory() as folder:
                bare.append(alone(program, step, epochs))
                added.append(recorded(program, step, epochs, config, Path(folder)) / bare[-1] - 1)
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
