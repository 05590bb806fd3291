"""Any data set of tonic, which is replaced here by classes of the same form."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.train.event_files import count_in_frames, make_stream
from train.data import load
from train.errors import UserError

# The fields in the order and with the types of tonic's classes.
TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])
SOUND = np.dtype([("t", int), ("x", int), ("p", int)])


def convert(events, dtype=TONIC):
    made = np.empty(len(events), dtype)
    for name in dtype.names:
        made[name] = events[name]
    return made


class _Base:
    """A sequence of pairs of events and label, with the attributes of tonic's base class."""

    seeds: tuple[int, ...] = ()
    dtype = TONIC

    def __init__(self, save_to):
        self.location_on_system = save_to
        self.data, self.targets = [], []

    def __getitem__(self, index):
        return convert(make_stream(self.seeds[index], side=self.side), self.dtype), self.targets[
            index
        ]

    def __len__(self):
        return len(self.seeds)


class POKERDVS(_Base):
    sensor_size, side = (35, 32, 2), 32
    classes = {"cl": 0, "sp": 2, "he": 1}

    def __init__(self, save_to, train=True, transform=None, target_transform=None):
        super().__init__(save_to)
        self.seeds = (1, 2, 3, 4) if train else (5, 6)
        self.targets = [0, 1, 2, 0] if train else [1, 2]


class NCALTECH101(_Base):
    sensor_size, side = None, 20

    def __init__(self, save_to, transform=None, target_transform=None):
        super().__init__(save_to)
        self.seeds = tuple(range(10))
        self.targets = ["yin", "ant"] * 5


class SSC(_Base):
    """A data set whose labels are in its files, and whose events have no y."""

    sensor_size, side, dtype = (700, 1, 1), 128, SOUND

    def __init__(self, save_to, split="train", transform=None, target_transform=None):
        super().__init__(save_to)
        self.seeds = {"train": (1, 2, 3, 4), "valid": (5, 6), "test": (7, 8)}[split]
        self.classes = np.array([b"one", b"two"])

    def __getitem__(self, index):
        return convert(make_stream(self.seeds[index]), SOUND), np.int64(index % 2)


class ByHand(_Base):
    def __init__(self, save_to, train=True):
        print("WARNING: download it by hand")
        sys.exit()


class Driving(_Base):
    def __init__(self, save_to, train=True):
        super().__init__(save_to)
        self.seeds, self.targets = (1,), [{"pose": 1}]


@pytest.fixture(autouse=True)
def tonic(monkeypatch):
    classes = (POKERDVS, NCALTECH101, SSC, ByHand, Driving)
    datasets = SimpleNamespace(**{cls.__name__: cls for cls in classes})
    monkeypatch.setitem(sys.modules, "tonic", SimpleNamespace(datasets=datasets))


def count(seed, steps, side, height, width):
    return count_in_frames(make_stream(seed, side=side), steps, side=max(height, width))[
        :, :height, :width
    ]


def test_both_splits_are_read_exactly_with_the_names_of_classes(tmp_path):
    dataset = load("tonic/POKERDVS", tmp_path, num_frames=4)
    assert (dataset.name, dataset.classes) == ("tonic/POKERDVS", ("cl", "he", "sp"))
    assert dataset.train.labels.tolist() == [0, 1, 2, 0] and dataset.test.labels.tolist() == [1, 2]
    assert dataset.train.shape == (4, 32, 35, 2) and dataset.mean == ()
    for split, seeds in ((dataset.train, (1, 2, 3, 4)), (dataset.test, (5, 6))):
        for frames, seed in zip(split.images, seeds, strict=True):
            assert np.array_equal(frames, count(seed, 4, 32, 32, 35))


def test_frames_are_cached_and_resized(tmp_path, capsys):
    for times in (2, 0):
        dataset = load("tonic/POKERDVS", tmp_path, num_frames=2, size=16)
        assert dataset.train.shape == (2, 15, 16, 2)
        assert capsys.readouterr().err.count("making tonic-POKERDVS once") == times


def test_names_are_classes_and_the_camera_is_measured(tmp_path):
    dataset = load("tonic/NCALTECH101", tmp_path, num_frames=2)
    assert dataset.classes == ("ant", "yin") and len(dataset.train) == 8
    assert sorted(dataset.test.labels.tolist()) == [0, 1]
    sizes = np.array(
        [[make_stream(seed, side=20)[axis].max() + 1 for axis in "yx"] for seed in range(10)]
    )
    assert dataset.train.shape[1:3] == tuple(sizes.max(axis=0))
    assert "has no test split: 2 of 10 samples" in dataset.notes[-1]
    assert "those of a camera of" in dataset.notes[0]


def test_sounds_are_frames_of_one_row(tmp_path):
    dataset = load("tonic/SSC", tmp_path, num_frames=2, size=700)
    assert dataset.classes == ("one", "two") and dataset.train.shape == (2, 1, 700, 2)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [4, 2, 2]
    stream = make_stream(7)
    counts = np.zeros(700, int)
    np.add.at(counts, stream["x"], 1)
    assert np.array_equal(dataset.test.images[0].sum(axis=(0, 1, 3)), counts)


@pytest.mark.parametrize(
    "name, message",
    [
        ("PokerDVS", "tonic has no data set 'PokerDVS'; it has .*Did you mean tonic/POKERDVS?"),
        ("ByHand", "tonic cannot open ByHand in .*Its documentation says how to get the files"),
        ("Driving", "tonic/Driving has no classes: its first label is a dict"),
    ],
)
def test_data_without_files_or_classes_are_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        load(f"tonic/{name}", tmp_path)


def test_a_damaged_recording_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(POKERDVS, "__getitem__", lambda *_: (np.zeros((3, 4)), 0))
    with pytest.raises(UserError, match=r"POKERDVS \(sample 0\) cannot be read: events must have"):
        load("tonic/POKERDVS", tmp_path)


def test_the_error_without_tonic_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(UserError, match=r"which is not installed: pip install 'pit-jax\[events\]'"):
        load("tonic/POKERDVS", tmp_path)
