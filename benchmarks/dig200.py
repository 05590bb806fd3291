"""Neurons on 200 digits, paired by seed: python -m benchmarks.dig200 [--seeds N] [--rows A,B]

Runs with the same seed have the same initial kernels, order of samples and augmentation draws, so
that two neurons are compared within each seed. The runs are bit-identical to runs of train.main on
one device, but a row compiles once for all seeds and is tested once, at the end. Writes
benchmarks/dig200.json after each run and skips the runs that the file has. Prints for each row the
accuracy on all test images after the last epoch, the spikes of a neuron, and the differences to
the first row, with Student's 95 % intervals (not corrected for the number of rows).
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

from pit_jax.analysis.rates import interval
from pit_jax.arguments import path
from pit_jax.tuning import compiler_options
from train import data
from train.config import cli
from train.data import Dataset
from train.data.feeding import resident
from train.data.feeding.order import SequentialOrder, epoch_order
from train.files import write_atomically
from train.program.evaluation import compute_means, make_whole_sums
from train.program.pure import make_pure_program
from train.program.state import TrainState
from train.run.environment import describe_environment
from train.terminal import Terminal

CONFIG = "configs/digits.py"
# The 1,597 other digits are the test images.
COMMON = {"data.train_images": 200, "model.width": 16, "epochs": 60, "batch_size": 50}
ABOUT = {
    "accuracy": "the share of all test images after the last epoch",
    "spikes": "a neuron's integers, summed over the steps; mean of all neurons and test images",
    "intervals": "Student's, 95 %, of the mean over the seeds; not corrected for many rows",
    "differences": "seed by seed to the row `against`",
}


class Row(NamedTuple):
    """A variant of configs/digits.py with changed `keys`, compared with the row `against`."""

    variant: str
    keys: Mapping[str, Any] = {}
    against: str = ""


FIRST = "I-LIF 1x4"
ROWS = {
    FIRST: Row("ilif"),
    "I-LIF 1x4 gain 4/3": Row("ilif", {"model.norm.gain": 4 / 3}, FIRST),
    "LIF 4x1": Row("lif", {}, FIRST),
    "PIT paper 1x4": Row("paper", {}, FIRST),
    "PIT released 1x4": Row("released", {}, FIRST),
    "PIT ours 1x4": Row("ours", {}, FIRST),
}


class Trainer:
    """The functions of a row, compiled once for all of its seeds."""

    def __init__(self, config: ConfigDict, dataset: Dataset) -> None:
        self.config, self.size = config, len(dataset.train)
        self.steps = self.size // config.batch_size
        self.samples, self.tests = jax.device_put((dataset.train.arrays, dataset.test.arrays))
        order = SequentialOrder(len(dataset.test), config.batch_size)
        self.test_order = jax.device_put((order.index, order.weight))
        pure = make_pure_program(config, dataset)

        # Samples and seeds are arguments; as constants, each seed would compile a new program.
        def begin(key: jax.Array, samples: Any, order: Any) -> TrainState:
            return pure.begin(key, resident.take(samples, order[0]), {})[0]

        def step(state: TrainState, samples: Any, order: Any) -> TrainState:
            return pure.train(state, resident.take(samples, order[state.step % self.steps]))[0]

        # The compiler's options of a run: others round in another order.
        once, train, evaluate = map(compiler_options, ("once", "train", "evaluate"))
        self.begin = jax.jit(begin, compiler_options=once)
        self.step = jax.jit(step, donate_argnums=0, compiler_options=train)
        sums = make_whole_sums(pure.test, resident.take)
        self.test = jax.jit(sums, compiler_options=evaluate)

    def start(self, seed: int) -> TrainState:
        """Return the state of a run before its first step."""
        return self.begin(jax.random.key(seed), self.samples, self.order(seed, 0))

    def train(self, seed: int) -> TrainState:
        """Return the state of a run after its last step."""
        state = self.start(seed)
        for epoch in range(self.config.epochs):
            order = self.order(seed, epoch)
            for _ in range(self.steps):
                state = self.step(state, self.samples, order)
        return state

    def order(self, seed: int, epoch: int) -> jax.Array:
        """Return the indices of the samples of each step of an epoch."""
        return jax.device_put(epoch_order(seed, epoch, self.size, self.config.batch_size))

    def measure(self, state: TrainState) -> dict[str, float]:
        """Return the accuracy on the test images and the spikes of a neuron (see `ABOUT`).

        Raises FloatingPointError if the loss or a gradient of a step was not finite.
        """
        if int(state.skipped):
            raise FloatingPointError(f"the loss or a gradient of step {state.bad} is not finite.")
        totals = jax.device_get(self.test(state, self.tests, self.test_order))
        means = compute_means(totals, len(self.tests["label"]))
        return {"accuracy": means.accuracy, "spikes": means.spikes}


def make_flags(row: Row, keys: Mapping[str, Any]) -> list[str]:
    """Return the options of train.main for a row; `keys` are changes that all rows share."""
    page = f"{CONFIG}:{row.variant}"
    flags = [f"--config.{key}={value}" for key, value in {**keys, **row.keys}.items()]
    return ["--config", page, *flags]


def run_row(found: dict[str, Any], flags: list[str], seeds: Sequence[int], save: Any) -> None:
    """Run the missing seeds of a row, add them to `found`, and save after each."""
    config, _ = cli.parse(["dig200", *flags])
    shown = json.loads(config.to_json_best_effort())
    if found.setdefault("config", shown) != shown:
        raise SystemExit("the file has runs of a different config; choose another --out.")
    found["command"] = f"python -m train.main {' '.join(flags)} --config.seed=SEED"
    runs = found.setdefault("runs", {})
    missing = [seed for seed in seeds if str(seed) not in runs]
    if not missing:
        return
    found["environment"] = describe_environment()
    trainer = Trainer(config, data.load(**config.data))
    for seed in missing:
        start = time.monotonic()
        runs[str(seed)] = trainer.measure(trainer.train(seed))
        runs[str(seed)]["seconds"] = round(time.monotonic() - start, 1)
        save()


def estimate(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of some values, its interval and their number."""
    ends = interval(np.asarray(values)[:, None]) if len(values) > 1 else ()
    return {
        "mean": float(np.mean(values)),
        "interval": [float(end[0]) for end in ends],
        "seeds": len(values),
    }


def summarize(found: Mapping[str, Any], rows: Mapping[str, Row]) -> dict[str, Any]:
    """Return the means of each row that has runs, and its differences to the row `against`."""
    summary = {}
    for name in (name for name in rows if name in found):
        runs, against = found[name]["runs"], rows[name].against
        measures = ("accuracy", "spikes")
        summary[name] = {key: estimate([run[key] for run in runs.values()]) for key in measures}
        others = found.get(against, {}).get("runs", {})
        if shared := [seed for seed in runs if seed in others]:
            summary[name]["against"] = against
            for key in measures:
                pairs = [runs[seed][key] - others[seed][key] for seed in shared]
                summary[name][f"{key} difference"] = estimate(pairs)
    return summary


def format_estimate(estimate: Mapping[str, Any] | None, factor: float, sign: str = "") -> str:
    """Return an estimate times `factor` as `mean [low, high]`."""
    if estimate is None:
        return ""
    numbers = [estimate["mean"], *estimate["interval"]]
    # Adding 0 turns -0 into 0.
    mean, *ends = (f"{round(factor * number, 2) + 0:{sign}.2f}" for number in numbers)
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the table of the rows."""
    table = Table("row", "seeds", "accuracy, %", "spikes", "against", "accuracy", "spikes")
    for name, row in summary.items():
        table.add_row(
            name,
            str(row["accuracy"]["seeds"]),
            format_estimate(row["accuracy"], 100),
            format_estimate(row["spikes"], 1),
            row.get("against", ""),
            format_estimate(row.get("accuracy difference"), 100, "+"),
            format_estimate(row.get("spikes difference"), 1, "+"),
        )
    Terminal(width=None if sys.stdout.isatty() else 160).print(table)


def run_rows(argv: Sequence[str], rows: Mapping[str, Row], seeds: int, out: Path) -> None:
    """Run the command of a benchmark: `rows` with `seeds` seeds; its results go to `out`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=seeds, help="number of seeds, from 0")
    parser.add_argument("--rows", default="", help="comma-separated names; all by default")
    parser.add_argument("--epochs", type=int, default=COMMON["epochs"])
    parser.add_argument("--out", type=path, default=out)
    args = parser.parse_args(argv[1:])
    names = args.rows.split(",") if args.rows else list(rows)
    if unknown := [name for name in names if name not in rows]:
        parser.error(f"there is no row {unknown[0]!r}; choose from {', '.join(rows)}")
    found = json.loads(args.out.read_text()) if args.out.exists() else {"rows": {}}

    def save() -> None:
        found.update(about=ABOUT, summary=summarize(found["rows"], rows))
        write_atomically(args.out, json.dumps(found, indent=1) + "\n")

    for name in names:
        print(f"{time.strftime('%X')} {name}", flush=True)
        flags = make_flags(rows[name], COMMON | {"epochs": args.epochs})
        run_row(found["rows"].setdefault(name, {}), flags, range(args.seeds), save)
    save()
    print_summary(found["summary"])


if __name__ == "__main__":
    run_rows(sys.argv, ROWS, 20, Path(__file__).with_suffix(".json"))
