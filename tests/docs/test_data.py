"""The page on data: its example runs, and it leaves out no data set, split or format."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import DATASETS
from train.data.events.splits import FOLDER

PAGE = (Path(__file__).parents[2] / "docs/guide/data.md").read_text()


def test_the_example_makes_a_recording_that_is_read_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((50, 50), 80).save("mine.png")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(example, names)
    assert names["frames"].shape == (10, 128, 128, 2)
    assert names["frames"].sum() == len(names["events"]) > 1_000
    assert np.array_equal(np.sort(names["events"]["t"]), names["events"]["t"])


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_its_line(name):
    assert f"\n| `{name}` | " in PAGE or f"\n## {name}\n" in PAGE.lower()


def test_every_split_of_cifar10_dvs_is_listed():
    assert all(
        f"\n| `{name}`" in PAGE for name in json.loads((FOLDER / "cifar10_dvs.json").read_text())
    )
