"""Checks the instructions of a pickle before it is loaded, in a pass over its bytes.

The interpreter of pickles trusts its input: three bytes can make it allocate gigabytes for a table,
and nested tuples can overflow its stack. Here every size is compared with the bytes that are there.
"""

import pickle
import pickletools
from collections.abc import Callable

MOST_CALLS = 10_000  # Calls and containers; a batch of CIFAR has a dozen.
LINE = -1  # The argument is a line of text.
# The length in bytes of the argument of each instruction that data need.
_FIXED = {
    **dict.fromkeys(["MARK", "STOP", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"], 0),
    **dict.fromkeys(["EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "DICT"], 0),
    **dict.fromkeys(["SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"], 0),
    **dict.fromkeys(["TUPLE3", "MEMOIZE", "REDUCE", "BUILD", "STACK_GLOBAL"], 0),
    **dict.fromkeys(["BININT1", "PROTO", "BINGET", "BINPUT"], 1),
    **dict.fromkeys(["BININT2"], 2),
    **dict.fromkeys(["BININT", "LONG_BINGET", "LONG_BINPUT"], 4),
    **dict.fromkeys(["BINFLOAT", "FRAME"], 8),
    **dict.fromkeys(["INT", "LONG", "FLOAT", "STRING", "UNICODE", "GET", "PUT"], LINE),
    "GLOBAL": LINE,
}
# The bytes of the length that comes before the argument.
_COUNTED = {
    **dict.fromkeys(["SHORT_BINSTRING", "SHORT_BINBYTES", "SHORT_BINUNICODE", "LONG1"], 1),
    **dict.fromkeys(["BINSTRING", "BINBYTES", "BINUNICODE"], 4),
    **dict.fromkeys(["BINBYTES8", "BINUNICODE8", "BYTEARRAY8"], 8),
}
_NESTING = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT"}
_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
# Tables by the byte of an instruction, because a loop over 300,000 of them must take milliseconds.
FIXED = [next((n for name, n in _FIXED.items() if _CODES[name] == i), None) for i in range(256)]
COUNTED = [next((n for name, n in _COUNTED.items() if _CODES[name] == i), 0) for i in range(256)]
CALLS = {_CODES[name] for name in (*_NESTING, "REDUCE", "BUILD", "GLOBAL", "STACK_GLOBAL")}
STOP, PUT, LONG_BINPUT, GLOBAL, SHORT_BINSTRING = (
    _CODES[name] for name in ("STOP", "PUT", "LONG_BINPUT", "GLOBAL", "SHORT_BINSTRING")
)
# The length in bytes of an instruction whose argument needs no check; 0 for all others.
PLAIN = [
    0 if size in (None, LINE) or code in CALLS or code in (STOP, LONG_BINPUT) else 1 + size
    for code, size in enumerate(FIXED)
]


def check_opcodes(data: bytes, check_global: Callable[[str, str], object]) -> None:
    """Raise `pickle.UnpicklingError` unless `data` is a pickle of plain data to its end.

    Lengths must be within the data, numbers of the table of shared objects below their size, and
    containers and calls few. `check_global` raises an error for the module and name of a global
    that is not allowed.
    """
    at, end, calls = 0, len(data), 0
    while at < end:
        code = data[at]
        if step := PLAIN[code]:
            at += step
            continue
        if code == SHORT_BINSTRING:  # The names of images, of which there are as many as labels.
            at += 2 + data[at + 1]
            continue
        size = _measure(data, at, check_global)
        if code in CALLS:
            calls += 1
            if calls > MOST_CALLS:
                raise pickle.UnpicklingError(f"it has more than {MOST_CALLS:,} containers")
        if code in (PUT, LONG_BINPUT):
            argument = data[at + 1 : at + 1 + size]
            number = int(argument) if code == PUT else int.from_bytes(argument, "little")
            if not 0 <= number <= end:
                raise pickle.UnpicklingError(f"byte {at} needs a table of {number:,} objects")
        at += 1 + size
        if code == STOP and at <= end:
            return
    raise pickle.UnpicklingError("pickle data was truncated")


def _measure(data: bytes, at: int, check_global: Callable[[str, str], object]) -> int:
    """Return the number of bytes of the argument of the instruction at byte `at`."""
    code = data[at]
    size, width = FIXED[code], COUNTED[code]
    if width:
        return width + int.from_bytes(data[at + 1 : at + 1 + width], "little")
    if size is None:
        raise pickle.UnpicklingError(f"byte {at} is no instruction of a data file")
    if size != LINE:
        return size
    end = data.find(b"\n", at + 1)
    if code == GLOBAL and end >= 0:  # It has two lines: the module and the name.
        start, end = end + 1, data.find(b"\n", end + 1)
        check_global(data[at + 1 : start - 1].decode(), data[start:end].decode())
    return end - at if end >= 0 else len(data)
