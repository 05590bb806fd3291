"""Start workers for a block of inputs, and judge what a worker cannot: crashes and hangs."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis

from tests.fuzz.core import MOST_LINES, ROOT, Target

# Starting a worker imports JAX and writes the good files, which takes seconds.
START_SECONDS = 120
# A config that fits into 4 GB trains two steps within three minutes or is refused.
CONFIG_SECONDS, CONFIG_GIGABYTES = 180, 4
CONFIGS = "training configs"
BLOCK_SECONDS = 40
# Hypothesis draws in one thread at a time.
DRAWING = threading.Lock()


@dataclass
class Tally:
    """The verdicts about the inputs of one target."""

    ends: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """Count the verdict of one input; keep it if it is a finding."""
        self.ends[line["end"]] += 1
        if line["end"] == "finding":
            self.findings.append(line)


def run_block(target: Target, seed: int, first: int, count: int, ends_at: float) -> Iterator[Any]:
    """Yield the verdicts about `count` inputs of a target, one dict for each.

    A worker that crashes or hangs is a finding, and the next worker continues after that input.
    Nothing more is tried after `ends_at`, a moment of `time.monotonic()`, and later than
    BLOCK_SECONDS after the first input.
    """
    end, is_dead = first + count, True
    while is_dead and first < end and time.monotonic() < ends_at:
        is_dead = False
        for line in _watch(target, seed, first, end - first, ends_at):
            is_dead = line.pop("is_dead", False)
            yield line
            first = line["at"] + 1


def _watch(target: Target, seed: int, first: int, count: int, ends_at: float) -> Iterator[Any]:
    words = [target.name, *map(str, (seed, first, count))]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker", *words],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        block_ends_at = None
        for line in _read_lines(process, target.seconds):
            if line is None:
                why = f"hangs: over {target.seconds:g} s"
                yield {"at": first, "end": "finding", "why": why, "is_dead": True}
                return
            # Not from the start of the worker, which may train a network for its good files.
            block_ends_at = block_ends_at or min(ends_at, time.monotonic() + BLOCK_SECONDS)
            first = line["at"]
            if "end" in line:
                yield line
                first += 1
                if time.monotonic() > block_ends_at:
                    return
        code = process.wait()
        if code:
            assert process.stderr
            said = process.stderr.read().decode(errors="replace").strip()[-300:]
            why = f"the process ended with {code}: {said}"
            yield {"at": first, "end": "finding", "why": why, "is_dead": True}
    finally:
        _kill(process)


def _read_lines(process: subprocess.Popen[bytes], seconds: float) -> Iterator[Any]:
    """Yield the lines of a worker; None, and stop, if there is none for `seconds`."""
    assert process.stdout
    rest, patience = b"", float(START_SECONDS)
    while True:
        ready, _, _ = select.select([process.stdout], [], [], patience)
        patience = seconds
        if not ready:
            yield None
            return
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe
        pipe.close()


def run_configs(seed: int, first: int, count: int, ends_at: float) -> Iterator[Any]:
    """Draw `count` command lines of the training program, and train two steps of each."""
    for at, words in enumerate(draw_commands(seed * 1_000_003 + first, count), first):
        if time.monotonic() > ends_at:
            return
        yield {"at": at, **try_config(words)}


def draw_commands(seed: int, count: int) -> list[list[str]]:
    """Return `count` command lines for `train.main`, drawn from a seed."""
    from tests.fuzz.configs import draw_config

    found: list[list[str]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(hypothesis.strategies.data())
    def draw(data: Any) -> None:
        found.append(draw_config(data))

    with DRAWING:
        draw()
    return found[:count]


def try_config(words: list[str]) -> dict[str, Any]:
    """Run the training program, and judge its exit code, its errors, its time and its memory."""
    with tempfile.TemporaryDirectory(prefix="pit_jax_fuzz_") as folder:
        said = Path(folder) / "stderr.txt"
        with said.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "train.main", *words, "--workdir", f"{folder}/run"],
                cwd=ROOT,
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        code, used = _wait(process)
        why = _judge(code, used, said.read_text(errors="replace"))
    if why:
        return {"end": "finding", "why": why, "words": words}
    return {"end": "accepted" if code == 0 else "refused"}


def _wait(process: subprocess.Popen[bytes]) -> tuple[int | None, resource.struct_rusage]:
    """Return the exit code of a process, None after three minutes, and its resources."""
    end = time.monotonic() + CONFIG_SECONDS
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            return None, used
        time.sleep(0.1)


def _judge(code: int | None, used: resource.struct_rusage, said: str) -> str | None:
    if code is None:
        return f"hangs: over {CONFIG_SECONDS} s"
    if used.ru_maxrss > CONFIG_GIGABYTES * 2**20:
        return f"it took {used.ru_maxrss / 2**20:.1f} GB"
    if "Traceback" in said or code not in (0, 2):
        return f"exit code {code}: {said.strip()[-600:]}"
    error = said.partition("error: ")[2].strip()
    if code == 2 and not 0 < len(error.splitlines()) <= MOST_LINES:
        return f"exit code 2 with {len(error.splitlines())} lines of error: {error[:300]}"
    return None
