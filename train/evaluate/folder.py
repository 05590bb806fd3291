"""Images of a user for a network that was trained on something else: DIR/CLASS/*.png."""

import re
from pathlib import Path

from ..data.dataset import ArraySplit, Dataset
from ..data.images import folder
from ..errors import UserError


def read_own_images(place: Path, dataset: Dataset) -> tuple[ArraySplit, str]:
    """Return the images in `place` as those of `dataset`, and a note on how they got their labels.

    A folder is named after a class; where no name is known, the folders are the classes in the
    order of their names. Raises UserError for folders that fit neither way, and for damaged files.
    """
    shape = dataset.train.shape
    if not dataset.mean and len(shape) == 3:
        raise UserError(
            f"--folder is for pixels of 0 to 255; those of {dataset.name} are floats: leave "
            "--folder out to evaluate on its own."
        )
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(
            f"--folder is for images, gray or in color; {dataset.name} has samples of the shape "
            f"{shape}: leave --folder out to evaluate on its own."
        )
    if not place.is_dir():
        raise UserError(f"there is no folder {place}; give one that holds a folder for each class.")
    names = folder.find_classes(place)
    labels, note = _label(place, names, dataset)
    return folder.read_images(place, labels, shape), note


def _label(place: Path, names: list[str], dataset: Dataset) -> tuple[dict[str, int], str]:
    known = {_normalize(name): label for label, name in enumerate(dataset.classes)}
    strange = [name for name in names if _normalize(name) not in known]
    if not strange:
        labels = {name: known[_normalize(name)] for name in names}
        if len(set(labels.values())) < len(names):
            raise UserError(f"{place}: two of these folders are one class: {', '.join(names)}.")
        return labels, f"the folders are named after classes of {dataset.name}"
    if len(strange) < len(names):
        raise UserError(
            f"{place}: no class of {dataset.name} is named {', '.join(strange)}; it has "
            f"{', '.join(dataset.classes)}. Rename these folders or move them away."
        )
    if len(names) != dataset.num_classes:
        raise UserError(
            f"{place} has {len(names)} folders, and the network tells {dataset.num_classes} "
            "classes apart. Make a folder for each class, "
            + (f"named {', '.join(dataset.classes)}." if dataset.classes else "in their order.")
        )
    order = f"{names[0]} is class 0, {names[-1]} class {len(names) - 1}"
    return (
        {name: label for label, name in enumerate(names)},
        f"no folder has the name of a class, so their order gives the labels: {order}",
    )


def _normalize(name: str) -> str:
    """Return a name as a folder can have it: `T-shirt/top` and `t_shirt_top` are the same."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
