"""A run trains on every format of event data, read from files."""

import pytest

from tests.train.event_files import (
    encode_aedat4,
    make_cifar10_dvs,
    make_gestures,
    make_n_mnist,
    make_tonic_gestures,
    make_zip,
    write,
    write_tar,
    zip_classes,
)
from tests.train.helpers import load_records, take_devices
from train.config.cli import parse
from train.loop import train

pytestmark = pytest.mark.usefixtures("no_figures")


def write_gesture_archive(folder):
    files = {f"DvsGesture/{name}": content for name, content in make_gestures().items()}
    write_tar(folder / "DvsGesture.tar.gz", files)


def write_tonic_archives(folder):
    for name, files in make_tonic_gestures().items():
        write_tar(folder / f"{name}.tar.gz", files)


def write_n_mnist(folder):
    write(folder, {f"{split}.zip": make_zip(files) for split, files in make_n_mnist().items()})


NUMBERS = (0, 900)
TONICS = zip_classes(make_cifar10_dvs(NUMBERS, ".aedat4", encode_aedat4))
# The function that writes the data, the name of the data set, training samples and batch size.
FORMATS = {
    "AEDAT 2.0": (lambda to: write(to, make_cifar10_dvs(NUMBERS)), "cifar10_dvs", 10, 5),
    "AEDAT 2.0 in zips": (
        lambda to: write(to, zip_classes(make_cifar10_dvs(NUMBERS))),
        *("cifar10_dvs", 10, 5),
    ),
    "AEDAT 4 in zips in a zip": (
        lambda to: write(to, {"CIFAR10DVS.zip": make_zip(TONICS)}),
        *("cifar10_dvs", 10, 5),
    ),
    "AEDAT 3.1": (write_gesture_archive, "dvs_gesture", 2, 1),
    "arrays": (write_tonic_archives, "dvs_gesture", 4, 2),
    "N-MNIST": (write_n_mnist, "n_mnist", 2, 1),
}


# One data set. The tests in tests/train/data/events show that all layouts of all of them are read
# exactly.
QUICK = ("AEDAT 2.0",)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in FORMATS],
)
def test_a_run_trains_on_event_files(tmp_path, kind):
    write_data, name, samples, batch = FORMATS[kind]
    if "AEDAT 4" in kind:
        pytest.importorskip("aedat")
    write_data(tmp_path)
    words = ("--config", f"tests/train/tiny_events.py:{name}", f"--config.batch_size={batch}")
    config = parse(["main", *words, f"--config.data.data_dir={tmp_path}"])[0]
    # One device: batches of one sample cannot be divided.
    assert train(config, tmp_path / "run", devices=take_devices(1)) is not None
    (record,) = load_records(tmp_path / "run")
    assert record["step"] == samples // batch == 2
    assert 0 < record["train_loss"] < 10 and 0 < record["test_loss"] < 10
