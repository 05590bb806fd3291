"""Several seeds that train at once have the bits of single runs, even when interrupted."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.helpers import compile_as_users_do
from tests.train.helpers import (
    ENVIRONMENT,
    ROOT,
    TINY,
    assert_same_end,
    list_saved_steps,
    load_records,
    load_summary,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.monitor.test_nonfinite import lose
from tests.train.tiny import get_config
from train import data
from train.errors import UserError
from train.loop import train
from train.program.program import Program
from train.program.state import TrainState
from train.seeds import __main__ as command
from train.seeds.loop import find_common_step, train_seeds
from train.seeds.program import SeedsProgram, make_seeds_program

SEEDS = (0, 3)


def make_config(**changed):
    config = get_config()
    config.log_every = 1
    config.update(changed)
    return config


@pytest.fixture(scope="module", autouse=True)
def _compile_as_users_do() -> Iterator[None]:
    """Compare bits of the programs that users run; XLA's older code generator has others."""
    with compile_as_users_do():
        yield


@pytest.fixture(scope="module")
def programs() -> dict[int, Program]:
    """Return the programs of single runs, whose steps are compiled once."""
    found = {seed: make_program_on(1, make_config(seed=seed)) for seed in SEEDS}
    return {
        seed: program._replace(compile_step=cache(program.compile_step))
        for seed, program in found.items()
    }


@pytest.fixture(scope="module")
def alone(programs, tmp_path_factory) -> Path:
    """Return the folder of single runs, `seed_0` and `seed_3`."""
    folder = tmp_path_factory.mktemp("alone")
    for seed, program in programs.items():
        assert train(make_config(seed=seed), folder / f"seed_{seed}", program=program) is not None
    return folder


@pytest.fixture(scope="module")
def seeds_program() -> SeedsProgram:
    """Return the program of all seeds, whose step is compiled once."""
    config = make_config(seed=SEEDS[0])
    program = make_seeds_program(config, SEEDS, data.load(**config.data))
    return program._replace(compile_step=cache(program.compile_step))


def assert_as_alone(folder: Path, alone: Path, programs) -> None:
    for seed in SEEDS:
        name = f"seed_{seed}"
        assert_same_end(alone / name, folder / name, programs[seed])
        assert list_saved_steps(folder / name, "first") == [0]
        config = (folder / name / "config.json").read_text()
        assert config == (alone / name / "config.json").read_text()


@pytest.fixture(scope="module")
def at_once(seeds_program, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("at_once")
    summaries = train_seeds(make_config(), SEEDS, folder, program=seeds_program)
    assert [summary.workdir for summary in summaries] == [str(folder / f"seed_{s}") for s in SEEDS]
    return folder


def test_seeds_trained_at_once_have_the_bits_of_single_runs(at_once, alone, programs):
    assert_as_alone(at_once, alone, programs)
    states = [load_summary(at_once / f"seed_{seed}") for seed in SEEDS]
    assert states[0] != states[1]


def test_stopped_seeds_resume_from_their_common_step(alone, tmp_path, programs, seeds_program):
    config = make_config()
    assert train_seeds(config, SEEDS, tmp_path, stop_after(4), program=seeds_program) is None
    for seed in SEEDS:
        assert sorted(list_saved_steps(tmp_path / f"seed_{seed}")) == [3, 4]
    # Killed between the saves of two seeds.
    shutil.rmtree(tmp_path / "seed_3" / "last" / "4")
    assert find_common_step([tmp_path / f"seed_{seed}" for seed in SEEDS]) == 3
    assert train_seeds(config, SEEDS, tmp_path, program=seeds_program) is not None
    assert_as_alone(tmp_path, alone, programs)


@pytest.mark.slow
def test_train_main_resumes_a_single_seed(alone, tmp_path, programs):
    assert train_seeds(make_config(), SEEDS, tmp_path, stop_after(2)) is None
    assert train(make_config(seed=3), tmp_path / "seed_3", devices=take_devices(1)) is not None
    assert_same_end(alone / "seed_3", tmp_path / "seed_3", programs[3])
    with pytest.raises(UserError, match="no newest step in common [(]seed_0 at 2, seed_3 at 6[)]"):
        train_seeds(make_config(), SEEDS, tmp_path)


@pytest.mark.slow
def test_seeds_start_if_some_have_not_started(tmp_path):
    (tmp_path / "seed_0" / "first" / "0").mkdir(parents=True)
    folders = [tmp_path / "seed_0", tmp_path / "seed_1"]
    assert find_common_step(folders) is None


def make_losing_program(config) -> SeedsProgram:
    """Return a program whose loss is nan at some steps of some seeds."""
    return make_seeds_program(config, SEEDS, data.load(**config.data), loss=lose)


def test_a_seed_that_is_not_finite_is_named_and_ends_all(tmp_path, seeds_program):
    def lose_second() -> TrainState:
        states = seeds_program.first_states()
        params = jax.tree.map(lambda x: x.at[1].multiply(1e38), states.params)
        return states.replace(params=jax.device_put(params, states.step.sharding))

    program = seeds_program._replace(first_states=lose_second)
    with pytest.raises(UserError) as error:
        train_seeds(make_config(), SEEDS, tmp_path, program=program)
    message = str(error.value)
    assert message.startswith("seed 3: step 1, in epoch 1, is not finite. The checkpoint of step")
    assert f"--workdir {tmp_path}/seed_3 and --config.seed=3" in message


@pytest.mark.slow
def test_a_step_that_is_not_finite_can_be_skipped(tmp_path, capsys):
    config = make_config(skip=6, epochs=1)
    assert train_seeds(config, SEEDS, tmp_path, program=make_losing_program(config)) is not None
    printed = " ".join(capsys.readouterr().out.split())
    nulls = {
        seed: sum(line.get("loss", 0) is None for line in load_records(tmp_path / f"seed_{seed}"))
        for seed in SEEDS
    }
    assert sum(nulls.values()) and "was skipped: its loss or gradient is not finite" in printed


@pytest.mark.parametrize(
    "changed, complaint",
    [
        ({"cpu_devices": 2}, "config.cpu_devices must be 1"),
        ({"profile_steps": (1, 2)}, "need a single run: use train.main"),
        ({"wandb": {"project": "spikes"}}, "need a single run: use train.main"),
        ({"checkpoints": {"last": 1}}, "config.checkpoints.last must be at least 2"),
    ],
)
def test_keys_that_need_a_single_run_are_refused(tmp_path, changed, complaint, compiled):
    with pytest.raises(UserError, match=complaint):
        train_seeds(make_config(**changed), SEEDS, tmp_path / "run")
    assert not (tmp_path / "run").exists() and compiled == []


def test_more_seeds_than_devices_are_refused(tmp_path):
    seeds = range(jax.device_count() + 1)
    with pytest.raises(UserError, match="5 seeds need as many devices; there are 4"):
        train_seeds(make_config(), seeds, tmp_path / "run")


@pytest.mark.parametrize("name", ["thesis.txt", "6/manifest.json", "seeds.json", "seed_notes.txt"])
def test_seeds_are_never_added_to_a_folder_of_something_else(tmp_path, name):
    file = tmp_path / "there" / name
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(UserError, match="there is not empty and not the folder of seeds; choose"):
        train_seeds(make_config(), (0, 1), tmp_path / "there")
    assert len(list((tmp_path / "there").iterdir())) == 1


def test_the_folder_of_a_single_run_is_refused(at_once):
    with pytest.raises(UserError, match="is the folder of a run"):
        train_seeds(make_config(), SEEDS, at_once / "seed_0")


ARGUMENTS = ("--config", TINY, "--config.log_every=1", "--seeds", "0,3")


@pytest.mark.parametrize("there", ["[0, 1]", "[]", '["x"]', "[[0]]"])
def test_the_results_of_other_seeds_are_never_replaced(tmp_path, there, capsys):
    file = tmp_path / "seeds.json"
    file.write_text(f'{{"seeds": {there}}}')
    words = ["seeds", "--config", TINY, "--workdir", str(tmp_path), "--seeds", "2,3"]
    assert command.main(words) == 2
    assert f"{file} has the results of other seeds" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["seeds.json"]
    command.check_seeds(file, json.loads(there))


def test_the_command_prints_every_seed_and_their_deviation(at_once, monkeypatch, capsys):
    """Repeat the command of finished runs, which trains nothing."""
    # The command changes its process: its devices, signal handlers and logging.
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(command, "silence_storage_threads", lambda: None)
    assert command.main(["seeds", *ARGUMENTS, "--workdir", str(at_once)]) == 0
    found = json.loads((at_once / "seeds.json").read_text())
    last = [load_summary(at_once / f"seed_{seed}")["last_accuracy"] for seed in SEEDS]
    assert found["seeds"] == list(SEEDS) and found["last_accuracy"]["of_seeds"] == last
    assert found["last_accuracy"]["mean"] == pytest.approx(np.mean(last))
    assert found["last_accuracy"]["standard_deviation"] == pytest.approx(statistics.stdev(last))
    assert "mean ± sd" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_trains_in_its_own_process(alone, tmp_path, programs):
    command = [sys.executable, "-m", "train.seeds", *ARGUMENTS, "--workdir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    assert_as_alone(tmp_path, alone, programs)
    assert (tmp_path / "seeds.json").is_file()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--seeds", "0,x"), "--seeds must be different whole numbers"),
        (("--seeds", "1,1"), "--seeds must be different whole numbers"),
        (("--seeds", ",".join(map(str, range(3000)))), "--seeds must be at most 1024 seeds"),
        ((), "--seeds"),
        (("--seeds", "1", "--config.seed=2"), "not with --config.seed"),
        (("--seeds", "1", "--nonsense"), "nonsense"),
    ],
)
def test_mistakes_on_the_command_line_are_reported(arguments, complaint, capsys):
    assert command.main(["seeds", "--config", TINY, *arguments]) == 2
    assert complaint in capsys.readouterr().err
