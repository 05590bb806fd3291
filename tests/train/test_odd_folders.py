"""A run works in a folder whose path has any character, given in any way."""

import json
import os
import signal
import time
import unicodedata
from pathlib import Path

import pytest

from pit_jax.interop.__main__ import main as import_checkpoint
from tests.train.helpers import (
    ENVIRONMENT,
    TINY,
    limit_devices,
    list_saved_steps,
    run_main,
    start_main,
    write_cifar100,
)
from tests.train.imagenet_files import run_prepare, write_folders
from tests.train.tiny import get_config
from train import data
from train.analyze.__main__ import main as analyze
from train.check.__main__ import main as check
from train.evaluate.__main__ import main as evaluate
from train.export.__main__ import main as export
from train.report.__main__ import main as report

# Each is a folder in the path of a run.
ODD = {
    "globs": "a[1]*?{b,c}[!d]",
    "shells": "$HOME `x` 'y' \"z\" \\ ; & | < > # ! ~ %41 %s",
    "blanks": " \ttwo\nlines\r ",
    "unicode": f"🐶{unicodedata.normalize('NFC', 'é')}{unicodedata.normalize('NFD', 'é')}\u202e",
    "addresses": "gs:/s3:/-x:lif/~",
    "controls": "\x01\x1b[31m\x7f",
}
TRAINING = (
    *("--config", TINY, "--config.log_every=1", "--config.checkpoints.every_steps=1"),
    *("--config.epochs=3", "--config.cpu_devices=4"),
)


def live(given: str, run: Path) -> None:
    """Resume, evaluate, export, analyze and report the run that `given` names."""
    with limit_devices(1):
        assert run_main(*TRAINING, "--workdir", given) == 0
        assert (run / "summary.json").is_file()
        assert len(json.loads((run / "environment.json").read_text())) == 2
        assert evaluate(["evaluate", given, "--cpu-devices=4"]) == 0
        assert (run / "evaluation" / "last_test.json").is_file()
        assert export(["export", given, "--format", "directory"]) == 0
        assert (run / "export" / "last_directory" / "proof.json").is_file()
        assert analyze(["analyze", given, "--only", "capacity,scales", "--cpu-devices=4"]) == 0
        assert (run / "analysis" / "last" / "scales" / "part.json").is_file()
        out = f"{given}/page.html"
        assert report(["report", given, "--out", out]) == 0
        assert (run / "page.html").is_file()


def train_and_kill(given: str, run: Path, cwd: Path, home: Path) -> None:
    """Train in a process of its own, and kill it after it has saved a step."""
    more = ("--config.epochs=3", "--workdir", given)
    process = start_main(*TRAINING, *more, cwd=cwd, env=ENVIRONMENT | {"HOME": str(home)})
    deadline = time.monotonic() + 240
    while max(list_saved_steps(run), default=-1) < 1 and time.monotonic() < deadline:
        assert process.poll() in (None, 0), process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["absolute", "tilde", "relative", "link"])
@pytest.mark.parametrize("kind", ODD)
def test_a_run_in_an_odd_folder_works_like_any_other(kind, way, tmp_path, monkeypatch):
    if way != "absolute" and kind not in ("globs", "blanks"):
        pytest.skip("another way to give the same folder")
    folder = tmp_path / ODD[kind]
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    given, run = {
        "absolute": (f"{folder}/run", folder / "run"),
        "tilde": ("~/run", folder / "run"),
        "relative": (f"{ODD[kind]}/run", folder / "run"),
        "link": ("link/run", folder / "run"),
    }[way]
    home = folder if way == "tilde" else tmp_path
    train_and_kill(given, run, tmp_path, home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    live(given, run)
    # Nothing was written to a folder that a program made of another reading of the path, except
    # for the caches of packages in the home.
    there = {path.name for path in tmp_path.iterdir()} - {".cache", ".config"}
    assert there == {Path(ODD[kind]).parts[0], "link"}


def test_a_run_in_an_odd_folder_ends_resumes_and_is_evaluated(tmp_path, monkeypatch, no_figures):
    name = "a[1]*?{b}\\ $x\n '\"🐶"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "link").symlink_to(folder)
    monkeypatch.setenv("HOME", str(folder))
    words = ("--config", TINY, "--workdir", "~/link/run", "--config.cpu_devices=4")
    with limit_devices(1):
        assert run_main(*words) == 0
        assert run_main(*words) == 0
        assert evaluate(["evaluate", "~/link/run", "--cpu-devices=4"]) == 0
    assert (folder / "run" / "evaluation" / "last_test.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ODD)
def test_data_in_an_odd_folder_are_prepared_and_read(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for folder in ("cifar", "source"):
        (tmp_path / folder / ODD[kind]).mkdir(parents=True)
    write_cifar100(tmp_path / "cifar" / ODD[kind], 20)
    assert len(data.load("cifar100", f"~/cifar/{ODD[kind]}").train) == 20
    pytest.importorskip("array_record")  # There are no packages for Windows and macOS.
    write_folders(tmp_path / "source" / ODD[kind])
    assert run_prepare(Path(f"~/source/{ODD[kind]}"), Path("out") / ODD[kind]) == 0
    dataset = data.load("imagenet", f"out/{ODD[kind]}", size=8, workers=0)
    assert dataset.test.take(range(2))["image"].shape == (2, 8, 8, 3)
    assert {path.name for path in tmp_path.iterdir()} - {".cache"} == {"cifar", "source", "out"}


@pytest.mark.parametrize(
    "call, words",
    [
        (run_main, ["--config", TINY, "--config.cpu_devices=4", "--config.epochs=0", "{}"]),
        (run_main, ["--config", "{}.py"]),
        (run_main, ["--config", TINY, "--config.cpu_devices=4", "--config.pretrained={}", "run"]),
        (lambda *words: evaluate(["evaluate", *words]), ["{}"]),
        (lambda *words: export(["export", *words]), ["{}", "--format", "onnx"]),
        (lambda *words: analyze(["analyze", *words]), ["{}"]),
        (lambda *words: report(["report", *words]), ["{}"]),
        (lambda *words: import_checkpoint(words), ["{}", "--model", "resnet18", "--out", "out"]),
    ],
)
def test_an_error_that_names_a_path_of_many_lines_has_at_most_three(
    call, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\n\nb").mkdir()
    name = "a\n\nb/c\nd\ne\x1b[2J"
    assert call(*[word.format(name) for word in words]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 3
    assert "--config.epochs=0" in words or r"a\n\nb/c\nd\ne\x1b[2J" in error


LINES = "a\n\nb/c\nd\x1b[2J"
PAGE = """
from tests.train import tiny

def get_config():
    config = tiny.get_config()
    config.{key} = {value!r}
    return config
"""
FOLDER = {"name": "folder", "data_dir": LINES, "size": 8}
CACHED = {"name": "dvs_digits", "data_dir": "data", "cache_dir": f"{LINES}/file"}


@pytest.mark.parametrize(
    "key, value",
    [
        ("data", FOLDER),
        ("data", FOLDER | {"data_dir": f"./{LINES}/../x\ny"}),
        ("data", FOLDER | {"data_dir": "link"}),
        ("data", {"name": "mnist", "data_dir": LINES}),
        ("data", {"name": "n_mnist", "data_dir": LINES}),
        ("data", CACHED),
        ("pretrained", LINES),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("program", ["train", "check", "evaluate"])
def test_a_path_of_many_lines_in_a_page_or_a_run_is_printed_in_one(
    key, value, program, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("pit_jax.display._of_several_lines", set())
    monkeypatch.setattr("train.data.events.tonic.fetch", lambda *_: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / LINES).mkdir(parents=True)
    (tmp_path / LINES / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / LINES)
    (tmp_path / "page.py").write_text(PAGE.format(key=key, value=value))
    words = ["--config", "page.py", "--config.cpu_devices=4"]
    if program == "train":
        assert run_main(*words, "run") == 2
    elif program == "check":
        assert check(["check", *words, "--out", "out"]) == 2
    else:
        config = get_config()
        config[key] = value
        (tmp_path / "run" / "last" / "3").mkdir(parents=True)
        (tmp_path / "run" / "config.json").write_text(json.dumps(config.to_dict()))
        assert evaluate(["evaluate", "run", "--cpu-devices=4"]) == 2
    printed = capsys.readouterr().err
    assert not [name for name in ("a\n\nb", "c\nd", "x\ny") if name in printed]
    named = key == "data" and "\n" in value["data_dir"]
    assert not named or r"c\nd" in printed or r"x\ny" in printed


@pytest.mark.parametrize(
    "words",
    [
        ("main", "--config", TINY, "--workdir", "caf\udce9/run"),
        ("main", "--config", TINY, "--workdir", "link/run"),
        ("main", "--config", TINY, "--config.data.data_dir=caf\udce9", "--workdir", "run"),
        ("main", "--config", TINY, "--config.pretrained=link", "--workdir", "run"),
    ],
)
def test_names_that_are_not_utf_8_are_refused_before_anything_is_written(
    words, tmp_path, monkeypatch, capsys
):
    there = tmp_path / "caf\udce9"
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    monkeypatch.chdir(tmp_path)
    assert run_main(*words[1:]) == 2
    error = capsys.readouterr().err
    assert "must be a path whose names are valid UTF-8" in error and len(error.splitlines()) <= 3
    assert {path.name for path in tmp_path.iterdir()} == {"caf\udce9", "link"}
    assert not list(there.iterdir())
