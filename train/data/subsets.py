"""Fewer training images, and a validation split: choices that are the same in every run.

Neither depends on the seed of the run, so runs with different seeds train on the same images.
"""

from dataclasses import replace

import numpy as np

from ..errors import UserError
from .dataset import ArraySplit, Dataset, Split

SEED = 0


def choose_subsets(
    dataset: Dataset, train_images: int = 0, validation: float = 0.0, *, test_rest: bool = False
) -> Dataset:
    """Return `dataset` with `train_images` training images, and a share of them for validation.

    With `test_rest` the other training images join the test split. `Dataset.subset` has the
    indices of both parts in the training split of `dataset`. Raises UserError for numbers that
    leave a part empty, and for data that are read from disk.
    """
    check_numbers(train_images, validation)
    if train_images:
        dataset = _take_training_images(dataset, train_images, test_rest)
    if validation:
        dataset = _split_off_validation(dataset, validation)
    return _note_missing_classes(dataset)


def draw_balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` sorted indices, the same number in every class.

    The remainder of the division goes to the first classes, one each. A class with too few images
    contributes all of them, and the others fill the gap as equally as they can.
    """
    places, ranks = _rank_in_class(labels, (SEED, 0))
    # Sorted by rank, then class: the first image of each class, the second of each, and so on.
    return np.sort(places[np.lexsort((labels[places], ranks))[:count]])


def draw_share(labels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` sorted indices, the same share of the images of every class.

    Equal numbers would take all images of a rare class away from training.
    """
    places, ranks = _rank_in_class(labels, (SEED, 1))
    drawn = labels[places]
    # Image i of n in its class is at (i + 1/2) / n, so that all classes reach a share together.
    reached = (2 * ranks + 1) / (2 * np.bincount(labels)[drawn])
    return np.sort(places[np.lexsort((drawn, reached))[:count]])


def _rank_in_class(labels: np.ndarray, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return all indices, class by class in a random order, and the rank of each in its class."""
    # Raw bits, not permutation(): only their stream is the same in every version of NumPy.
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    places = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    first = np.cumsum(sizes) - sizes
    return places, np.arange(len(labels)) - first[labels[places]]


def check_numbers(train_images: int, validation: float) -> None:
    """Raise UserError for numbers that no data set could have; call it before one is loaded."""
    if type(train_images) is not int or train_images < 0:
        raise UserError(
            f"config.data.train_images must be a whole number (0: all), got {train_images!r}."
        )
    if type(validation) not in (int, float) or not 0 <= validation < 1:
        raise UserError(
            "config.data.validation must be a share of the training images, at least 0 (none) and "
            f"less than 1, got {validation!r}."
        )


def _take_training_images(dataset: Dataset, count: int, test_rest: bool) -> Dataset:
    train = _require_arrays("train_images", dataset, dataset.train)
    if count > len(train):
        raise UserError(
            f"config.data.train_images must be from 1 to {len(train):,}, the training images of "
            f"{dataset.name}, or 0 for all, got {count}."
        )
    chosen = draw_balanced(train.labels, count)
    test = dataset.test
    if test_rest:
        rest = np.setdiff1d(np.arange(len(train)), chosen)
        test = _join(_require_arrays("train_images", dataset, test), _select(train, rest))
    return replace(dataset, train=_select(train, chosen), test=test, subset={"train": chosen})


def _split_off_validation(dataset: Dataset, share: float) -> Dataset:
    train = _require_arrays("validation", dataset, dataset.train)
    if dataset.validation is not None:
        raise UserError(
            f"config.data.validation must be 0, got {share}: {dataset.name} already has a "
            "validation split."
        )
    count = round(share * len(train))
    if not 0 < count < len(train):
        raise UserError(
            "config.data.validation must be a share of the training images, at least 0 (none) and "
            f"less than 1, that leaves images in both parts, got {share} of {len(train):,} images."
        )
    validated = draw_share(train.labels, count)
    trained = np.setdiff1d(np.arange(len(train)), validated)
    # Back to indices of the whole training split, if `train_images` chose from it before.
    places = dataset.subset.get("train", np.arange(len(train)))
    return replace(
        dataset,
        train=_select(train, trained),
        validation=_select(train, validated),
        subset={"train": places[trained], "validation": places[validated]},
    )


def _note_missing_classes(dataset: Dataset) -> Dataset:
    counts = dataset.train.count_classes(dataset.num_classes)
    if not (missing := int((counts == 0).sum())):
        return dataset
    first = int(np.argmin(counts))
    name = f" ({dataset.classes[first]})" if dataset.classes else ""
    note = (
        f"{missing:,} of {dataset.num_classes:,} classes have no training image, the first is "
        f"class {first}{name}"
    )
    return replace(dataset, notes=(*dataset.notes, note))


def _require_arrays(key: str, dataset: Dataset, split: Split) -> ArraySplit:
    if not isinstance(split, ArraySplit):
        raise UserError(
            f"config.data.{key} is for data sets in memory, but {dataset.name} is read from disk. "
            f"Leave config.data.{key} at 0."
        )
    return split


def _select(split: ArraySplit, places: np.ndarray) -> ArraySplit:
    return ArraySplit(split.images[places], split.labels[places])


def _join(first: ArraySplit, second: ArraySplit) -> ArraySplit:
    images = np.concatenate([first.images, second.images])
    return ArraySplit(images, np.concatenate([first.labels, second.labels]))
