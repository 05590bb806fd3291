"""Several processes, each with some of the devices, train as one run."""

import json
import re
import signal
import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pit_jax.arguments import UsageError
from tests.train.distributed.fake_hosts import call_on_hosts
from tests.train.helpers import (
    ROOT,
    TINY,
    get_bits,
    list_saved_steps,
    load_newest_state,
    load_records,
    load_summary,
    make_program_on,
    stop_after,
)
from tests.train.image_files import save_image
from tests.train.imagenet_files import write_folders
from tests.train.processes import PATIENCE_SECONDS, Run
from train.config import cli
from train.config.arguments import parse
from train.data.imagenet import source
from train.data.imagenet.array_records import convert
from train.distributed import hosts
from train.errors import UserError
from train.loop import train
from train.run.environment import describe_common

# Twelve steps, each with a record.
ARGUMENTS = ("--config", TINY, "--config.epochs=4", "--config.log_every=1")
# Too long to end by itself, with a checkpoint every two steps.
LONG = (*ARGUMENTS, "--config.epochs=1000", "--config.checkpoints.every_steps=2")
TINY_IMAGENET = str(ROOT / "tests/train/tiny_imagenet.py")


def load_learned(workdir: Path, arguments: tuple[str, ...] = ARGUMENTS) -> dict[str, np.ndarray]:
    """Return the arrays of the newest checkpoint of a run in float64, by path."""
    with jax.enable_x64(True):
        state = load_newest_state(workdir, make_program_on(1, cli.parse(["main", *arguments])[0]))
        state = jax.device_get((state.params, state.batch_stats, state.opt_state))
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(state)}


def assert_close_runs(one: Path, other: Path, arguments: tuple[str, ...] = ARGUMENTS) -> None:
    """Check that two runs have the same weights and records, up to the order of sums."""
    ours, theirs = load_learned(one, arguments), load_learned(other, arguments)
    assert len(ours) > 20 and ours.keys() == theirs.keys()
    assert {leaf.dtype for path, leaf in ours.items() if "a'" in path} == {np.dtype("f8")}
    for path, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[path], rtol=0, atol=1e-9, err_msg=path)
    for a, b in zip(load_records(one), load_records(other), strict=True):
        assert flatten_dict(a) == pytest.approx(flatten_dict(b), abs=1e-9, rel=0)


class Runs(dict[str, Path]):
    """The folders of runs of one config in float64 on 1, 2, 4 or 8 devices, or on 2 × 2."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        processes, devices = name.split("x") if "x" in name else ("1", name)
        self[name] = self._folder / name
        arguments = (*ARGUMENTS, f"--config.cpu_devices={devices}")
        Run(self[name], *arguments, count=int(processes)).finish()
        return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Return the runs, each of which is trained when a test first asks for it."""
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4", "8"])
def test_more_devices_agree_with_one_in_float64(runs, devices):
    assert_close_runs(runs["1"], runs[devices])


@pytest.mark.slow
def test_two_processes_with_two_devices_agree_with_one_process_with_four(runs):
    assert_close_runs(runs["4"], runs["2x2"])
    losses = [record["loss"] for record in load_records(runs["2x2"]) if "loss" in record]
    # All differ, so the comparison is not trivial. The last step of an epoch has no line.
    assert len(set(losses)) == len(losses) == 12 - 4


@pytest.mark.slow
def test_two_processes_write_the_same_files_as_one(runs):
    one, two = (
        {path.name for path in runs[name].rglob("*") if path.suffix in (".json", ".png")}
        for name in ("4", "2x2")
    )
    assert one == two and "summary.json" in one
    assert load_starts(runs["2x2"]) == [(4, 2)]


def load_starts(workdir: Path) -> list[tuple[int, int]]:
    """Return the numbers of devices and of processes of each start of a run."""
    starts = json.loads((workdir / "environment.json").read_text())
    return [(start["devices"], start["processes"]) for start in starts]


def test_two_processes_stop_at_the_same_step_and_agree_with_one(tmp_path):
    """The only quick test with several processes: SIGTERM to one, resumed in this process.

    Two processes with two devices each agree with one process and one device, in float64.
    """
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    run = Run(workdir, *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGTERM, when=lambda: max(list_saved_steps(workdir), default=0) > 3)
    assert run.wait_for_codes() == [0, 0], run.read_output(0) + run.read_output(1)
    assert "stopped and saved; repeat the command to resume." in run.read_output(0)
    # Only the first process prints the progress.
    assert "stopped" not in run.read_output(1) and "epoch" not in run.read_output(1)
    assert not (workdir / "summary.json").exists()
    assert load_starts(workdir) == [(4, 2)]
    stopped = max(list_saved_steps(workdir))
    config = cli.parse(["main", *LONG])[0]
    with jax.enable_x64(True):
        program = make_program_on(1, config)
        program = program._replace(compile_step=cache(program.compile_step))
        assert train(config, alone, stop_after(stopped), program=program) is None
        assert_close_runs(alone, workdir, LONG)
        for folder in (alone, workdir):
            assert train(config, folder, stop_after(2), program=program) is None
        assert_close_runs(alone, workdir, LONG)
    assert max(list_saved_steps(workdir)) == stopped + 2


@pytest.mark.slow
def test_a_run_of_two_processes_resumes_in_one_with_fewer_devices(tmp_path):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    arguments = (*ARGUMENTS, "--config.epochs=60", "--config.checkpoints.every_steps=2")
    first = Run(workdir, *arguments, "--config.cpu_devices=2")
    first.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    first.finish()
    assert not (workdir / "summary.json").exists()  # It was stopped and has not finished.
    Run(workdir, *arguments, "--config.cpu_devices=1", count=1).finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    assert load_starts(workdir) == [(4, 2), (1, 1)]
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=60"))


@pytest.mark.slow
def test_sigint_to_one_process_stops_all(tmp_path):
    run = Run(tmp_path / "run", *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGINT, when=lambda: bool(list_saved_steps(tmp_path / "run")))
    assert run.wait_for_codes() == [0, 0], run.read_output(0) + run.read_output(1)
    assert "stopped and saved" in run.read_output(0)


@pytest.mark.slow
def test_a_second_signal_ends_a_process_at_once_and_what_was_saved_is_whole(tmp_path):
    workdir = tmp_path / "run"
    run = Run(workdir, *LONG, "--config.cpu_devices=2")
    run.end(1, signal.SIGTERM, when=lambda: bool(list_saved_steps(workdir)))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while run.processes[1].poll() is None and time.monotonic() < deadline:
        run.processes[1].send_signal(signal.SIGTERM)
        time.sleep(0.005)
    codes = run.wait_for_codes()
    assert codes[1] == 128 + signal.SIGTERM and codes[0] not in (0, 2)
    again = Run(workdir, *LONG, "--config.cpu_devices=2")
    again.end(0, signal.SIGTERM, when=lambda: "resuming from step" in again.read_output(0))
    again.finish()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_other_ends_and_explains_how_to_resume(tmp_path, victim):
    workdir, alone = tmp_path / "run", tmp_path / "alone"
    # Enough epochs that the run cannot finish before it is killed.
    arguments = (*ARGUMENTS, "--config.epochs=40", "--config.checkpoints.every_steps=2")
    run = Run(workdir, *arguments, "--config.cpu_devices=2")
    run.end(victim, signal.SIGKILL, when=lambda: max(list_saved_steps(workdir), default=0) > 2)
    codes = run.wait_for_codes()
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] not in (0, 2)
    printed = run.read_output(1 - victim)
    assert "another process of th" in printed and "checkpoint" in printed
    assert "Start all processes again with the same command to resume." in printed
    Run(workdir, *arguments, "--config.cpu_devices=2").finish()
    Run(alone, *arguments, "--config.cpu_devices=4", count=1).finish()
    assert_close_runs(alone, workdir, (*ARGUMENTS, "--config.epochs=40"))
    assert load_summary(alone)["best_epoch"] == load_summary(workdir)["best_epoch"]


@pytest.mark.slow
def test_a_nan_loss_ends_both_processes_with_step_and_layer(tmp_path):
    arguments = (*ARGUMENTS, "--config.cpu_devices=2", "--config.learning_rate=1e300")
    run = Run(tmp_path / "run", *arguments)
    assert run.wait_for_codes() == [2, 2]
    for process in (0, 1):
        assert "error: step 2, in epoch 1, is not finite; the first" in run.read_output(process)
        assert "Traceback" not in run.read_output(process)
    assert "The checkpoint of step 0 is kept." in run.read_output(0)
    assert (
        list_saved_steps(tmp_path / "run", "first") == [0]
        and list_saved_steps(tmp_path / "run") == []
    )


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> tuple[str, ...]:
    """Return the arguments of a run that reads its images from disk."""
    folder = tmp_path_factory.mktemp("imagenet")
    convert(source.plan(write_folders(folder / "source")), folder / "data", workers=1)
    return "--config", TINY_IMAGENET, f"--config.data.data_dir={folder / 'data'}"


@pytest.mark.slow
def test_each_process_reads_only_the_images_of_its_devices(imagenet, tmp_path):
    Run(tmp_path / "one", *imagenet, "--config.cpu_devices=4", count=1).finish()
    Run(tmp_path / "two", *imagenet, "--config.cpu_devices=2").finish()
    assert_close_runs(tmp_path / "one", tmp_path / "two", imagenet)


def test_arrays_of_the_first_host_are_received_bit_for_bit():
    sent = {
        "float": np.array([[-0.0, 1.5], [np.nan, -np.inf]], np.float32),
        "integer": np.int32(-7),
        "key": np.arange(4, dtype=np.uint32),
    }
    other = jax.tree.map(np.ones_like, sent)
    for received in call_on_hosts(3, lambda i: hosts.broadcast(other if i else sent)):
        assert get_bits(received) == get_bits(sent)
        chex.assert_trees_all_equal_shapes_and_dtypes(received, sent)


@pytest.mark.parametrize("number", [None, 0, 12])
def test_a_number_of_the_first_host_or_none_is_received(number):
    received = call_on_hosts(2, lambda i: hosts.broadcast_number(5 if i else number))
    assert received == [number, number]


def test_an_error_on_one_host_is_raised_on_all():
    def fail(index: int) -> None:
        with hosts.raise_on_all_hosts():
            if index == 1:
                raise UserError("no room")

    errors = call_on_hosts(3, fail)
    said = [str(error) for error in errors]
    assert said == ["process 1: no room", "no room", "process 1: no room"]
    assert {type(error) for error in errors} == {UserError}


def test_every_failing_host_raises_its_own_error():
    def fail(index: int) -> None:
        with hosts.raise_on_all_hosts():
            raise OSError(f"disk {index}")

    assert [str(error) for error in call_on_hosts(2, fail)] == ["disk 0", "disk 1"]


def test_hosts_run_a_block_at_the_step_of_the_first():
    def enter(index: int) -> int | None:
        with hosts.agree({"seed": 1}, None if index else 6) as step:
            return step

    assert call_on_hosts(3, enter) == [6, 6, 6]


def test_different_configs_are_refused_on_all_hosts():
    def enter(index: int) -> None:
        with hosts.agree({"seed": int(index == 1)}, None):
            raise AssertionError("the block must not run")

    said = "must have the same config; it differs from the first process in process 1."
    for error in call_on_hosts(3, enter):
        assert isinstance(error, UserError) and said in str(error)


@pytest.mark.parametrize("fails", [False, True])
def test_the_first_host_goes_ahead_even_if_it_fails(fails):
    entered: list[int] = []

    def enter(index: int) -> None:
        with hosts.let_first_go_ahead():
            entered.append(index)
            if fails and index == 0:
                raise UserError("no data")

    errors = call_on_hosts(3, enter)
    assert entered[0] == 0 and sorted(entered) == [0, 1, 2]
    assert [error is not None for error in errors] == [fails, False, False]


def test_a_run_with_different_configs_ends_on_all_hosts_before_anything_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("train.loop.load_program", lambda *_, **__: pytest.fail("data are loaded"))
    configs = [cli.parse(["main", *ARGUMENTS, f"--config.seed={seed}"])[0] for seed in (0, 1)]
    for error in call_on_hosts(2, lambda index: train(configs[index], tmp_path / "run")):
        assert isinstance(error, UserError) and "in process 1." in str(error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, option",
    [
        ("jax_enable_x64", lambda: jax.enable_x64(True)),
        ("jax_threefry_partitionable", lambda: jax.threefry_partitionable(False)),
        ("jax_default_matmul_precision", lambda: jax.default_matmul_precision("float32")),
        ("jax_numpy_dtype_promotion", lambda: jax.numpy_dtype_promotion("strict")),
        ("jax_disable_jit", lambda: jax.disable_jit()),
    ],
)
def test_an_option_of_jax_that_differs_on_one_host_is_refused_on_all_by_its_name(
    tmp_path, name, option
):
    config = cli.parse(["main", *ARGUMENTS])[0]

    def start(index: int) -> None:
        with option() if index == 2 else nullcontext():
            train(config, tmp_path / "run")

    for error in call_on_hosts(3, start):
        assert isinstance(error, UserError)
        assert re.search(f"{name} is '.*' in the first process, '.*' in process 2", str(error))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"pretrained": "sha256 1"}, "pretrained is '' in the first process, 'sha256 1' in pro"),
        ({"data": {"train": {"samples": 9}}}, "train is .*, \"{'samples': 9}\" in process 1"),
        ({"data": {"classes": ["b", "a"] * 999}}, "classes is .* in the first process"),
    ],
)
def test_other_data_or_weights_on_one_host_are_refused_on_all(tmp_path, change, said):
    config = cli.parse(["main", *ARGUMENTS])[0]
    program = make_program_on(1, config)
    changed = program._replace(**change | {"data": program.data | change.get("data", {})})
    programs = [program, changed]
    errors = call_on_hosts(2, lambda i: train(config, tmp_path / "run", program=programs[i]))
    for error in errors:
        assert isinstance(error, UserError) and re.search(said, str(error))
        assert len(str(error)) < 500
    assert not (tmp_path / "run").exists()


def test_flags_and_versions_are_part_of_what_all_hosts_have_in_common(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to=/tmp/a --xla_a=1 {'--xla_b=2 ' * 900}")
    found = describe_common()
    assert found["NVIDIA_TF32_OVERRIDE"] == "0" and "dump" not in found["XLA_FLAGS"]
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= found.keys()
    for other in ({"jax": "0.4.1"}, {"XLA_FLAGS": f"{found['XLA_FLAGS']} --xla_c=3"}, {}):
        values = [found, found | other]
        errors = call_on_hosts(2, lambda i, of=values: hosts.check_equal_values("options", of[i]))
        assert [f"{next(iter(other), 'no')} is '" in str(error) for error in errors] == [
            bool(other)
        ] * 2


def test_data_missing_on_one_host_end_all_before_anything_is_written(tmp_path, monkeypatch):
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            save_image(tmp_path / "data" / split / name / "a.png", np.zeros((8, 8)))
    # Each host has its own path of the data, which is not part of the common config.
    configs = []
    for place in ("data", "nowhere"):
        config = cli.parse(["main", *ARGUMENTS])[0]
        config.data = {"name": "folder", "data_dir": str(tmp_path / place), "size": 8}
        configs.append(config)
    loaded: list[str] = []
    monkeypatch.setattr(
        "train.loading.make_program", lambda _, dataset, **__: loaded.append(dataset.name)
    )
    errors = call_on_hosts(2, lambda index: train(configs[index], tmp_path / "run"))
    assert loaded == ["folder"]
    assert str(errors[0]) == f"process 1: {errors[1]}" and isinstance(errors[1], UserError)
    assert str(tmp_path / "nowhere") in str(errors[1])
    assert not (tmp_path / "run").exists()


def test_a_workdir_refused_by_the_first_host_ends_all_with_the_reason(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    config = cli.parse(["main", *ARGUMENTS])[0]
    program = make_program_on(1, config)
    errors = call_on_hosts(2, lambda index: train(config, tmp_path, program=program))
    said = f"{tmp_path} is not empty and not the folder of a run; choose another --workdir."
    assert [str(error) for error in errors] == [said, f"process 0: {said}"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def raise_from_jax(message: str) -> None:
    with hosts.explain_lost_peers(lambda: "The checkpoint of step 6 is kept. "):
        raise jax.errors.JaxRuntimeError(message)


def test_errors_of_lost_peers_are_explained_and_no_others(monkeypatch):
    lost = "UNKNOWN: Gloo all-reduce failed: Connection reset by peer"
    with pytest.raises(jax.errors.JaxRuntimeError, match="Gloo"):
        raise_from_jax(lost)  # With one process there are no peers.
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    said = r"cannot be reached \(UNKNOWN: Gloo .* The checkpoint of step 6 is kept. Start all"
    with pytest.raises(hosts.PeerLost, match=said):
        raise_from_jax(lost)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        raise_from_jax("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes")


def find_peers(*arguments: str, **environment: str):
    args = parse("train", ["--config", TINY, *arguments, "here"])
    return hosts.find_peers(args.coordinator, args.processes, args.process, environment)


def test_a_process_started_alone_looks_for_no_others():
    assert find_peers() is None
    assert find_peers(SLURM_JOB_ID="7", SLURM_NTASKS="8", OMPI_COMM_WORLD_SIZE="1") is None


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_a_process_started_by_srun_or_mpirun_looks_for_others(name):
    assert find_peers(**{name: "2"}) == {}


def test_flags_give_the_arguments_of_join():
    given = ("--coordinator", "node1:1234", "--processes=3", "--process=2")
    found = find_peers(*given, "--config.seed=1", SLURM_STEP_NUM_TASKS="2")
    assert found["coordinator_address"] == "node1:1234"
    assert (found["num_processes"], found["process_id"]) == (3, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--coordinator", "a:1"], "--coordinator, --processes and --process must be given"),
        (["--coordinator", "a", "--processes=2", "--process=0"], "must be HOST:PORT, got 'a'"),
        (["--coordinator", "a:1", "--processes=2", "--process=2"], "must be 0 to 1 .* got 2"),
        (["--coordinator", "a:1", "--processes=two", "--process=0"], "invalid int value: 'two'"),
    ],
)
def test_invalid_flags_are_refused(arguments, message):
    with pytest.raises((UserError, UsageError), match=message):
        find_peers(*arguments)
