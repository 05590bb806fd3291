"""Seeds of one command have the bits of single runs, even when interrupted."""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.helpers import compile_as_users_do
from tests.train.helpers import (
    ENVIRONMENT,
    ROOT,
    RUN,
    TINY,
    assert_same_end,
    limit_devices,
    list_saved_steps,
    load_summary,
    make_program_on,
    read_contents,
    stop_after,
)
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.program.program import Program
from train.program.state import TrainState
from train.run.summary import Summary
from train.run.workdir import open_lock
from train.seeds import __main__ as command
from train.seeds.folder import check_folder
from train.seeds.loop import SeedsFailed, train_seeds

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
def alone(tmp_path_factory) -> tuple[Path, Program]:
    """Return the folder of a single run with the second seed, and its program."""
    folder = tmp_path_factory.mktemp("alone") / "seed_3"
    program = make_program_on(1, make_config(seed=3))
    assert train(make_config(seed=3), folder, program=program) is not None
    return folder, program


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return the folder of the seeds; their program has been made for the first one."""
    folder = tmp_path_factory.mktemp("trained")
    with limit_devices(1):
        summaries = train_seeds(make_config(), SEEDS, folder)
    assert [summary.workdir for summary in summaries] == [str(folder / f"seed_{s}") for s in SEEDS]
    return folder


@pytest.fixture
def shared(alone, monkeypatch) -> None:
    """Let the tests share a compiled program."""
    monkeypatch.setattr("train.seeds.loop.load_program", lambda *_, **__: alone[1])


def assert_same_seeds(folder: Path, trained: Path, program: Program) -> None:
    for seed in SEEDS:
        one, other = trained / f"seed_{seed}", folder / f"seed_{seed}"
        assert_same_end(one, other, program)
        assert (other / "config.json").read_text() == (one / "config.json").read_text()


def test_a_seed_has_the_bits_of_a_single_run(trained, alone):
    folder, program = alone
    assert_same_end(folder, trained / folder.name, program)
    assert list_saved_steps(trained / folder.name, "first") == [0]
    config = (trained / folder.name / "config.json").read_text()
    assert config == (folder / "config.json").read_text()
    states = [load_summary(trained / f"seed_{seed}") for seed in SEEDS]
    assert states[0] != states[1]


def test_a_program_is_compiled_once_for_all_seeds(tmp_path, compiled, shared):
    assert train_seeds(make_config(), (1, 2, 4), tmp_path, draw=False) is not None
    assert RUN.isdisjoint(compiled)
    files = {path.name for path in (tmp_path / "seed_4").iterdir()}
    assert "summary.json" in files and not {"curves.png", "rates.png"} & files


@pytest.mark.parametrize("steps", [2, 7])
def test_stopped_seeds_resume(trained, tmp_path, steps, alone, shared):
    """Stop the first or the second of two runs of six steps."""
    # `stop` is also called before each run.
    assert train_seeds(make_config(), SEEDS, tmp_path, stop_after(steps + 1)) is None
    begun = (tmp_path / "seed_3").exists()
    assert begun == (steps > 6) == (tmp_path / "seed_0" / "summary.json").exists()
    assert train_seeds(make_config(), SEEDS, tmp_path) is not None
    assert_same_seeds(tmp_path, trained, alone[1])


def test_finished_seeds_are_only_read(trained, compiled, monkeypatch):
    monkeypatch.setattr("train.seeds.loop.load_program", None)
    before = read_contents(trained)
    summaries = train_seeds(make_config(), SEEDS[::-1], trained)
    assert [summary.title for summary in summaries] and compiled == []
    assert summaries[1]._asdict() == json.loads((trained / "seed_0/summary.json").read_text()) | {
        key: Summary._field_defaults[key] for key in ("validation_accuracy", "epochs", "metrics")
    }
    assert read_contents(trained) == before


@pytest.mark.slow
def test_finished_seeds_measure_missing_metrics(trained, alone, tmp_path):
    shutil.copytree(trained, tmp_path / "seeds")
    (tmp_path / "seeds/seed_3/summary.json").write_text("{")
    (tmp_path / "seeds/seed_0/curves.png").unlink()
    with limit_devices(1):
        train_seeds(make_config(), SEEDS, tmp_path / "seeds")
        assert_same_end(alone[0], tmp_path / "seeds/seed_3", alone[1])
        assert (tmp_path / "seeds/seed_0/curves.png").is_file()
        config = make_config(metrics=("entropy",))
        found = train_seeds(config, SEEDS, tmp_path / "seeds", draw=False)
        assert [list(summary.metrics) for summary in found] == [["entropy"], ["entropy"]]


@pytest.mark.slow
def test_seeds_can_be_extended(tmp_path):
    with limit_devices(1):
        assert train_seeds(make_config(epochs=1), SEEDS, tmp_path, draw=False) is not None
        # One of them alone before, so that they need two programs.
        train(make_config(epochs=1, seed=3, extend=1), tmp_path / "seed_3")
        found = train_seeds(make_config(epochs=1, extend=1), SEEDS, tmp_path, draw=False)
        assert [summary.epochs for summary in found] == [2, 2]
        with pytest.raises(UserError, match="has no run. Train it first"):
            train_seeds(make_config(epochs=1, extend=1), [0, 5], tmp_path, draw=False)


def spoil_first_seed(program: Program, factor: float) -> Program:
    """Return a program whose seed 0 starts with its parameters times `factor`."""

    def with_seed(seed: int) -> Program:
        own = program.with_seed(seed)
        return own if seed else own._replace(first_state=lambda: spoil(own.first_state()))

    def spoil(state: TrainState) -> TrainState:
        params = jax.tree.map(lambda x: x * factor, state.params)
        return jax.device_put(state.replace(params=params), state.step.sharding)

    return program._replace(with_seed=with_seed)


@pytest.mark.parametrize(
    "factor, reason",
    [(np.nan, "the initial params/"), (1e38, "step 1, in epoch 1, is not finite; the first")],
)
def test_a_seed_that_fails_is_named_and_does_not_end_the_others(
    tmp_path, monkeypatch, alone, factor, reason
):
    program = spoil_first_seed(alone[1], factor)
    monkeypatch.setattr("train.seeds.loop.load_program", lambda *_, **__: program)
    with pytest.raises(SeedsFailed) as error:
        train_seeds(make_config(), (0, 3), tmp_path, draw=False)
    assert list(error.value.errors) == [0] and str(error.value).startswith(f"seed 0: {reason}")
    assert (tmp_path / "seed_3/summary.json").is_file()


def test_a_mistake_in_the_config_is_reported_once(tmp_path):
    with pytest.raises(UserError) as error:
        train_seeds(make_config(batch_size=10**6), SEEDS, tmp_path)
    assert not isinstance(error.value, SeedsFailed) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["thesis.txt", "6/manifest.json", "seeds.json", "seed_notes.txt"])
def test_seeds_are_never_added_to_a_folder_of_something_else(tmp_path, name):
    file = tmp_path / "there" / name
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(UserError, match="there is not empty and has no folders of seeds; choose"):
        check_folder(make_config(), tmp_path / "there")


def test_folders_of_other_runs_are_refused(trained):
    check_folder(make_config(log_every=1), trained)
    with pytest.raises(UserError, match="is the folder of a run"):
        check_folder(make_config(), trained / "seed_0")
    with pytest.raises(UserError, match="seed_0 has another config:\n  epochs: 2 saved, 7 given"):
        check_folder(make_config(epochs=7), trained)


ARGUMENTS = ("--config", TINY, "--config.log_every=1")


def run_command(folder: Path, seeds: str, monkeypatch) -> int:
    # The command changes its process: its devices and logging.
    for name in ("silence_storage_threads", "use_cpu_devices"):
        monkeypatch.setattr(command, name, lambda *_: None)
    with limit_devices(1):
        return command.main(["seeds", *ARGUMENTS, "--seeds", seeds, "--workdir", str(folder)])


def test_the_command_prints_all_seeds_of_the_folder(trained, monkeypatch, capsys):
    assert run_command(trained, "3", monkeypatch) == 0
    found = json.loads((trained / "seeds.json").read_text())
    summaries = [load_summary(trained / f"seed_{seed}") for seed in SEEDS]
    assert found["seeds"] == list(SEEDS)
    for key in ("last_accuracy", "best_accuracy", "spikes"):
        values = [summary[key] for summary in summaries]
        assert found[key] == {
            "of_seeds": values,
            "mean": pytest.approx(np.mean(values)),
            "standard_deviation": pytest.approx(statistics.stdev(values)),
        }
    printed = capsys.readouterr().out
    assert "mean ± sd" in printed and "spikes of a neuron" in printed


def test_the_command_reports_failed_seeds_after_the_results(trained, monkeypatch, capsys, shared):
    with open_lock(trained / "seed_3"):
        (trained / "seed_3/summary.json").rename(trained / "kept")
        assert run_command(trained, "0,3", monkeypatch) == 2
        (trained / "kept").rename(trained / "seed_3/summary.json")
    printed = capsys.readouterr()
    assert "seed_3 is in use by" in printed.err and "test accuracy" in printed.out
    assert json.loads((trained / "seeds.json").read_text())["seeds"] == [0]


@pytest.mark.slow
def test_the_command_trains_in_its_own_process(tmp_path):
    words = [*ARGUMENTS, "--seeds", "0,3", "--workdir", str(tmp_path)]
    command = [sys.executable, "-m", "train.seeds", *words]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    # Bits are compared above: the device of this process has other threads than one of four.
    assert json.loads((tmp_path / "seeds.json").read_text())["seeds"] == list(SEEDS)
    assert all(6 in list_saved_steps(tmp_path / f"seed_{seed}") for seed in SEEDS)


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
