"""Start and end programs: answer signals, closed terminals, and threads that do not end.

Python runs signal handlers in the main thread, which may be inside the compiler for minutes. So the
handlers here do nothing; Python also writes the number of a signal to a pipe, and a thread answers:

- a program prints one line and ends at once, with the exit code 128 + the number of the signal;
- within `saving()`, in a training, the first signal only prints what happens next. `is_stopping`
  becomes true, and `interruptible` raises Stopped. A second signal ends the program at once.

Only programs call `begin_program`; in a user's own program nothing here has an effect.
"""

import atexit
import errno
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from pit_jax.reading import FileError
from pit_jax.tuning import release_signals

T = TypeVar("T")

# Ctrl-C, and what batch systems and closed terminals send.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
# A signal within this time after the first is the same request: a terminal signals all processes of
# a group, and programs such as srun pass it on a second time.
REPEAT_SECONDS = 0.3
# Threads of storage libraries may keep a process alive for minutes after an error.
PATIENCE_SECONDS = 5
# The stack of the thread that compiles. Without a limit for the main thread, the C library gives
# threads only 2 MiB.
STACK_BYTES = 64 * 2**20
# The reader of a stream is gone: a closed pipe, a closed terminal.
CLOSED = (errno.EPIPE, errno.EIO)


class Stopped(BaseException):
    """A signal arrived while `interruptible` waited; `code` is the exit code of the program."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Listener:
    """The signals that this program has received, and how it answers them."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.plan: str | None = None  # What happens after the first signal; None: the program ends.
        self.can_interrupt = True
        self.on_first: Callable[[], None] = lambda: None
        self.changed = threading.Condition()
        self.interrupted = False

    def listen(self, pipe: int) -> None:
        """Answer the signals whose numbers arrive in `pipe`."""
        since = 0.0
        while True:
            for number in os.read(pipe, 64):
                if number not in SIGNALS:
                    continue
                with self.changed:
                    if self.first is None and self.plan is not None:
                        since, self.first = time.monotonic(), signal.Signals(number)
                        _print(f"{self.first.name}: {self.plan}; a second signal ends at once.")
                        self.on_first()
                        self.changed.notify_all()
                    elif self.first is None or time.monotonic() - since > REPEAT_SECONDS:
                        _end(signal.Signals(number))


_listener: _Listener | None = None
_at_end: list[Callable[[], object]] = []


def begin_program() -> None:
    """Answer signals, and drop output that nobody reads, until the program ends."""
    global _listener
    if _listener is not None:
        return
    _listener = _Listener()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    install_handlers()
    release_signals()
    threading.Thread(target=_listener.listen, args=(reading,), daemon=True).start()
    if hasattr(os, "register_at_fork"):
        # Between fork and `_forget`, a signal to a child would reach the pipe of its parent.
        hold = partial(signal.pthread_sigmask, signal.SIG_BLOCK, SIGNALS)
        release = partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, SIGNALS)
        os.register_at_fork(after_in_child=_forget)
        os.register_at_fork(before=hold, after_in_parent=release, after_in_child=release)
    # Called last. Afterwards Python restores the handlers of the system, and takes a second to end:
    # a signal would change the exit code of a program that has done its work.
    atexit.register(_ignore_signals)
    _guard_streams()
    sys.excepthook = _report_exception


def run_as_program(main: Callable[..., int], *arguments: Any) -> NoReturn:
    """Call `main(*arguments)` and end the program with the exit code that it returns."""
    begin_program()  # Again, for programs that a debugger, a profiler or runpy has started.
    end_program(main(*arguments))


def install_handlers() -> None:
    """Let Python write the numbers of signals to the pipe; again after others changed handlers."""
    for number in SIGNALS:
        # nohup lets a program ignore SIGHUP.
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


@contextmanager
def saving(plan: str = "the running step ends and is saved") -> Iterator[None]:
    """Let the first signal in the block only announce `plan`, which the block carries out."""
    if _listener is None or _listener.plan is not None:
        yield
        return
    with _listener.changed:
        _listener.plan = plan
    try:
        yield
    finally:
        with _listener.changed:
            _listener.plan = None


def save_together(plan: str, on_first: Callable[[], None]) -> None:
    """Let the first signal announce `plan` and call `on_first`; nothing is interrupted.

    For several processes, which stop at the same step. `on_first` runs in a thread.
    """
    begin_program()
    assert _listener is not None
    install_handlers()
    _listener.plan, _listener.on_first, _listener.can_interrupt = plan, on_first, False


def is_listening() -> bool:
    """Return whether this process is one of our programs, which answers signals here."""
    return _listener is not None


def is_stopping() -> bool:
    """Return whether a signal has asked this program to stop."""
    return _listener is not None and _listener.first is not None


def interruptible(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)`; within `saving()`, raise Stopped as soon as a signal arrives.

    The function runs in another thread, because nothing can interrupt the compiler. After Stopped
    it still runs, until `end_program` ends the process.
    """
    listener = _listener
    if listener is None or listener.plan is None or not listener.can_interrupt:
        return function(*arguments)
    if listener.first is not None:
        raise Stopped(128 + listener.first)
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function(*arguments))
        except BaseException as error:
            errors.append(error)
        with listener.changed:
            listener.changed.notify_all()

    with listener.changed:
        plan, listener.plan = listener.plan, "stopping now"
    before = threading.stack_size(STACK_BYTES)
    threading.Thread(target=work, daemon=True).start()
    threading.stack_size(before)
    with listener.changed:
        listener.changed.wait_for(lambda: results or errors or listener.first is not None)
        listener.plan = plan
    if errors:
        raise errors[0]
    if results:
        return results[0]
    assert listener.first is not None
    listener.interrupted = True
    raise Stopped(128 + listener.first)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Block signals for processes that start in the block, until they handle signals themselves.

    Terminals and batch systems signal a whole group, also workers that still import. This process
    answers as before: its other threads receive the signals.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def call_at_end(function: Callable[[], object]) -> Iterator[None]:
    """Call `function` if a signal ends the program within the block, which then does not end."""
    _at_end.append(function)
    try:
        yield
    finally:
        _at_end.remove(function)


@contextmanager
def remove_if_stopped(path: "os.PathLike[str]") -> Iterator[None]:
    """Remove the file or folder `path` if a signal ends the program within the block."""

    def remove() -> None:
        import shutil

        os.unlink(path) if os.path.isfile(path) else shutil.rmtree(path, ignore_errors=True)

    with call_at_end(remove):
        yield


def end_program(code: int) -> NoReturn:
    """End the program with an exit code, also if threads of other packages do not end."""
    if _listener is not None:
        if _listener.interrupted:
            _flush()
            os._exit(code)  # A thread still compiles.
        _end_later(code)
    sys.exit(code)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number: signal.Signals) -> NoReturn:
    """Print a line and end this process, its workers and its temporary files at once."""
    _print(f"stopped by {number.name}; complete results are kept, repeat the command for the rest.")
    # From here on no other thread may print: the main thread still runs, and its workers are about
    # to be killed.
    for stream in (1, 2):
        _silence(stream)
    with suppress(Exception):
        if "multiprocessing.process" in sys.modules:
            _end_workers()
    for function in list(_at_end):
        with suppress(Exception):
            function()
    os._exit(128 + number)


def _end_workers() -> None:
    from multiprocessing import active_children, util

    for child in active_children():
        child.kill()
    # Semaphores, which would otherwise be reported as leaked by a helper process of Python.
    util._run_finalizers(0)  # type: ignore[attr-defined]


def _print(line: str) -> None:
    """Print a line on stderr, unless its reader is stuck."""
    with suppress(OSError):
        if not select.select([], [2], [], 0.5)[1]:
            return
        # On a terminal, replace a progress bar and show the cursor that it has hidden.
        begin = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""
        os.write(2, f"{begin}{line}\n".encode())


def _forget() -> None:
    """Restore Python's own signal handling, in a child that was forked."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


class _Stream(io.FileIO):
    """An output stream that drops output when its reader is gone; no error of it ends training."""

    def write(self, data: Any) -> int:
        """Write `data`; raise FileError once if the stream cannot be written, as on a full disk."""
        try:
            return super().write(data)
        except OSError as error:
            _silence(self.fileno())
            if error.errno in CLOSED or (_listener is not None and _listener.plan is not None):
                return len(data)
            name = "stdout" if self.fileno() == 1 else "stderr"
            raise FileError(
                f"cannot write to {name} ({os.strerror(error.errno or 0)}). Redirect it elsewhere."
            ) from error


def _guard_streams() -> None:
    """Let stdout and stderr drop output that nobody reads, and print any character."""
    with suppress(OSError):
        # Closed streams: the next opened file would get their numbers, and then their output.
        while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(opened)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or os.name != "posix" or stream.fileno() != number:
            continue
        stream.flush()
        raw = _Stream(number, "w", closefd=False)
        guarded = io.TextIOWrapper(
            io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=True
        )
        setattr(sys, name, guarded)


def _silence(stream: int) -> None:
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)


def _report_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an exception that nothing has caught: one sentence if the environment causes it."""
    from pit_jax.environment import explain_environment

    reason = str(error) if isinstance(error, FileError) else explain_environment(error)
    if reason is None:
        sys.__excepthook__(kind, error, trace)
        _end_later(1)
        return
    print(f"error: {reason}", file=sys.stderr)
    _flush()
    os._exit(2)


def _end_later(code: int) -> None:
    """End the process after PATIENCE_SECONDS if threads still keep it alive."""

    def end() -> None:
        time.sleep(PATIENCE_SECONDS)
        _flush()
        os._exit(code)

    threading.Thread(target=end, daemon=True).start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
