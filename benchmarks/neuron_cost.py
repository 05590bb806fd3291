"""Compile time and step time of every neuron over time: python -m benchmarks.neuron_cost [--small]

One neuron layer, forward and backward, for T = 1, 4, 10 and 50 steps. Compile time is CPU time,
which another program on the machine changes less than the time of day. Writes
benchmarks/neuron_cost.json; `python -m docs._build.performance` makes a table from it.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

from pit_jax.neurons import NEURONS
from pit_jax.tuning import compiler_options
from train.run.environment import describe_environment

OUT = Path(__file__).with_suffix(".json")
STEPS = (1, 4, 10, 50)
# Batch, side of the images and channels: 2^17 neurons.
SHAPE, SMALL = (8, 16, 64), (2, 4, 4)
RUNS = 7


def main() -> None:
    """Measure all neurons; write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="two neurons, few of them")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    # A program from the cache would take no time to compile.
    jax.config.update("jax_enable_compilation_cache", False)
    names = list(NEURONS)[:2] if args.small else list(NEURONS)
    rows = [
        {"neuron": name, "steps": steps, **measure(name, steps, SMALL if args.small else SHAPE)}
        for name in names
        for steps in STEPS
    ]
    record = {"environment": describe_environment(), "load": os.getloadavg()[0], "rows": rows}
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(args.out.read_text())


def measure(name: str, steps: int, shape: tuple[int, int, int]) -> dict[str, float]:
    """Return CPU seconds of the compilation, seconds of a run, and temporaries of a neuron."""
    batch, side, channels = shape
    x = jax.random.normal(jax.random.key(0), (batch, steps, side, side, channels))
    neuron = NEURONS[name]()
    variables = neuron.init(jax.random.key(0), x)

    def train(variables: Any, x: Any, g: Any) -> Any:
        out, pull = jax.vjp(lambda variables, x: neuron.apply(variables, x), variables, x)
        return out, pull(g)

    lowered = jax.jit(train, compiler_options=compiler_options("train")).lower(variables, x, x)
    start = time.process_time()
    compiled = lowered.compile()
    compiling = time.process_time() - start
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(variables, x, x))
        times.append(time.perf_counter() - start)
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    # The fastest run is the one that other programs disturbed least.
    return {"compile": compiling, "run": min(times[1:]), "temporaries": temporaries, "n": x.size}


if __name__ == "__main__":
    main()
