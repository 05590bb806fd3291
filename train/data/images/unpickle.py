"""Loads pickles made of numbers, strings, containers and NumPy arrays, and of nothing else."""

import codecs
import io
import pickle
from typing import Any

import numpy as np

# NumPy's own name for it has moved between versions; an array's pickle always starts with it.
_RECONSTRUCT = np.empty(0).__reduce__()[0]

# Python 2 wrote the old module names; Python 3 writes bytes as `_codecs.encode` in protocol 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"refused to load the global {module}.{name}; a data file needs none but NumPy's"
            )
        return _ALLOWED[module, name]


def load_arrays(data: bytes) -> Any:
    """Return the content of a pickle of arrays, with Python 2's strings as bytes.

    Raises `pickle.UnpicklingError` if it asks for anything but arrays or is damaged.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # Damaged bytes are other instructions: they can raise anything.
        raise pickle.UnpicklingError(f"not a whole pickle ({error!r})") from error
