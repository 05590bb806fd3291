"""The classes of ImageNet's validation images, whose archive has no folders."""

import json
import re
from pathlib import Path

from pit_jax.reading import reading, run_parser

from ...errors import UserError
from ..dataset import DataNotFound
from ..storage.archives import DamagedArchive, read_named
from ..storage.names import find_entry, name_archives
from ..storage.text import decode_text, read_table, read_text

DEVKIT = "ILSVRC2012_devkit_t12"
# The class of each image on a line, in their order: often passed on instead of the devkit.
LIST = "imagenet_2012_validation_synset_labels.txt"
KAGGLE = "LOC_val_solution.csv"  # The name of each image, and its class before each box.
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
AGAIN = "fetch it again."
MAT_CHILD = Path(__file__).with_name("mat_child.py")
MOST_BYTES, MOST_SECONDS = 2**30, 60


def read_validation_labels(source: Path) -> dict[str, str]:
    """Return the class nXXXXXXXX of each validation image, by its name without ending.

    Reads the list of classes, Kaggle's table, or the development kit, as an archive or extracted.
    Raises `DataNotFound` if there is none, and `UserError` if they are damaged.
    """
    archives = name_archives([DEVKIT])
    known = ((LIST,), (KAGGLE,), archives, (DEVKIT,))
    found = next((path for names in known if (path := find_entry(source, *names))), None)
    if found is None:
        places = [
            (source / archives[0], "the development kit, which has the labels of the images"),
            (source / DEVKIT, "the same, extracted"),
            (source / LIST, "or a text file with the class nXXXXXXXX of each image, in order"),
            (source / KAGGLE, "or Kaggle's table of the images and their classes"),
        ]
        raise DataNotFound("imagenet", places, "an account at image-net.org (ILSVRC2012)")
    if found.suffix.lower() == ".csv":
        return _read_kaggle(found)
    if found.suffix.lower() == ".txt":
        classes = read_text(found, AGAIN).split()
    else:
        classes = _read_devkit(found)
    for line, name in enumerate(classes, start=1):
        if not re.fullmatch(r"n\d{8}", name):
            raise UserError(f"{found}, line {line}: expected a class nXXXXXXXX, got {name!r:.40}.")
    return {f"ILSVRC2012_val_{i:08d}": name for i, name in enumerate(classes, start=1)}


def _read_kaggle(table: Path) -> dict[str, str]:
    """Return the classes in a table of `ImageId` and `PredictionString`, "nXXXXXXXX x y w h"."""
    rows = read_table(table, AGAIN)
    try:
        return {row["imageid"]: row["predictionstring"].split()[0] for row in rows}
    except (KeyError, IndexError) as error:
        raise UserError(
            f"{table}: expected the columns ImageId and PredictionString in each row; {AGAIN}"
        ) from error


def _read_devkit(place: Path) -> list[str]:
    """Return the class of each image, from the archive or the folder of the development kit."""
    with reading(
        place, "the development kit of ILSVRC2012", error=UserError, advice="Fetch it again."
    ):
        try:
            files = read_named(place, (TRUTH, META), "data")
        except DamagedArchive as error:
            raise UserError(f"{place} is damaged ({error.reason}); {AGAIN}") from error
        for name in (TRUTH, META):
            if name not in files:
                raise UserError(f"{place} has no {name}; {AGAIN}")
        names = _read_numbers(files[META])
        # The ground truth has ILSVRC2012_IDs: from 1, in the order of MATLAB's table, not of names.
        return [names[line] for line in decode_text(files[TRUTH], place, AGAIN).split()]


def _read_numbers(table: bytes) -> dict[str, str]:
    """Return the class of each number in MATLAB's table, read by a process that may crash."""
    try:
        printed = run_parser(MAT_CHILD, content=table, seconds=MOST_SECONDS, memory=MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{META}: {error}") from error
    numbers: dict[str, str] = json.loads(printed)
    return numbers
