"""Read weights by name without torch, from .safetensors and from both formats of .pth."""

import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.select import check_tensors, find_state_dict
from pit_jax.interop.unpickler import Skipped, Storage, Tensor, TorchUnpickler, count_strides
from pit_jax.interop.values import check_values
from pit_jax.interop.wrappers import unwrap_names
from pit_jax.old_names import serve_old_names
from pit_jax.paths import read_path
from pit_jax.reading import check_regular, reading

# torch's MAGIC_NUMBER, the first pickle of a file before torch 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# The first bytes of a record of a zip file, and the number of bytes before the name. The last of
# them are the lengths of the name and of the extra fields.
_RECORD, _RECORD_HEADER, _ENCRYPTED = b"PK\x03\x04", 30, 1
# Bytes at which an array starts in memory, a multiple of every dtype and of a cache line.
_ALIGNMENT = 64
# Records that are compressed, as no torch writes them, may unpack to this, or 20 times the file.
_LARGEST_UNPACKED = 2**26
_SAFETENSORS_DTYPES = {
    "BF16": jnp.bfloat16,
    "BOOL": np.bool_,
    "C64": np.complex64,
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
}
# The first bytes of files that users mistake for checkpoints.
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
        with reading(path, "a whole checkpoint", error=CheckpointError):
            check_regular(path, CheckpointError)
            with path.open("rb") as file:
                return _read_file(file, path, entry, prefix, ignore)
    except CheckpointError as error:
        text = str(error)
        named = text.startswith(str(path))
        raise CheckpointError(text if named else f"{path}: {text}") from error


class _Content(NamedTuple):
    """The content of a file whose storages are still to be read."""

    value: Any  # The saved object, with `Tensor` in place of tensors.
    sizes: Mapping[str, int]  # The size of each storage in the file, in bytes.
    read_into: Callable[[str, np.ndarray], None]  # Fills bytes with the storage of this key.


def _read_file(
    file: io.BufferedReader,
    path: Path,
    entry: str | None,
    prefix: str | None,
    ignore: Collection[str],
) -> dict[str, np.ndarray]:
    head = file.read(512)
    file.seek(0)
    if head[:4] == _RECORD:
        content = _read_zip(file)
    elif head[8:9] == b"{":  # A JSON header after its length in eight bytes.
        content = _read_safetensors(file, path)
    elif head[:1] == b"\x80":  # The first byte of a pickle.
        content = _read_legacy(file)
    else:
        what = _name_format(head, path)
        raise CheckpointError(f"{what}it must be a file of torch.save or a .safetensors file.")
    if head[8:9] != b"{":
        state_dict = find_state_dict(content.value, entry)
    elif entry is None:
        state_dict = content.value
    else:
        raise CheckpointError(f"a .safetensors file has no entries; do not give entry={entry!r}.")
    scalars = {name for name, value in state_dict.items() if _is_scalar(value)}
    names = unwrap_names(state_dict, scalars, prefix, ignore)
    tensors = {new: state_dict[old] for new, old in names.items()}
    check_tensors(tensors)
    arrays = _read_arrays(content, tensors)
    check_values(arrays, arrays.__getitem__)
    return arrays


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Tensor):
        return all(size == 1 for size in value.shape)
    return isinstance(value, int | float | None)


def _read_arrays(content: _Content, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the arrays by name. Raises CheckpointError if one is damaged."""
    places: dict[str, slice] = {}  # Several tensors may share a storage.
    end = 0
    for name, tensor in tensors.items():
        key, expected = tensor.storage.key, tensor.storage.size * tensor.storage.dtype.itemsize
        size = content.sizes.get(key)
        if size != expected:
            raise CheckpointError(
                f"{show_name(name)[:80]}: its storage {key[:80]!r} should have {expected} bytes, "
                f"but has {'no' if size is None else size}; the file is damaged or cut off."
            )
        if key not in places:
            places[key] = slice(end, end + size)
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
    # One large block has huge pages, so filling it takes half the time of many small ones.
    memory = np.empty(end, np.uint8)
    arrays: dict[str, np.ndarray] = {}
    unread = set(places)
    for name, tensor in tensors.items():
        key = tensor.storage.key
        block = memory[places[key]]
        try:
            if key in unread:
                content.read_into(key, block)
                unread.remove(key)
            arrays[name] = tensor.array(block.view(tensor.storage.dtype))
        except CheckpointError as error:
            raise CheckpointError(f"{show_name(name)[:80]}: {error}") from error
    return arrays


def _name_format(head: bytes, path: Path) -> str:
    """Return the start of an error for a file that begins with `head` and is not a checkpoint."""
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
        except Exception:  # The JSON may have any other structure.
            return "a JSON file; "
    return ""


def _read_zip(file: io.BufferedReader) -> _Content:
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

    records = {
        record.filename.removeprefix(f"{folder}data/"): record
        for record in archive.infolist()
        if record.filename.startswith(f"{folder}data/")
    }

    def read_into(key: str, block: np.ndarray) -> None:
        with reading(records[key].filename, "a whole record", error=CheckpointError):
            _read_record(archive, file, records[key], block)

    sizes = {key: record.file_size for key, record in records.items()}
    return _Content(value, sizes, read_into)


def _read_record(
    archive: zipfile.ZipFile, file: io.BufferedReader, record: zipfile.ZipInfo, block: np.ndarray
) -> None:
    """Fill `block` with a record of this size, and check its sum."""
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & _ENCRYPTED:
        block[:] = np.frombuffer(archive.read(record), np.uint8)
        return
    # torch does not compress. `archive.read` would copy the record, which takes twice as long.
    file.seek(record.header_offset)
    header = file.read(_RECORD_HEADER)
    file.seek(sum(struct.unpack("<HH", header[-4:])), os.SEEK_CUR)
    _fill(file, block)
    if header[:4] != _RECORD or zlib.crc32(block.data) != record.CRC:
        raise zipfile.BadZipFile("its checksum differs")


def _fill(file: io.BufferedReader, block: np.ndarray) -> None:
    """Fill `block` with the next bytes of a file."""
    if file.readinto(block.data) != len(block):
        raise CheckpointError("it is cut off.")


def _name_archive(names: Collection[str]) -> str:
    """Return the error for a zip file that torch.save did not write."""
    endings = {Path(name).suffix for name in names}
    if any(name.endswith("/models/model.json") for name in names):
        return (
            "a program of torch.export. With torch, save its weights: "
            "torch.save(torch.export.load(PATH).state_dict, OTHER)."
        )
    inner = sorted(name for name in names if name.endswith((".pth", ".pt", ".safetensors")))
    if inner:
        return f"a zip file that holds {show_name(inner[0])[:80]}; unpack it first."
    if endings == {".npy"}:
        return "a zip file of NumPy's arrays (.npz), so not a file of torch.save."
    return "a zip file without data.pkl, so not a file of torch.save."


def _read_legacy(file: io.BufferedReader) -> _Content:
    """Read the format before torch 1.6: consecutive pickles, then the storages."""
    end = os.fstat(file.fileno()).st_size
    if TorchUnpickler(file).load() != _LEGACY_MAGIC:
        raise CheckpointError("a pickle, but not a file of torch.save.")
    TorchUnpickler(file).load()  # The version of the protocol; only one exists.
    machine = TorchUnpickler(file).load()
    if not isinstance(machine, dict) or not machine.get("little_endian"):
        raise CheckpointError("written on a big-endian machine, which is not supported.")
    unpickler = TorchUnpickler(file)
    value = unpickler.load()
    # The storages follow in the order of a pickled list of keys, each after its number of values.
    starts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for key in map(str, TorchUnpickler(file).load()):
        count = int.from_bytes(file.read(8), "little")
        if key not in unpickler.storages:
            raise CheckpointError(f"it has a storage {key[:80]!r} that no tensor refers to.")
        size = count * unpickler.storages[key].dtype.itemsize
        starts[key], sizes[key] = file.tell(), size
        if size > end - file.tell():
            raise CheckpointError(
                f"its storage {key!r} should have {size:,} bytes, but the file has "
                f"{end - file.tell():,} more; it is damaged or cut off."
            )
        # Values are read later, when a tensor needs them.
        file.seek(size, 1)

    def read_into(key: str, block: np.ndarray) -> None:
        file.seek(starts[key])
        _fill(file, block)

    return _Content(value, sizes, read_into)


def _read_safetensors(file: io.BufferedReader, path: Path) -> _Content:
    import_safetensors()
    from safetensors import safe_open

    # Opening checks the header: the tensors fill the rest of the file without overlaps.
    with safe_open(path, framework="numpy"):
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    places = {name: each["data_offsets"] for name, each in header.items()}

    def read_into(name: str, block: np.ndarray) -> None:
        # The package would copy each tensor twice.
        file.seek(8 + length + places[name][0])
        _fill(file, block)

    value = {
        name: _make_tensor(name, each["dtype"], each["shape"]) for name, each in header.items()
    }
    return _Content(value, {name: end - start for name, (start, end) in places.items()}, read_into)


def _make_tensor(name: str, dtype: str, shape: Sequence[int]) -> Tensor | Skipped:
    if dtype not in _SAFETENSORS_DTYPES:
        return Skipped(f"safetensors.{dtype}")
    storage = Storage(name, np.dtype(_SAFETENSORS_DTYPES[dtype]), math.prod(shape))
    return Tensor(storage, 0, tuple(shape), count_strides(shape))


def import_safetensors() -> ModuleType:
    """Return the package, which the extra `interop` installs."""
    try:
        return import_module("safetensors.numpy")
    except ImportError as error:
        raise CheckpointError(
            ".safetensors files need the safetensors package: pip install safetensors."
        ) from error


serve_old_names(__name__)
