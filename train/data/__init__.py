"""Data sets. `DATASETS` here is the registry; `load` returns a `Dataset`.

`dataset.py` has `Dataset` and its splits, in memory or on disk. `images/`, `events/` and
`imagenet/` load, `feeding/` orders and batches, `augment/` augments, `storage/` has helpers for
files. `own.py` loads the arrays of a user's function and `arrays.py` those of a file; `layouts.py`
finds a user's own files and their labels. `subsets.py` chooses training images and splits off
validation images. `prepare.py` converts ImageNet; `splits/` lists test recordings.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pit_jax.display import print_text

from ..config.choose import check_keys
from ..config.parts import find_part, list_options
from ..config.places import read_place
from ..errors import UserError
from .arrays import arrays
from .dataset import ArraySplit, DataNotFound, Dataset, DiskSplit, Split
from .events import (
    cifar10_dvs,
    dvs_digits,
    dvs_gesture,
    event_folder,
    n_mnist,
    tonic,
    tonic_sets,
)
from .imagenet import dataset
from .images import cifar, digits, folder, mnist, synthetic, tfds_images
from .own import load_own
from .subsets import check_numbers, choose_subsets

__all__ = ["DATASETS", "ArraySplit", "DataNotFound", "Dataset", "DiskSplit", "Split", "load"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "arrays": arrays,
    "cifar10": cifar.cifar10,
    "cifar100": cifar.cifar100,
    "cifar10_dvs": cifar10_dvs.cifar10_dvs,
    "digits": digits.digits,
    "dvs_digits": dvs_digits.dvs_digits,
    "dvs_gesture": dvs_gesture.dvs_gesture,
    "event_folder": event_folder.event_folder,
    "fashion_mnist": mnist.fashion_mnist,
    "folder": folder.folder,
    "imagenet": dataset.imagenet,
    "mnist": mnist.mnist,
    "n_mnist": n_mnist.n_mnist,
    "synthetic": synthetic.synthetic,
}
"""The data sets by name, as `config.data.name` chooses them."""
# Collections of other packages: `tfds/NAME` calls the function with NAME first.
COLLECTIONS: dict[str, Callable[..., Dataset]] = {
    "tfds": tfds_images.tfds_images,
    "tonic": tonic_sets.tonic_events,
}
# Data sets whose `data_dir` can be a file: of arrays, or a table of labels.
FROM_FILES = ("arrays", "event_folder", "folder")
# The 360 test images of these are too few to compare neurons, so the training images that
# `train_images` does not choose join them.
TEST_REST = ("digits", "dvs_digits")


def load(
    name: str,
    data_dir: str | os.PathLike[str] = "data",
    *,
    train_images: int = 0,
    validation: float = 0.0,
    **options: object,
) -> Dataset:
    """Load the data set `name` of `DATASETS`, or a user's own; `options` go to its function.

    The name of a user's own data set is an import path, `package.module:function` (own.py);
    `tfds/NAME` and `tonic/NAME` are data sets of these packages. If tonic is installed, it
    downloads missing event data sets. Prints a line to stderr for each of `Dataset.notes`. Raises
    `DataNotFound` if no searched place has the files, and `UserError` for an unknown name, an
    option that the data set does not take, or damaged files.

    Args:
        data_dir: the folder with the files of data sets; a download goes there too. For arrays,
            event_folder and folder it can be a file.
        train_images: the number of training images, equal for each class and the same images in
            every run; 0 uses all. For `digits` and `dvs_digits` the rest joins the test images.
        validation: the share of the training images on which the best epoch is chosen, instead of
            the test images; 0 sets none aside.
    """
    data_dir = str(read_place("data.data_dir", data_dir))
    if Path(data_dir).is_file() and name not in FROM_FILES:
        raise UserError(f"config.data.data_dir must be a folder, and {data_dir} is a file.")
    if options.get("cache_dir") not in (None, ""):  # The configs' default is "".
        options["cache_dir"] = str(read_place("data.cache_dir", options["cache_dir"]))
    check_numbers(train_images, validation)  # Before anything is downloaded or decoded.
    function = find_part("data", name)
    check_keys("data", list_options("data", function), options)
    if name in DATASETS:
        dataset = _load_or_fetch(name, data_dir, options)
    elif name.partition("/")[0] in COLLECTIONS:
        dataset = function(data_dir, **options)
    else:
        dataset = load_own(name, function, data_dir, options)
    dataset = choose_subsets(dataset, train_images, validation, test_rest=name in TEST_REST)
    for note in dataset.notes:
        print_text(f"note: {note}.", sys.stderr)
    return dataset


def _load_or_fetch(
    name: str, data_dir: str | os.PathLike[str], options: Mapping[str, object]
) -> Dataset:
    # Look first: whatever the user has, in any of the accepted layouts, is used before a download.
    try:
        return DATASETS[name](data_dir, **options)
    except DataNotFound:
        if not tonic.fetch(name, Path(data_dir)):
            raise
    return DATASETS[name](data_dir, **options)
