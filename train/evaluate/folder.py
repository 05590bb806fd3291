"""A user's images for a network that was trained on another data set: DIR/CLASS/*.png."""

import re
from pathlib import Path

from ..data.dataset import ArraySplit, Dataset
from ..data.images import folder
from ..errors import UserError


def read_own_images(place: Path, dataset: Dataset) -> tuple[ArraySplit, str]:
    """Return the images in `place`, shaped like those of `dataset`, and a note on their labels.

    Folders that are named after classes get the labels of these classes. If no folder is, the
    labels are the positions of the folders in alphabetical order. Raises UserError if only some are
    named after classes, if their number is wrong, and for damaged files.
    """
    shape = dataset.train.shape
    if not dataset.mean and len(shape) == 3:
        raise UserError(
            f"--folder needs a network for pixels 0 to 255; {dataset.name} has floats. Evaluate "
            "on its own images, without --folder."
        )
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(
            f"--folder needs a network for gray or color images; {dataset.name} has samples of "
            f"shape {shape}. Evaluate on its own samples, without --folder."
        )
    if not place.is_dir():
        raise UserError(f"there is no folder {place}; give one that has a folder for each class.")
    names = folder.find_classes(place)
    labels, note = _label(place, names, dataset)
    return folder.read_images(place, labels, shape), note


def _label(place: Path, names: list[str], dataset: Dataset) -> tuple[dict[str, int], str]:
    """Return the label of each folder name, and a note on how the labels were found."""
    known = {_normalize(name): label for label, name in enumerate(dataset.classes)}
    unknown = [name for name in names if _normalize(name) not in known]
    if not unknown:
        labels = {name: known[_normalize(name)] for name in names}
        if len(set(labels.values())) < len(names):
            raise UserError(f"{place}: two folders name the same class: {', '.join(names)}.")
        return labels, f"the folders are named after classes of {dataset.name}"
    # Some names known and some not: a typing error rather than other classes.
    if len(unknown) < len(names):
        raise UserError(
            f"{place}: no class of {dataset.name} is named {', '.join(unknown)}; it has "
            f"{', '.join(dataset.classes)}. Rename these folders or move them away."
        )
    if len(names) != dataset.num_classes:
        raise UserError(
            f"{place} has {len(names)} folders, but the network has {dataset.num_classes} "
            "classes. Make a folder for each class, "
            + (f"named {', '.join(dataset.classes)}." if dataset.classes else "in their order.")
        )
    order = f"{names[0]} is class 0, {names[-1]} class {len(names) - 1}"
    return (
        {name: label for label, name in enumerate(names)},
        f"no folder is named after a class, so their order determines the labels: {order}",
    )


def _normalize(name: str) -> str:
    """Return a normalized name: `T-shirt/top` and `t_shirt_top` become equal."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
