"""Several processes as one run: how they find each other, agree, stop and end together.

All processes run the same program in lockstep, since each training step has collectives: a process
that leaves the loop alone, or raises alone, would let the others wait forever. Therefore

- only the first process reads and writes the folder of the run, and sends the others what it has
  read (`broadcast`);
- an error in one process is raised in all (`raise_on_all_hosts`), outside of training steps;
- a signal to one process stops all at the same step (`make_stop_check`);
- an error within training steps cannot be agreed on: the process exits at once (`leave`), and the
  collectives of the others fail (`explain_lost_peers`) or JAX aborts them (watchdog.py).
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

from pit_jax import signals
from pit_jax.display import print_text

from ..errors import UserError
from ..files import hash_content

# JAX aborts a process that has not heard from another one for this long.
HEARTBEAT_SECONDS = 30
LONGEST_MESSAGE = 4000
GRACE_SECONDS = 2
# Words in JAX's errors for a lost process. The class of the error does not help: it is the same
# when a device is out of memory.
LOST_PEER_PATTERN = (
    r"(?i)gloo|nccl|unavailable|deadline.exceeded|aborted|cancelled|coordination|connection"
)
# srun and mpirun set these variables to the number of processes that they started.
STARTED_BY = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


class PeerLost(UserError):
    """Another process of the run has ended, or does not answer."""


def find_peers(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, Any] | None:
    """Return the arguments of `join` for the other processes of the run; None if there are none.

    Raises UserError if only some of the options are given, or a value is out of range.
    """
    if coordinator is None and processes is None and process is None:
        several = any(int(environment.get(name, 1)) > 1 for name in STARTED_BY)
        return {} if several or _is_on_tpu() else None
    if coordinator is None or processes is None or process is None:
        raise UserError(
            "--coordinator, --processes and --process must be given together; see --help."
        )
    if not coordinator.rpartition(":")[2].isdigit() or ":" not in coordinator:
        raise UserError(f"--coordinator must be HOST:PORT, got {coordinator!r}.")
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
    """Join the other processes of the run, and wait for all of them.

    Raises UserError if the others cannot be found, or have a different number of devices. If one
    never joins, JAX aborts this process.
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
            f"all processes of a run must have the same number of devices; this one has {here} of "
            f"{every}, and there are {count} processes."
        )


def is_first() -> bool:
    """Return whether this process reads and writes the folder of the run."""
    return jax.process_index() == 0


def check_equal(what: str, text: str) -> None:
    """Raise UserError in all processes unless all have the same `text`, called `what` in errors."""
    if jax.process_count() == 1:
        return
    first, *others = _gather_texts(hash_content(text))
    if differing := [str(i) for i, other in enumerate(others, 1) if other != first]:
        raise UserError(
            f"all processes of a run must have the same {what}; it differs from the first process "
            f"in process {', '.join(differing)}."
        )


def check_equal_values(what: str, values: Mapping[str, Any]) -> None:
    """Raise UserError in all processes unless all have the same `values`, by name.

    The error has the first name whose values differ.
    """
    if jax.process_count() == 1:
        return
    texts = {name: str(value) for name, value in values.items()}
    # What is sent is cut, so long values are compared by their hashes.
    sent = {name: text if len(text) <= 500 else hash_content(text) for name, text in texts.items()}
    first, *others = map(json.loads, _gather_texts(json.dumps(sent)))
    for process, other in enumerate(others, 1):
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"all processes of a run must have the same {what}: {name} is "
                    f"{first.get(name)!r} in the first process, {other.get(name)!r} in process "
                    f"{process}. Make them equal and start all again."
                )


@contextmanager
def agree(config: Mapping[str, Any], step: int | None) -> Iterator[int | None]:
    """Run the block in all processes with the `step` of the first one, an int or None.

    Raises UserError, in all processes, if their `config` differs or one of them raises in the
    block.
    """
    check_equal("config", json.dumps(config))
    agreed = broadcast_number(step)
    with raise_on_all_hosts():
        yield agreed


@contextmanager
def raise_on_all_hosts() -> Iterator[None]:
    """Raise an error that one process raises in the block in all processes.

    The block must not wait for other processes, except in `let_first_go_ahead`: the process that
    raised is waiting at the end of the block.
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
    """Run the block first in the first process, then in all others at the same time."""
    if not is_first():
        _meet()
    try:
        yield
    finally:
        # Even if the block raises: the others are waiting.
        if is_first():
            _meet()


def broadcast(tree: Any) -> Any:
    """Return the arrays of the first process in all processes, bit for bit.

    In each process `tree` must have the same structure, shapes and dtypes.
    """
    if jax.process_count() == 1:
        return tree

    def send(x: Any) -> Any:
        x = np.asarray(x)
        # As bytes: JAX broadcasts by a sum with the zeros of the others, where -0.0 becomes 0.0.
        received = multihost_utils.broadcast_one_to_all(np.atleast_1d(x).view(np.uint8))
        return np.array(received).view(x.dtype).reshape(x.shape)

    return jax.tree.map(send, tree)


def broadcast_number(number: int | None) -> int | None:
    """Return the `number` of the first process in all processes: at least 0, or None."""
    received = int(broadcast(np.int32(-1 if number is None else number)))
    return None if received < 0 else received


def make_stop_check() -> Callable[[], bool]:
    """Return a function that returns, before each step, whether all processes stop there.

    A signal to one process stops all of them at the same step: JAX agrees on a step that no process
    has passed, and each process stops when it gets there. A second signal ends the process at once.
    """
    steps = itertools.count()
    # JAX has installed a C handler for SIGTERM, which starts this agreement. It handles only
    # SIGTERM, and also swallows the second signal. So `signals` calls it for the first one.
    # signal.getsignal returns None for a C handler; signal() of the C library returns its address.
    c_signal = ctypes.CDLL(None).signal
    c_signal.argtypes, c_signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    agree = ctypes.CFUNCTYPE(None, ctypes.c_int)(c_signal(signal.SIGTERM, None))
    signals.save_together(
        "all processes stop after a common step, which is saved", lambda: agree(signal.SIGTERM)
    )
    return lambda: multihost_utils.reached_preemption_sync_point(next(steps))


@contextmanager
def explain_lost_peers(saved: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Raise PeerLost for an error of JAX that means that another process is lost.

    `saved()` returns a sentence on the newest checkpoint for the message.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not re.search(LOST_PEER_PATTERN, str(error)):
            raise
        raise PeerLost(
            "another process of this run has ended or cannot be reached "
            f"({str(error).splitlines()[0]}). {saved()}Start all processes again with the same "
            "command to resume."
        ) from error


def print_once(text: str) -> None:
    """Print a line in the first process only."""
    if is_first():
        print_text(text)


def leave(code: int) -> NoReturn:
    """End this process without waiting for the others, which then end too."""
    sys.stdout.flush()
    sys.stderr.flush()
    # The first process is the coordinator. JAX aborts the others as soon as it is gone, so they get
    # time to print their own errors.
    if is_first():
        time.sleep(GRACE_SECONDS)
    os._exit(code)


def _meet() -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("meet")


def _gather_texts(text: str) -> list[str]:
    """Return the texts of all processes, in their order, cut to LONGEST_MESSAGE bytes."""
    # Collectives need the same shape in all processes, so the text is padded with zeros.
    sent = np.zeros(LONGEST_MESSAGE, np.uint8)
    encoded = np.frombuffer(text.encode(), np.uint8)[:LONGEST_MESSAGE]
    sent[: len(encoded)] = encoded
    received = multihost_utils.process_allgather(sent)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in np.asarray(received)]


def _is_on_tpu() -> bool:
    devices = (*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(devices) and importlib.util.find_spec("libtpu") is not None
