"""AEDAT 4 recordings, decoded by the package aedat in a process of its own.

Damaged files can make that package abort the interpreter, or never return. One process decodes one
recording after the other (`aedat4_child.py`); after a crash the next recording starts another.
"""

import atexit
import importlib.util
import io
import json
import os
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import cast

import numpy as np

from pit_jax.events import EVENT, convert_events
from pit_jax.events.files import open_recording
from pit_jax.reading import FileError, has_run_out_of_time, plan_process
from pit_jax.signals import hold_signals

from ...errors import UserError

CHILD = Path(__file__).with_name("aedat4_child.py")
# Recordings decode at 100 MB/s or more, and compressed ones grow three to fivefold.
SECONDS, SECONDS_PER_BYTE = 5, 1e-7
MEMORY, MEMORY_PER_BYTE = 2**30, 20
PIPE = 2**20  # Bytes of a pipe, 64 KiB by default: fewer changes between the processes.


def read_aedat4(source: io.BufferedIOBase | Path) -> np.ndarray:
    """Return the events of an AEDAT 4 recording, the format of tonic's copy of CIFAR10-DVS.

    If there are several event streams, the one with the lowest number is read, as in tonic. Axes
    are those of the file. Raises `FileError` for a file that is damaged or of another version,
    `UserError` without the package `aedat`.
    """
    if importlib.util.find_spec("aedat") is None:
        raise UserError(
            ".aedat4 files are read by the package aedat, which is not installed: pip install aedat"
        )
    with open_recording(source, "an AEDAT 4 recording") as (file, name, size):
        start = file.read(32)
        if not start.startswith(b"#!AER-DAT4"):
            raise FileError(
                f"{name} is not a complete AEDAT 4 file: it starts with {start[:14]!r}."
            )
        if isinstance(source, str | os.PathLike):
            return _decode(os.fspath(source), name, size)
        with tempfile.NamedTemporaryFile(suffix=".aedat4") as copy:
            # aedat can only open files by name.
            copy.write(start + file.read())
            copy.flush()
            return _decode(copy.name, name, size)


def _decode(path: str, name: str, size: int) -> np.ndarray:
    with _LOCK:
        # Twice, because a process that was idle may have been killed for another reason.
        events = _try_to_decode(path, size)
        if events is None:
            events = _try_to_decode(path, size)
    if events is None:
        raise FileError(f"{name} is not a complete AEDAT 4 file: decoding it crashes.")
    if isinstance(events, str):
        raise FileError(f"{name} is not a complete AEDAT 4 file ({events}).")
    return convert_events(events)


def _try_to_decode(path: str, size: int) -> np.ndarray | str | None:
    """Return the events of a file, or the error of its decoder; None if the decoder crashed."""
    decoder = _start_decoder()
    try:
        return _ask(decoder, path, size)
    except (EOFError, BrokenPipeError, struct.error):
        _stop_decoder()
        return "decoding it does not end" if has_run_out_of_time(decoder.returncode) else None
    except BaseException:
        _stop_decoder()  # Another answer may be on its way.
        raise


def _ask(decoder: subprocess.Popen[bytes], path: str, size: int) -> np.ndarray | str:
    """Return the events of a file, or the error of its decoder."""
    assert decoder.stdin and decoder.stdout
    answer = cast(io.FileIO, decoder.stdout)
    limits = [SECONDS + SECONDS_PER_BYTE * size, MEMORY + MEMORY_PER_BYTE * size]
    decoder.stdin.write(json.dumps([os.path.abspath(path), *limits]).encode() + b"\n")
    decoder.stdin.flush()
    count = struct.unpack("<q", answer.read(8))[0]
    if count < 0:
        length = struct.unpack("<q", answer.read(8))[0]
        return answer.read(length).decode(errors="replace")
    events = np.empty(count, EVENT)
    rest = events.data.cast("B") if count else memoryview(b"")
    while len(rest):
        got = answer.readinto(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return events


def _start_decoder() -> subprocess.Popen[bytes]:
    """Return the process that decodes, started at the first use."""
    global _decoder
    if _decoder is None:
        with hold_signals():
            _decoder = subprocess.Popen(
                **plan_process(CHILD),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pipesize=PIPE,
            )
    return _decoder


@atexit.register
def _stop_decoder() -> None:
    """End the process; the next recording starts another."""
    global _decoder
    if _decoder is not None:
        _decoder.stdin.close()  # type: ignore[union-attr]
        try:
            _decoder.wait(0.5)
        except subprocess.TimeoutExpired:
            _decoder.kill()
            _decoder.wait()
        _decoder.stdout.close()  # type: ignore[union-attr]
        _decoder = None


_decoder: subprocess.Popen[bytes] | None = None
_LOCK = threading.Lock()
