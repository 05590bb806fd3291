"""One process of a fuzzer: tries inputs of one target and prints one line of JSON for each.

The parent (`run.py`) stops it when an input takes too long, and starts another after a crash.
"""

import json
import os
import resource
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np

from tests.fuzz.core import FileTarget, Target, ValueTarget, find_fault
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import find_target

# Far above the limit of one file: it protects the machine, and `_read_peak` measures.
MOST_DATA = 6 << 30


def main(name: str, seed: int, first: int, count: int) -> None:
    """Try the inputs `first` to `first + count - 1` of a target."""
    target = find_target(name)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
    # The lines go to the parent; whatever else the readers print goes nowhere.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)

    def report(**line: Any) -> None:
        lines.write(json.dumps(line) + "\n")

    with tempfile.TemporaryDirectory(prefix="pit_jax_fuzz_") as folder:
        tries = try_files if isinstance(target, FileTarget) else try_values
        for at in tries(target, seed, first, count, Path(folder), report):
            report(at=at)


def try_files(
    target: FileTarget, seed: int, first: int, count: int, folder: Path, report: Any
) -> Iterator[int]:
    """Damage one file after another and read it; yield before each."""
    (folder / "good").mkdir()
    good = list(target.write(folder / "good"))
    for at in range(first, first + count):
        random = np.random.default_rng([seed, zlib.crc32(target.name.encode()), at])
        source = good[random.integers(len(good))]
        path = _copy(source, folder / "damaged")
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        damaged = files[random.integers(len(files))]
        damaged.write_bytes(mutate(damaged.read_bytes(), random))
        inside = damaged.relative_to(folder / "damaged").parts
        yield at
        report(at=at, **_try(target, target.read, path, target.names or inside))


def try_values(
    target: ValueTarget, seed: int, first: int, count: int, folder: Path, report: Any
) -> Iterator[int]:
    """Draw values and check them; a block of them is drawn from one seed."""
    del folder
    verdicts: list[dict[str, Any]] = []

    @hypothesis.seed(seed * 1_000_003 + first)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(target.strategy)
    def draw(value: Any) -> None:
        at = first + len(verdicts)
        report(at=at)
        verdict = _try(target, target.check, value, target.names)
        if verdict["end"] == "finding":
            verdict["why"] += f" for {value!r:.300}"
        verdicts.append(verdict)
        report(at=at, **verdict)

    draw()
    yield from ()


def _try(target: Target, check: Any, value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    _forget_peak()
    before = _read_peak()
    end, why = "accepted", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Tests turn warnings into errors.
            check(value)
    except hypothesis.errors.UnsatisfiedAssumption:
        raise
    except BaseException as error:
        end, why = "refused", find_fault(error, names)
        message = str(error)
    else:
        message = ""
    used = (_read_peak() - before) / 2**30
    if why is None and used > target.gigabytes:
        why = f"it took {used:.1f} GB"
    if why:
        return {"end": "finding", "why": why}
    return {"end": end, "message": message[:300]}


def _copy(source: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if source.is_dir():
        return Path(shutil.copytree(source, folder / source.name))
    return Path(shutil.copy2(source, folder / source.name))


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # Then the peak is of all inputs so far.


def _read_peak() -> int:
    """Return the largest memory of this process since `_forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
