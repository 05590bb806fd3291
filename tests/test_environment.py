"""Faults of the environment end every program with one sentence and exit code 2."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pit_jax.environment import explain_environment

ROOT = Path(__file__).parents[1]
MODELS = ("-m", "pit_jax.models", "cifarnet")
TRAIN = ("-m", "train.main", "--config", "configs/smoke.py")
SLOW = pytest.mark.slow
EVALUATE = ("-m", "train.evaluate", "runs/none")


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={name: value for name, value in environment.items() if value != "(unset)"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "words, variables, complaint",
    [
        (TRAIN, {"JAX_PLATFORMS": "cuda"}, "JAX_PLATFORMS=cuda: "),
        pytest.param(
            *(TRAIN, {"JAX_PLATFORMS": "nonsense"}, "JAX_PLATFORMS=nonsense: "),
            marks=SLOW,
        ),
        pytest.param(
            *(EVALUATE, {"JAX_ENABLE_X64": "perhaps"}, "invalid truth value 'perhaps'"), marks=SLOW
        ),
        (MODELS, {"JAX_DEFAULT_MATMUL_PRECISION": "best"}, "jax_default_matmul_precision"),
        pytest.param(TRAIN, {"JAX_NUM_CPU_DEVICES": "two"}, "jax_num_cpu_devices", marks=SLOW),
        (TRAIN, {"XLA_FLAGS": "--xla_unknown=1"}, "Unknown flag in XLA_FLAGS: --xla_unknown=1"),
        pytest.param(
            *(
                MODELS,
                {"XLA_FLAGS": "--xla_force_host_platform_device_count=x"},
                "interpret value x",
            ),
            marks=SLOW,
        ),
        (MODELS, {"XLA_FLAGS": "nonsense"}, 'Could not open file "nonsense"'),
    ],
)
def test_errors_at_the_start_of_jax_are_one_sentence(words, variables, complaint, tmp_path):
    place = ("--workdir", str(tmp_path / "run")) if words is TRAIN else ()
    done = run(*words, *place, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert complaint in done.stderr and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error, complaint",
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"), "ulimit -n"),
        (ValueError("RESOURCE_EXHAUSTED: Error opening x: Too many open files"), "ulimit -n"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "out of memory"),
    ],
)
def test_a_limit_of_the_process_is_called_by_its_name(error, complaint):
    assert complaint in (explain_environment(error) or "")


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}, marks=SLOW),
        pytest.param({"HOME": "(unset)"}, marks=SLOW),
        pytest.param({"HOME": "/nonexistent"}, marks=SLOW),
        {"TMPDIR": "/nonexistent"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONOPTIMIZE": "2"},
        pytest.param({"CUDA_VISIBLE_DEVICES": "7"}, marks=SLOW),
        pytest.param({"COLUMNS": "20"}, marks=SLOW),
        pytest.param({"TERM": "dumb", "NO_COLOR": "1"}, marks=SLOW),
    ],
)
def test_programs_run_in_unusual_environments(variables):
    done = run(*MODELS, **variables)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "cifarnet" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": "(unset)", "TMPDIR": "/nonexistent"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONOPTIMIZE": "2"},
    ],
)
def test_a_run_trains_and_evaluates_in_an_unusual_environment(variables, tmp_path):
    for words in (
        (*TRAIN, "--config.epochs=1", "--workdir", str(tmp_path / "run")),
        ("-m", "train.evaluate", str(tmp_path / "run")),
        ("-m", "train.report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")),
    ):
        done = run(*words, **variables)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
