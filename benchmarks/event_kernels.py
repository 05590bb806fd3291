"""Layers that add spikes one by one, against dense ones in JAX: python -m benchmarks.event_kernels

Random spikes of 1 to 4 and int16 weights, beside the same layer in float32, jitted. Both take the
cores that the process may use (`taskset -c 0` for one): JAX as it likes, the kernels with a thread
for each part of the batch. Prints one JSON object: microseconds by density, JAX's time over that of
the kernels, and the density at which the two meet, null if they do not between those measured.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

from pit_jax.inference.kernels import conv, dense
from train.environment import describe

ROUNDS, SECONDS, BATCHES, DENSITIES = 5, 0.02, (1, 16), (0.01, 0.05, 0.2, 0.5)
THREADS = len(os.sched_getaffinity(0))
# Side of the image, kernel (HWIO), groups; a dense layer has neither side nor groups.
LAYERS = {
    "dense 512->10": (0, (512, 10), 1),
    "dense 2048->1000": (0, (2048, 1000), 1),
    "3x3 16->16 at 28x28": (28, (3, 3, 16, 16), 1),
    "3x3 32->32 at 14x14": (14, (3, 3, 32, 32), 1),
    "3x3 64->64 at 7x7": (7, (3, 3, 64, 64), 1),
    "3x3 128->128 at 8x8": (8, (3, 3, 128, 128), 1),
    "3x3 256->256 at 4x4": (4, (3, 3, 256, 256), 1),
    "1x1 128->256 at 8x8": (8, (1, 1, 128, 256), 1),
    "depthwise 7x7 64 at 14x14": (14, (7, 7, 1, 64), 64),
}


def main() -> None:
    """All layers, one after the other."""
    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(THREADS) as pool:
        rows = {
            f"{name}, batch {batch}": measure(rng, pool, batch, *layer)
            for name, layer in LAYERS.items()
            for batch in BATCHES
        }
    print(json.dumps({"threads": THREADS, "layers": rows, "environment": describe()}, indent=1))


def measure(
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
    batch: int,
    side: int,
    shape: tuple[int, ...],
    groups: int,
) -> dict:
    """Times of one layer by density, after a look whether both say the same."""
    weight = rng.integers(-99, 100, shape).astype(np.int16)
    pad = ((shape[0] // 2,) * 2, (shape[1] // 2,) * 2)
    image = (side, side, shape[-2] * groups) if side else shape[:1]
    layer = partial(conv, padding=pad, groups=groups) if side else dense
    dense_layer = jax.jit(
        partial(
            jax.lax.conv_general_dilated,
            window_strides=(1, 1),
            padding=pad,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        if side
        else jnp.matmul
    )
    floats = jnp.asarray(weight, jnp.float32)
    parts = np.array_split(np.arange(batch), min(THREADS, batch))

    def by_events(spikes: np.ndarray) -> np.ndarray:
        if len(parts) == 1:
            return layer(spikes, weight)
        slices = (spikes[part[0] : part[-1] + 1] for part in parts)
        return np.concatenate(list(pool.map(layer, slices, [weight] * len(parts))))

    row: dict = {"density": list(DENSITIES), "events_us": [], "jax_us": []}
    for density in DENSITIES:
        fired = rng.random((batch, *image)) < density
        spikes = (fired * rng.integers(1, 5, fired.shape)).astype(np.int8)
        x = jnp.asarray(spikes, jnp.float32)
        np.testing.assert_array_equal(by_events(spikes), dense_layer(x, floats))
        events, jitted = medians(
            partial(by_events, spikes),
            lambda x=x: dense_layer(x, floats).block_until_ready(),
        )
        row["events_us"].append(round(events, 1))
        row["jax_us"].append(round(jitted, 1))
    row["ratio"] = [round(b / a, 2) for a, b in zip(row["events_us"], row["jax_us"], strict=True)]
    row["crossover"] = crossover(row["ratio"])
    return row


def medians(*calls: Callable[[], object]) -> list[float]:
    """The median time of each in microseconds; they take turns, to share what disturbs."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            call()  # Not timed: JAX's threads are still busy when its last call has returned.
            end = time.perf_counter() + SECONDS
            while (start := time.perf_counter()) < end:
                call()
                taken.append(time.perf_counter() - start)
    return [1e6 * statistics.median(taken) for taken in times]


def crossover(ratios: list[float]) -> float | None:
    """The density at which the ratio falls to 1, between those measured on logarithmic axes."""
    if ratios[0] < 1 or ratios[-1] > 1:
        return None
    return round(float(np.exp(np.interp(0, -np.log(ratios), np.log(DENSITIES)))), 3)


if __name__ == "__main__":
    main()
