"""Unpickle files of torch.save without torch: tensors and plain containers, nothing else.

A global that is not listed here is refused by name and never looked up, so no code can run.
"""

import collections
import io
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pit_jax.interop.errors import CheckpointError

DTYPES: dict[str, np.dtype] = {
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "BoolStorage": np.dtype(np.bool_),
    "ByteStorage": np.dtype(np.uint8),
    "CharStorage": np.dtype(np.int8),
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "IntStorage": np.dtype(np.int32),
    "LongStorage": np.dtype(np.int64),
    "ShortStorage": np.dtype(np.int16),
}


# Named tuples, because a pickle's BUILD instruction cannot change them as it can a dataclass.
class Storage(NamedTuple):
    """The memory `key` of a file, `size` values of `dtype`, read after the pickle."""

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A window on a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, data: np.ndarray) -> np.ndarray:
        """Return the read-only window on `data`. Raises CheckpointError if it exceeds `data`."""
        # The index of the last element, if all strides are non-negative (checked below).
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        inside = 0 in self.shape or 0 <= self.offset <= last < data.size
        if not inside or min((*self.shape, *self.strides), default=0) < 0:
            raise CheckpointError(
                f"a tensor of shape {self.shape}, strides {self.strides} and offset {self.offset} "
                f"exceeds its storage of {data.size} values; the file is damaged."
            )
        if 0 in self.shape:
            return np.empty(self.shape, data.dtype)
        steps = [step * data.itemsize for step in self.strides]
        window = data[self.offset :]
        return np.lib.stride_tricks.as_strided(window, self.shape, steps, writeable=False)


class TorchUnpickler(pickle.Unpickler):
    """An unpickler that returns `Tensor` for tensors and collects their `storages` by key."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        """Return the object. Raises CheckpointError if it is damaged or more than plain data."""
        try:
            return super().load()
        except CheckpointError:
            raise
        except Exception as error:  # Damaged bytes are other instructions: they can raise anything.
            raise CheckpointError(f"its pickle is damaged or cut off ({error!r}).") from error

    def find_class(self, module: str, name: str) -> Any:
        """Return a substitute for a global. Raises CheckpointError unless it is plain data."""
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) not in _STAND_INS:
            raise CheckpointError(
                f"it needs {module}.{name}, which is refused because it could run code; only "
                "tensors and plain containers are loaded. If you trust the file, load it with "
                "torch and save the weights alone: torch.save(model.state_dict(), PATH)."
            )
        return _STAND_INS[module, name]()

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage with the persistent id `pid`."""
        # "storage", its class, key, device and number of values; in the old format also a view.
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise CheckpointError(
                f"its pickle refers to the unknown object {pid!r}; load it with torch and save it "
                "again."
            )
        return self.storages.setdefault(str(key), Storage(str(key), dtype, int(size)))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise CheckpointError("a tensor has no storage; the file is damaged.")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


# Each load makes new substitutes, because a pickle could modify them (BUILD sets attributes).
_STAND_INS: dict[tuple[str, str], Callable[[], Any]] = {
    ("collections", "OrderedDict"): lambda: collections.OrderedDict,
    # Training scripts save their arguments next to the weights.
    ("argparse", "Namespace"): lambda: type("Namespace", (), {}),
    ("torch._utils", "_rebuild_tensor"): lambda: lambda *args: _rebuild_tensor(*args),
    ("torch._utils", "_rebuild_tensor_v2"): lambda: lambda *args: _rebuild_tensor(*args),
    ("torch._utils", "_rebuild_parameter"): lambda: lambda data, *_: data,
}
