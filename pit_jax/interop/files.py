"""Read weights by name without torch, from .safetensors and from both formats of .pth."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.unpickler import Storage, Tensor, TorchUnpickler
from pit_jax.old_names import serve_old_names

# torch's MAGIC_NUMBER, the first pickle of a file before torch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Prefixes that DataParallel and torch.compile add to every name.
_WRAPPERS = ("module.", "_orig_mod.")

V = TypeVar("V")


def load(path: str | Path, *, entry: str | None = None) -> dict[str, np.ndarray]:
    """Return the tensors of a `state_dict` by name, read-only, from a .safetensors or .pth file.

    The state_dict may be an entry of the checkpoint ("model", "state_dict", "net", ...); if several
    entries hold tensors, `entry` selects one. Prefixes of DataParallel and torch.compile are
    removed. No code in the file is executed. Raises CheckpointError for a file that is damaged, has
    another format, or holds more than tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
            file.seek(0)
            if head[:4] == b"PK\x03\x04":
                return _read_arrays(*_read_zip(file), entry)
            if head[8:] == b"{":  # A JSON header after its length in eight bytes.
                return _read_safetensors(path, entry)
            if head[:1] == b"\x80":  # The first byte of a pickle.
                return _read_arrays(*_read_legacy(file), entry)
        raise CheckpointError("must be a file of torch.save or a .safetensors file.")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


@contextmanager
def _report_damage() -> Iterator[None]:
    """Raise CheckpointError for any exception in the block."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # Damaged bytes can raise anything.
        raise CheckpointError(f"damaged or cut off ({error}).") from error


def _read_zip(file: io.BufferedIOBase) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Read the format since torch 1.6: data.pkl and one file for each storage."""
    with _report_damage():
        archive = zipfile.ZipFile(file)
        names = set(archive.namelist())
        # The folder in the archive has the name of the file when it was saved.
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError("a zip file without data.pkl, so not a file of torch.save.")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise CheckpointError("written on a big-endian machine, which is not supported.")
        value = TorchUnpickler(io.BytesIO(archive.read(pickles[0]))).load()

    def read_storage(storage: Storage) -> np.ndarray:
        name = f"{folder}data/{storage.key}"
        _check_size(storage, archive.getinfo(name).file_size if name in names else "no")
        with _report_damage():
            return np.frombuffer(archive.read(name), storage.dtype)

    return value, read_storage


def _read_legacy(file: io.BufferedIOBase) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Read the format before torch 1.6: consecutive pickles, then the storages."""
    if TorchUnpickler(file).load() != _LEGACY_MAGIC:
        raise CheckpointError("a pickle, but not a file of torch.save.")
    TorchUnpickler(file).load()  # The version of the protocol; only one exists.
    machine = TorchUnpickler(file).load()
    if not isinstance(machine, dict) or not machine.get("little_endian"):
        raise CheckpointError("written on a big-endian machine, which is not supported.")
    unpickler = TorchUnpickler(file)
    value = unpickler.load()
    # The storages follow in the order of a pickled list of keys, each after its number of values.
    places: dict[str, tuple[int, int]] = {}
    for key in TorchUnpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        if key not in unpickler.storages:
            raise CheckpointError(f"it has a storage {key!r} that no tensor refers to.")
        size = count * unpickler.storages[key].dtype.itemsize
        places[key] = file.tell(), size
        # Values are read later, when a tensor needs them.
        file.seek(size, 1)

    def read_storage(storage: Storage) -> np.ndarray:
        start, size = places.get(storage.key, (0, "no"))
        _check_size(storage, size)
        file.seek(start)
        content = file.read(storage.size * storage.dtype.itemsize)
        _check_size(storage, len(content))
        return np.frombuffer(content, storage.dtype)

    return value, read_storage


def _check_size(storage: Storage, found: int | str) -> None:
    expected = storage.size * storage.dtype.itemsize
    if found != expected:
        raise CheckpointError(
            f"its storage {storage.key!r} should have {expected} bytes, but has {found}; the file "
            "is damaged or cut off."
        )


def _read_safetensors(path: Path, entry: str | None) -> dict[str, np.ndarray]:
    if entry is not None:
        raise CheckpointError(f"a .safetensors file has no entries; do not give entry={entry!r}.")
    package = import_safetensors()
    with _report_damage():
        return _unwrap(package.load_file(path))


def import_safetensors() -> ModuleType:
    """Return the package, which the extra `interop` installs."""
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise CheckpointError(
            ".safetensors files need the safetensors package: pip install safetensors."
        ) from error


def _read_arrays(
    value: Any, read_storage: Callable[[Storage], np.ndarray], entry: str | None
) -> dict[str, np.ndarray]:
    read = cache(read_storage)  # Several tensors may share a storage.
    tensors = _unwrap(_find_state_dict(value, entry))
    return {name: tensor.array(read(tensor.storage)) for name, tensor in tensors.items()}


def _find_state_dict(value: Any, entry: str | None) -> Mapping[str, Tensor]:
    """Return `value` or its only entry that is a state_dict; `entry` selects one of several."""
    if entry is None and _is_state_dict(value):
        return value
    entries = value if isinstance(value, dict) else {}
    found = {str(key): inner for key, inner in entries.items() if _is_state_dict(inner)}
    if entry is not None:
        found = {key: inner for key, inner in found.items() if key == entry}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise CheckpointError(
            f"{len(found)} entries hold tensors by name: {', '.join(found)}; choose one, e.g. "
            f"entry={next(iter(found))!r}."
        )
    kind = f"a dictionary with {', '.join(map(str, entries))}" if entries else type(value).__name__
    wanted = "a state_dict" if entry is None else f"a state_dict under {entry!r}"
    raise CheckpointError(f"it holds {kind}, but not {wanted} (tensors by name).")


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(x, Tensor) for key, x in value.items())
    )


def _unwrap(tensors: Mapping[str, V]) -> dict[str, V]:
    names = list(tensors)
    # Wrappers nest, and only a prefix of all names is one.
    while wrapper := next(
        (w for w in _WRAPPERS if names and all(name.startswith(w) for name in names)), None
    ):
        names = [name.removeprefix(wrapper) for name in names]
    return dict(zip(names, tensors.values(), strict=True))


serve_old_names(__name__)
