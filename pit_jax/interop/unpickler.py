"""Read the pickles of torch.save without torch and without calling anything.

A pickle is a program for a machine with a stack. This machine has no instruction that looks up or
calls what a file names: tensors and plain containers are built here, and every other object becomes
`Skipped`, which ignores what the file does with it. So no code can run, and a value that nobody
needs, such as `np.float64(0.5)` next to the weights, cannot prevent loading.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError

DTYPES: dict[str, np.dtype] = {
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "BoolStorage": np.dtype(np.bool_),
    "ByteStorage": np.dtype(np.uint8),
    "CharStorage": np.dtype(np.int8),
    "ComplexDoubleStorage": np.dtype(np.complex128),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "IntStorage": np.dtype(np.int32),
    "LongStorage": np.dtype(np.int64),
    "ShortStorage": np.dtype(np.int16),
    # Storages of quantized tensors: they are skipped, but the older format needs their size.
    "QInt32Storage": np.dtype(np.int32),
    "QInt8Storage": np.dtype(np.int8),
    "QUInt8Storage": np.dtype(np.uint8),
    "UntypedStorage": np.dtype(np.uint8),
}
# Checkpoints have some thousands; an instruction takes half a microsecond and up to 250 bytes.
MOST_INSTRUCTIONS = 4_000_000
MOST_UNCHECKED = 2**16  # Smaller reads are not compared with the size of the file.
# A tensor may repeat values (stride 0), so a small file can declare one of any size.
LARGEST_REPEAT = 2**22


class Skipped(NamedTuple):
    """An object that was not built; `name` is the class or function that would make it."""

    name: str


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
        size = math.prod(self.shape)
        if self.strides == count_strides(self.shape):
            window = data[self.offset : self.offset + size].reshape(self.shape)
            window.flags.writeable = False  # This takes a fourth of the time of `as_strided`.
            return window
        if size > max(data.size, LARGEST_REPEAT):
            raise CheckpointError(
                f"a tensor of shape {self.shape} repeats {data.size} values {size:,} times; the "
                "file is damaged."
            )
        steps = [step * data.itemsize for step in self.strides]
        window = data[self.offset :]
        return np.lib.stride_tricks.as_strided(window, self.shape, steps, writeable=False)


def count_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a contiguous array, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class _Arguments:
    """A file whose `read` asks for no more memory than there are bytes."""

    def __init__(self, file: Any) -> None:
        self.file, self.readline = file, file.readline
        at = file.tell()
        self.end = file.seek(0, io.SEEK_END)
        file.seek(at)

    def read(self, size: int) -> bytes:
        """Return `size` bytes; raise CheckpointError if the file has fewer."""
        if size > MOST_UNCHECKED and size > self.end - self.file.tell():
            raise CheckpointError(f"its pickle is cut off: it declares {size:,} bytes.")
        content: bytes = self.file.read(size)
        return content


class TorchUnpickler:
    """A reader of one pickle: `Tensor` for tensors, and their `storages` by key."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.arguments: Any = _Arguments(file)
        self.storages: dict[str, Storage] = {}
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # The stacks below each mark.
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Return the object. Raises CheckpointError if the pickle is damaged."""
        try:
            for _ in range(MOST_INSTRUCTIONS):
                code = self.file.read(1)
                if code == pickle.STOP:
                    return self.stack.pop()
                if code not in _INSTRUCTIONS:
                    what = f"has the unknown instruction {code!r}" if code else "is cut off"
                    raise CheckpointError(f"its pickle {what}.")
                read_argument, act = _INSTRUCTIONS[code]
                act(self, read_argument(self.arguments) if read_argument else None)
        except (CheckpointError, MemoryError):
            raise
        # Damaged bytes become other instructions, which can raise anything.
        except Exception as error:
            raise CheckpointError(f"its pickle is damaged or cut off ({error!r:.200}).") from error
        raise CheckpointError(
            f"its pickle has more than {MOST_INSTRUCTIONS:,} instructions; save the weights alone: "
            "torch.save(model.state_dict(), PATH)."
        )

    def _push(self, item: Any) -> None:
        self.stack.append(item)

    def _mark(self, _: None) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _pop_mark(self, _: None = None) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def _take(self, count: int) -> tuple[Any, ...]:
        """Pop the last `count` items."""
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _memoize(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def _extend(self, items: Sequence[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _update(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                # Other keys, such as tuples nested a million deep, could be expensive to hash.
                if isinstance(key, str | int | float | bytes | None):
                    target[key] = value

    def _push_set(self, _: None) -> None:
        self._pop_mark()
        self._push(Skipped("a set"))

    def _push_dict(self, _: None) -> None:
        items = self._pop_mark()
        self._push({})
        self._update(items)

    def _stack_global(self, _: None) -> None:
        module, name = self._take(2)
        self._push(Skipped(f"{module:.100}.{name:.100}"))

    def _call(self, count: int) -> None:
        """Replace a global and its arguments by the object that calling it would return."""
        made, *args = self._take(count)
        given = args[0] if args and type(args[0]) is tuple else ()
        self._push(_build(made, given))

    def _call_marked(self, name: str | None) -> None:
        items = self._pop_mark()
        made, *args = items if name is None else (_name_global(name), *items)
        self._push(_build(made, tuple(args)))

    def _load_storage(self, pid: Any) -> None:
        """Push the storage with the persistent id `pid`."""
        # "storage", its class, key, device and number of values; in the old format also a view.
        match pid:
            case ("storage", Skipped(name), str() | int() as key, _, int(size), *view):
                dtype = DTYPES.get(name.rpartition(".")[2])
                if dtype is not None and size >= 0 and not any(view):
                    storage = Storage(str(key), dtype, size)
                    self.storages.setdefault(storage.key, storage)
                    self._push(storage)
                    return
                self._push(Skipped(name))
            # A whole module with its source code, in the older format.
            case ("module", Skipped() as made, *_):
                self._push(made)
            case _:
                self._push(Skipped("an unknown object"))


def _name_global(arg: str) -> Skipped:
    return Skipped(show_name(arg.replace(" ", "."))[:200])


def _build(made: Any, args: tuple[Any, ...]) -> Any:
    """Return what `made(*args)` would, if it is a tensor or a plain container; else `Skipped`."""
    match made, args:
        case Skipped(name), (_, _, _, _, _, _, dict() as bits, *_) if name in _TENSORS and any(
            bits.values()
        ):
            # The values of such a tensor are those of the storage with another sign.
            return Skipped(f"{name} with {' and '.join(map(str, bits)):.40}")
        case Skipped(name), (storage, offset, shape, strides, *_) if name in _TENSORS:
            return _rebuild_tensor(made, storage, offset, shape, strides)
        case Skipped(name), (data, *_) if name in _PARAMETERS:
            return data
        # A parameter with attributes: the function, the type, its arguments, the attributes.
        case Skipped("torch._tensor._rebuild_from_type_v2"), (inner, _, tuple() as given, _):
            # The inner function cannot be this one again, so the depth is two.
            if isinstance(inner, Skipped) and inner.name in {*_TENSORS, *_PARAMETERS}:
                return _build(inner, given)
            return inner
        case Skipped(name), _ if name in _DICTS:
            pairs = args[-1] if args and isinstance(args[-1], list) else []
            return {
                pair[0]: pair[1]
                for pair in pairs
                if isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)
            }
        case (Skipped(), _):
            return made
    raise CheckpointError("its pickle is damaged: it calls something that is not a function.")


def _rebuild_tensor(made: Skipped, storage: Any, offset: Any, shape: Any, strides: Any) -> Any:
    numbers = (offset, *shape, *strides) if isinstance(shape, tuple | list) else (None,)
    plain = isinstance(storage, Storage) and all(type(number) is int for number in numbers)
    if not plain or len(shape) != len(strides) or len(shape) > 32:
        return made
    return Tensor(storage, offset, tuple(shape), tuple(strides))


_TENSORS = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
_DICTS = {"collections.OrderedDict", "collections.defaultdict"}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
}
_Action = Callable[[TorchUnpickler, Any], Any]
_ACTIONS: dict[str, _Action] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda self, _: None),
    **dict.fromkeys(_LITERALS, TorchUnpickler._push),
    "NONE": TorchUnpickler._push,
    "NEWTRUE": lambda self, _: self._push(True),
    "NEWFALSE": lambda self, _: self._push(False),
    "EMPTY_TUPLE": lambda self, _: self._push(()),
    "MARK": TorchUnpickler._mark,
    "POP_MARK": TorchUnpickler._pop_mark,
    "POP": TorchUnpickler._pop,
    "DUP": lambda self, _: self._push(self.stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda self, at: self._push(self.memo[at])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), TorchUnpickler._memoize),
    "EMPTY_LIST": lambda self, _: self._push([]),
    "LIST": lambda self, _: self._push(self._pop_mark()),
    "APPEND": lambda self, _: self._extend(self._take(1)),
    "APPENDS": lambda self, _: self._extend(self._pop_mark()),
    "TUPLE": lambda self, _: self._push(tuple(self._pop_mark())),
    "TUPLE1": lambda self, _: self._push(self._take(1)),
    "TUPLE2": lambda self, _: self._push(self._take(2)),
    "TUPLE3": lambda self, _: self._push(self._take(3)),
    "EMPTY_DICT": lambda self, _: self._push({}),
    "DICT": TorchUnpickler._push_dict,
    "SETITEM": lambda self, _: self._update(self._take(2)),
    "SETITEMS": lambda self, _: self._update(self._pop_mark()),
    "EMPTY_SET": lambda self, _: self._push(Skipped("a set")),
    "FROZENSET": TorchUnpickler._push_set,
    "ADDITEMS": TorchUnpickler._pop_mark,
    "GLOBAL": lambda self, name: self._push(_name_global(name)),
    "STACK_GLOBAL": TorchUnpickler._stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda self, _: self._push(Skipped("an extension"))),
    "REDUCE": lambda self, _: self._call(2),
    "NEWOBJ": lambda self, _: self._call(2),
    "NEWOBJ_EX": lambda self, _: self._call(3),
    "INST": TorchUnpickler._call_marked,
    "OBJ": TorchUnpickler._call_marked,
    # The attributes of an object that is not built, or of a dictionary (`_metadata`).
    "BUILD": lambda self, _: self._take(1),
    "PERSID": TorchUnpickler._load_storage,
    "BINPERSID": lambda self, _: self._load_storage(*self._take(1)),
}
# The reader of an instruction's argument and the action, by the byte that a pickle has for it.
_INSTRUCTIONS = {
    each.code.encode("latin-1"): (each.arg.reader if each.arg else None, _ACTIONS[each.name])
    for each in pickletools.opcodes
    if each.name in _ACTIONS
}
