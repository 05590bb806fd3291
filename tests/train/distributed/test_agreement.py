"""Processes of one run agree on their config, options, data and errors before they train."""

import re
from contextlib import nullcontext

import chex
import jax
import numpy as np
import pytest

from pit_jax.arguments import UsageError
from tests.train.distributed.fake_hosts import call_on_hosts
from tests.train.helpers import TINY, get_bits, make_program_on
from tests.train.image_files import save_image
from train.config import cli
from train.config.arguments import parse
from train.distributed import hosts
from train.errors import UserError
from train.loop import train
from train.run.environment import describe_common

ARGUMENTS = ("--config", TINY)


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
