"""subset.json, the training images of a run: indices into the training split of the data set."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_atomically
from .reading import read_json

FILE = "subset.json"


def save_subset(workdir: Path, subset: Mapping[str, np.ndarray]) -> None:
    """Write the image indices of a new run; write nothing if it uses all images.

    Raises UserError if a run that resumes began with other images.
    """
    file = workdir / FILE
    now = {name: np.asarray(indices).tolist() for name, indices in subset.items()}
    was = read_json(file, dict)
    if was is None:
        if now:
            write_atomically(file, json.dumps(now))
    elif was != now:
        raise UserError(
            f"{file} lists different training images from those selected now: the data set has "
            "changed since the run began. Restore the data, or choose another --workdir."
        )
