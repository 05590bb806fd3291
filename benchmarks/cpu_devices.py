"""Training speed with 1 and 2 virtual CPU devices: python -m benchmarks.cpu_devices

Each count runs in its own process, since JAX fixes its devices at the start; the counts take turns,
so that other work on the machine slows both. Prints one JSON object: images/s by network, median of
the rounds, and the environment.
"""

import json
import statistics
import subprocess
import sys
import time

ROUNDS, STEPS = 3, 20
WIDTHS = (16, 32)


def measure(devices: int, width: int) -> float:
    """Images/s of the Fashion-MNIST network's training step, on made-up images of its shape."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from configs import fashion_mnist
    from train.data import load
    from train.program import make_program

    config = fashion_mnist.get_config()
    config.model.width = width
    dataset = load("synthetic", shape=(28, 28, 1), num_train=config.batch_size)
    program = make_program(config, dataset)
    state, step, order = program.first_state(), program.compile_step(), program.epoch_order(0)
    state, _ = step(state, order)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(STEPS):
        state, _ = step(state, order)
    jax.block_until_ready(state)
    return STEPS * config.batch_size / (time.perf_counter() - start)


def main() -> None:
    speeds: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUNDS):
        for width in WIDTHS:
            for devices in (1, 2):
                run = [sys.executable, "-m", "benchmarks.cpu_devices", str(devices), str(width)]
                speed = float(subprocess.check_output(run, text=True).split()[-1])
                by_devices = speeds.setdefault(f"resnet8 width {width}", {})
                by_devices.setdefault(f"{devices} devices", []).append(speed)
    from train.environment import describe

    medians = {
        network: {count: round(statistics.median(values)) for count, values in by_devices.items()}
        for network, by_devices in speeds.items()
    }
    print(json.dumps({"images/s": medians, "environment": describe()}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(measure(int(sys.argv[1]), int(sys.argv[2])))
    else:
        main()
