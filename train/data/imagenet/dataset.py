"""ImageNet-1k, converted by train.data.prepare: JPEGs, decoded and cropped by workers."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pit_jax.checks.bounds import Interval, one_of, whole

from ...errors import UserError
from ...files import hash_content
from ..dataset import DataNotFound, Dataset, DiskSplit
from ..storage.workers import count_cores
from .array_records import AGAIN, ImageRecords, read_manifest, verify
from .decode import RESAMPLING, center_crop, decode, random_crop
from .manifest import MANIFEST

# The values of torchvision and of most published networks.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = "python -m pit_jax prepare imagenet --source DIR --out {out}"


def imagenet(
    data_dir: str | os.PathLike[str] = "data",
    *,
    size: int = 224,
    workers: int = 0,
    least_area: float = 0.08,
    resize: int = 0,
    resample: str = "bilinear",
) -> Dataset:
    """Return images `size size 3`: random crops for training, center crops for testing.

    Raises `DataNotFound` if nothing was converted yet, `UserError` for files that do not match the
    manifest and for invalid values.

    Args:
        size: height and width of the images.
        workers: processes that read, decode and crop ahead; 0 does it in the training process.
        least_area: the smallest share of an image's area in a random crop.
        resize: the shorter side of test images before their center crop; 0 is 256/224 of `size`.
        resample: how images are resized: `bilinear` or `bicubic`.
    """
    _check_options(size, workers, least_area, resize, resample)
    shorter = resize or round(size * 256 / 224)
    cuts = {
        "train": partial(random_crop, size=size, least_area=least_area, resample=resample),
        "test": partial(_crop_middle, size=size, resize=shorter, resample=resample),
    }
    root = Path(data_dir).absolute()
    folder = next((p for p in (root / "imagenet", root) if (p / MANIFEST).is_file()), None)
    if folder is None:
        places = [(p / MANIFEST, "written by prepare") for p in (root / "imagenet", root)]
        raise DataNotFound("imagenet", places, HOW.format(out=root / "imagenet"))
    manifest = read_manifest(folder)
    splits = []
    for name, cut in cuts.items():
        records = ImageRecords(folder, manifest, name)
        read = partial(_read_sample, records, cut)
        check = partial(verify, folder, records.shards, count_cores())
        hashes = hash_content(" ".join(shard["sha256"] for shard in records.shards.values()))
        shape = (size, size, 3)
        splits.append(DiskSplit(records.per_class, shape, read, workers, check, identity=hashes))
    classes = tuple(manifest["classes"])
    return Dataset("imagenet", splits[0], splits[1], len(classes), MEAN, STD, classes)


def _check_options(size: int, workers: int, least_area: float, resize: int, resample: str) -> None:
    try:
        whole(1)("config.data.size", size)
        whole(0)("config.data.workers", workers)
        one_of(*RESAMPLING)("config.data.resample", resample)
        Interval(0, 1, open_least=True)("config.data.least_area", least_area)
        whole(0)("config.data.resize", resize)
    except ValueError as error:
        raise UserError(str(error)) from error
    if 0 < resize < size:
        raise UserError(f"config.data.resize must be 0 or at least size, {size}, got {resize}.")


def _read_sample(
    records: ImageRecords,
    cut: Callable[[Image.Image, np.random.Generator], np.ndarray],
    index: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, int]:
    place, label, content = records[index]
    return cut(decode(content, place, AGAIN), rng), label


def _crop_middle(image: Image.Image, rng: np.random.Generator, **how: Any) -> np.ndarray:
    del rng
    return center_crop(image, **how)
