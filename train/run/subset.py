"""subset.json, the training images of a run: indices into the data set's own split."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import write_atomically
from .reading import read_json

FILE = "subset.json"


def save_subset(workdir: Path, subset: Mapping[str, np.ndarray]) -> None:
    """Write the indices of a new run; write nothing if it uses all images of its data set.

    Raises UserError if the run began with other images.
    """
    file = workdir / FILE
    now = {name: np.asarray(indices).tolist() for name, indices in subset.items()}
    was = read_json(file, dict)
    if was is None:
        if now:
            write_atomically(file, json.dumps(now))
    elif was != now:
        raise UserError(
            f"{file} lists other training images than this run would see: the data set has changed "
            "since the run began. Restore the data, or choose another --workdir."
        )
