"""Explains the end of a process that JAX or the system killed without a message.

JAX aborts a process whose peers are lost, from C++, where no Python code can print why. So each
process starts a helper, which is this file run as a program. The helper reads from a pipe. If the
process ends normally, it writes a word to the pipe; if it is killed, the system closes the pipe and
the helper reads nothing: then it prints the explanation.

If a peer is lost while Python is running, `hosts.explain_lost_peers` explains it. Signals are
handled in `pit_jax.signals` and `hosts.make_stop_check`.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def explain_kill(workdir: Path) -> Iterator[None]:
    """Start a helper process that prints an explanation if this one is killed in the block."""
    # Here, because the helper runs this file where it cannot import the package.
    from pit_jax.signals import call_at_end

    # In its own session: Ctrl-C and signals to the process group must not end the helper.
    command = [sys.executable, __file__, str(workdir)]
    sentinel = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def dismiss() -> None:
        with suppress(BrokenPipeError):  # The helper may have been killed; nothing depends on it.
            sentinel.communicate(b"well")

    try:
        with call_at_end(dismiss):
            yield
    finally:
        dismiss()


def main(workdir: Path, pipe: BinaryIO) -> None:
    """Wait until `pipe` is closed; if nothing was written to it, explain why the process ended."""
    if pipe.read():
        return
    saved = [int(path.name) for path in workdir.glob("*/*") if path.name.isdigit()]
    newest = f"The newest checkpoint is of step {max(saved)}" if saved else "There is no checkpoint"
    print(
        "error: this process was killed, most likely because another process of the run was lost. "
        f"{newest} in {workdir}. Start all processes again with the same command to resume.",
        file=sys.stderr,
    )


if __name__ == "__main__":
    # Schedulers send SIGTERM to every process of a job. The helper ignores it, since the process
    # that it watches may still save and end normally.
    for name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
        if hasattr(signal, name):  # Windows has two of them.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    main(Path(sys.argv[1]), sys.stdin.buffer)
