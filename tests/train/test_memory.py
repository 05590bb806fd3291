"""Runs that need more memory than there is are refused early; runs that fit are not."""

import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests.train.helpers import ENVIRONMENT, ROOT, make_test_mesh, run_main
from train import memory
from train.errors import UserError
from train.host_memory import MemoryLimit, find_host_limits
from train.memory import check_state, count_bytes

SMOKE = ("--config", "configs/smoke.py", "--config.cpu_devices=4")
GIB = 2**30


@pytest.mark.parametrize(
    "key, value",
    [
        ("model.width", 10**6),
        ("model.width", 10**7),
        ("num_steps", 2**31 - 1),
        ("model.width", 8000),
    ],
)
def test_a_network_that_is_too_large_is_refused_before_anything_compiles(
    key, value, tmp_path, capsys, compiled
):
    assert run_main(*SMOKE, f"--config.{key}={value}", "--workdir", str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: training this network, with ") and error.count("\n") == 1
    assert "GiB" in error and ", and there are " in error
    assert not {"jit(first_state)", "jit(step)"} & set(compiled)
    assert not (tmp_path / "run").exists()


def test_temporaries_that_are_too_large_are_refused_after_compiling(tmp_path, capsys):
    arguments = ("--config.num_steps=1000000", "--config.batch_size=512")
    assert run_main(*SMOKE, *arguments, "--workdir", str(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "GiB of activations and other temporaries, needs at least" in error
    assert "config.batch_size, config.num_steps" in error


def test_a_run_that_needs_exactly_the_memory_that_there_is_is_not_refused(monkeypatch):
    params = {"kernel": jax.ShapeDtypeStruct((1000, 3), np.float32)}
    state = {"params": params, "moments": [params, params]}
    mesh, needed = make_test_mesh(2), 2 * 4 * 12_000
    assert count_bytes(state) == 36_000
    monkeypatch.setattr(memory, "find_host_limits", lambda: [MemoryLimit(needed, "test")])
    check_state(state, params, mesh)
    monkeypatch.setattr(memory, "find_host_limits", lambda: [MemoryLimit(needed - 1, "test")])
    with pytest.raises(UserError, match="2 times on one host, .*0.0 GiB .test."):
        check_state(state, params, mesh)
    monkeypatch.setattr(memory, "find_host_limits", lambda: [])
    check_state(state, params, mesh)


@pytest.mark.slow
@pytest.mark.parametrize("override", ["model.width=128", "batch_size=256", "num_steps=16"])
def test_counted_memory_is_less_than_a_run_uses(override, tmp_path):
    code = f"""
import resource, sys
from train import memory
needed, check = [], memory.check_fits
memory.check_fits = lambda size, *rest: (needed.append(size), check(size, *rest))
from train.main import main
code = main(["main", *{SMOKE[:2]!r}, "--config.{override}", "--config.epochs=1",
             "--workdir", sys.argv[1]])
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
assert len(needed) == 3 and 0 < max(needed) < used, (needed, used)
sys.exit(code)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)


def write_groups(folder, text, files):
    (folder / "cgroup").write_text(text)
    (folder / "meminfo").write_text("MemTotal:  16777216 kB\nSwapTotal:  1048576 kB\n")
    for name, number in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{number}\n")
    limits = find_host_limits(folder / "meminfo", folder / "cgroup", folder)
    return [limit.bytes / GIB for limit in limits if limit.name != "ulimit -v"]


@pytest.mark.parametrize(
    "text, files, least",
    [
        ("0::/a/b\n", {}, 17),
        ("0::/a/b\n", {"a/b/memory.max": "max"}, 17),
        ("0::/a/b\n", {"a/memory.max": 4 * GIB, "a/memory.swap.max": 0}, 4),
        ("0::/a/b\n", {"a/b/memory.max": 4 * GIB, "a/b/memory.swap.max": "max"}, 5),
        ("0::/\n", {"memory.max": 2 * GIB, "memory.swap.max": GIB // 2}, 2.5),
        ("4:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": 3 * GIB}, 4),
        # In a container the folder of the group does not exist, but its files are at the root.
        ("4:cpu,memory:/docker/1\n", {"memory/memory.limit_in_bytes": 3 * GIB}, 4),
        (
            "4:memory:/job\n",
            {
                "memory/job/memory.limit_in_bytes": 3 * GIB,
                "memory/job/memory.memsw.limit_in_bytes": 3 * GIB,
            },
            3,
        ),
    ],
)
def test_limits_of_containers_and_jobs_are_found(text, files, least, tmp_path):
    assert min(write_groups(tmp_path, text, files)) == least


def test_without_proc_nothing_is_refused(tmp_path):
    limits = find_host_limits(tmp_path / "none", tmp_path / "none", tmp_path)
    assert [limit for limit in limits if limit.name != "ulimit -v"] == []


@pytest.mark.parametrize(
    "stats, size", [(None, None), ({}, None), ({"bytes_limit": 5}, 5), (RuntimeError(), None)]
)
def test_limits_of_devices_are_used_where_they_are_known(stats, size):
    def memory_stats():
        if isinstance(stats, Exception):
            raise stats
        return stats

    device = SimpleNamespace(memory_stats=memory_stats, device_kind="a GPU")
    found = memory.find_device_limit(device)
    assert (found and found.bytes) == size


@pytest.mark.parametrize("module", ["train.data", "train.data.events", "train.data.imagenet"])
def test_processes_that_only_read_data_start_without_jax(module):
    """Workers import the module of the function that they run; JAX takes half a second."""
    program = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
