"""Every format of event data trains, from its bytes on disk to the numbers of a run."""

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
from tests.train.helpers import limit_devices, load_records, run_main


def archive_of_gestures(folder):
    files = {f"DvsGesture/{name}": content for name, content in make_gestures().items()}
    write_tar(folder / "DvsGesture.tar.gz", files)


def tonics_archives_of_gestures(folder):
    for name, files in make_tonic_gestures().items():
        write_tar(folder / f"{name}.tar.gz", files)


def n_mnist(folder):
    write(folder, {f"{split}.zip": make_zip(files) for split, files in make_n_mnist().items()})


NUMBERS = (0, 900)
TONICS = zip_classes(make_cifar10_dvs(NUMBERS, ".aedat4", encode_aedat4))
# What writes the data, the name of the set, and its samples for training, in batches.
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
    "AEDAT 3.1": (archive_of_gestures, "dvs_gesture", 2, 1),
    "arrays": (tonics_archives_of_gestures, "dvs_gesture", 4, 2),
    "N-MNIST": (n_mnist, "n_mnist", 2, 1),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_event_files_train(tmp_path, kind):
    write_data, name, samples, batch = FORMATS[kind]
    if "AEDAT 4" in kind:
        pytest.importorskip("aedat")
    write_data(tmp_path)
    with limit_devices(1):
        code = run_main(
            *("--config", f"tests/train/tiny_events.py:{name}"),
            *(f"--config.data.data_dir={tmp_path}", f"--config.batch_size={batch}"),
            *("--config.cpu_devices=4", "--workdir", str(tmp_path / "run")),
        )
    assert code == 0
    (record,) = load_records(tmp_path / "run")
    assert record["step"] == samples // batch == 2
    assert 0 < record["train_loss"] < 10 and 0 < record["test_loss"] < 10
