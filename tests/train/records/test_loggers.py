"""What a run tells TensorBoard and W&B is what metrics.jsonl holds, also after a kill."""

import json
import shutil
import struct
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.train.helpers import load_records, stop_after, take_devices
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.monitor.nonfinite import StepMetrics
from train.records.jsonl import scalars
from train.records.loggers import Journal, open_journal

NAMES = {
    "loss": "step/loss",
    "accuracy": "step/accuracy",
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
}


def tiny(**changed):
    config = get_config()
    config.log_every = 1
    config.update(changed)
    return config


def run(workdir: Path, stop=lambda: False, **changed):
    return train(tiny(**changed), workdir, stop=stop, devices=take_devices(1))


def kill(workdir: Path, **changed) -> None:
    """A run killed in its second epoch, which told of steps that it had not saved."""
    assert run(workdir, stop_after(4), **changed) is None
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 5, "loss": 77.0, "accuracy": 0.5}\n{"epoch": 2, "st')
    (old,) = (workdir / "tensorboard").iterdir()
    # What the system had not yet written, in part.
    old.write_bytes(old.read_bytes()[:-70])


def events(workdir: Path) -> list[Event]:
    """Those of the only event file; a record is its length, a sum, itself and another sum."""
    (file,) = (workdir / "tensorboard").iterdir()
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack_from("<Q", content)
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def points(workdir: Path) -> list[tuple[int, str, float]]:
    """Step, name and value of all points but the speed, in the order of the file."""
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(workdir)
        for value in event.summary.value
        if not value.tag.startswith("speed/")
    ]


def recorded(workdir: Path) -> list[tuple[int, str, float]]:
    found = []
    for record in load_records(workdir):
        numbers = {NAMES[key]: value for key, value in record.items() if key in NAMES}
        for layer, measures in record.get("health", {}).items():
            numbers |= {f"health/{measure}/{layer}": value for measure, value in measures.items()}
        found += [(record["step"], name, pytest.approx(value)) for name, value in numbers.items()]
    return found


class StandIn(ModuleType):
    """A stand-in for the module `wandb`, with the little of it that a run uses.

    `histories` are what the server has of each run, and `given` what `init` was called with.
    """

    Error = type("Error", (Exception,), {})

    def __init__(self) -> None:
        super().__init__("wandb")
        self.histories: dict[str, list[tuple[int, dict]]] = {}
        self.given: list[dict] = []
        self.finished = 0

    def init(self, **given):
        self.given.append(given)
        history = self.histories.setdefault(given["id"], [])

        def log(values, step, commit):
            assert commit and (not history or step > history[-1][0]), "the server drops it"
            history.append((step, values))

        def finish():
            self.finished += 1

        start = history[-1][0] + 1 if history else 0
        return SimpleNamespace(starting_step=start, log=log, finish=finish)


ASKED = {"wandb": {"project": "spikes"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path, StandIn]:
    """A run that nothing interrupted, one that was killed and went on, and where both told."""
    folder, server = tmp_path_factory.mktemp("runs"), StandIn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", server)
        assert run(folder / "alone", **ASKED) is not None
        kill(folder / "killed", **ASKED)
        assert run(folder / "killed", **ASKED) is not None
    return folder / "alone", folder / "killed", server


@pytest.fixture
def alone(runs) -> Path:
    return runs[0]


@pytest.fixture
def begun(alone, tmp_path) -> Path:
    """A run that goes on and has told no one but metrics.jsonl of what it reached."""
    shutil.copy(alone / "metrics.jsonl", tmp_path)
    return tmp_path


def test_tensorboard_has_every_number_of_the_record(alone):
    assert points(alone) == recorded(alone)
    assert len(points(alone)) == 4 * 2 + 2 * 4 + 2 * 3 * 7
    speeds = [
        value.simple_value
        for event in events(alone)
        for value in event.summary.value
        if value.tag == "speed/images_per_second"
    ]
    lines = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    want = [line["images_per_second"] for line in lines if "images_per_second" in line]
    assert speeds == pytest.approx(want) and len(want) == 2


def test_a_killed_run_doubles_and_misses_no_point(runs):
    assert points(runs[1]) == points(runs[0])


def test_points_of_an_epoch_are_on_disk_when_it_is_over(tmp_path):
    journal = open_journal(tiny(), tmp_path, 0)
    journal.step(1, StepMetrics(1, 0.5, 0.25))
    journal.epoch({"step": 2, "epoch": 1, "test_loss": 0.75})
    want = [(1, "step/loss", 0.5), (1, "step/accuracy", 0.25), (2, "test/loss", 0.75)]
    assert points(tmp_path) == want
    journal.close()


def test_a_step_without_a_finite_loss_has_no_point_of_it(tmp_path):
    with closing(open_journal(tiny(), tmp_path, 0)) as journal:
        journal.step(1, StepMetrics(1, float("nan"), 0.25))
    assert points(tmp_path) == [(1, "step/accuracy", 0.25)]


def test_an_open_tensorboard_is_told_to_forget_what_comes_again(alone):
    starts = [event for event in events(alone) if event.HasField("session_log")]
    assert [(each.step, each.session_log.status) for each in starts] == [(0, SessionLog.START)]


def test_tensorboard_can_be_left_out_and_come_later(alone, begun):
    open_journal(tiny(tensorboard=False), begun, 6).close()
    assert not (begun / "tensorboard").exists()
    open_journal(tiny(), begun, 6).close()
    assert points(begun) == points(alone)


def test_measures_of_layers_are_grouped_by_measure():
    record = {
        "step": 3,
        "epoch": 1,
        "loss": None,
        "health": {"stage1/PIT_0": {"rate": 0.25, "floored": 0}, "PIT_1": {"rate": 0.5}},
    }
    assert scalars(record) == {
        "health/rate/stage1/PIT_0": 0.25,
        "health/floored/stage1/PIT_0": 0,
        "health/rate/PIT_1": 0.5,
    }


def test_validation_and_metrics_are_grouped_by_their_split():
    line = {"step": 4, "epoch": 1, "validation_loss": 0.5, "validation_top5": 1.0}
    line |= {"test_my_metric": 2.0, "test_margin": None}
    assert scalars(line) == {
        "validation/loss": 0.5,
        "validation/top5": 1.0,
        "test/my_metric": 2.0,
    }


def test_a_journal_without_sinks_says_nothing():
    journal = Journal()
    journal.step(1, StepMetrics(1, 0.5, 0.5))
    journal.epoch({"step": 1})
    journal.close()


def test_every_sink_is_closed_when_one_fails():
    closed = []

    def fail():
        raise OSError("full")

    sinks = [SimpleNamespace(close=lambda: closed.append(1)), SimpleNamespace(close=fail)] * 2
    with pytest.raises(OSError, match="full"):
        Journal(sinks).close()
    assert closed == [1, 1]


@pytest.fixture
def wandb(monkeypatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    return stand_in


def told(history: list[tuple[int, dict]]) -> list[tuple[int, str, float]]:
    return [
        (step, name, value)
        for step, values in history
        for name, value in values.items()
        if not name.startswith("speed/")
    ]


def test_wandb_has_every_line_of_the_record(runs):
    server = runs[2]
    assert told(server.histories[server.given[0]["id"]]) == recorded(runs[0])
    assert server.given[0]["project"] == "spikes" and server.given[0]["name"] == "alone"
    assert server.given[0]["config"]["epochs"] == 2


def test_a_run_that_goes_on_is_the_same_one_at_wandb(runs):
    server = runs[2]
    alone, killed, again = (given["id"] for given in server.given)
    assert killed == again != alone and server.finished == 3
    assert told(server.histories[killed]) == told(server.histories[alone])


@pytest.mark.parametrize("arrived", [0, 3, 4])
def test_wandb_is_sent_what_did_not_arrive_and_nothing_twice(alone, begun, wandb, arrived):
    open_journal(tiny(**ASKED), begun, 4).close()
    (history,) = wandb.histories.values()
    # Of what was saved some had not been sent, or a step that was not saved had.
    history[:] = [*history, (5, {})] if arrived == 4 else history[:arrived]
    with closing(open_journal(tiny(**ASKED), begun, 4)) as journal:
        journal.step(2, StepMetrics(5, 0.5, 0.5))
        journal.step(2, StepMetrics(6, 0.5, 0.5))
    assert [step for step, _ in history] == [1, 2, 3, 4, 5, 6]


def test_without_wandb_a_run_that_asks_for_it_ends_before_any_work(tmp_path, monkeypatch, compiled):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="not installed: pip install wandb"):
        run(tmp_path / "run", **ASKED)
    assert not (tmp_path / "run").exists() and compiled == []


def test_what_wandb_refuses_is_told(tmp_path, wandb, monkeypatch):
    def refuse(**given):
        raise wandb.Error("api_key not configured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="config.wandb.project: api_key not configured"):
        open_journal(tiny(**ASKED), tmp_path, 0)
