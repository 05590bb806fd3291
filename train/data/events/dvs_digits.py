"""The handwritten digits as a simulated event camera records them."""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pit_jax.events import Camera, integrate_by_number

from ..dataset import ArraySplit, Dataset
from ..images.class_names import DIGITS
from ..images.digits import read_digits
from ..storage.cache import choose_cache_folder, load_or_make
from .event_folder import read_recording
from .recordings import Frames, check_size, check_whole, read_frames

CAMERA = Camera(height=20, width=20)
SIDE = 16  # Pixels of a digit, twice its own size; the other 4 are for the gaze to move.


def dvs_digits(
    data_dir: str | os.PathLike[str] = "data", *, num_frames: int = 10, cache_dir: str | None = None
) -> Dataset:
    """Return 1,437 training and 360 test recordings as `num_frames` frames of counts `N T 20 20 2`.

    Raises `UserError` unless `num_frames` is a whole number of at least 1, and if the cache cannot
    be written.

    Args:
        num_frames: T, the number of frames of each recording.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    check_whole("num_frames", num_frames)
    train, test = read_digits()
    size = (CAMERA.height, CAMERA.width)
    options = Frames(num_frames, "number", size, size)
    check_size(len(train) + len(test), options)
    cache, splits = choose_cache_folder(data_dir, cache_dir), {}
    for name, split in (("train", train), ("test", test)):
        # Seeds count through both splits, so no two samples have the same noise.
        first = 0 if name == "train" else len(train)
        key = asdict(CAMERA) | {"side": SIDE, "frames": num_frames, "split": name, "version": 1}
        make = partial(record_frames, split.images[..., 0], first, num_frames)
        frames = load_or_make(cache, "dvs_digits", key, len(split.images), make)
        splits[name] = ArraySplit(frames, split.labels)
    return Dataset(
        "dvs_digits",
        splits["train"],
        splits["test"],
        len(DIGITS),
        classes=DIGITS,
        read_file=partial(_read_file, options),
    )


def _read_file(frames: Frames, file: Path) -> np.ndarray:
    return _limit(read_frames(read_recording, frames, file))


def record(image: np.ndarray, seed: int) -> np.ndarray:
    """Return the events of one digit, `[8, 8]`, with the noise of `seed`."""
    large = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return CAMERA.record(np.asarray(large), seed=seed)


def record_frames(images: np.ndarray, first_seed: int, num_frames: int, which: range) -> np.ndarray:
    """Return frames `T 20 20 2` of the digits `which` of `images` `N 8 8`, each with its seed."""
    size = {"height": CAMERA.height, "width": CAMERA.width}
    counts = np.stack(
        [integrate_by_number(record(images[i], first_seed + i), num_frames, **size) for i in which]
    )
    return _limit(counts)


def _limit(counts: np.ndarray) -> np.ndarray:
    return np.minimum(counts, 255).astype(np.uint8)
