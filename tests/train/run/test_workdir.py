"""A folder that cannot be used is refused before anything is compiled or written."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from tests.train.helpers import ENVIRONMENT, ROOT, RUN, read_contents
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.run.workdir import claim, open_lock
from train.seeds.folder import check_folder


def claim_and_release(
    workdir: Path, config: dict, lock: Callable[[Path], IO[str]] = open_lock
) -> None:
    """Claim the folder and release it."""
    with claim(workdir, config, lock):
        pass


@pytest.fixture
def run(tmp_path) -> Path:
    """Write a workdir that looks like one of a run of the tiny config."""
    workdir = tmp_path / "run"
    claim_and_release(workdir, get_config().to_dict())
    (workdir / "metrics.jsonl").write_text('{"step": 3}\n')
    (workdir / "last" / "3").mkdir(parents=True)
    (workdir / "last" / "3" / "state").write_bytes(b"parameters")
    return workdir


def get_refusal(workdir: Path, call: Callable[..., object] = claim_and_release) -> str:
    """Return the error of a claim, or of another `call`; check that nothing was written."""
    root = next(folder for folder in [workdir, *workdir.parents] if folder.exists())
    before = read_contents(root)
    with pytest.raises(UserError) as error:
        call(workdir, get_config().to_dict())
    assert read_contents(root) == before
    return str(error.value)


def test_a_run_with_another_config_is_refused_before_it_compiles(run, compiled):
    """Check that the error names both values of each differing key."""

    def train_other(workdir: Path, _: dict) -> None:
        config = get_config()
        changes = {"learning_rate": 0.2, "optimizer.momentum": 0.8, "model.stages": (1, 1)}
        config.update_from_flattened_dict(changes)
        train(config, workdir)

    message = get_refusal(run, train_other)
    assert not RUN & set(compiled)
    assert f"{run} belongs to a run with another config" in message
    assert set(message.splitlines()[1].strip().split("; ")) == {
        "model.stages: [1] saved, [1, 1] given",
        "optimizer.momentum: 0.9 saved, 0.8 given",
        "learning_rate: 0.1 saved, 0.2 given",
    }
    assert message.endswith(
        f"choose another --workdir, or resume that run with --config {run / 'config.json'}."
    )


def test_keys_of_only_one_config_differ(run):
    config = get_config().to_dict()
    config["old"] = config.pop("seed")
    with pytest.raises(UserError, match="seed: 0 saved, None given") as error:
        claim_and_release(run, config)
    assert "old: None saved, 0 given" in str(error.value)


def test_the_same_config_is_accepted_although_json_has_no_tuples(run):
    before = read_contents(run)
    claim_and_release(run, get_config().to_dict())
    after = read_contents(run)
    assert after.keys() == before.keys()
    assert all(after[name][0] == content for name, (content, _) in before.items())


def test_a_new_workdir_is_created_with_its_parents(tmp_path):
    claim_and_release(tmp_path / "a" / "b", get_config().to_dict())
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert written == json.loads(json.dumps(get_config().to_dict()))


def test_an_empty_folder_is_accepted(tmp_path):
    claim_and_release(tmp_path, {"seed": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "lock"}


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a run")
    message = get_refusal(tmp_path)
    assert (
        message == f"{tmp_path} is not empty and not the folder of a run; choose another --workdir."
    )


def test_a_folder_with_the_config_of_another_program_is_refused(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"architectures": ["ResNet"]}')
    message = get_refusal(tmp_path)
    assert message == f"{file} is not the config of a run; choose another --workdir."
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("inside", ["new", "a/b", "last/new", "tensorboard", "../link/new"])
def test_a_run_inside_the_folder_of_another_run_is_refused(run, inside):
    (run.parent / "link").symlink_to(run)
    message = get_refusal(run / inside)
    assert f"would be inside the folder of another run, {run}; choose" in message


def test_seeds_inside_the_folder_of_a_run_are_refused(run):
    def check(workdir: Path, _: dict) -> None:
        check_folder(get_config(), workdir)

    assert "would be inside the folder of another run" in get_refusal(run / "seeds", check)


def test_a_run_next_to_another_one_or_inside_another_project_is_accepted(run):
    claim_and_release(run.parent / "next", get_config().to_dict())
    (run.parent / "config.json").write_text('{"architectures": ["ResNet"]}')
    claim_and_release(run.parent / "a" / "b", get_config().to_dict())
    claim_and_release(run, get_config().to_dict())


@pytest.mark.parametrize("below", [".", "run", "a/b"])
def test_a_file_instead_of_the_folder_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("a file")
    message = get_refusal(tmp_path / "file" / below)
    assert f"cannot write to the workdir {tmp_path / 'file' / below}" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", [".", "run"])
def test_a_folder_without_write_permission_is_refused(tmp_path, name):
    tmp_path.chmod(0o555)
    try:
        message = get_refusal(tmp_path / name)
    finally:
        tmp_path.chmod(0o755)
    assert "Permission denied" in message and "choose another --workdir" in message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_even_root_cannot_write_is_refused():
    with pytest.raises(UserError, match="cannot write to the workdir /proc/pit_jax"):
        claim_and_release(Path("/proc/pit_jax"), {"seed": 1})


@pytest.mark.parametrize(
    "content",
    [b"", b'{"seed": 0, "da', b"\xff\xfe\x00", b"[1, 2]", b"null"],
    ids=["empty", "cut short", "no text", "a list", "null"],
)
def test_a_damaged_config_is_refused_and_not_changed(run, content):
    (run / "config.json").write_bytes(content)
    message = get_refusal(run)
    assert f"{run / 'config.json'} is damaged" in message
    assert "choose another --workdir" in message


def test_a_workdir_in_use_is_refused_with_the_process_that_uses_it(run):
    with claim(run, get_config().to_dict()):
        message = get_refusal(run)
    assert message.startswith(f"the workdir {run} is in use by process {os.getpid()} on ")
    assert ", since 20" in message
    assert message.endswith("Wait until it ends, stop it, or choose another --workdir.")
    claim_and_release(run, get_config().to_dict())  # It was released.


def test_a_failed_run_releases_its_workdir(run):
    with pytest.raises(KeyboardInterrupt), claim(run, get_config().to_dict()):
        raise KeyboardInterrupt
    claim_and_release(run, get_config().to_dict())


def test_a_killed_process_releases_its_workdir(tmp_path):
    code = (
        "import pathlib, signal, sys, train.run.workdir\n"
        "with train.run.workdir.claim(pathlib.Path(sys.argv[1]), {'seed': 1}):\n"
        "    print('claimed', flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        **{"cwd": ROOT, "env": ENVIRONMENT, "text": True, "stdout": subprocess.PIPE},
    ) as process:
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(UserError, match=f"in use by process {process.pid} on "):
            claim_and_release(tmp_path, {"seed": 1})
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert f"process {process.pid}" in (tmp_path / "lock").read_text()
    claim_and_release(tmp_path, {"seed": 1})


def test_files_of_a_run_killed_during_its_start_are_ignored(tmp_path):
    (tmp_path / "lock").write_text("process 1 on elsewhere")
    (tmp_path / "config.json.part").write_text('{"se')
    claim_and_release(tmp_path, {"seed": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "lock"}


def test_a_run_that_starts_between_the_check_and_the_lock_is_detected(tmp_path):
    def another_begins(workdir: Path):
        (workdir / "config.json").write_text('{"seed": 2}')
        return open_lock(workdir)

    with pytest.raises(UserError, match="seed: 2 saved, 1 given"):
        claim_and_release(tmp_path, {"seed": 1}, another_begins)
    assert (tmp_path / "config.json").read_text() == '{"seed": 2}'


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, capsys):
    def raise_no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    claim_and_release(tmp_path, {"seed": 1}, partial(open_lock, flock=raise_no_locks))
    said = f"{tmp_path} cannot be locked (No locks available): make sure that no other run uses it."
    assert capsys.readouterr().err == said + "\n"
