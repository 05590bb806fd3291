"""Runs of `train.main` in several processes on one machine."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.train.helpers import ENVIRONMENT, MAIN, ROOT

# Sums in another order differ in their last bits, and in float32 that flips a spike now and then.
X64 = ENVIRONMENT | {"JAX_ENABLE_X64": "1"}
PATIENCE_SECONDS = 240


class Run:
    """One run in `count` processes, with the virtual devices that `arguments` ask for.

    Output goes to files next to the workdir. The processes compute in float64 unless `environment`
    says otherwise.
    """

    def __init__(
        self,
        workdir: Path,
        *arguments: str,
        count: int = 2,
        environment: Mapping[str, str] = X64,
    ) -> None:
        port = find_free_port()
        self._files = [workdir.with_name(f"{workdir.name}.{i}.log") for i in range(count)]
        self.processes = []
        for i, file in enumerate(self._files):
            given = ("--coordinator", f"localhost:{port}", "--processes", str(count))
            several = (*given, "--process", str(i)) if count > 1 else ()
            with file.open("w") as output:
                process = subprocess.Popen(
                    [*MAIN, *several, "--workdir", str(workdir), *arguments],
                    cwd=ROOT,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            self.processes.append(process)

    def read_output(self, process: int) -> str:
        """Return the output of one process so far."""
        return self._files[process].read_text()

    def end(self, process: int, number: signal.Signals, when: Callable[[], bool]) -> None:
        """Send a signal to one process once `when()` is true; fail if a process ends earlier."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not when() and time.monotonic() < deadline:
            codes = [each.poll() for each in self.processes]
            assert codes == [None] * len(codes), [self.read_output(i) for i in range(len(codes))]
            time.sleep(0.01)
        os.kill(self.processes[process].pid, number)

    def wait_for_codes(self, seconds: float = PATIENCE_SECONDS) -> list[int]:
        """Wait for all processes and return their exit codes; kill them after `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            return [
                each.wait(timeout=max(deadline - time.monotonic(), 0.1)) for each in self.processes
            ]
        finally:
            for each in self.processes:
                each.kill()

    def finish(self) -> None:
        """Wait until all processes have ended, and assert that all returned 0."""
        codes = self.wait_for_codes()
        assert codes == [0] * len(codes), [self.read_output(i) for i in range(len(codes))]


def find_free_port() -> int:
    """Return a TCP port that no process listens on."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        port: int = listening.getsockname()[1]
    return port
