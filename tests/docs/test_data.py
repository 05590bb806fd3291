"""docs/guide/data.md: its examples run, and it lists every data set and split."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import DATASETS, load
from train.data.events.event_folder import ENDINGS
from train.data.events.splits import FOLDER

PAGE = (Path(__file__).parents[2] / "docs/guide/data.md").read_text()
# By the title of the section.
EXAMPLES = {
    section.partition("\n")[0].lower(): example
    for section in PAGE.split("\n## ")
    for example in re.findall(r"```python\n(.*?)```", section, re.S)
}


def test_the_example_writes_a_recording_and_reads_it_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((50, 50), 80).save("mine.png")
    names = {}
    exec(EXAMPLES["recordings of your own images"], names)
    assert names["frames"].shape == (10, 128, 128, 2)
    assert names["frames"].sum() == len(names["events"]) > 1_000
    assert np.array_equal(np.sort(names["events"]["t"]), names["events"]["t"])


def test_the_data_set_of_the_example_loads(tmp_path, monkeypatch):
    (tmp_path / "my_data.py").write_text(EXAMPLES["your own arrays"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    dataset = load("my_data:blobs", size=20)
    assert (len(dataset.train), len(dataset.test), dataset.train.shape) == (1000, 200, (20, 20, 1))
    assert dataset.classes[9] == "square 9" and len(dataset.mean) == 1
    sys.modules.pop("my_data")


def test_the_file_of_the_example_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["your own data"], {})
    dataset = load("arrays", "mine.npz")
    assert repr(dataset) == "arrays: 90 training and 30 test images 16x16x3 uint8, 3 classes"
    assert dataset.classes == ("cat", "dog", "owl")


def test_the_table_of_the_example_loads(tmp_path):
    (table,) = re.findall(r"```text\n(file,label.*?)```", PAGE, re.S)
    (tmp_path / "images").mkdir()
    for row in table.splitlines()[1:]:
        Image.new("RGB", (4, 4)).save(tmp_path / row.split(",")[0])
    (tmp_path / "labels.csv").write_text(table + "images/0003.jpg,dog,train\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "images/0003.jpg")
    dataset = load("folder", tmp_path / "labels.csv", size=4)
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (("cat", "dog"), 2, 1)


def test_every_example_is_tested():
    tested = ["recordings of your own images", "your own arrays", "your own data"]
    assert sorted(EXAMPLES) == tested


def test_every_format_of_recordings_is_listed():
    assert all(f"| `{ending}` |" in PAGE for ending in ENDINGS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_listed(name):
    assert f"\n| `{name}` | " in PAGE or f"\n## {name}\n" in PAGE.lower()


def test_every_split_of_cifar10_dvs_is_listed():
    assert all(
        f"\n| `{name}`" in PAGE for name in json.loads((FOLDER / "cifar10_dvs.json").read_text())
    )
