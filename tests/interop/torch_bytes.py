"""Write the formats of torch.save without torch, byte by byte: the zip and the older format."""

import io
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclass(frozen=True)
class Fake:
    """A tensor as a window on the storage `key` with the values `memory`."""

    memory: np.ndarray
    key: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    parameter: bool = False


def tensor(array: np.ndarray, key: str, **kw: Any) -> Fake:
    """Return a tensor with its own storage."""
    strides = tuple(step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    return Fake(array.ravel(), key, array.shape, strides, **kw)


def tensors(arrays: dict[str, np.ndarray]) -> OrderedDict:
    return OrderedDict(
        (name, tensor(array, str(i))) for i, (name, array) in enumerate(arrays.items())
    )


def call(module: str, name: str, *args: Any) -> bytes:
    return f"c{module}\n{name}\n".encode() + emit(args) + b"R"


def emit(value: Any) -> bytes:
    """Return the instructions of protocol 2 that put `value` on the stack."""
    match value:
        case bytes():  # Already instructions.
            return value
        case bool():
            return b"\x88" if value else b"\x89"
        case None:
            return b"N"
        case int():
            return b"I%d\n" % value
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case Namespace():
            return b"cargparse\nNamespace\n)\x81" + emit(vars(value)) + b"b"
        case dict():
            empty = call("collections", "OrderedDict") if type(value) is OrderedDict else b"}"
            return empty + b"(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
        case Fake():
            storage = f"ctorch\n{STORAGES[value.memory.dtype.name]}\n".encode()
            pid = ("storage", storage, value.key, "cpu", value.memory.size)
            hooks = call("collections", "OrderedDict")
            window = (emit(pid) + b"Q", value.offset, value.shape, value.strides, False, hooks)
            made = call("torch._utils", "_rebuild_tensor_v2", *window)
            if value.parameter:
                made = call("torch._utils", "_rebuild_parameter", made, True, hooks)
            return made
    raise TypeError(type(value))


def collect_storages(value: Any) -> dict[str, np.ndarray]:
    """Return the memory of every tensor in `value` by its key."""
    if isinstance(value, Fake):
        return {value.key: value.memory}
    inner = value.values() if isinstance(value, dict) else value
    found: dict[str, np.ndarray] = {}
    for item in inner if isinstance(inner, list | type({}.values())) else ():
        found |= collect_storages(item)
    return found


def end_pickle(instructions: bytes) -> bytes:
    return b"\x80\x02" + instructions + b"."


def zip_file(value: Any, pickled: bytes | None = None, name: str = "archive") -> bytes:
    """Return a file of torch 1.6 or later; `pickled` replaces the pickle of `value`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}/data.pkl", pickled or end_pickle(emit(value)))
        archive.writestr(f"{name}/byteorder", "little")
        for key, memory in collect_storages(value).items():
            archive.writestr(f"{name}/data/{key}", memory.tobytes())
        archive.writestr(f"{name}/version", "3\n")
    return file.getvalue()


def legacy_file(value: Any, pickled: bytes | None = None) -> bytes:
    """Return a file in the format before torch 1.6, as torchvision's older files."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    memories = collect_storages(value)
    return b"".join(
        [
            *(pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, machine)),
            pickled or end_pickle(emit(value)),
            pickle.dumps(list(memories), protocol=2),
            *(struct.pack("<q", memory.size) + memory.tobytes() for memory in memories.values()),
        ]
    )


FORMATS = {"zip": zip_file, "legacy": legacy_file}
