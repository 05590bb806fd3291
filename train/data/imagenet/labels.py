"""The classes of ImageNet's validation images, whose archive has no folders."""

import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from ...errors import UserError
from ..dataset import DataNotFound

DEVKIT = "ILSVRC2012_devkit_t12"
# The class of each image on a line, in their order: often passed on instead of the devkit.
LIST = "imagenet_2012_validation_synset_labels.txt"
TRUTH, META = "data/ILSVRC2012_validation_ground_truth.txt", "data/meta.mat"


def read_validation_labels(source: Path) -> dict[str, str]:
    """Return the class nXXXXXXXX of each validation image, by its name without ending.

    Reads the list of classes or the development kit, as an archive or extracted. Raises
    `DataNotFound` if there is neither, and `UserError` if they are damaged.
    """
    archive, folder, listed = source / f"{DEVKIT}.tar.gz", source / DEVKIT, source / LIST
    found = next((place for place in (listed, archive, folder) if place.exists()), None)
    if found is None:
        places = [
            (archive, "the development kit, which has the labels of the validation images"),
            (folder, "the same, extracted"),
            (listed, "or a text file with the class nXXXXXXXX of each image, in their order"),
        ]
        raise DataNotFound("imagenet", places, "an account at image-net.org (ILSVRC2012)")
    try:
        if listed.is_file():
            classes = listed.read_text().split()
        elif archive.is_file():
            with tarfile.open(archive) as tar:
                classes = _read_devkit(lambda name: tar.extractfile(f"{DEVKIT}/{name}").read())  # type: ignore[union-attr]
        else:
            classes = _read_devkit(lambda name: (folder / name).read_bytes())
    except (OSError, EOFError, ValueError, KeyError, IndexError, tarfile.TarError) as error:
        raise UserError(f"{found} is damaged ({error!r}); fetch it again.") from error
    return {f"ILSVRC2012_val_{i:08d}": name for i, name in enumerate(classes, start=1)}


def _read_devkit(read: Callable[[str], bytes]) -> list[str]:
    """Return the class of each image."""
    # The ground truth has ILSVRC2012_IDs: from 1, in the order of MATLAB's table, not of names.
    from scipy.io import loadmat

    table = loadmat(BytesIO(read(META)))["synsets"].ravel()
    names = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in table}
    return [names[int(line)] for line in read(TRUTH).split()]
