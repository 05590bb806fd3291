"""Loads pickles that contain only numbers, strings, containers and NumPy arrays."""

import io
import pickle
import re
from typing import Any

import numpy as np

from .opcodes import check_opcodes

NUMBERS = re.compile("[|<>=]?([?]|b1|[iu][1248]|f[248])")


# A pickle is a program that can call any function that it can import. A data file from the network
# must not be able to run code, so only stand-ins for the constructors of arrays can be imported:
# NumPy's own would allocate whatever shape a damaged byte names.
class _Array:
    """An array of numbers, which its state fills from the bytes that are there."""

    def __init__(self, kind: Any = None, shape: Any = None, letter: Any = None) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.value = _view(raw, dtype, shape, "F" if is_fortran else "C")


class _Type:
    """The type of an array, and the byte order, which its state gives."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not NUMBERS.fullmatch(text):
            raise pickle.UnpicklingError(f"expected an array of numbers, got the type {code!r:.40}")
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if state[1] in (">", b">"):
            self.value = self.value.newbyteorder(">")
        elif state[1] in ("<", b"<"):
            self.value = self.value.newbyteorder("<")


def _view(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, _Type):
        raise pickle.UnpicklingError("expected the bytes of an array and their type")
    # Native byte order, as NumPy unpickles arrays.
    array: Any = np.frombuffer(raw, dtype.value).astype(dtype.value.newbyteorder("="), copy=False)
    return array.reshape(shape, order=order)  # Raises an error unless the shape has their number.


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Return the bytes that Python 3 writes as a string in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("expected bytes that are written as latin1")
    return text.encode("latin1")


class _View(_Array):
    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any = "C") -> None:
        self.value = _view(raw, dtype, shape, "F" if order in ("F", b"F") else "C")


_ALLOWED: dict[tuple[str, str], Any] = {("numpy", "ndarray"): None, ("numpy", "dtype"): _Type}
# Python 2 wrote the old module names.
for _module in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_module}.multiarray", "_reconstruct"] = _Array
    _ALLOWED[f"{_module}.numeric", "_frombuffer"] = _View
_ALLOWED["_codecs", "encode"] = _encode


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _find_global(module, name)


def _find_global(module: str, name: str) -> Any:
    if (module, name) not in _ALLOWED:
        raise pickle.UnpicklingError(
            f"refused to load the global {module}.{name}; a data file needs only NumPy's"
        )
    return _ALLOWED[module, name]


def load_arrays(data: bytes) -> Any:
    """Return the content of a pickle of arrays, with Python 2's strings as bytes.

    Arrays may be the whole content, or in lists and dicts. Raises `pickle.UnpicklingError` if it
    needs any other class or function, or is damaged; neither takes more memory than a few times
    the size of `data`.
    """
    try:
        check_opcodes(data, _find_global)
        return _unwrap(_ArrayUnpickler(io.BytesIO(data), encoding="bytes").load())
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # Damaged bytes are other instructions, which can raise anything.
        raise pickle.UnpicklingError(f"not a complete pickle ({type(error).__name__})") from error


def _unwrap(value: Any, depth: int = 3) -> Any:
    """Return `value` with arrays in place of their stand-ins, in three levels of containers."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without its bytes")
        return value.value
    if depth and isinstance(value, dict):
        return {key: _unwrap(item, depth - 1) for key, item in value.items()}
    # Lists of labels and file names have only numbers and strings, and are long.
    if depth and isinstance(value, list) and not {_Array, _View}.isdisjoint(map(type, value)):
        return [_unwrap(item, depth - 1) for item in value]
    return value
