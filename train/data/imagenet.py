"""ImageNet-1k, converted by train.data.prepare: JPEGs that workers decode and crop."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from train.data.dataset import DataNotFound, Dataset, Streamed
from train.data.pictures import centre_crop, decode, random_crop
from train.data.records import MANIFEST, Records, read_manifest
from train.errors import UserError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = "python -m train.data.prepare imagenet --source DIR --out {out}"


def imagenet(
    data_dir: str | os.PathLike[str] = "data", *, size: int = 224, workers: int = 0
) -> Dataset:
    """Images `size size 3`: random crops for training, the middle of each for testing.

    `workers` processes read ahead; 0 reads in this one. Raises `DataNotFound` if nothing was
    converted yet, `UserError` if files are not those of the manifest.
    """
    if size < 1 or workers < 0:
        raise UserError(
            "config.data.size must be at least 1 and config.data.workers at least 0, "
            f"got {size} and {workers}."
        )
    root = Path(data_dir).absolute()
    folder = next((p for p in (root / "imagenet", root) if (p / MANIFEST).is_file()), None)
    if folder is None:
        places = [(p / MANIFEST, "what prepare writes") for p in (root / "imagenet", root)]
        raise DataNotFound("imagenet", places, HOW.format(out=root / "imagenet"))
    manifest = read_manifest(folder)
    splits = []
    for name, read in (("train", _random), ("test", _centre)):
        records = Records(folder, manifest, name)
        sample = partial(read, records, size)
        splits.append(Streamed(len(records), (size, size, 3), sample, workers))
    return Dataset("imagenet", splits[0], splits[1], len(manifest["classes"]), MEAN, STD)


def _random(
    records: Records, size: int, index: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    place, label, content = records[index]
    return random_crop(decode(content, place), size, rng), label


def _centre(
    records: Records, size: int, index: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    del rng
    place, label, content = records[index]
    return centre_crop(decode(content, place), size), label
