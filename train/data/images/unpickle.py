"""Loads pickles that contain only numbers, strings, containers and NumPy arrays."""

import codecs
import io
import pickle
from typing import Any

import numpy as np

# Taken from an array's own pickle, because NumPy has moved this function between versions.
_RECONSTRUCT = np.empty(0).__reduce__()[0]

# Python 2 wrote the old module names; Python 3 writes bytes as `_codecs.encode` in protocol 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


# A pickle is a program that can call any function that it can import. A data file from the network
# must not be able to run code, so only the constructors of arrays can be imported.
class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"refused to load the global {module}.{name}; a data file needs only NumPy's"
            )
        return _ALLOWED[module, name]


def load_arrays(data: bytes) -> Any:
    """Return the content of a pickle of arrays, with Python 2's strings as bytes.

    Raises `pickle.UnpicklingError` if it needs any other class or function, or is damaged.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # Damaged bytes are other instructions, which can raise anything.
        raise pickle.UnpicklingError(f"not a complete pickle ({error!r})") from error
