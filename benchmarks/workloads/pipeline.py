"""W7: the input pipeline alone, from stored samples to the inputs of network and loss.

Each cell has the pipeline of a config, and the training step that it feeds, which contains it. Data
in memory are random bytes of the real shape; the images on disk are generated JPEG files of
500 x 375, about as large as ImageNet's, read from the page cache.
"""

import io
import itertools
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workload import Cell, Entry, Missing, Subject, Workload

# The config of each cell, the shape and number of its samples, and another batch size where the
# step of the config's own takes minutes on a CPU.
CASES: dict[str, dict[str, Any]] = {
    "Fashion-MNIST: crop, flip": {
        "config": "fashion_mnist",
        "shape": (28, 28, 1),
        "samples": 60_000,
    },
    "CIFAR: crop, flip, AutoAugment, Cutout": {
        "config": "cifar100",
        "shape": (32, 32, 3),
        "samples": 50_000,
    },
    "CIFAR: flip, TrivialAugment, Random Erasing, Mixup or CutMix": {
        "config": "cifar100:released",
        "shape": (32, 32, 3),
        "samples": 50_000,
    },
    "own images of 64x64: crop, flip, TrivialAugment": {
        "config": "folder",
        "shape": (64, 64, 3),
        "samples": 10_000,
    },
    "event frames of 48x48, T=10: flip, rotate": {
        "config": "cifar10_dvs:released",
        "shape": (10, 48, 48, 2),
        "samples": 1_000,
        "batch": 16,
    },
    "ImageNet from disk, 2 workers: decode, crop, flip": {
        "config": "imagenet",
        "shape": (224, 224, 3),
        "samples": 128,
        "batch": 8,
        "workers": 2,
    },
}
PARTS = ("pipeline", "training step")


def make_cell(name: str, case: dict[str, Any]) -> Cell:
    """Return the cell of a case: its pipeline and its training step take turns."""
    entries = (
        Entry("pit_jax", PARTS[0], {**case, "part": PARTS[0]}),
        Entry("pit_jax", PARTS[1], {**case, "part": PARTS[1]}, against=PARTS[:1]),
    )
    return Cell(name, entries, rounds=5, turn_seconds=1.0)


WORKLOAD = Workload(
    name="W7",
    title="Input pipeline alone, against the training step that it feeds",
    unit="images",
    cells=tuple(make_cell(name, case) for name, case in CASES.items()),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the pipeline or the training step of a task."""
    if peer not in ("pit_jax", "pit_jax-untuned"):
        raise Missing("only pit_jax has these pipelines")
    if task.get("small"):
        task = {**task, "samples": 16, "batch": 4}
    folder = tempfile.TemporaryDirectory(prefix="pit_jax_pipeline_")
    config = make_config(task)
    dataset = make_dataset(task, config, Path(folder.name))
    begin = begin_pipeline if task["part"] == "pipeline" else begin_training
    workers = task.get("workers", 0)
    return BatchSubject(begin(config, dataset), config.batch_size, workers, folder)


class BatchSubject(Subject):
    """The next batch of `batches` is the work; the images on disk are in `folder`."""

    def __init__(
        self,
        batches: Iterator[object],
        size: int,
        workers: int,
        folder: tempfile.TemporaryDirectory[str],
    ) -> None:
        super().__init__(lambda: next(batches), size, {"batch": size})
        # Between its turns each worker reads ahead, up to two batches: a turn begins after them.
        self._ahead, self._folder = 2 * workers + bool(workers), folder
        self._batches = batches

    def measure(self, repeats: int) -> float:
        """Return the seconds of one of the `repeats` batches after those that were read ahead."""
        for _ in range(self._ahead):
            self.run()
        return super().measure(repeats)

    def close(self) -> None:
        """End the workers, and remove the images."""
        self._batches.close()  # type: ignore[attr-defined]
        self._folder.cleanup()


def make_config(task: dict[str, Any]) -> Any:
    """Return the config of a task, as a program would get it."""
    file, _, variant = task["config"].partition(":")
    module = import_module(f"configs.{file}")
    config = module.get_config(*filter(None, [variant]))
    config.epochs = 100_000  # Longer than any measurement.
    config.batch_size = task.get("batch", config.batch_size)
    config.pretrained = ""
    if task.get("small") and config.model.name == "vgg11":
        config.model.widths = (4,) * 8
    elif task.get("small"):
        config.model.update(name="resnet8", width=4)
    if "workers" in task:
        config.data.workers = task["workers"]
    return config


def make_dataset(task: dict[str, Any], config: Any, folder: Path) -> Any:
    """Return random samples in memory, or generated images on disk for a task with workers."""
    from train.data import ArraySplit, Dataset

    if "workers" in task:
        return write_images(folder, task["samples"], config)
    random, shape = np.random.default_rng(0), tuple(task["shape"])
    is_image = len(shape) == 3

    def make_split(samples: int) -> Any:
        images = random.integers(0, 256 if is_image else 4, (samples, *shape), np.uint8)
        labels = random.integers(0, 10, samples, np.int32)
        return ArraySplit(images if is_image else images.astype(np.float32), labels)

    mean = (0.5,) * shape[-1] if is_image else ()
    return Dataset("random", make_split(task["samples"]), make_split(16), 10, mean, mean)


def begin_training(config: Any, dataset: Any) -> Iterator[object]:
    """Yield the state after each training step, when it is finished."""
    import jax

    from train.program.program import make_program

    program = make_program(config, dataset)
    state, step = program.first_state(), program.compile_step()
    for batch in program.batches(0):
        state, _ = step(state, batch)
        yield jax.block_until_ready(state)


def begin_pipeline(config: Any, dataset: Any) -> Iterator[object]:
    """Yield the inputs of network and loss of each training step, when they are computed."""
    import jax

    from train.program import sharding
    from train.program.feed import make_feed
    from train.program.inputs import make_prepare
    from train.program.step import split_step_key

    feed = make_feed(
        dataset.train,
        seed=config.seed,
        batch_size=config.batch_size,
        epochs=config.epochs,
        repeats=config.augment.get("repeats", 1),
        mesh=sharding.make_data_mesh(config.batch_size),
    )
    prepare: Callable[..., object] = make_prepare(config, dataset)

    @jax.jit
    def take(batch: Any, step: Any) -> object:
        augment_key, _ = split_step_key(jax.random.key(0), step)
        return prepare(augment_key, feed.select(batch, step))

    for step, batch in enumerate(feed.batches(0)):
        yield jax.block_until_ready(take(batch, step))


def make_jpeg(seed: int) -> bytes:
    """Return a JPEG file of 500 x 375 with noise on three scales."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    pixels = np.zeros((375, 500, 3))
    for scale, contrast in ((50, 60), (8, 25), (1, 8)):
        size = (-(-375 // scale), -(-500 // scale), 3)
        noise = rng.normal(size=size).repeat(scale, axis=0).repeat(scale, axis=1)
        pixels += contrast * noise[:375, :500]
    file = io.BytesIO()
    Image.fromarray(np.clip(128 + pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_images(folder: Path, samples: int, config: Any) -> Any:
    """Write and convert two classes of training images; return the data set."""
    from train.data.imagenet import dataset, source
    from train.data.imagenet.array_records import convert

    seed = itertools.count()
    for split, name in itertools.product(("train", "val"), ("n00000001", "n00000002")):
        place = folder / "source" / split / name
        place.mkdir(parents=True)
        for i in range(samples // 2 if split == "train" else 1):
            (place / f"{i}.JPEG").write_bytes(make_jpeg(next(seed)))
    convert(source.plan(folder / "source"), folder / "data", workers=1)
    options = {key: config.data[key] for key in ("size", "workers", "least_area", "resample")}
    return dataset.imagenet(folder / "data", **options)
