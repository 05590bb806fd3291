"""Several seeds at once against one after another: python -m benchmarks.seeds

For each network and number of seeds, a process times the same steps of the same seeds in both ways.
The two take turns, so that other work on the machine slows both, and a ratio is computed for each
turn. Prints one JSON object: the median and range of the ratios, the time of compilation, and the
environment.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.peers import clean_environment

TURNS, STEPS = 7, 40
NETWORKS: dict[str, dict[str, Any]] = {
    "digits (width 24)": {},
    "78 k parameters (width 16)": {"width": 16},
}
SEEDS = (2, 4)


def measure(network: str, count: int) -> dict[str, Any]:
    """Return ratios of the times of `STEPS` steps of all seeds, and the seconds of compilation."""
    import jax

    jax.config.update("jax_num_cpu_devices", count)
    from configs.digits import get_config
    from train.data import load
    from train.program.program import make_program
    from train.run.summary import count_parameters
    from train.seeds.program import make_seeds_program

    config: Any = get_config()
    config.model.update(NETWORKS[network])
    dataset = load(**config.data)
    started = time.perf_counter()
    # The program of a single run; the time of its steps does not depend on the seed.
    alone = make_program(config, dataset, devices=jax.devices()[:1])
    state, step_alone = alone.first_state(), alone.compile_step()
    order = next(alone.batches(0))
    between = time.perf_counter()
    program = make_seeds_program(config, range(count), dataset)
    states, step = program.first_states(), program.compile_step()
    orders = next(program.batches(0))
    ended = time.perf_counter()

    def run_one_after_another() -> None:
        nonlocal state
        for _ in range(count):
            for _ in range(STEPS):
                state, _ = step_alone(state, order)
            jax.block_until_ready(state)

    def run_at_once() -> None:
        nonlocal states
        for _ in range(STEPS):
            states, _ = step(states, orders)
        jax.block_until_ready(states)

    ratios, seconds = [], []
    for turn in range(TURNS + 1):
        begun = time.perf_counter()
        run_one_after_another()
        half = time.perf_counter()
        run_at_once()
        done = time.perf_counter()
        if turn:  # The first one warms up.
            ratios.append((done - half) / (half - begun))
            seconds.append((half - begun, done - half))
    return {
        "load of the machine, last minute": round(os.getloadavg()[0], 1),
        "parameters": sum(count_parameters(state.params)),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
        "seconds of the quickest turn, one after another": round(min(a for a, _ in seconds), 2),
        "seconds of the quickest turn, at once": round(min(b for _, b in seconds), 2),
        "seconds to compile one": round(between - started, 1),
        "seconds to compile all at once": round(ended - between, 1),
    }


def main() -> None:
    """Measure all cases, each in its own process, since JAX fixes its devices at the start."""
    found: dict[str, dict[str, Any]] = {}
    for network in NETWORKS:
        for count in SEEDS:
            run = [sys.executable, "-m", "benchmarks.seeds", network, str(count)]
            measured = subprocess.check_output(
                run, env=clean_environment(), text=True
            ).splitlines()[-1]
            found[f"{network}, {count} seeds"] = json.loads(measured)
    from train.run.environment import describe_environment

    print(
        json.dumps(
            {"at once / one after another": found, "environment": describe_environment()}, indent=1
        )
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
