"""Images/s of reading ImageNet, by workers: python -m benchmarks.imagenet_loading

Measures decoding, the random crop to 224 and the transfer of a batch to this process, without a
device or a network. The files are synthetic: smooth noise of 500x375 whose JPEG files are about as
large as ImageNet's, read from the page cache. The cases take turns, so that other work on the
machine slows all of them, and the results are medians over rounds. They include how many cores
busy processes got in the same minute, an upper bound for workers. Prints one JSON object.
"""

import io
import itertools
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.feeding.order import TrainingOrder
from train.data.imagenet import dataset, source
from train.data.imagenet.array_records import convert
from train.run.environment import describe_environment

ROUNDS, WORKERS = 3, (0, 1, 2)
IMAGES, BATCH, BATCHES = 128, 32, 24


def make_jpeg(seed: int) -> bytes:
    """Return a JPEG file of 500x375 with noise on three scales."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((375, 500, 3))
    for scale, contrast in ((50, 60), (8, 25), (1, 8)):
        size = (-(-375 // scale), -(-500 // scale), 3)
        noise = rng.normal(size=size).repeat(scale, axis=0).repeat(scale, axis=1)
        pixels += contrast * noise[:375, :500]
    file = io.BytesIO()
    Image.fromarray(np.clip(128 + pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def prepare(folder: Path) -> int:
    """Write and convert two classes of images; return the mean size of a file."""
    sizes = []
    for split, name in itertools.product(("train", "val"), ("n00000001", "n00000002")):
        place = folder / "source" / split / name
        place.mkdir(parents=True)
        for i in range(IMAGES // 2 if split == "train" else 1):
            content = make_jpeg(len(sizes))
            (place / f"{i}.JPEG").write_bytes(content)
            sizes.append(len(content))
    convert(source.plan(folder / "source"), folder / "data", workers=1)
    return round(statistics.mean(sizes))


def measure(folder: Path, workers: int) -> float:
    """Return the images/s after all workers have started."""
    split = dataset.imagenet(folder / "data", workers=workers).train
    begun = 2 * workers + 1
    order = TrainingOrder(0, len(split), BATCH, (begun + BATCHES) * BATCH // IMAGES + 1)
    with closing(split.batches(order)) as ahead:
        for _ in itertools.islice(ahead, begun):
            pass
        start = time.perf_counter()
        for _ in itertools.islice(ahead, BATCHES):
            pass
        return BATCHES * BATCH / (time.perf_counter() - start)


def measure_cores(processes: int) -> float:
    """Return the processor seconds per second that some busy processes got together."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(spin, [0.0] * processes)
        start = time.perf_counter()
        pool.map(spin, [1.0] * processes, chunksize=1)
        return processes / (time.perf_counter() - start)


def spin(seconds: float) -> None:
    """Keep the processor busy for `seconds` of processor time."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def main() -> None:
    """Measure all cases `ROUNDS` times and print the medians."""
    speeds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    got: dict[int, list[float]] = {max(workers, 1): [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        print("making images", file=sys.stderr)
        size = prepare(Path(folder))
        for _ in range(ROUNDS):
            for workers in WORKERS:
                speeds[workers].append(measure(Path(folder), workers))
            for processes in got:
                got[processes].append(measure_cores(processes))
    found = {
        "images/s by workers": {n: round(statistics.median(s)) for n, s in speeds.items()},
        "cores by busy processes": {n: round(statistics.median(c), 2) for n, c in got.items()},
        "mean bytes of a file": size,
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
