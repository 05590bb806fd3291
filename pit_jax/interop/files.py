"""Read weights by name without torch, from .safetensors and from both formats of .pth."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.select import check_tensors, find_state_dict
from pit_jax.interop.unpickler import Storage, Tensor, TorchUnpickler
from pit_jax.interop.values import check_values
from pit_jax.interop.wrappers import unwrap_names
from pit_jax.old_names import serve_old_names
from pit_jax.paths import read_path
from pit_jax.reading import quote_error, reading

# torch's MAGIC_NUMBER, the first pickle of a file before torch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Records that are compressed, as no torch writes them, may unpack to this, or 20 times the file.
_LARGEST_UNPACKED = 2**26
# How files begin that people take for checkpoints.
_OTHER_FILES = {
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"BZh": "compressed by bzip2; unpack it first",
    b"\xfd7zXZ": "compressed by xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"\x89HDF": "an HDF5 file, as of Keras or NIR",
    b"\x93NUMPY": "an array of NumPy",
    b"GGUF": "a GGUF file",
    b"version https://git-lfs": "a pointer of Git LFS; the weights come with `git lfs pull`",
    b"<": "a web page, so the download failed",
}


def load(
    path: str | Path,
    *,
    entry: str | None = None,
    prefix: str | None = None,
    ignore: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Return the tensors of a `state_dict` by name, read-only, from a .safetensors or .pth file.

    The state_dict may be an entry of the checkpoint ("model", "state_dict", "net", ...); if several
    entries hold tensors, `entry` selects one. Other entries are not read. The prefixes of wrappers
    (DataParallel, torch.compile, FSDP, AveragedModel, Lightning, also nested) are removed, and what
    the wrappers store is dropped. With `prefix`, only names that begin with it are loaded, without
    it. `ignore` lists names, or layers, that are dropped.

    Nothing in the file is called. Raises CheckpointError for a file that is damaged or has another
    format, for values in the state_dict that are no tensors, for tensors that are not finite, and
    for variances below zero.
    """
    path = read_path(path)
    ignore = [ignore] if isinstance(ignore, str) else ignore
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder; give a file. `pit_jax.interop.read` reads imported folders."
        )
    if not path.exists():
        raise CheckpointError(f"there is no file {path}.")
    try:
        with reading(path, "a whole checkpoint", error=CheckpointError), path.open("rb") as file:
            return _read_file(file, path, entry, prefix, ignore)
    except CheckpointError as error:
        text = str(error)
        named = text.startswith(str(path))
        raise CheckpointError(text if named else f"{path}: {text}") from error


def _read_file(
    file: io.BufferedReader,
    path: Path,
    entry: str | None,
    prefix: str | None,
    ignore: Collection[str],
) -> dict[str, np.ndarray]:
    head = file.read(512)
    file.seek(0)
    if head[:4] == b"PK\x03\x04":
        value, read_storage = _read_zip(file)
    elif head[8:9] == b"{":  # A JSON header after its length in eight bytes.
        return _read_safetensors(path, entry, prefix, ignore)
    elif head[:1] == b"\x80":  # The first byte of a pickle.
        value, read_storage = _read_legacy(file)
    else:
        what = _name_format(head, path)
        raise CheckpointError(f"{what}it must be a file of torch.save or a .safetensors file.")
    state_dict = find_state_dict(value, entry)
    scalars = {name for name, value in state_dict.items() if _is_scalar(value)}
    names = unwrap_names(state_dict, scalars, prefix, ignore)
    check_tensors({new: state_dict[old] for new, old in names.items()})
    read = cache(read_storage)  # Several tensors may share a storage.

    def read_tensor(name: str) -> np.ndarray:
        tensor = state_dict[names[name]]
        return tensor.array(read(tensor.storage))

    return _read_tensors(names, read_tensor)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Tensor):
        return all(size == 1 for size in value.shape)
    return isinstance(value, int | float | None)


def _read_tensors(
    names: Mapping[str, str], read_tensor: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the arrays by name. Raises CheckpointError if one is damaged or not finite."""
    arrays = {}
    for name in names:
        try:
            arrays[name] = read_tensor(name)
        except CheckpointError as error:
            raise CheckpointError(f"{show_name(name)[:80]}: {error}") from error
    check_values(arrays, arrays.__getitem__)
    return arrays


def _name_format(head: bytes, path: Path) -> str:
    """Return the start of an error for a file that begins with `head`, which is no checkpoint."""
    if not head:
        return "is empty; "
    if head[257:262] == b"ustar":
        return "a tar archive, of torch before 0.1.10 or packed by hand; unpack it first: "
    text = head.lstrip()
    for start, what in _OTHER_FILES.items():
        if text.startswith(start):
            return f"{what}; "
    if text.startswith(b"{"):
        try:
            shards = {str(name) for name in json.loads(path.read_bytes())["weight_map"].values()}
            listed = ", ".join(show_name(name)[:80] for name in sorted(shards)[:3])
            return f"the index of {len(shards)} files with the weights ({listed}); merge them; "
        except Exception:  # JSON of any other shape.
            return "a JSON file; "
    return ""


def _read_zip(file: io.BufferedIOBase) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Read the format since torch 1.6: data.pkl and one file for each storage."""
    archive = zipfile.ZipFile(file)
    names = set(archive.namelist())
    # The folder in the archive has the name of the file when it was saved.
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(_name_archive(names))
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise CheckpointError(
            "a TorchScript file, which is a program. With torch, save its weights: "
            "torch.save(torch.jit.load(PATH).state_dict(), OTHER)."
        )
    unpacked = sum(record.file_size for record in archive.infolist())
    if unpacked > max(_LARGEST_UNPACKED, 20 * os.fstat(file.fileno()).st_size):
        raise CheckpointError(
            f"its records would unpack to {unpacked:,} bytes, 20 times the file; it is damaged."
        )
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise CheckpointError("written on a big-endian machine, which is not supported.")
    value = TorchUnpickler(io.BytesIO(archive.read(pickles[0]))).load()

    def read_storage(storage: Storage) -> np.ndarray:
        name = f"{folder}data/{storage.key}"
        _check_size(storage, archive.getinfo(name).file_size if name in names else None)
        with reading(name, "a whole record", error=CheckpointError):
            content = archive.read(name)
        _check_size(storage, len(content))
        return np.frombuffer(content, storage.dtype)

    return value, read_storage


def _name_archive(names: Collection[str]) -> str:
    """Return the error for a zip file that torch.save did not write."""
    endings = {Path(name).suffix for name in names}
    inner = sorted(name for name in names if name.endswith((".pth", ".pt", ".safetensors")))
    if inner:
        return f"a zip file that holds {show_name(inner[0])[:80]}; unpack it first."
    if endings == {".npy"}:
        return "a zip file of NumPy's arrays (.npz), so not a file of torch.save."
    return "a zip file without data.pkl, so not a file of torch.save."


class _Bounded:
    """A file whose `read` allocates no more than there is, whatever number a pickle declares."""

    def __init__(self, file: io.BufferedIOBase, size: int) -> None:
        self.file, self.size = file, size
        self.readline, self.seek, self.tell = file.readline, file.seek, file.tell

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes."""
        # Asking where the file is takes longer than reading an instruction.
        return self.file.read(count if count < 4096 else min(count, self.size - self.tell()))


def _read_legacy(opened: io.BufferedReader) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """Read the format before torch 1.6: consecutive pickles, then the storages."""
    end = os.fstat(opened.fileno()).st_size
    file = _Bounded(opened, end)
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
    for key in map(str, TorchUnpickler(file).load()):
        count = int.from_bytes(file.read(8), "little")
        if key not in unpickler.storages:
            raise CheckpointError(f"it has a storage {key[:80]!r} that no tensor refers to.")
        size = count * unpickler.storages[key].dtype.itemsize
        places[key] = file.tell(), size
        if size > end - file.tell():
            raise CheckpointError(
                f"its storage {key!r} should have {size:,} bytes, but the file has "
                f"{end - file.tell():,} more; it is damaged or cut off."
            )
        # Values are read later, when a tensor needs them.
        file.seek(size, 1)

    def read_storage(storage: Storage) -> np.ndarray:
        start, size = places.get(storage.key, (0, None))
        _check_size(storage, size)
        file.seek(start)
        content = file.read(size or 0)
        return np.frombuffer(content, storage.dtype)

    return value, read_storage


def _check_size(storage: Storage, found: int | None) -> None:
    expected = storage.size * storage.dtype.itemsize
    if found != expected:
        there = "no" if found is None else found
        raise CheckpointError(
            f"its storage {storage.key[:80]!r} should have {expected} bytes, but has {there}; the "
            "file is damaged or cut off."
        )


def _read_safetensors(
    path: Path, entry: str | None, prefix: str | None, ignore: Collection[str]
) -> dict[str, np.ndarray]:
    if entry is not None:
        raise CheckpointError(f"a .safetensors file has no entries; do not give entry={entry!r}.")
    import_safetensors()
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
        scalars = {name for name, shape in shapes.items() if all(size == 1 for size in shape)}
        names = unwrap_names(shapes, scalars, prefix, ignore)

        def read_tensor(name: str) -> np.ndarray:
            try:
                array = np.asarray(file.get_tensor(names[name]))
            except Exception as error:  # A dtype that NumPy does not have raises many types.
                raise CheckpointError(f"it cannot be read ({quote_error(error)}).") from error
            array.flags.writeable = False
            return array

        return _read_tensors(names, read_tensor)


def import_safetensors() -> ModuleType:
    """Return the package, which the extra `interop` installs."""
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise CheckpointError(
            ".safetensors files need the safetensors package: pip install safetensors."
        ) from error


serve_old_names(__name__)
