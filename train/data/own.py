"""A user's own data set: checks the plain arrays of a function and makes them a `Dataset`."""

import inspect
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from ..config.own import explain_own
from ..errors import UserError
from .dataset import ArraySplit, Dataset

SPLITS = ("train", "test", "validation")
KEYS = (*SPLITS, "classes", "mean", "std")
# Integer types that event frames keep on the device; all others become int32.
COUNTS = tuple(map(np.dtype, ("uint8", "uint16", "int8", "int16", "int32")))
CHUNK = 1 << 22  # Pixels measured at once: int64 copies of all of them would take too much memory.


class _Place(NamedTuple):
    """The part of a data set that an error message names."""

    path: str
    part: str = ""

    def refuse(self, why: str) -> UserError:
        """Return the error that names this part."""
        part = f", {self.part}" if self.part else ""
        return UserError(f"data set {self.path!r}{part}: {why}.")


def load_own(
    path: str,
    function: Callable[..., Any],
    data_dir: str | os.PathLike[str],
    options: Mapping[str, object],
) -> Dataset:
    """Call `function`, imported from `path`, with the options, and return its `Dataset`.

    `data_dir` is passed only if the function has a parameter of this name. Raises UserError for
    arrays that do not form a data set.
    """
    given = dict(options)
    if "data_dir" in inspect.signature(function).parameters:
        given["data_dir"] = data_dir
    with explain_own("data", path):
        returned = function(**given)
    return make_dataset(path, returned)


def make_dataset(path: str, returned: Any) -> Dataset:
    """Return plain arrays, `{"train": (images, labels), "test": ...}`, as a `Dataset`.

    Images are `N H W C` or gray `N H W`, event frames `N T H W C`. uint8 images are normalized
    with the given mean and standard deviation, or with those of the training images. Floats and
    frames enter the network unchanged. Raises UserError that names `path` and the split.
    """
    # Keys, then each split alone, then their agreement: the first error is then the cause, not a
    # consequence, and it names one split.
    place = _Place(path)
    _check_keys(place, returned)
    splits = {
        split: _read_split(_Place(path, split), returned[split])
        for split in SPLITS
        if returned.get(split) is not None
    }
    train = splits["train"]
    for name, split in splits.items():
        if (split.shape, split.dtype) != (train.shape, train.dtype):
            raise _Place(path, name).refuse(
                f"images are {split.dtype} {split.shape}, but those of train are {train.dtype} "
                f"{train.shape}; all splits must be equal in both"
            )
    classes = _read_classes(place, returned.get("classes"))
    num_classes = len(classes) or _count_classes(place, list(splits.values()))
    if num_classes < 2:
        raise place.refuse("expected two or more classes, got one")
    for name, split in splits.items():
        if (most := int(split.labels.max())) >= num_classes:
            raise _Place(path, name).refuse(
                f"labels must be 0 to {num_classes - 1}, one for each class, got {most}"
            )
    mean, std = _read_normalization(place, returned, train)
    return Dataset(
        name=path.partition(":")[2],
        train=train,
        test=splits["test"],
        num_classes=num_classes,
        mean=mean,
        std=std,
        classes=classes,
        validation=splits.get("validation"),
        notes=(*_note_range(train), *_note_scale(splits)),
    )


def _count_classes(place: _Place, splits: list[ArraySplit]) -> int:
    """Return the largest label plus 1; raise UserError for labels that all begin at 1."""
    most = max(int(split.labels.max()) for split in splits)
    if min(int(split.labels.min()) for split in splits) == 1:
        raise place.refuse(
            f"labels are 1 to {most}, but the first class is 0. For {most} classes use "
            f'labels - 1; for {most + 1}, of which class 0 has no sample, give "classes" too'
        )
    return most + 1


def _note_range(train: ArraySplit) -> tuple[str, ...]:
    """Return a note if images of floats look like pixels that nobody normalized."""
    if train.dtype.kind != "f" or train.images.ndim != 4:
        return ()
    least, most = float(train.images.min()), float(train.images.max())
    if not 0 <= least <= 100 < most <= 255:
        return ()
    return (
        f"images of floats enter the network unchanged, here {least:g} to {most:g}; uint8 images "
        "would be normalized",
    )


def _note_scale(splits: Mapping[str, ArraySplit]) -> tuple[str, ...]:
    """Return a note if one split seems to be scaled to 0..1 and another to be of 0 to 255."""
    largest = {name: max(0.0, float(split.images.max())) for name, split in splits.items()}
    low, high = (of(largest, key=largest.__getitem__) for of in (min, max))
    if splits[low].images.ndim != 4 or largest[high] <= 25 * max(largest[low], 1):
        return ()
    return (
        f"images of {low} reach {largest[low]:g} and those of {high} {largest[high]:g}; was only "
        "one of them scaled?",
    )


def _check_keys(place: _Place, returned: Any) -> None:
    if not isinstance(returned, Mapping):
        raise place.refuse(
            'the function must return a dict such as {"train": (images, labels), "test": (images, '
            f"labels)}}, got {type(returned).__name__}"
        )
    if unknown := [str(key) for key in returned if key not in KEYS]:
        raise place.refuse(f"unknown key {', '.join(unknown)}; known keys are {', '.join(KEYS)}")
    if missing := [key for key in ("train", "test") if returned.get(key) is None]:
        raise place.refuse(f"the returned dict lacks {' and '.join(missing)}")


def _read_split(place: _Place, given: Any) -> ArraySplit:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise place.refuse(f"expected a pair (images, labels), got {type(given).__name__}")
    images, labels = (
        _to_array(place, what, each) for what, each in zip(("images", "labels"), given, strict=True)
    )
    images, labels = _read_images(place, images), _read_labels(place, labels)
    if len(images) != len(labels):
        raise place.refuse(f"there are {len(images):,} images, but {len(labels):,} labels")
    return ArraySplit(images, labels)


def _to_array(place: _Place, what: str, given: Any) -> np.ndarray:
    if np.ma.isMaskedArray(given):
        raise place.refuse(f"{what} are a masked array, whose mask would be lost; fill it first")
    try:
        return np.asarray(given)
    except Exception as error:  # Ragged lists and arrays of other libraries.
        raise place.refuse(f"{what} are not one array ({error})") from error


def _read_images(place: _Place, images: np.ndarray) -> np.ndarray:
    """Return images `N H W C` or frames `N T H W C` as uint8, float32, or a small integer."""
    if images.ndim not in (3, 4, 5):
        raise place.refuse(
            "images must be [N, H, W, C], gray [N, H, W] or frames [N, T, H, W, C], got the shape "
            f"{images.shape}"
        )
    if not len(images):
        raise place.refuse("expected at least one image, got none")
    if not images.size:
        raise place.refuse(f"images have no pixels, got the shape {images.shape}")
    if images.ndim == 3:
        images = images[..., None]
    height, width, channels = images.shape[-3:]
    # The networks check the same: no image has so few rows and a channel for each column, or so few
    # rows with many columns and channels. Arrays of floats may be features of that shape.
    rows_as_channels = (1, 3) if images.dtype == np.uint8 else (3,)
    is_first = images.ndim == 4 and height in rows_as_channels and min(width, channels) > 4
    if is_first or height <= 4 < width and width == channels:
        raise place.refuse(
            f"images of the shape {images.shape} have {height} rows and {channels} channels; "
            f"should channels come last? For {height} channels first, use "
            "np.moveaxis(images, -3, -1)"
        )
    if images.dtype.kind == "f":
        return _read_floats(place, images)
    if images.dtype == np.uint8:
        return images
    if images.ndim == 5 and images.dtype.kind in "biu":
        return _read_counts(place, images)
    raise place.refuse(
        f"images must be uint8, 0 to 255, or floats, got {images.dtype}{_advise_type(images)}"
    )


def _advise_type(images: np.ndarray) -> str:
    """Return how to convert images of integers; astype alone would keep only their lowest bits."""
    if images.dtype.kind == "b":
        return '; convert them with 255 * images.astype("uint8")'
    if images.dtype.kind not in "iu":
        return ""
    least, most = int(images.min()), int(images.max())
    found = f" of {least:,} to {most:,}"
    if 0 <= least and most <= 255 and images.dtype != np.uint16:
        return f'{found}; convert them with images.astype("uint8")'
    if images.dtype == np.uint16 and most > 255:
        return f'{found}; if white is 65,535, convert them with (images // 257).astype("uint8")'
    return f"{found}; scale them to 0 to 255 as white is 255, or use floats"


def _read_floats(place: _Place, images: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # Values above the range become infinite, refused below.
        images = images.astype(np.float32, copy=False)
    # If an array has a NaN, its smallest and its largest value are NaN.
    with np.errstate(invalid="ignore"):
        if math.isfinite(images.min()) and math.isfinite(images.max()):
            return images
    wrong = np.count_nonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))
    raise place.refuse(
        f"{wrong:,} of {len(images):,} images have a value that is NaN, infinite or too large for "
        "float32"
    )


def _read_counts(place: _Place, frames: np.ndarray) -> np.ndarray:
    if frames.dtype in COUNTS:
        return frames
    if frames.dtype.kind == "b":
        return frames.astype(np.uint8)
    # Without x64, JAX would truncate 64-bit integers on the way to the device without a word.
    least, most = int(frames.min()), int(frames.max())
    limits = np.iinfo(np.int32)
    if least < limits.min or most > limits.max:
        raise place.refuse(f"counts must fit into int32, got {least} to {most}")
    return frames.astype(np.int32)


def _read_labels(place: _Place, labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 1:
        advice = "labels.ravel()" if labels.shape[1:] == (1,) else "labels.argmax(axis=1)"
        how = f"; use {advice}" if labels.ndim == 2 else ""
        raise place.refuse(f"labels must be [N], a class for each image, got {labels.shape}{how}")
    if labels.size and labels.dtype.kind not in "iu":
        how = '; use labels.astype("int32")' if _is_whole(labels) else ""
        if labels.dtype.kind in "US":
            how = '; give the place of each name in a list, and this list as "classes"'
        raise place.refuse(f"labels must be whole numbers, got {labels.dtype}{how}")
    if labels.size:
        least, most = int(labels.min()), int(labels.max())
        if least < 0 or most > np.iinfo(np.int32).max:
            raise place.refuse(f"labels must be 0 to K - 1 for K classes, got {least} to {most}")
    return labels.astype(np.int32)


def _is_whole(labels: np.ndarray) -> bool:
    return labels.dtype.kind == "f" and bool((labels % 1 == 0).all())


def _read_classes(place: _Place, given: Any) -> tuple[str, ...]:
    """Return the names of the classes by label, from a list or from a dict of names and labels."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        given = _sort_by_label(place, given)
    if isinstance(given, str | bytes | Set) or not np.iterable(given):
        raise place.refuse(f"classes must be a list of their names, got {given!r:.80}")
    names = tuple(given)
    if wrong := [name for name in names if not isinstance(name, str | bytes | int | np.integer)]:
        raise place.refuse(f"classes must be names, got {wrong[0]!r:.80}")
    names = tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)
    if same := [name for name, count in Counter(names).items() if count > 1]:
        raise place.refuse(f"two classes are named {same[0]!r:.80}; give each another name")
    return names


def _sort_by_label(place: _Place, given: Mapping[Any, Any]) -> list[Any]:
    """Return the names in a dict of labels by name, as of torchvision, or of names by label."""
    pairs = [(label, name) for name, label in given.items()]
    for named in (pairs, list(given.items())):
        name_of = dict(named)
        if name_of.keys() == set(range(len(given))) and len(name_of) == len(named):
            return [name_of[label] for label in range(len(given))]
    raise place.refuse(
        f"classes as a dict must have the labels 0 to {len(given) - 1}, got {dict(given)!r:.80}"
    )


def _read_normalization(
    place: _Place, returned: Mapping[str, Any], train: ArraySplit
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel, empty for floats and frames, which are not normalized."""
    given = [key for key in ("mean", "std") if returned.get(key) is not None]
    if train.dtype != np.uint8 or len(train.shape) == 4:
        if given:
            raise place.refuse(
                f"{' and '.join(given)} are for uint8 images; floats and frames enter the network "
                "unchanged"
            )
        return (), ()
    if len(given) == 1:
        raise place.refuse(f"expected both mean and std, or neither, got only {given[0]}")
    if not given:
        return measure(train.images)
    channels = train.shape[-1]
    mean, std = (_read_channels(place, key, returned[key], channels) for key in given)
    if min(mean) < 0 or max(mean) > 1 or min(std) <= 0 or max(std) > 1:
        raise place.refuse(
            "mean must be 0 to 1 and std more than 0 and at most 1, for pixels scaled to 0..1, got "
            f"{mean} and {std}"
        )
    return mean, std


def _read_channels(place: _Place, key: str, given: Any, channels: int) -> tuple[float, ...]:
    try:
        values = np.atleast_1d(np.asarray(given, float))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (channels,) or not np.isfinite(values).all():
        raise place.refuse(f"{key} must have a number for each of {channels} channels, got {given}")
    return tuple(values.tolist())


def measure(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std per channel of uint8 images whose pixels are scaled to 0..1."""
    pixels = images.reshape(-1, images.shape[-1])
    count = len(pixels)
    sums, squares = np.zeros((2, images.shape[-1]), np.int64)
    for start in range(0, count, CHUNK):
        chunk = pixels[start : start + CHUNK].astype(np.int64)
        sums, squares = sums + chunk.sum(axis=0), squares + (chunk**2).sum(axis=0)
    # std = sqrt(n Σx² - (Σx)²) / n. In Python's integers the difference is exact, so a constant
    # channel has exactly 0, not a tiny rest to divide by. Such a channel is centered only.
    both = list(zip(sums.tolist(), squares.tolist(), strict=True))
    mean = tuple(total / (255 * count) for total, _ in both)
    std = tuple(
        math.sqrt(count * square - total**2) / (255 * count) or 1.0 for total, square in both
    )
    return mean, std
