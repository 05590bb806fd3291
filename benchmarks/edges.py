"""Seconds of reading good data and of starting programs, here and in an earlier checkout:

    python -m benchmarks.edges --old CHECKOUT --rounds 9

Both read the same files, which this program writes in their real formats. The cases take turns,
old and new in alternating order, so that other work on the machine slows both; the results are
medians over rounds, in benchmarks/edges.json. Each measurement is a process of its own, and its
files are in the page cache. On a busy machine the processor's time says more than the clock's.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import clean_environment

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "edges.json"
# Command lines that end before any work: their time is the start of the program.
STARTS = {
    "python -m pit_jax --help": ["-m", "pit_jax", "--help"],
    "python -m train.main --help": ["-m", "train.main", "--help"],
    "python -m train.evaluate MISSING": ["-m", "train.evaluate", "nowhere/at_all"],
    "python -m pit_jax.models": ["-m", "pit_jax.models", "resnet18"],
    "import pit_jax": ["-c", "import pit_jax"],
}
EVENTS, IMAGES, ROWS = 1_000_000, 200, 50_000


def write_files(folder: Path) -> None:
    """Write the files that all cases read."""
    from benchmarks.workloads.pipeline import make_jpeg
    from tests.interop.torch_bytes import tensors, zip_file
    from tests.train.event_files import encode_aedat2, make_cifar10_dvs, write
    from tests.train.image_files import (
        STEMS,
        pickle_as_python2,
        save_image,
        write_archive,
        write_idx,
    )

    random = np.random.default_rng(0)
    events = make_large_stream(EVENTS)
    np.save(folder / "events.npy", events)
    # Encoding a million events one by one takes seconds; ten copies of a tenth are as good.
    header = encode_aedat2(events[:0])
    part = encode_aedat2(events[: EVENTS // 10]).removeprefix(header)
    (folder / "large.aedat").write_bytes(header + part * 10)
    large = header + part
    write(
        folder / "cifar10_dvs" / "CIFAR10DVS",
        make_cifar10_dvs([*range(16), *range(900, 904)], ".aedat", lambda _: large),
    )
    arrays = [
        random.integers(0, 256, (60_000, 28, 28), np.uint8),
        np.arange(60_000).astype(np.uint8) % 10,
        random.integers(0, 256, (10_000, 28, 28), np.uint8),
        np.arange(10_000).astype(np.uint8) % 10,
    ]
    write_idx(folder / "mnist", dict(zip(STEMS, arrays, strict=True)))
    images = random.integers(0, 256, (10_000, 32, 32, 3), np.uint8)
    batch = pickle_as_python2(images, labels=[i % 10 for i in range(len(images))])
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    write_archive(
        folder / "cifar10" / "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        dict.fromkeys(names, batch),
    )
    for split in ("train", "test"):
        for i in range(IMAGES):
            save_image(folder / "folder" / split / f"class_{i % 5}" / f"{i}.png", images[i])
    for split, n in (("train", 1000), ("val", 10)):
        for i in range(n):
            file = folder / "imagenet" / split / f"n0000000{i % 5}" / f"{i}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(make_jpeg(i))
    weights = {f"layer{i}.weight": random.normal(size=(512, 512)).astype("f4") for i in range(40)}
    (folder / "weights.pth").write_bytes(zip_file(tensors(weights)))


def make_large_stream(count: int) -> np.ndarray:
    """Return random events in order of time."""
    from pit_jax.events import make_events

    random = np.random.default_rng(1)
    x, y = random.integers(0, 128, (2, count))
    times = np.sort(random.integers(0, 10_000_000, count))
    return make_events(times, x, y, random.integers(0, 2, count))


def make_cases(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; called in a process of either checkout."""
    import pit_jax.interop
    from pit_jax import events
    from train import data
    from train.data.imagenet import source
    from train.data.imagenet.array_records import convert

    stream = np.load(folder / "events.npy")
    columns = [stream[name].copy() for name in ("t", "x", "y", "p")]
    scratch = Path(tempfile.mkdtemp(dir=folder))

    def load(name: str, place: str, **options: Any) -> Callable[[], object]:
        return lambda: data.load(name, folder / place, **options)

    def make_frames() -> object:
        shutil.rmtree(scratch / "frames", ignore_errors=True)
        return data.load("cifar10_dvs", folder / "cifar10_dvs", cache_dir=str(scratch / "frames"))

    def prepare() -> object:
        shutil.rmtree(scratch / "prepared", ignore_errors=True)
        return convert(source.plan(folder / "imagenet"), scratch / "prepared", workers=1)

    return {
        "make_events": lambda: events.make_events(*columns),
        "integrate_by_number": lambda: events.integrate_by_number(
            stream, 10, height=128, width=128
        ),
        "read_aedat2": lambda: events.read_aedat2(folder / "large.aedat"),
        "cifar10_dvs, frames made": make_frames,
        "cifar10_dvs, frames cached": load(
            "cifar10_dvs", "cifar10_dvs", cache_dir=str(folder / "cached_frames")
        ),
        "mnist": load("mnist", "mnist"),
        "cifar10": load("cifar10", "cifar10"),
        "folder of images": load("folder", "folder"),
        "prepare imagenet": prepare,
        "interop.load": lambda: pit_jax.interop.load(folder / "weights.pth"),
    }


class Seconds(NamedTuple):
    """Time on the clock, and of the processor: of this process and the children that ended."""

    clock: float
    processor: float


def read_clocks() -> Seconds:
    """Return the moment on both clocks."""
    return Seconds(time.perf_counter(), sum(os.times()[:4]))


def time_call(function: Callable[[], object]) -> Seconds:
    """Return the seconds of a call."""
    begun = read_clocks()
    function()
    return Seconds(*(end - start for start, end in zip(begun, read_clocks(), strict=True)))


def repeat(function: Callable[[], object], calls: int) -> None:
    """Call a function some times."""
    for _ in range(calls):
        function()


def measure(folder: Path, name: str) -> Seconds:
    """Return the seconds of a case, the least of some calls in this process."""
    case = make_cases(folder)[name]
    case()
    times: list[Seconds] = []
    while len(times) < 3 or (sum(each.clock for each in times) < 2 and len(times) < 40):
        # The processor's clock ticks every 10 ms.
        calls = max(1, round(0.2 / max(times[0].clock, 1e-4))) if times else 1
        many = time_call(partial(repeat, case, calls))
        times.append(Seconds(many.clock / calls, many.processor / calls))
    del times[:1]
    return Seconds(*(min(each) for each in zip(*times, strict=True)))


def run(checkout: Path, words: list[str]) -> str:
    """Run Python in a checkout and return what it printed."""
    env = clean_environment() | {"PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=env, capture_output=True, text=True
    )
    if done.returncode not in (0, 2):
        raise RuntimeError(done.stderr)
    return done.stdout


def compare(old: Path, rounds: int, only: list[str]) -> dict[str, Any]:
    """Return medians, and the difference between new and old, of starts and cases.

    With `only`, of those that have one of these texts in their names.
    """
    from train.run.environment import describe_environment, find_commit

    with tempfile.TemporaryDirectory(prefix="pit_jax_edges_") as folder:
        write_files(Path(folder))
        names = [*STARTS, *make_cases(Path(folder))]
        measured: dict[str, dict[str, list[Seconds]]] = {
            name: {"old": [], "new": []}
            for name in names
            if not only or any(text in name for text in only)
        }
        for number in range(rounds):
            for name, found in measured.items():
                pair = [("old", old), ("new", ROOT)][:: 1 if number % 2 else -1]
                for side, checkout in pair:
                    if name in STARTS:
                        found[side].append(time_call(partial(run, checkout, STARTS[name])))
                    else:
                        words = [str(Path(__file__).resolve()), "--measure", name, "--in", folder]
                        last = run(checkout, words).splitlines()[-1]
                        found[side].append(Seconds(*map(float, last.split())))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    here = describe_environment()
    run_of_all = {
        "old": find_commit(old / "pit_jax" / "__init__.py"),
        "rounds": rounds,
        "machine": f"{here['processor']}, {here['cores']} cores",
        **{key: here[key] for key in ("commit", "python", "jax", "numpy")},
    }
    return {name: {**summarize(found), **run_of_all} for name, found in measured.items()}


def summarize(found: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Return, for both clocks, medians in seconds and the median of new / old over the rounds."""
    return {
        clock: _summarize([each[i] for each in found["old"]], [each[i] for each in found["new"]])
        for i, clock in enumerate(Seconds._fields)
    }


def _summarize(olds: list[float], news: list[float]) -> dict[str, float]:
    old, new = statistics.median(olds), statistics.median(news)
    ratios = [new / max(old, 1e-9) for old, new in zip(olds, news, strict=True)]
    return {
        "old": round(old, 4),
        "new": round(new, 4),
        "difference": round(new - old, 4),
        "ratio": round(statistics.median(ratios), 3),
    }


def main() -> None:
    """Measure one case of this checkout, or compare with another checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, help="a checkout of the earlier commit")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=[], help="parts of the names of cases")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(*measure(args.folder, args.measure))
    else:
        found = compare(args.old.resolve(), args.rounds, args.only)
        before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        RECORD.write_text(json.dumps(before | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
