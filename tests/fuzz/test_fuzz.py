"""A small share of the fuzzing in every test run, and tests of the fuzzer itself."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz import worker
from tests.fuzz.core import FileTarget
from tests.fuzz.mutate import mutate
from tests.fuzz.run import CONFIGS, Tally, run_block
from tests.fuzz.table import make_table
from tests.fuzz.targets import find_target, list_targets


@pytest.mark.parametrize("name", list_targets())
def test_damaged_input_is_read_right_or_refused(name: str, tmp_path: Path) -> None:
    target = list_targets()[name]
    found: list[dict[str, object]] = []
    tries = worker.try_files if isinstance(target, FileTarget) else worker.try_values
    for _ in tries(target, 0, 0, target.share, tmp_path, lambda **line: found.append(line)):
        pass
    assert [line for line in found if line.get("end") == "finding"] == []
    assert sum("end" in line for line in found) > 0


def try_planted(name: str, count: int = 4) -> list[dict[str, Any]]:
    ends_at = time.monotonic() + 300
    return list(run_block(find_target(name), 0, 0, count, ends_at))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("read_unguarded", "error at planted.py"),
        ("read_wrong", "accepted with a wrong result (a wrong result)"),
        ("crash", "the process ended with -11"),
        ("hang", "hangs: over 1 s"),
        ("waste_memory", "it took 0.0 GB"),
    ],
)
def test_fuzzer_finds_a_planted_fault_and_continues(name: str, why: str) -> None:
    found = try_planted(name, 2)
    assert [line["at"] for line in found] == [0, 1]
    assert any(why in line.get("why", "") for line in found), found


def test_fuzzer_accepts_refusals_that_name_the_file() -> None:
    ends = [line["end"] for line in try_planted("read_guarded", 40)]
    assert len(ends) == 40 and set(ends) == {"accepted", "refused"}


def test_equal_seeds_give_equal_damage() -> None:
    content = bytes(range(256)) * 8
    damaged = [mutate(content, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert damaged[0] == damaged[1] != damaged[2]


def test_table_sums_all_runs() -> None:
    run = {"minutes": 45.0, "targets": {CONFIGS: {"accepted": 2, "finding": 1}, "zip": {}}}
    table = make_table([run, run])
    assert "6 inputs in 1.5 hours" in table and "in 2 runs" in table
    assert f"| {CONFIGS} | 4 | 0 | 2 |" in table and "| **all** | 4 | 0 | 2 |" in table


def test_findings_are_counted_and_kept() -> None:
    tally = Tally()
    for end in ("accepted", "finding"):
        tally.add({"at": 0, "end": end})
    assert tally.ends == {"accepted": 1, "finding": 1}
    assert tally.findings == [{"at": 0, "end": "finding"}]
