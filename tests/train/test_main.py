"""`train.main` from end to end: what a run writes and prints, and errors of a bad config."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.helpers import (
    RUN,
    limit_devices,
    load_records,
    run_main,
    start_main,
    write_cifar100,
)
from tests.train.tiny_finished import STEPS_PER_EPOCH, get_config
from train import data
from train.loading import print_skipped

# JAX is already running in this process, with four devices.
HERE = "--config.cpu_devices=4"
SMOKE = ("--config", "configs/smoke.py", HERE)


@pytest.fixture(scope="module")
def printed(finished_run) -> str:
    """Return what the finished run printed."""
    return (finished_run.parent / "printed.txt").read_text()


def test_a_run_writes_its_config(finished_run):
    config = json.loads((finished_run / "config.json").read_text())
    assert config == json.loads(json.dumps(get_config().to_dict() | {"cpu_devices": 4}))


def test_a_run_records_every_epoch(finished_run):
    lines = (finished_run / "metrics.jsonl").read_text().splitlines()
    first, step, last = map(json.loads, lines)
    assert step["step"] == get_config().log_every and "test_loss" not in step
    for number, record in enumerate((first, last), start=1):
        assert (record["epoch"], record["step"]) == (number, number * STEPS_PER_EPOCH)
        assert all(0 < record[name] < 10 for name in ("train_loss", "test_loss"))
        assert all(0 <= record[name] <= 1 for name in ("train_accuracy", "test_accuracy"))
        assert record["images_per_second"] > 0
    # It learns; by guessing it would have a tenth.
    assert last["train_loss"] < first["train_loss"] and last["test_accuracy"] > 0.2


def test_a_run_writes_a_summary(finished_run):
    summary = json.loads((finished_run / "summary.json").read_text())
    written = [record for record in load_records(finished_run) if "test_accuracy" in record]
    accuracies = [record["test_accuracy"] for record in written]
    assert summary["last_accuracy"] == accuracies[-1]
    assert summary["best_accuracy"] == max(accuracies)
    assert summary["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert list(summary["rates"]) == ["stage1_block1/PIT_0", "stage1_block1/PIT_1", "PIT_0"]
    assert all(0 < rate < 1 for rates in summary["rates"].values() for rate in rates)
    # Three layers with a scale for each of four channels and two steps.
    assert summary["parameters"] > 400 and summary["scales"] == 3 * 4 * 2
    assert summary["seconds"] > 0


@pytest.mark.parametrize("name", ["curves.png", "rates.png"])
def test_a_run_draws_pictures(finished_run, name):
    with Image.open(finished_run / name) as image:
        image.load()
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == 1350 and pixels.shape[0] > 300
    assert 0.005 < (pixels < 128).mean() < 0.5  # Neither empty nor full.


def test_a_run_prints_its_summary(finished_run, printed):
    summary = json.loads((finished_run / "summary.json").read_text())
    assert f"test accuracy, last epoch │ {summary['last_accuracy']:.2%}" in printed
    assert f"test accuracy, best epoch │ {summary['best_accuracy']:.2%}" in printed
    assert f"{summary['parameters']:,} and {summary['scales']:,} scales a" in printed
    assert "wall time" in printed and "images/s" in printed
    for layer, rates in summary["rates"].items():
        assert any(layer in line and f"{rates[0]:.1%}" in line for line in printed.splitlines())
    assert "Traceback" not in printed and "Warning" not in printed


def test_a_run_prints_the_whole_path_of_its_folder(finished_run, printed):
    joined = "".join(line.strip("│ ").split("│")[-1].strip() for line in printed.splitlines())
    assert str(finished_run) in joined


@pytest.fixture
def one_device() -> Iterator[None]:
    with limit_devices(1):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_the_digits_are_learned(tmp_path):
    arguments = ("--config.model.width=4", "--config.epochs=3", "--config.warmup_epochs=0")
    arguments += (HERE, "--workdir", str(tmp_path / "run"))
    assert run_main("--config", "configs/digits.py", *arguments) == 0
    first, *_, last = load_records(tmp_path / "run")
    assert last["train_loss"] < first["train_loss"] - 0.1
    assert last["test_accuracy"] > 0.2  # A tenth by guessing.


@pytest.mark.usefixtures("one_device")
def test_a_network_without_spiking_neurons_has_no_rates_to_draw(tmp_path, compiled):
    arguments = ("--config.epochs=1", "--config.model.stages=1,", "--config.batch_size=256")
    arguments += (HERE, "--workdir", str(tmp_path))
    assert run_main("--config", "configs/smoke.py:relu", *arguments) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["rates"] == {}
    assert (tmp_path / "curves.png").exists() and not (tmp_path / "rates.png").exists()
    assert "health" not in load_records(tmp_path)[0] and "jit(look)" not in compiled
    assert RUN <= set(compiled)  # The tests of refused runs rely on these names.


def make_cifar100_arguments(tmp_path: Path) -> tuple[str, ...]:
    """Return the arguments for two steps of four images; all else is as in the paper's config."""
    write_cifar100(tmp_path, count=8)
    return (
        *("--config", "configs/cifar100.py", f"--config.data.data_dir={tmp_path}"),
        *("--config.batch_size=4", "--config.epochs=1", HERE),
        *("--workdir", str(tmp_path / "run")),
    )


@pytest.mark.usefixtures("one_device")
@pytest.mark.slow
def test_cifar100_trains_from_the_official_archive(tmp_path):
    assert run_main(*make_cifar100_arguments(tmp_path), "--config.model.name=resnet8") == 0
    (record,) = load_records(tmp_path / "run")
    assert record["step"] == 2 and 2 < record["train_loss"] < 10


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_the_network_of_the_paper_trains_on_cifar100(tmp_path):
    assert run_main(*make_cifar100_arguments(tmp_path)) == 0
    (record,) = load_records(tmp_path / "run")
    assert record["step"] == 2 and 2 < record["train_loss"] < 10
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["parameters"] > 11_000_000


def get_error(capsys, compiled: list[str], workdir: Path, *args: str) -> str:
    """Return the error that the program prints; assert that it compiled and wrote nothing."""
    assert run_main(*args, "--workdir", str(workdir)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ")
    assert not RUN & set(compiled) and not workdir.exists()
    return err


def test_an_error_for_missing_data_lists_all_paths_and_a_command_to_download_them(
    tmp_path, capsys, compiled, monkeypatch
):
    def refuse(url, start):
        raise OSError("no network here")

    monkeypatch.setattr("train.data.storage.download._open", refuse)
    arguments = ("--config", "configs/cifar100.py", HERE)
    folder = tmp_path / "nothing"
    data_dir = f"--config.data.data_dir={folder}"
    assert run_main(*arguments, data_dir, "--workdir", str(tmp_path / "run")) == 2
    said, message = capsys.readouterr().err.split("error: ", 1)
    assert said.startswith("downloading https://") and not (tmp_path / "run").exists()
    for place in ("cifar-100-python.tar.gz", "cifar-100-python", "cifar100"):
        assert f"  {folder / place}: " in message
    assert f"curl -fL --create-dirs -o {folder}/cifar-100-python.tar.gz https://" in message
    assert "no network here" in message
    assert compiled == [] and not folder.exists()


def test_an_error_names_a_truncated_archive(tmp_path, capsys, compiled):
    arguments = make_cifar100_arguments(tmp_path)[:-2]
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1000])
    message = get_error(capsys, compiled, tmp_path / "run", *arguments)
    assert f"{archive}: not a complete tar.gz archive" in message


# All other bounds are tested in test_session.py, on the function that checks them.
@pytest.mark.parametrize(
    "override, complaint",
    [
        ("neuron.levels=0", "levels must be at least 1, got 0"),
        (
            "neuron.name=PTI",
            "config.neuron.name is 'PTI'; it can be CLIF, GLIF, IF, ILIF, LIF, PIT",
        ),
        ("model.name=vgg111", "package.module:Name. Did you mean 'vgg11'?"),
        ("loss.name=mae", "config.loss.name is 'mae'; it can be cross_entropy, mse, tet"),
        (
            "optimizer.name=lion",
            "config.optimizer.name is 'lion'; it can be adam, adamw, lamb, sgd",
        ),
        ("data.name=sinthetic", "package.module:Name. Did you mean 'synthetic'?"),
        ("batch_size=1000", "batch_size must be 1 to 512, the training images; got 1000"),
        ("batch_size=30", "batch_size 30 does not divide among 4 devices"),
    ],
)
def test_an_error_names_a_value_that_is_not_allowed(
    override, complaint, tmp_path, capsys, compiled
):
    message = get_error(capsys, compiled, tmp_path / "run", *SMOKE, f"--config.{override}")
    assert complaint in message


@pytest.mark.parametrize(
    "override, complaint",
    [
        ("seeed=1", "did you mean --config.seed?"),
        ("cpu_devices=0", "cpu_devices must be at least 1"),
    ],
)
def test_a_wrong_argument_ends_the_process_with_code_2_and_one_line(override, complaint, tmp_path):
    arguments = ("--config", "configs/smoke.py", f"--config.{override}")
    process = start_main(*arguments, "--workdir", str(tmp_path / "run"))
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 2, printed
    assert printed.startswith("error: ") and complaint in printed and printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_samples_that_do_not_fill_a_batch_are_reported_at_the_start(capsys):
    config = get_config()
    dataset = data.load("synthetic", num_train=60)
    config.batch_size = 32
    print_skipped(config, dataset, 1)
    line = capsys.readouterr().err
    assert line.startswith("note: each epoch trains on 32 of 60 samples and skips 28, different")
    assert line.endswith("with config.batch_size=30 none are skipped.\n") and line.count("\n") == 1
    config.batch_size = 30
    print_skipped(config, dataset, 1)
    assert capsys.readouterr().err == ""
