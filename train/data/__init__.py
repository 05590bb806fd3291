"""Data sets. `DATASETS` here is the registry; `load` returns a `Dataset`.

`dataset.py` has `Dataset` and its splits, in memory or on disk. `images/`, `events/` and
`imagenet/` load, `feeding/` orders and batches, `augment/` is augmentation, `storage/` has helpers
for files. `prepare.py` converts ImageNet; `splits/` lists test recordings.
"""

import difflib
import inspect
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from .dataset import ArraySplit, DataNotFound, Dataset, DiskSplit, Split
from .events import cifar10_dvs, dvs_digits, dvs_gesture, n_mnist, tonic
from .imagenet import dataset
from .images import cifar, digits, folder, mnist, synthetic

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


def load(name: str, data_dir: str | os.PathLike[str] = "data", **options: object) -> Dataset:
    """Load the data set `name` from `data_dir`; `options` go to its function in `DATASETS`.

    Event data sets that are not there are fetched by tonic, where it is installed. Raises
    `DataNotFound` if its files are in none of the places it is looked for, and `UserError` for an
    unknown name, an option it does not take, or files that are damaged.
    """
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
