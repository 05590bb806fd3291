"""The record of a run's environment."""

import json
import re
import subprocess

import jax
import pytest

import pit_jax
from tests.train.helpers import make_program_on, read_contents, stop_after
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.program.program import Program
from train.run.environment import (
    REFUSED,
    VARIABLES,
    compare_environments,
    describe_environment,
    find_commit,
)
from train.run.subset import compare_data, save_data


def test_a_checkout_has_its_commit_with_a_plus_after_changes(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *arguments], check=True)
    commit = find_commit(file)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    file.write_text("changed = True")
    assert find_commit(file) == f"{commit}+"


def test_an_installed_package_has_its_version_even_inside_another_checkout(tmp_path):
    assert find_commit(tmp_path / "module.py") == f"pit_jax {pit_jax.__version__}"
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert find_commit(tmp_path / "module.py") == f"pit_jax {pit_jax.__version__}"


def test_every_recorded_option_is_named_as_jax_names_it():
    now = describe_environment()
    assert set(REFUSED) <= now.keys() and set(VARIABLES) <= now.keys()
    assert json.loads(json.dumps(now)) == now


OTHERS = [
    *(("jax_enable_x64", True), ("jax_default_prng_impl", "rbg")),
    *(("jax_threefry_partitionable", False), ("jax_random_seed_offset", 1)),
    *(("jax_default_matmul_precision", "float32"), ("jax_numpy_dtype_promotion", "strict")),
    *(("jax_softmax_custom_jvp", True), ("jax_high_dynamic_range_gumbel", True)),
]


@pytest.mark.parametrize("name, other", OTHERS)
def test_another_option_of_jax_that_changes_numbers_is_refused(tmp_path, name, other):
    was = describe_environment()
    before = getattr(jax.config, name)
    jax.config.update(name, other)
    try:
        now = describe_environment()
    finally:
        jax.config.update(name, before)
    with pytest.raises(UserError, match=f"was trained with {name}=.*{name.upper()} in the"):
        compare_environments(tmp_path, [{}, was], now)
    # The reverse, and a run that began before the option was recorded.
    with pytest.raises(UserError, match=name):
        compare_environments(tmp_path, [now], was)
    assert compare_environments(tmp_path, [{"jax": was["jax"]}], now) == ""


def test_other_versions_devices_and_flags_are_reported_in_one_line(tmp_path):
    now = describe_environment()
    assert compare_environments(tmp_path, [], now) == ""
    assert compare_environments(tmp_path, [now], now | {"commit": "another"}) == ""
    was = now | {"jax": "0.4.1", "device": "H100", "XLA_FLAGS": "--xla_a=1"}
    line = compare_environments(tmp_path, [was], now)
    assert "jax was '0.4.1', is " in line and "device was 'H100'" in line and "\n" not in line
    assert "XLA_FLAGS was '--xla_a=1'" in line
    for name in ("optax", "numpy", "jax_use_shardy_partitioner", "jax_memory_fitting_level"):
        assert f"{name} was 'x'" in compare_environments(tmp_path, [now | {name: "x"}], now)


def test_another_processor_or_number_of_cores_is_reported_where_it_computes(tmp_path):
    now = describe_environment()
    for change in ({"processor": "8 x another"}, {"cores": 99}):
        assert "last bits" in compare_environments(tmp_path, [now | change], now)
        on_gpu = now | {"device": "H100"}
        assert compare_environments(tmp_path, [on_gpu | change], on_gpu) == ""


@pytest.fixture(scope="module")
def program() -> Program:
    """Return the program of the tiny config on one device."""
    return make_program_on(1, get_config())


@pytest.mark.usefixtures("no_figures")
def test_a_run_is_not_resumed_with_another_option_and_nothing_is_written(
    program, tmp_path, capsys, monkeypatch
):
    run = tmp_path / "run"
    train(get_config(), run, stop=stop_after(1), program=program)
    before = read_contents(run)
    with jax.enable_x64(True), pytest.raises(UserError, match="jax_enable_x64=False"):
        train(get_config(), run, program=program)
    assert read_contents(run) == before
    now = describe_environment() | {"jax": "9.9"}
    monkeypatch.setattr("train.session.describe_environment", lambda: now)
    train(get_config(), run, stop=stop_after(0), program=program)
    assert "results may differ from an undisturbed run: jax was " in capsys.readouterr().err


@pytest.mark.usefixtures("no_figures")
def test_a_run_resumes_only_with_the_data_with_which_it_began(program, tmp_path):
    run = tmp_path / "run"
    train(get_config(), run, stop=stop_after(1), program=program)
    saved = json.loads((run / "data.json").read_text())
    other = {"train": {"samples": 100, "sha256": "0"}}
    changed = program._replace(data=saved | other)
    with pytest.raises(UserError, match="the 100 samples of train have another content"):
        train(get_config(), run, program=changed)
    # Not even if the description was deleted: the checkpoint has a copy.
    (run / "data.json").unlink()
    with pytest.raises(UserError, match="the 100 samples of train have another content"):
        train(get_config(), run, program=changed)
    (run / "data.json").unlink()
    assert train(get_config(), run, program=program) is not None


def test_a_run_of_an_older_version_with_numbered_folders_in_another_order_is_refused(tmp_path):
    names = [str(number) for number in range(12)]
    (tmp_path / "old" / "last" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match="for which the folder '10' was class 2"):
        save_data(tmp_path / "old", {"classes": names})
    save_data(tmp_path / "old", {"classes": names[:10]})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"classes": ["b", "a"]}, "class 0 was 'a', is 'b'"),
        ({"classes": ["a", "b", "c"]}, "the names of the classes differ"),
        ({"num_classes": 3}, "num_classes was 2, is 3"),
        ({"test": {"samples": 5, "sha256": "0"}}, "test had 4 samples, has 5"),
        ({"test": {"samples": 4, "sha256": "1"}}, "the 4 samples of test have another content"),
        ({"validation": {}}, "there were no validation images, and there are some"),
    ],
)
def test_other_data_than_those_of_a_run_are_described(change, said):
    was = {"classes": ["a", "b"], "num_classes": 2, "test": {"samples": 4, "sha256": "0"}}
    assert compare_data(was, was) == {}
    assert list(compare_data(was, was | change).values()) == [said]


@pytest.mark.parametrize(
    "key, record, said",
    [
        ("test", [], "the record of test is [], without a number of samples"),
        ("test", {}, "the record of test is {}, without a number of samples"),
        ("test", {"samples": "4"}, "test is {'samples': '4'}, without a number of samples"),
        ("test", None, "the record of test is None, without"),
        ("classes", 3, "the names of the classes differ"),
        ("classes", [{}, "b"], "class 0 was {}, is 'a'"),
        ("mean", {"a": [0] * 99}, "mean was {'a': [0, 0, 0, "),
    ],
)
def test_a_record_of_data_that_is_damaged_is_described_readably_and_shortly(key, record, said):
    now = {"classes": ["a", "b"], "mean": [0.5], "test": {"samples": 4, "sha256": "0"}}
    (found,) = compare_data(now | {key: record}, now).values()
    assert said in found and len(found) < 150 and "sha256" not in found
