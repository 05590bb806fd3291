"""Data sets. `DATASETS` here is the registry; `load` returns a `Dataset`.

`dataset.py` has `Dataset` and its splits, in memory or on disk. `images/`, `events/` and
`imagenet/` load, `feeding/` orders and batches, `augment/` is augmentation, `storage/` has helpers
for files. `subsets.py` chooses training images and splits off validation images. `prepare.py`
converts ImageNet; `splits/` lists test recordings.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import UserError
from .dataset import ArraySplit, DataNotFound, Dataset, DiskSplit, Split
from .events import cifar10_dvs, dvs_digits, dvs_gesture, n_mnist, tonic
from .imagenet import dataset
from .images import cifar, digits, folder, mnist, synthetic
from .subsets import choose_subsets

__all__ = ["DATASETS", "ArraySplit", "DataNotFound", "Dataset", "DiskSplit", "Split", "load"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "cifar10": cifar.cifar10,
    "cifar100": cifar.cifar100,
    "cifar10_dvs": cifar10_dvs.cifar10_dvs,
    "digits": digits.digits,
    "dvs_digits": dvs_digits.dvs_digits,
    "dvs_gesture": dvs_gesture.dvs_gesture,
    "fashion_mnist": mnist.fashion_mnist,
    "folder": folder.folder,
    "imagenet": dataset.imagenet,
    "mnist": mnist.mnist,
    "n_mnist": n_mnist.n_mnist,
    "synthetic": synthetic.synthetic,
}
# Their 360 test images are too few to compare neurons: training images that `train_images` does not
# choose join them.
TEST_REST = ("digits", "dvs_digits")


def load(
    name: str,
    data_dir: str | os.PathLike[str] = "data",
    *,
    train_images: int = 0,
    validation: float = 0.0,
    **options: object,
) -> Dataset:
    """Load the data set `name` of `DATASETS`; `options` go to its function.

    Event data sets that are not there are fetched by tonic, where it is installed. Raises
    `DataNotFound` if its files are in none of the places it is looked for, and `UserError` for an
    unknown name, an option it does not take, or files that are damaged.

    Args:
        data_dir: the folder with the files of data sets; a download goes there too.
        train_images: how many training images are used, the same number of each class and the same
            ones in every run; 0 is all. For the digits the rest joins the test images.
        validation: the share of the training images on which the best epoch is chosen, instead of
            on the test images; 0 is none.
    """
    dataset = _load_named(name, data_dir, options)
    return choose_subsets(dataset, train_images, validation, test_rest=name in TEST_REST)


def _load_named(
    name: str, data_dir: str | os.PathLike[str], options: Mapping[str, object]
) -> Dataset:
    if name not in DATASETS:
        nearest = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0)[0]
        raise UserError(
            f"unknown data set {name!r}: did you mean {nearest!r}? There are {', '.join(DATASETS)}."
        )
    parameters = inspect.signature(DATASETS[name]).parameters
    taken = [option for option in parameters if option != "data_dir"]
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise UserError(
            f"data set {name!r} takes no option {', '.join(unknown)}; "
            f"it takes {', '.join(taken) or 'none'}."
        )
    try:
        return DATASETS[name](data_dir, **options)
    except DataNotFound:
        if not tonic.fetch(name, Path(data_dir)):
            raise
    return DATASETS[name](data_dir, **options)
