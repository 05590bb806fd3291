"""Compile time and step time of every neuron, without a loop over time and with it.

Each neuron runs forward and backward in one program, compiled with the options of training, and
`unroll` is the number of steps or 1.
Compile time is in CPU seconds, which a loaded machine changes less than the clock; the steps of all
programs take turns, and their medians are reported.

    python -m benchmarks.neuron_compile --json benchmarks/neuron_compile.json
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pit_jax.neurons import NEURONS
from pit_jax.tuning import compiler_options
from train.run.environment import describe_environment

LOOPED = [name for name in NEURONS if name not in ("ReLU", "QAT")]
STEPS = (1, 4, 10, 50)
# Beyond this straight code only grows: its work is the square of the number of steps.
MOST_STRAIGHT = 10


def compile_neuron(name: str, unroll: int, shape: tuple[int, ...]) -> tuple[Callable, Any, dict]:
    """Return a compiled forward and backward pass, its arguments and its record."""
    neuron = NEURONS[name](unroll=unroll)
    x = jax.device_put(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    variables = jax.jit(neuron.init)(jax.random.key(1), x)

    def train(variables: Any, x: jax.Array, g: jax.Array) -> Any:
        out, pull = jax.vjp(neuron.apply, variables, x)
        return out, pull(g)

    options = compiler_options("train")
    lowered = jax.jit(train, compiler_options=options).lower(variables, x, x)
    started = time.process_time()
    compiled = lowered.compile()
    record = {
        "neuron": name,
        "steps": shape[1],
        "unroll": unroll,
        "compile_cpu_s": round(time.process_time() - started, 3),
        "temporaries_MiB": round(compiled.memory_analysis().temp_size_in_bytes / 2**20, 2),
    }
    return compiled, (variables, x, x), record


def measure(name: str, steps: int, size: int, rounds: int) -> list[dict]:
    """Return the records of one neuron for one number of steps."""
    shape = (size, steps, 8, 8, 64)
    unrolls = [1] if steps > MOST_STRAIGHT or steps == 1 else [1, steps]
    programs = [compile_neuron(name, unroll, shape) for unroll in unrolls]
    times: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds + 1):
        for (run, arguments, _), own in zip(programs, times, strict=True):
            started = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            own.append(time.perf_counter() - started)
    return [
        # The first round warms up.
        record | {"step_ms": round(1e3 * statistics.median(own[1:]), 3)}
        for (_, _, record), own in zip(programs, times, strict=True)
    ]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the records")
    parser.add_argument("--size", type=int, default=16, help="the batch of 8 x 8 x 64 neurons")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--neurons", nargs="*", default=LOOPED)
    parser.add_argument("--steps", nargs="*", type=int, default=STEPS)
    arguments = parser.parse_args()
    # A warm cache would answer instead of the compiler.
    jax.config.update("jax_enable_compilation_cache", False)
    head = {"environment": describe_environment(), "load": os.getloadavg()[0]}
    records = []
    for name in arguments.neurons:
        for steps in arguments.steps:
            for record in measure(name, steps, arguments.size, arguments.rounds):
                print(json.dumps(record), flush=True)
                records.append(record)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(f"  {json.dumps(record)}" for record in records)
        arguments.json.write_text(json.dumps(head)[:-1] + f', "records": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
