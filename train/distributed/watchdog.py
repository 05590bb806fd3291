"""Explains the end of a process that JAX or the system killed before it could do so itself.

JAX aborts a process whose peers are gone. A small process of its own, this file, outlives it.
Peers that are lost while this process lives are explained by `hosts.explain_lost_peers`; signals
are handled in `main.stop_on_signal` and `hosts.make_stop_check`.
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
    """While the block runs, let a helper process print why this process ended if it is killed."""
    # In its own session, so that signals to the program's process group do not reach it.
    command = [sys.executable, __file__, str(workdir)]
    sentinel = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert sentinel.stdin is not None
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # It may have been killed: nothing else depends on it.
            sentinel.communicate(b"well")


def main(workdir: Path, pipe: BinaryIO) -> None:
    """Wait for the end of the process that writes to `pipe`, and explain it if it wrote nothing."""
    if pipe.read():
        return
    saved = [int(path.name) for path in workdir.glob("*/*") if path.name.isdigit()]
    newest = (
        f"The newest checkpoint is that of step {max(saved)}" if saved else "None is to be seen"
    )
    print(
        "error: this process was ended from outside, most likely because another process of the "
        f"run was lost. {newest} in {workdir}. Start all processes again with the same command, "
        "and the run goes on.",
        file=sys.stderr,
    )


if __name__ == "__main__":
    # Schedulers tell every process of a job to end; that the run has ended well comes later.
    for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    main(Path(sys.argv[1]), sys.stdin.buffer)
