"""docs/guide/data.md lists every data set, and docs/guide/events.md every format and split."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.test_blocks import read
from train.data import DATASETS
from train.data.events.event_folder import ENDINGS
from train.data.events.splits import FOLDER

GUIDE = Path(__file__).parents[2] / "docs/guide"
DATA, EVENTS = ((GUIDE / name).read_text() for name in ("data.md", "events.md"))


def test_the_example_writes_a_recording_and_reads_it_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((50, 50), 80).save("mine.png")
    (example,) = [block.code for block in read(GUIDE / "events.md") if block.language == "python"]
    names = {}
    exec(example, names)
    assert names["frames"].shape == (10, 128, 128, 2)
    assert names["frames"].sum() == len(names["events"]) > 1_000
    assert np.array_equal(np.sort(names["events"]["t"]), names["events"]["t"])


def test_every_format_of_recordings_is_listed():
    assert all(f"| `{ending}` |" in EVENTS for ending in ENDINGS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_listed(name):
    assert f"\n| `{name}` | " in DATA or f"\n## {name}\n" in DATA.lower()


def test_every_split_of_cifar10_dvs_is_listed():
    names = json.loads((FOLDER / "cifar10_dvs.json").read_text())
    assert all(f"\n| `{name}`" in EVENTS for name in names)


def test_accuracies_of_detached_resets_equal_the_results():
    results = (GUIDE.parent / "results.md").read_text()
    for row, accuracy in {
        "pit_detachTrue_tet": "98.15 ± 0.16",
        "pit_detachFalse_tet": "95.56 ± 0.56",
        "lif_detachTrue_tet": "97.41 ± 1.25",
        "lif_detachFalse_tet": "95.65 ± 0.58",
    }.items():
        (line,) = [line for line in results.splitlines() if f"runs/dvs_digits_{row}_seed0" in line]
        assert f"| {accuracy} |" in line
        assert accuracy in " ".join(EVENTS.split())
