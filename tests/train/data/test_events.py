"""The event data sets, from files in their own formats, folders and archives."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from pit_jax.events import make_events, write_aedat2
from train.data import DataNotFound, load
from train.data.cifar10_dvs import CLASSES
from train.data.recordings import resize
from train.errors import UserError

NUMBERS = (0, 5, 899, 900, 999)


def stream(seed, count=40, side=128):
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 10_000, count))
    x, y = random.integers(0, side, (2, count))
    return make_events(times, x, y, random.integers(0, 2, count))


def counts(events, num_frames, side=128):
    """By a loop: every frame takes an equal number, the last also the rest."""
    frames = np.zeros((num_frames, side, side, 2), int)
    for i, (_, x, y, p) in enumerate(events.tolist()):
        frames[min(i // (len(events) // num_frames), num_frames - 1), y, x, p] += 1
    return frames


def seed_of(label, number):
    return 1000 * label + number


@pytest.fixture
def cifar10_dvs(tmp_path):
    """Five recordings of each class, in folders."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True)
        for number in NUMBERS:
            file = tmp_path / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat"
            write_aedat2(file, stream(seed_of(label, number)))
    return tmp_path


def zip_classes(root):
    """The same as ten archives, as they are downloaded."""
    for folder in sorted((root / "CIFAR10DVS").iterdir()):
        with zipfile.ZipFile(root / f"{folder.name}.zip", "w") as archive:
            for file in sorted(folder.iterdir(), reverse=True):
                archive.write(file, f"{folder.name}/{file.name}")
                file.unlink()
        folder.rmdir()


@pytest.mark.parametrize("zipped", [False, True])
def test_cifar10_dvs_trains_on_the_first_900_of_each_class(cifar10_dvs, zipped):
    if zipped:
        zip_classes(cifar10_dvs)
    data = load("cifar10_dvs", cifar10_dvs, num_frames=3, size=128)
    assert data.num_classes == 10 and data.mean == ()
    for split, numbers in ((data.train, (0, 5, 899)), (data.test, (900, 999))):
        assert split.images.shape == (10 * len(numbers), 3, 128, 128, 2)
        assert split.labels.tolist() == sorted(list(range(10)) * len(numbers))
        for i, number in enumerate(numbers):
            want = counts(stream(seed_of(0, number)), 3)
            assert np.array_equal(split.images[i], want)
        want = counts(stream(seed_of(9, numbers[-1])), 3)
        assert np.array_equal(split.images[-1], want)


def test_other_splits_of_cifar10_dvs_have_names(cifar10_dvs):
    data = load("cifar10_dvs", cifar10_dvs, num_frames=2, size=16, split="tebn")
    assert len(data.train.labels) == 30 and len(data.test.labels) == 20  # Numbers 0 and 5 test.
    with pytest.raises(UserError, match="'random'; it can be first900, tebn, spikingjelly"):
        load("cifar10_dvs", cifar10_dvs, split="random")
    with pytest.raises(UserError, match="tests on rank 900 to 999, which is 0 of the 50"):
        load("cifar10_dvs", cifar10_dvs, split="spikingjelly")


def test_resized_frames_keep_each_polarity_apart_and_their_mean(cifar10_dvs):
    data = load("cifar10_dvs", cifar10_dvs, num_frames=2, size=32)
    assert data.train.images.dtype == np.float32
    want = counts(stream(seed_of(0, 0)), 2)
    np.testing.assert_allclose(
        data.train.images[0].mean(axis=(1, 2)), want.mean(axis=(1, 2)), rtol=0.15
    )
    only_on = want * np.array([0, 1])
    assert (resize(only_on, (32, 32))[..., 0] == 0).all()
    constant = np.broadcast_to([3.0, 5.0], (1, 8, 8, 2))
    np.testing.assert_allclose(resize(constant, (3, 5)), np.broadcast_to([3, 5], (1, 3, 5, 2)))


def test_frames_are_made_once_and_damaged_ones_again(cifar10_dvs, capsys):
    def images():
        return load("cifar10_dvs", cifar10_dvs, num_frames=2, size=16).train.images

    first = images()
    assert "making cifar10_dvs once" in capsys.readouterr().err
    assert np.array_equal(images(), first) and capsys.readouterr().err == ""
    for shard in (cifar10_dvs / "cache").glob("*/*.npz"):
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert np.array_equal(images(), first)
    assert "is damaged; it is made again" in capsys.readouterr().err


def test_a_class_that_is_missing_is_named_with_all_places(cifar10_dvs):
    for file in (cifar10_dvs / "CIFAR10DVS" / "cat").iterdir():
        file.unlink()
    with pytest.raises(DataNotFound, match=r"CIFAR10DVS: no cat \(a folder (.|\n)*figshare"):
        load("cifar10_dvs", cifar10_dvs)


def test_a_recording_cut_off_is_named_with_the_place(cifar10_dvs):
    file = cifar10_dvs / "CIFAR10DVS" / "bird" / "cifar10_bird_5.aedat"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match="cifar10_bird_5.aedat.* ends within an event of 8 bytes"):
        load("cifar10_dvs", cifar10_dvs, num_frames=2)


def test_a_file_without_a_number_and_a_broken_zip_are_errors(cifar10_dvs):
    folder = cifar10_dvs / "CIFAR10DVS" / "bird"
    (folder / "mine.aedat").write_bytes(b"")
    with pytest.raises(UserError, match="mine.aedat: expected a name like cifar10_airplane_0"):
        load("cifar10_dvs", cifar10_dvs)
    (folder / "mine.aedat").unlink()
    zip_classes(cifar10_dvs)
    whole = (cifar10_dvs / "dog.zip").read_bytes()
    (cifar10_dvs / "dog.zip").write_bytes(whole[:-50])
    with pytest.raises(UserError, match="dog.zip: .*fetch it again"):
        load("cifar10_dvs", cifar10_dvs)
    assert (cifar10_dvs / "dog.zip").read_bytes() == whole[:-50]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split_by": "count"}, "split_by is 'count'; it can be number, time"),
        ({"num_frames": 0}, "at least 1"),
        ({"size": 0}, "at least 1"),
    ],
)
def test_options_that_make_no_frames_are_errors(cifar10_dvs, options, message):
    with pytest.raises(UserError, match=message):
        load("cifar10_dvs", cifar10_dvs, **options)


def aedat31(events):
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for start in range(0, len(events), 16):
        part = events[start : start + 16].tolist()
        header += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, len(part), len(part), len(part))
        header += b"".join(
            struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in part
        )
    return header


GESTURES = {"user01_led": [(1, 0, 4_000), (11, 3_000, 9_999)], "user29_lab": [(3, 2_000, 10_000)]}


def gesture_files():
    """The official layout: recordings, their labels, and the lists of both splits."""
    files = {"README.txt": b"", "trials_to_train.txt": b"user01_led.aedat\n"}
    files["trials_to_test.txt"] = b"user29_lab.aedat\n"
    for seed, (name, rows) in enumerate(GESTURES.items()):
        files[f"{name}.aedat"] = aedat31(stream(seed))
        lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, row)) for row in rows)]
        files[f"{name}_labels.csv"] = "\n".join(lines).encode() + b"\n"
    return files


def write_archive(root, files):
    with tarfile.open(root / "DvsGesture.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"DvsGesture/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_dvs_gesture_is_cut_by_its_labels_and_split_by_its_lists(tmp_path):
    write_archive(tmp_path, gesture_files())
    data = load("dvs_gesture", tmp_path, num_frames=2)
    assert data.train.labels.tolist() == [0, 10] and data.test.labels.tolist() == [2]
    assert data.num_classes == 11
    for i, (_, start, end) in enumerate(GESTURES["user01_led"]):
        events = stream(0)
        events = events[(events["t"] >= start) & (events["t"] < end)]
        assert np.array_equal(data.train.images[i], counts(events, 2))
    # Extracted, the archive is no longer needed, and nothing half done is left.
    (tmp_path / "DvsGesture.tar.gz").unlink()
    again = load("dvs_gesture", tmp_path, num_frames=2)
    assert np.array_equal(again.test.images, data.test.images)
    assert not list(tmp_path.glob("*.part"))


def test_a_cut_off_archive_is_refused_and_leaves_no_folder(tmp_path):
    write_archive(tmp_path, gesture_files())
    archive = tmp_path / "DvsGesture.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UserError, match="DvsGesture.tar.gz is not a whole archive"):
        load("dvs_gesture", tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["DvsGesture.tar.gz", "cache"]


def test_an_archive_on_a_disk_that_cannot_be_written_is_extracted_into_the_cache(tmp_path):
    (tmp_path / "data").mkdir()
    write_archive(tmp_path / "data", gesture_files())
    load("dvs_gesture", tmp_path / "data", num_frames=1, cache_dir=str(tmp_path / "cache"))
    assert [file.name for file in (tmp_path / "data").rglob("*")] == ["DvsGesture.tar.gz"]
    assert (tmp_path / "cache" / "DvsGesture" / "user01_led.aedat").is_file()


@pytest.mark.parametrize(
    "lost", ["user01_led.aedat", "user29_lab_labels.csv", "trials_to_test.txt"]
)
def test_a_half_extracted_folder_is_refused_by_the_missing_name(tmp_path, lost):
    files = gesture_files()
    del files[lost]
    (tmp_path / "DvsGesture").mkdir()
    for name, content in files.items():
        (tmp_path / "DvsGesture" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{lost} is missing: the archive was extracted in part"):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize(
    "row, message",
    [
        ("12,0,5", "row 2: expected a class of 1 to 11 .* got 12, 0 and 5"),
        ("1,5,5", "row 2: expected a class of 1 to 11 and a start before its end, got 1, 5 and 5"),
        ("1,5", "row 2: expected a class, start and end"),
    ],
)
def test_labels_that_cannot_be_are_refused_by_row(tmp_path, row, message):
    (tmp_path / "DvsGesture").mkdir()
    for name, content in gesture_files().items():
        (tmp_path / "DvsGesture" / name).write_bytes(content)
    labels = tmp_path / "DvsGesture" / "user01_led_labels.csv"
    labels.write_text(f"class,startTime_usec,endTime_usec\n{row}\n")
    with pytest.raises(UserError, match=message):
        load("dvs_gesture", tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_n_mnist_is_read_from_folders_and_archives(tmp_path, zipped):
    def content(seed):
        events = stream(seed, side=34)
        return b"".join(
            bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in events.tolist()
        )

    for split in ("Train", "Test"):
        names = {f"{split}/{label}/{i:05d}.bin": content(label) for i, label in enumerate((3, 7))}
        if zipped:
            with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
                for name, data in names.items():
                    archive.writestr(name, data)
        for name, data in ({} if zipped else names).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    data = load("n_mnist", tmp_path, num_frames=4)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [3, 7]
    for i, label in enumerate((3, 7)):
        assert np.array_equal(data.train.images[i], counts(stream(label, side=34), 4, side=34))


def test_without_any_files_every_place_is_named(tmp_path):
    for name, place in {"cifar10_dvs": "CIFAR10DVS", "dvs_gesture": "DvsGesture.tar.gz"}.items():
        with pytest.raises(DataNotFound, match=f"was not found. Looked for(.|\n)*{place}"):
            load(name, tmp_path)
    with pytest.raises(DataNotFound, match="Train.zip and Test.zip from"):
        load("n_mnist", tmp_path)


def test_a_file_of_n_mnist_outside_of_its_ten_folders_is_named(tmp_path):
    for place in ("Train/3/00001.bin", "Train/other/00002.bin", "Test/3/00001.bin"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    with pytest.raises(UserError, match=r"other/00002.bin: expected a name like 7/00012.bin"):
        load("n_mnist", tmp_path)


def test_tonics_archive_of_archives_is_to_be_unzipped(tmp_path):
    (tmp_path / "CIFAR10DVS").mkdir()
    (tmp_path / "CIFAR10DVS" / "CIFAR10DVS.zip").write_bytes(b"")
    with pytest.raises(DataNotFound, match="no airplane, .*; unzip CIFAR10DVS.zip, which holds"):
        load("cifar10_dvs", tmp_path)
