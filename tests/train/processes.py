"""Runs of `train.main` in several processes on this machine."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.train.helpers import ENVIRONMENT, MAIN, ROOT

# Sums of another order differ in their last bits; in float32 a spike flips by that now and then.
X64 = ENVIRONMENT | {"JAX_ENABLE_X64": "1"}
PATIENCE_SECONDS = 240


class Run:
    """One run in `count` processes, each with the virtual devices that the arguments say.

    `own` are further arguments of single processes by their numbers. What they print goes to files
    beside the workdir.
    """

    def __init__(
        self,
        workdir: Path,
        *arguments: str,
        count: int = 2,
        own: dict[int, Sequence[str]] | None = None,
    ) -> None:
        port = find_free_port()
        self._files = [workdir.with_name(f"{workdir.name}.{i}.log") for i in range(count)]
        self.processes = []
        for i, file in enumerate(self._files):
            given = ("--coordinator", f"localhost:{port}", "--processes", str(count))
            several = (*given, "--process", str(i)) if count > 1 else ()
            more = (own or {}).get(i, ())
            with file.open("w") as output:
                process = subprocess.Popen(
                    [*MAIN, *several, "--workdir", str(workdir), *arguments, *more],
                    cwd=ROOT,
                    env=X64,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            self.processes.append(process)

    def printed(self, process: int) -> str:
        """What one of them has printed so far."""
        return self._files[process].read_text()

    def end(self, process: int, number: signal.Signals, when: Callable[[], bool]) -> None:
        """Sends a signal to one of them as soon as it is time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not when() and time.monotonic() < deadline:
            codes = [each.poll() for each in self.processes]
            assert codes == [None] * len(codes), [self.printed(i) for i in range(len(codes))]
            time.sleep(0.01)
        os.kill(self.processes[process].pid, number)

    def codes(self, seconds: float = PATIENCE_SECONDS) -> list[int]:
        """The exit codes; those that are not over after so many seconds are killed."""
        deadline = time.monotonic() + seconds
        try:
            return [
                each.wait(timeout=max(deadline - time.monotonic(), 0.1)) for each in self.processes
            ]
        finally:
            for each in self.processes:
                each.kill()

    def finish(self) -> None:
        """Waits for an end that is well."""
        codes = self.codes()
        assert codes == [0] * len(codes), [self.printed(i) for i in range(len(codes))]


def find_free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        port: int = listening.getsockname()[1]
    return port
