"""A user's own data in every way of docs/guide/own_data.md: check, train, evaluate, predict."""

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.train.data.events import test_event_folder, test_tonic_sets
from tests.train.helpers import limit_devices, load_records, run_main
from tests.train.image_files import save_image
from tests.train.tfds_files import write_tfds
from train.check import __main__ as check
from train.check import throughput
from train.evaluate import __main__ as evaluate
from train.predict import __main__ as predict

pytestmark = pytest.mark.usefixtures("no_figures", "no_network")
CLASSES = ("ant", "bee", "fly")
RNG = np.random.default_rng(0)


def draw(count):
    return RNG.integers(0, 256, (count, 9, 9, 3), dtype=np.uint8), np.arange(count) % 3


def write_arrays(root: Path) -> Path:
    (images, labels), (others, wanted) = draw(12), draw(6)
    arrays = {"x_train": images, "y_train": labels, "x_test": others, "y_test": wanted}
    np.savez(root / "mine.npz", classes=CLASSES, **arrays)
    return root / "mine.npz"


def write_frames(root: Path) -> Path:
    frames, labels = RNG.integers(0, 5, (12, 2, 8, 8, 2), dtype=np.uint8), np.arange(12) % 3
    np.savez(root / "frames.npz", x_train=frames, y_train=labels, x_test=frames, y_test=labels)
    return root / "frames.npz"


def write_classes(root: Path) -> Path:
    for number, (image, label) in enumerate(zip(*draw(15), strict=True)):
        save_image(root / CLASSES[label] / f"{number}.png", image)
    return root


def write_table(root: Path) -> Path:
    write_classes(root / "images")
    rows = [f"{file.relative_to(root)},{file.parent.name}" for file in root.rglob("*.png")]
    (root / "labels.csv").write_text("\n".join(["file,label", *sorted(rows)]))
    return root / "labels.csv"


def write_prepared(root: Path) -> Path:
    pytest.importorskip("array_record")
    splits = {name: list(zip(*draw(count), strict=True)) for name, count in SIZES.items()}
    write_tfds(root / "insects" / "1.0.0", splits, CLASSES)
    return root


def write_recordings(root: Path) -> Path:
    test_event_folder.write(root, side=8, count=7)
    return root


SIZES = {"train": 12, "test": 6}
# The page, the name of the data set, a function that writes it, and whether predict takes files.
WAYS = {
    "arrays": ("tiny_images", "arrays", write_arrays, ".png"),
    "frames": ("tiny_images", "arrays", write_frames, ""),
    "classes": ("tiny_images", "folder", write_classes, ".png"),
    "table": ("tiny_images", "folder", write_table, ".png"),
    "tfds": ("tiny_images", "tfds/insects", write_prepared, ".png"),
    "recordings": ("tiny_events", "event_folder", write_recordings, ".npz"),
    "tonic": ("tiny_events", "tonic/POKERDVS", lambda root: root, ".npz"),
}
QUICK = ("table",)


def find_flags(way: str, root: Path) -> list[str]:
    page, name, write, _ = WAYS[way]
    flags = [f"--config.data.data_dir={write(root)}", "--config.batch_size=4"]
    flags += ["--config.num_steps=2"] * (way == "frames")
    # Frames are not padded.
    flags += ["--config.augment=none"] * (page == "tiny_images")
    return ["--config", f"tests/train/{page}.py:{name}", "--config.cpu_devices=4", *flags]


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=() if way in QUICK else pytest.mark.slow) for way in WAYS]
)
def test_all_programs_work_with_own_data(tmp_path, way, monkeypatch, capsys):
    datasets = SimpleNamespace(POKERDVS=test_tonic_sets.POKERDVS)
    monkeypatch.setitem(sys.modules, "tonic", SimpleNamespace(datasets=datasets))
    monkeypatch.setattr(throughput, "draw_sheet", lambda config, dataset: Figure())
    monkeypatch.setattr(throughput, "measure_speed", lambda *_: "")
    root, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "found.csv"
    root.mkdir()
    flags = find_flags(way, root)
    assert check.main(["check", *flags, "--out", str(tmp_path / "check")]) == 0
    assert "ready" in capsys.readouterr().out
    with limit_devices(1):
        assert run_main(*flags, "--workdir", str(run)) == 0
        (record,) = load_records(run)
        assert evaluate.main(["evaluate", str(run)]) == 0
        found = json.loads((run / "evaluation" / "last_test.json").read_text())
        assert found["accuracy"] == pytest.approx(record["test_accuracy"])
        ending, files = WAYS[way][3], tmp_path / "files"
        files.mkdir()
        if ending == ".png":
            save_image(files / "a.png", draw(1)[0][0])
        elif ending:
            events = test_event_folder.make_stream(0, side=8)
            (files / "a.npz").write_bytes(test_event_folder.encode_npz(events))
        if ending:
            assert predict.main(["predict", str(run), str(files), "--out", str(out)]) == 0
            (row,) = csv.DictReader(out.read_text().splitlines())
            assert row["class"] in found["classes"] and row["file"].endswith(f"a{ending}")
