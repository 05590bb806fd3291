"""Several processes as one run: how they find each other, agree, stop and end together.

The first of them keeps the folder of the run. All of them run the same program in step.
"""

import ctypes
import importlib.util
import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from ..errors import UserError
from ..files import hash_content

# JAX ends a process that has not heard from another one for this long.
HEARTBEAT_SECONDS = 30
LONGEST_MESSAGE = 4000
GRACE_SECONDS = 2
# Words of JAX's error for a lost process; it raises the same class when a device is out of memory.
LOST_PEER_PATTERN = (
    r"(?i)gloo|nccl|unavailable|deadline.exceeded|aborted|cancelled|coordination|connection"
)
# How many processes srun and mpirun started with this one.
STARTED_BY = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


class PeerLost(UserError):
    """Another process of the run has ended, or does not answer."""


def find_peers(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any] | None:
    """Return the arguments to `join` the other processes of the run with; None without others.

    Raises UserError when only some of the options are given, or a value is not possible.
    """
    if coordinator is None and processes is None and process is None:
        several = any(int(environment.get(name, 1)) > 1 for name in STARTED_BY)
        return {} if several or _on_tpu() else None
    if coordinator is None or processes is None or process is None:
        raise UserError("--coordinator, --processes and --process belong together; see --help.")
    if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
        raise UserError(f"--coordinator is HOST:PORT, got {coordinator!r}.")
    if not 0 <= process < processes:
        raise UserError(
            f"--process must be 0 to {processes - 1} of --processes {processes}, got {process}."
        )
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def join(given: Mapping[str, Any]) -> None:
    """Become one of several processes, and wait for all of them.

    Raises UserError when the others cannot be found, or have a different number of devices. If one
    does not come, JAX ends this one.
    """
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes of this run cannot find each other ({error}); give --coordinator, "
            "--processes and --process."
        ) from error
    here, every, count = jax.local_device_count(), jax.device_count(), jax.process_count()
    if here * count != every:
        raise UserError(
            f"the processes of this run need equally many devices; this one has {here} of {every}, "
            f"and there are {count} processes."
        )


def is_first() -> bool:
    """Return whether this process keeps the folder of the run."""
    return jax.process_index() == 0


def check_equal(what: str, text: str) -> None:
    """Raise UserError, in all processes, unless all have the same `text`; `what` names it."""
    if jax.process_count() == 1:
        return
    first, *others = _gather_texts(hash_content(text))
    if differing := [str(i) for i, other in enumerate(others, 1) if other != first]:
        raise UserError(
            f"the processes of this run must have the same {what}; other than the first have "
            f"{', '.join(differing)}."
        )


@contextmanager
def agree(config: Mapping[str, Any], step: int | None) -> Iterator[int | None]:
    """Run the block in all processes at the same `step`: that of the first one, or None.

    Raises UserError, in all processes, unless all have the same `config`, and for what one of them
    raises in the block.
    """
    check_equal("config", json.dumps(config))
    agreed = broadcast_number(step)
    with raise_on_all_hosts():
        yield agreed


@contextmanager
def raise_on_all_hosts() -> Iterator[None]:
    """Raise in all processes what one of them raises in the block.

    The block must not wait for other processes, except in `let_first_go_ahead`.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if jax.process_count() > 1:
        others = _gather_texts("" if failure is None else str(failure) or type(failure).__name__)
        for process, message in enumerate(others):
            if message and failure is None:
                raise UserError(f"process {process}: {message}")
    if failure is not None:
        raise failure


@contextmanager
def let_first_go_ahead() -> Iterator[None]:
    """Run the block in the first process alone; then in the others, all at once."""
    if not is_first():
        _meet()
    try:
        yield
    finally:
        if is_first():
            _meet()


def broadcast(tree: Any) -> Any:
    """Return the arrays of the first process, bit for bit, in all, which have the same shapes."""
    if jax.process_count() == 1:
        return tree

    def send(x: Any) -> Any:
        x = np.asarray(x)
        # Bytes: as floats they would be summed with zeros, and -0 become 0.
        received = multihost_utils.broadcast_one_to_all(np.atleast_1d(x).view(np.uint8))
        return np.array(received).view(x.dtype).reshape(x.shape)

    return jax.tree.map(send, tree)


def broadcast_number(number: int | None) -> int | None:
    """Return the number, at least 0, or None, of the first process."""
    received = int(broadcast(np.int32(-1 if number is None else number)))
    return None if received < 0 else received


def make_stop_check() -> Callable[[], bool]:
    """Return a function that returns, before a step, whether all processes stop there.

    They do after a SIGTERM or SIGINT to one of them; a second signal ends the process at once.
    """
    steps = itertools.count()
    # JAX has set a handler for SIGTERM that starts the agreement on a step, and keeps each later
    # one. Python cannot name it, so C gives it back.
    c_signal = ctypes.CDLL(None).signal
    c_signal.argtypes, c_signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    agree = ctypes.CFUNCTYPE(None, ctypes.c_int)(c_signal(signal.SIGTERM, None))
    both = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, frame: object) -> None:
        del number, frame
        for each in both:
            signal.signal(each, signal.SIG_DFL)
        agree(signal.SIGTERM)

    for each in both:
        signal.signal(each, note)
    return lambda: multihost_utils.reached_preemption_sync_point(next(steps))


@contextmanager
def explain_lost_peers(saved: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Raise PeerLost for what JAX raises when another process is gone; `saved()` is a sentence."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not re.search(LOST_PEER_PATTERN, str(error)):
            raise
        raise PeerLost(
            "another process of this run has ended or cannot be reached "
            f"({str(error).splitlines()[0]}). {saved()}Start all processes again with the same "
            "command, and the run goes on."
        ) from error


def print_once(text: str) -> None:
    """Print a line in the first process alone."""
    if is_first():
        print(text)


def leave(code: int) -> NoReturn:
    """End this process without waiting for the others, which end because of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first():  # It is the coordinator: the others need time to print their errors.
        time.sleep(GRACE_SECONDS)
    os._exit(code)


def _meet() -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("meet")


def _gather_texts(text: str) -> list[str]:
    """Return the texts of all processes."""
    sent = np.zeros(LONGEST_MESSAGE, np.uint8)
    encoded = np.frombuffer(text.encode(), np.uint8)[:LONGEST_MESSAGE]
    sent[: len(encoded)] = encoded
    received = multihost_utils.process_allgather(sent)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in np.asarray(received)]


def _on_tpu() -> bool:
    devices = (*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(devices) and importlib.util.find_spec("libtpu") is not None
