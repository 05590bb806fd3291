"""Settings for speed: restarts of programs, compiler options, and the switch for all of them."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pit_jax
from pit_jax import tuning
from pit_jax.inference.runtime.batches import jit_for_batches
from pit_jax.reading import FileError
from tests.train.helpers import make_program_on
from tests.train.tiny import get_config
from train.run.environment import compare_environments, describe_common, describe_environment

ROOT = Path(__file__).parents[1]
EIGEN = tuning.EIGEN
(FLAG,) = EIGEN
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
# Python imports this file whenever it starts: it writes a line about the process, and pretends that
# the system has another file on huge pages, other virtual devices, and another C library.
LOOK = """\
import builtins, json, os, sys, time
names = ("GLIBC_TUNABLES", "PIT_JAX_RESTARTED", "XLA_FLAGS")
line = [os.getpid(), os.getcwd(), sys.orig_argv[1:], *map(os.environ.get, names)]
with open(os.environ["STARTS"], "a") as file:
    print(json.dumps(line), file=file)
open_, of_test = open, os.environ["PAGES"]
devices, listdir = os.environ["DEVICES"], os.listdir
def find(path):
    if str(path).startswith("/sys/kernel/mm/"):
        return of_test
    return path.replace("/sys/bus/virtio/devices", devices) if isinstance(path, str) else path
builtins.open = lambda path, *rest, **kw: open_(find(path), *rest, **kw)
os.listdir = lambda path=".": listdir(find(path))
os.confstr = lambda name: os.environ["LIBRARY"]
if os.environ.get("SLOW") and names[1] in os.environ:
    print("ready", flush=True)
    time.sleep(1)
"""
# `pit-jax`, as pip writes it.
SCRIPT = "import sys\nfrom pit_jax.__main__ import main\nsys.exit(main())\n"
UNKNOWN = ("pit_jax", "trian", "a b")  # Ends with an error, after all of the start.
KEEP = [f"{name}={value}" for name, value in tuning.KEEP.items()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a Python that runs LOOK, without any setting of ours."""
    (tmp_path / "sitecustomize.py").write_text(LOOK)
    (tmp_path / "pages").write_text("always [madvise] never\n")
    (tmp_path / "pit-jax").write_text(SCRIPT)
    own = ("GLIBC_TUNABLES", tuning.RESTARTED, tuning.SWITCH, "XLA_FLAGS")
    return {name: value for name, value in os.environ.items() if name not in own} | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "STARTS": str(tmp_path / "starts"),
        "PAGES": str(tmp_path / "pages"),
        "DEVICES": str(tmp_path / "devices"),
        "LIBRARY": "glibc 2.35",
    }


def start(environment: dict[str, str], *words: str, **options: Any) -> list[list[Any]]:
    """Run Python and return a line for each time that it started in this process."""
    cwd = Path(environment["STARTS"]).parent
    subprocess.run([sys.executable, *words], env=environment, cwd=cwd, **options)
    return [json.loads(line) for line in Path(environment["STARTS"]).read_text().splitlines()]


@ON_LINUX
@pytest.mark.parametrize(
    "words",
    [("-m", *UNKNOWN), ("-X", "dev", "-um", *UNKNOWN), ("-B", "pit-jax", "trian", "a b")],
)
def test_a_program_restarts_once_as_the_same_process_with_the_same_arguments(environment, words):
    first, second = start(environment, *words, stderr=subprocess.DEVNULL)
    assert first[:3] == second[:3] and first[2] == list(words)
    assert first[3:5] == [None, None] and second[3] == "glibc.malloc.hugetlb=1"
    assert second[4].split()[0] == str(first[0])


@ON_LINUX
@pytest.mark.parametrize(
    "words",
    [
        ("-c", "from pit_jax.__main__ import main; main(['trian'])"),
        ("-m", "cProfile", "-m", *UNKNOWN),
        ("-m", "pdb", "-c", "continue", "-m", *UNKNOWN),
        ("-c", "import runpy; runpy.run_module('pit_jax', run_name='__main__')"),
        ("-m", "pit_jax", "--help"),
        ("-m", "pit_jax", "train", "-h"),
        ("-c", "import pit_jax; pit_jax.tune_runtime()"),
    ],
)
def test_programs_of_others_and_help_do_not_restart(environment, words):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert len(start(environment, *words, stdin=subprocess.DEVNULL, **quiet)) == 1


@ON_LINUX
@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"PIT_JAX_TUNING": "off"}, None),
        # Another process did so, which had another value of the switch.
        ({"PIT_JAX_RESTARTED": "1"}, "glibc.malloc.hugetlb=1"),
        ({"LIBRARY": "glibc 2.34"}, None),
        ({"LIBRARY": ""}, None),
        ({"PAGES": "/missing"}, None),
        ({"PAGES": "always madvise [never]"}, None),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, None),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2:a.b.c=1"}, None),
        ({"GLIBC_TUNABLES": "a.b.c=1"}, "a.b.c=1:glibc.malloc.hugetlb=1"),
        ({"LIBRARY": "glibc 2.41"}, "glibc.malloc.hugetlb=1"),
    ],
)
def test_a_program_restarts_only_where_it_helps_and_keeps_the_values_of_users(
    environment, changes, expected, tmp_path
):
    if "[" in changes.get("PAGES", ""):
        (tmp_path / "pages").write_text(changes["PAGES"])
        changes = {}
    found = start(environment | changes, "-m", *UNKNOWN, stderr=subprocess.DEVNULL)
    assert [line[3] for line in found[1:]] == ([expected] if expected else [])


@ON_LINUX
@pytest.mark.parametrize(
    "device, features, changes, expected",
    [
        ("0x0005", "0000010", {}, []),
        ("0x0005", "1111101", {}, ["glibc.malloc.hugetlb=1"]),
        ("0x0005", "01", {}, ["glibc.malloc.hugetlb=1"]),
        ("0x0001", "0000010", {}, ["glibc.malloc.hugetlb=1"]),
        ("0x0005", "0000010", {"PIT_JAX_TUNING": "keep"}, ["glibc.malloc.hugetlb=1", *KEEP]),
        ("0x0001", "0000010", {"PIT_JAX_TUNING": "keep"}, ["glibc.malloc.hugetlb=1", *KEEP]),
        (
            "0x0001",
            "0000010",
            {"PIT_JAX_TUNING": "keep", "GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
            ["glibc.malloc.arena_max=4", "glibc.malloc.hugetlb=1", KEEP[0], KEEP[2]],
        ),
    ],
)
def test_pages_that_the_host_takes_back_are_not_huge_unless_they_are_kept(
    environment, tmp_path, device, features, changes, expected
):
    for number, kind in enumerate(("0x0004", device)):
        folder = tmp_path / f"devices/virtio{number}"
        folder.mkdir(parents=True)
        (folder / "device").write_text(kind + "\n")
        (folder / "features").write_text(features + "\n")
    found = start(environment | changes, "-m", *UNKNOWN, stderr=subprocess.DEVNULL)
    assert [line[3].split(":") for line in found[1:]] == ([expected] if expected else [])


@ON_LINUX
def test_streams_and_open_files_stay_and_children_do_not_restart(environment, tmp_path):
    (tmp_path / "pit-jax").write_text(
        "import os, subprocess, sys, pit_jax\n"
        "print(sys.stdin.read(), os.read(int(sys.argv[1]), 9), flush=True)\n"
        "subprocess.run([sys.executable, '-m', 'pit_jax', 'trian'])\n"
    )
    reading, writing = os.pipe()
    os.write(writing, b"kept")
    command = [sys.executable, str(tmp_path / "pit-jax"), str(reading)]
    done = subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        input="typed",
        pass_fds=[reading],
        capture_output=True,
        text=True,
    )
    for pipe in (reading, writing):
        os.close(pipe)
    assert done.stdout == "typed b'kept'\n"
    lines = [json.loads(line) for line in (tmp_path / "starts").read_text().splitlines()]
    assert len(lines) == 3 and lines[0][0] == lines[1][0] != lines[2][0]


@ON_LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_during_the_restart_is_answered_after_it(environment, number, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "pit_jax.models"],
        env=environment | {"SLOW": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        printed = process.stdout.read()
    assert process.returncode == 128 + number
    assert printed.startswith(f"stopped by {signal.Signals(number).name}"), printed


def test_another_value_of_the_switch_is_refused_in_a_sentence(environment, monkeypatch):
    command = [sys.executable, "-m", "pit_jax", "report", "runs/none"]
    done = subprocess.run(
        command,
        env=environment | {"PIT_JAX_TUNING": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    sentence = "PIT_JAX_TUNING must be off, keep or unset, got '0'."
    assert done.returncode == 2 and done.stderr == f"error: {sentence}\n"
    monkeypatch.setenv("PIT_JAX_TUNING", "0")
    for call in (pit_jax.tune_runtime, lambda: tuning.compiler_options("train")):
        with pytest.raises(FileError, match=sentence):
            call()


TUNE = """\
import os, jax, pit_jax
if {started}: jax.devices()
print(pit_jax.tune_runtime())
print(os.environ.get("XLA_FLAGS", ""))
print(jax.jit(lambda x: x + 1)(1), pit_jax.tuning.describe_tuning()[:1])
"""


@ON_LINUX
@pytest.mark.parametrize("started", [False, True])
def test_the_library_applies_what_it_can_and_returns_the_rest_for_the_shell(environment, started):
    def run(**changes: str) -> list[str]:
        command = [sys.executable, "-W", "error", "-c", TUNE.format(started=started)]
        done = subprocess.run(
            command, env=environment | changes, check=True, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    flag = f"--{FLAG}={EIGEN[FLAG]}"
    line = "export GLIBC_TUNABLES=a=1:glibc.malloc.hugetlb=1"
    given = run(GLIBC_TUNABLES="a=1", XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    assert given[2] == "2 ['Eigen for convolutions']"
    both = f"--xla_cpu_enable_fast_math=false {flag}"
    if started:
        assert given[:2] == [f"{line} XLA_FLAGS='{both}'", "--xla_cpu_enable_fast_math=false"]
    else:
        assert given[:2] == [line, both]
        assert run(PIT_JAX_TUNING="off") == ["", "", "2 []"]


def test_an_unknown_option_is_skipped_with_one_note(monkeypatch, capsys):
    unknown = {"xla_cpu_no_such_option": "a"}
    monkeypatch.setitem(tuning.KINDS, "train", unknown)
    monkeypatch.setitem(tuning.KINDS, "evaluate", EIGEN | unknown)
    for _ in range(2):
        assert tuning.compiler_options("train") is None
        assert "xla_cpu_no_such_option" not in (tuning.compiler_options("evaluate") or {})
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.startswith("note: ")
    assert "No such compile option: 'xla_cpu_no_such_option'" in printed
    with pytest.raises(ValueError, match="kind must be one of train, evaluate, once; got 'fast'"):
        tuning.compiler_options("fast")


def test_options_are_off_with_the_switch_and_where_xla_flags_have_them(monkeypatch):
    assert tuning.compiler_options("once") == tuning.QUICK
    monkeypatch.setenv("XLA_FLAGS", f"--{FLAG}=-LIBRARY_FUSION_TYPE_REDUCE")
    assert tuning.compiler_options("train") is None
    assert tuning.compiler_options("once") == tuning.QUICK
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setenv("PIT_JAX_TUNING", "off")
    assert {tuning.compiler_options(kind) for kind in tuning.KINDS} == {None}
    assert tuning.describe_tuning() == [] and pit_jax.tune_runtime() == ""


def convolve_twice(kernel: jax.Array, x: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    for _ in range(2):
        x = jnp.tanh(
            jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        )
    return x


def count_ynn_convolutions(text: str) -> int:
    """Return how many convolutions a compiled program gives to YNNPACK."""
    calls = re.findall(r'calls=(%[\w.]+),.*"kind":"__ynn_fusion"', text)
    bodies = (text.partition(f"\n{name} (")[2].split("\n}")[0] for name in calls)
    return sum(" convolution(" in body for body in bodies)


def test_no_convolution_of_a_gradient_is_compiled_to_ynnpack():
    if not (options := tuning.compiler_options("train")):
        pytest.skip("this JAX does not know the option")
    found = []
    for each in (None, options):
        gradient = jax.grad(lambda kernel, x: convolve_twice(kernel, x).sum(), (0, 1))
        lowered = jax.jit(gradient, compiler_options=each).lower(
            jnp.ones((3, 3, 64, 64)), jnp.ones((8, 8, 8, 64))
        )
        found.append(count_ynn_convolutions(lowered.compile().as_text()))
    assert found == [6, 0] or found == [0, 0]  # The second, once JAX has another default.


def test_every_program_of_a_run_gets_its_options(monkeypatch):
    monkeypatch.setattr(tuning, "_is_known", lambda name, value: True)
    for kind in tuning.KINDS:
        monkeypatch.setitem(tuning.KINDS, kind, {f"xla_no_{kind}": 1})
    program = make_program_on(1, get_config())
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), program.abstract_state)
    for call, kind in (
        (program.first_state, "once"),
        (program.compile_step, "train"),
        (lambda: program.evaluate(state), "evaluate"),
        (lambda: program.probe(state), "evaluate"),
    ):
        with pytest.raises(jax.errors.JaxRuntimeError, match=f"No such.*xla_no_{kind}"):
            call()


def test_training_with_and_without_tuning_agrees_in_float64(x64, monkeypatch):
    first, ends = None, []
    for value in ("", "off"):
        monkeypatch.setenv("PIT_JAX_TUNING", value)
        program = make_program_on(1, get_config())
        first = first or jax.device_get(program.first_state().replace(key=None))
        state, step, metrics = first.replace(key=jax.random.key(0)), program.compile_step(), {}
        with closing(program.batches(0)) as batches:
            for _ in range(5):
                state, metrics = step(state, next(batches))
        ends.append(jax.device_get((state.params, state.batch_stats, metrics["loss"])))
    assert {leaf.dtype for leaf in jax.tree.leaves(ends[0][0])} == {np.dtype("f8")}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), *ends)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), first.params, ends[0][0])
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_a_network_runs_single_samples_as_before_and_batches_with_options(monkeypatch):
    seen = []
    jit = jax.jit

    def spy(function: Any, **options: Any) -> Any:
        jitted = jit(function, **options)
        name = (options.get("compiler_options") or {}).get(FLAG, "")
        return lambda *args: (seen.append((len(args[1]), name)), jitted(*args))[1]

    monkeypatch.setattr(jax, "jit", spy)
    run = jit_for_batches(lambda weights, x: weights * x)
    monkeypatch.setattr(jax, "jit", jit)
    name = (tuning.compiler_options("evaluate") or {}).get(FLAG, "")
    least = tuning.LEAST_BATCH
    np.testing.assert_array_equal(run(2.0, jnp.ones(1)), [2.0])
    assert seen == [(1, "")]
    monkeypatch.setattr(jax, "jit", spy)
    run(2.0, jnp.ones(least))
    monkeypatch.setattr(jax, "jit", jit)
    assert seen[1:] == [(least, name)]


def test_a_network_runs_inside_jitted_functions():
    run = jit_for_batches(lambda weights, x: weights * x)
    x = np.arange(tuning.LEAST_BATCH, dtype=np.float32)
    for given in (x, x[:1]):
        want = 2 * given
        assert (run(2.0, given) == want).all() and (jax.jit(run)(2.0, given) == want).all()
        assert (jax.jit(lambda: run(2.0, given))() == want).all()  # noqa: B023
        assert (jax.grad(lambda y: run(2.0, y).sum())(given) == 2).all()
        assert (jax.vmap(run, (None, 0))(2.0, given[:, None])[:, 0] == want).all()


def test_a_run_records_its_settings_and_a_resumed_one_reports_a_difference(monkeypatch, tmp_path):
    now, common = describe_environment(), describe_common()
    assert now["PIT_JAX_TUNING"] == common["PIT_JAX_TUNING"] == ""
    assert now["tuning"] == tuning.describe_tuning() and "tuning" not in common
    monkeypatch.setenv("PIT_JAX_TUNING", "off")
    off = describe_environment()
    assert off["tuning"] == []
    line = compare_environments(tmp_path, [now], off)
    assert line.startswith("the last bits of results may differ from an undisturbed run: ")
    assert line.endswith(" PIT_JAX_TUNING was '', is 'off'.") and line.count("was") == 1
    monkeypatch.setenv("PIT_JAX_TUNING", "keep")
    assert describe_common() == common and describe_environment()["PIT_JAX_TUNING"] == ""
    # Huge pages change no numbers, and older versions recorded no settings.
    assert compare_environments(tmp_path, [now | {"tuning": ["huge pages"]}], now) == ""
    older = {name: value for name, value in now.items() if name not in ("tuning", tuning.SWITCH)}
    assert compare_environments(tmp_path, [older], off) == ""
