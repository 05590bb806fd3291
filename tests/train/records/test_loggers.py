"""TensorBoard and W&B have the same points as metrics.jsonl, even after a kill."""

import json
import shutil
import struct
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from ml_collections import ConfigDict
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.train.helpers import load_records, make_program_on, stop_after
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.monitor.nonfinite import StepMetrics
from train.program.program import Program
from train.records.jsonl import collect_scalars
from train.records.loggers import Journal, open_journal

NAMES = {
    "loss": "step/loss",
    "accuracy": "step/accuracy",
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
}


def make_config(**changed):
    config = get_config()
    config.log_every = 1
    config.update(changed)
    return config


def run_and_kill(workdir: Path, config: ConfigDict, program: Program) -> None:
    """Leave a run as a kill in its second epoch would, with logged steps that were not saved."""
    assert train(config, workdir, stop_after(4), program=program) is None
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 5, "loss": 77.0, "accuracy": 0.5}\n{"epoch": 2, "st')
    (old,) = (workdir / "tensorboard").iterdir()
    old.write_bytes(old.read_bytes()[:-70])  # The end was not yet on disk.


def read_events(workdir: Path) -> list[Event]:
    """Return the events of the only event file.

    A record is its length (8 bytes), a checksum (4), the event, and another checksum (4).
    """
    (file,) = (workdir / "tensorboard").iterdir()
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack_from("<Q", content)
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def read_points(workdir: Path) -> list[tuple[int, str, float]]:
    """Return step, name and value of all points except the speed, in the order of the file."""
    return [
        (event.step, value.tag, value.simple_value)
        for event in read_events(workdir)
        for value in event.summary.value
        if not value.tag.startswith("speed/")
    ]


def read_recorded_points(workdir: Path) -> list[tuple[int, str, float]]:
    found = []
    for record in load_records(workdir):
        numbers = {NAMES[key]: value for key, value in record.items() if key in NAMES}
        for layer, measures in record.get("health", {}).items():
            numbers |= {f"health/{measure}/{layer}": value for measure, value in measures.items()}
        found += [(record["step"], name, pytest.approx(value)) for name, value in numbers.items()]
    return found


class StandIn(ModuleType):
    """A fake of the module `wandb`, with the part of its interface that a run uses.

    `histories` has the points that the server received of each run; `given` has the arguments of
    each call of `init`.
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
    """Return a run that was not interrupted, one that was killed and resumed, and the server."""
    folder, server = tmp_path_factory.mktemp("runs"), StandIn()
    config = make_config(**ASKED)
    program = make_program_on(1, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", server)
        assert train(config, folder / "alone", program=program) is not None
        run_and_kill(folder / "killed", config, program)
        assert train(config, folder / "killed", program=program) is not None
    return folder / "alone", folder / "killed", server


@pytest.fixture
def alone(runs) -> Path:
    return runs[0]


@pytest.fixture
def begun(alone, tmp_path) -> Path:
    """Return the folder of a run that resumes and has only metrics.jsonl."""
    shutil.copy(alone / "metrics.jsonl", tmp_path)
    return tmp_path


def test_tensorboard_has_all_numbers_of_metrics_jsonl(alone):
    assert read_points(alone) == read_recorded_points(alone)
    assert len(read_points(alone)) == 4 * 2 + 2 * 4 + 2 * 3 * 7
    speeds = [
        value.simple_value
        for event in read_events(alone)
        for value in event.summary.value
        if value.tag == "speed/images_per_second"
    ]
    lines = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    want = [line["images_per_second"] for line in lines if "images_per_second" in line]
    assert speeds == pytest.approx(want) and len(want) == 2


def test_after_a_kill_no_point_is_doubled_or_missing(runs):
    assert read_points(runs[1]) == read_points(runs[0])


def test_points_are_on_disk_at_the_end_of_the_epoch(tmp_path):
    journal = open_journal(make_config(), tmp_path, 0)
    journal.log_step(1, StepMetrics(1, 0.5, 0.25))
    journal.log_epoch({"step": 2, "epoch": 1, "test_loss": 0.75})
    want = [(1, "step/loss", 0.5), (1, "step/accuracy", 0.25), (2, "test/loss", 0.75)]
    assert read_points(tmp_path) == want
    journal.close()


def test_a_loss_that_is_not_finite_has_no_point(tmp_path):
    with closing(open_journal(make_config(), tmp_path, 0)) as journal:
        journal.log_step(1, StepMetrics(1, float("nan"), 0.25))
    assert read_points(tmp_path) == [(1, "step/accuracy", 0.25)]


def test_a_session_start_makes_tensorboard_drop_old_points(alone):
    starts = [event for event in read_events(alone) if event.HasField("session_log")]
    assert [(each.step, each.session_log.status) for each in starts] == [(0, SessionLog.START)]


def test_tensorboard_can_be_turned_on_later(alone, begun):
    open_journal(make_config(tensorboard=False), begun, 6).close()
    assert not (begun / "tensorboard").exists()
    open_journal(make_config(), begun, 6).close()
    assert read_points(begun) == read_points(alone)


def test_health_scalars_are_grouped_by_measure():
    record = {
        "step": 3,
        "epoch": 1,
        "loss": None,
        "health": {"stage1/PIT_0": {"rate": 0.25, "floored": 0}, "PIT_1": {"rate": 0.5}},
    }
    assert collect_scalars(record) == {
        "health/rate/stage1/PIT_0": 0.25,
        "health/floored/stage1/PIT_0": 0,
        "health/rate/PIT_1": 0.5,
    }


def test_scalars_are_grouped_by_split():
    line = {"step": 4, "epoch": 1, "validation_loss": 0.5, "validation_top5": 1.0}
    line |= {"test_my_metric": 2.0, "test_margin": None}
    assert collect_scalars(line) == {
        "validation/loss": 0.5,
        "validation/top5": 1.0,
        "test/my_metric": 2.0,
    }


def test_a_journal_without_sinks_does_nothing():
    journal = Journal()
    journal.log_step(1, StepMetrics(1, 0.5, 0.5))
    journal.log_epoch({"step": 1})
    journal.close()


def test_all_sinks_are_closed_when_one_fails():
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


def list_points(history: list[tuple[int, dict]]) -> list[tuple[int, str, float]]:
    return [
        (step, name, value)
        for step, values in history
        for name, value in values.items()
        if not name.startswith("speed/")
    ]


def test_wandb_has_all_lines_of_metrics_jsonl(runs):
    server = runs[2]
    assert list_points(server.histories[server.given[0]["id"]]) == read_recorded_points(runs[0])
    assert server.given[0]["project"] == "spikes" and server.given[0]["name"] == "alone"
    assert server.given[0]["config"]["epochs"] == 2


def test_a_resumed_run_keeps_its_wandb_run(runs):
    server = runs[2]
    alone, killed, again = (given["id"] for given in server.given)
    assert killed == again != alone and server.finished == 3
    assert list_points(server.histories[killed]) == list_points(server.histories[alone])


@pytest.mark.parametrize("arrived", [0, 3, 4])
def test_wandb_is_sent_missing_points_and_none_twice(alone, begun, wandb, arrived):
    open_journal(make_config(**ASKED), begun, 4).close()
    (history,) = wandb.histories.values()
    # The server lacks saved points, or has the point of a step that was not saved.
    history[:] = [*history, (5, {})] if arrived == 4 else history[:arrived]
    with closing(open_journal(make_config(**ASKED), begun, 4)) as journal:
        journal.log_step(2, StepMetrics(5, 0.5, 0.5))
        journal.log_step(2, StepMetrics(6, 0.5, 0.5))
    assert [step for step, _ in history] == [1, 2, 3, 4, 5, 6]


def test_wandb_that_is_not_installed_is_reported_before_any_work(tmp_path, monkeypatch, compiled):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="not installed: pip install wandb"):
        train(make_config(**ASKED), tmp_path / "run")
    assert not (tmp_path / "run").exists() and compiled == []


def test_errors_of_wandb_are_reported(tmp_path, wandb, monkeypatch):
    def refuse(**given):
        raise wandb.Error("api_key not configured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="config.wandb.project: api_key not configured"):
        open_journal(make_config(**ASKED), tmp_path, 0)
