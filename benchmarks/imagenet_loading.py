"""Images/s of reading ImageNet, by workers: python -m benchmarks.imagenet_loading

Decoding, the random crop to 224 and the way of a batch to this process; no device, no network. The
files are made up: smooth noise of 500x375 that JPEG brings to about the size of ImageNet's, from
memory, since they were just written. The cases take turns, so that other work on the machine slows
all of them; the median of the rounds counts. Beside the speeds stands how many cores that many busy
processes got in the same minute: no worker adds more than this. Prints one JSON object.
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


def picture(seed: int) -> bytes:
    """Noise on three scales as a JPEG of 500x375."""
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
    """Two classes of pictures, converted; gives the mean size of a file."""
    sizes = []
    for split, name in itertools.product(("train", "val"), ("n00000001", "n00000002")):
        place = folder / "source" / split / name
        place.mkdir(parents=True)
        for i in range(IMAGES // 2 if split == "train" else 1):
            content = picture(len(sizes))
            (place / f"{i}.JPEG").write_bytes(content)
            sizes.append(len(content))
    convert(source.plan(folder / "source"), folder / "data", workers=1)
    return round(statistics.mean(sizes))


def measure(folder: Path, workers: int) -> float:
    """Images/s once all workers have begun."""
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


def cores(processes: int) -> float:
    """Seconds of processor time a second that so many busy processes got together."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(spin, [0.0] * processes)
        start = time.perf_counter()
        pool.map(spin, [1.0] * processes, chunksize=1)
        return processes / (time.perf_counter() - start)


def spin(seconds: float) -> None:
    """Keeps the processor busy for `seconds` of its own time."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def main() -> None:
    """All cases, `ROUNDS` times."""
    speeds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    got: dict[int, list[float]] = {max(workers, 1): [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as folder:
        print("making pictures", file=sys.stderr)
        size = prepare(Path(folder))
        for _ in range(ROUNDS):
            for workers in WORKERS:
                speeds[workers].append(measure(Path(folder), workers))
            for processes in got:
                got[processes].append(cores(processes))
    found = {
        "images/s by workers": {n: round(statistics.median(s)) for n, s in speeds.items()},
        "cores by busy processes": {n: round(statistics.median(c), 2) for n, c in got.items()},
        "mean bytes of a file": size,
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
