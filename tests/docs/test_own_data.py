"""docs/guide/own_data.md: its examples run, and its first commands train on a folder of images."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.test_blocks import read
from tests.train.helpers import limit_devices, run_main
from tests.train.image_files import save_image
from train.data import load
from train.predict import __main__ as predict

PAGE = Path(__file__).parents[2] / "docs/guide/own_data.md"
TEXT = PAGE.read_text()
EXAMPLES = [block.code for block in read(PAGE) if block.language == "python"]


def test_the_file_of_the_example_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES[0], {})
    dataset = load("arrays", "mine.npz")
    assert repr(dataset) == "arrays: 90 training and 30 test images 16x16x3 uint8, 3 classes"
    assert dataset.classes == ("cat", "dog", "owl")


def test_the_data_set_of_the_example_loads(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(EXAMPLES[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    dataset = load("my_data:blobs", size=20)
    assert (len(dataset.train), len(dataset.test), dataset.train.shape) == (1000, 200, (20, 20, 1))
    assert dataset.classes[9] == "square 9" and len(dataset.mean) == 1
    sys.modules.pop("my_data")


def test_every_example_is_tested():
    assert len(EXAMPLES) == 2


def test_the_table_of_the_example_loads(tmp_path):
    (table,) = re.findall(r"```text\n(file,label.*?)```", TEXT, re.S)
    (tmp_path / "images").mkdir()
    for row in table.splitlines()[1:]:
        Image.new("RGB", (4, 4)).save(tmp_path / row.split(",")[0])
    (tmp_path / "labels.csv").write_text(table + "images/0003.jpg,dog,train\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "images/0003.jpg")
    dataset = load("folder", tmp_path / "labels.csv", size=4)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("cat", "dog"), 2, 1)


@pytest.mark.slow
def test_the_first_commands_train_on_a_folder_and_classify_new_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, shade in (("cat", 0), ("dog", 120)):
        for number in range(10):
            pixels = random.integers(shade, shade + 120, (20, 30, 3), dtype=np.uint8)
            save_image(Path("pets", name, f"{number}.png"), pixels)
            save_image(Path("new_photos", f"{name}{number}.png"), pixels)
    command = read(PAGE)[0].code.splitlines()[1]
    assert command.startswith("pit-jax train --config folder")
    # A smaller network and smaller images; tests have four devices.
    small = ("--config.epochs=2", "--config.model.width=4", "--config.batch_size=8")
    words = [*command.split()[2:], "--config.data.size=16", "--config.cpu_devices=4"]
    with limit_devices(1):
        assert run_main(*words, *small) == 0
        assert predict.main(["predict", "runs/pets", "new_photos/"]) == 0
    rows = Path("predictions.csv").read_text().splitlines()
    assert len(rows) == 21 and {row.split(",")[1] for row in rows[1:]} <= {"cat", "dog"}
