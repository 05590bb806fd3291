"""Event data sets in the layouts that SpikingJelly, tonic, figshare, Windows and macOS leave."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.train.data.storage.test_archives import pack_tar, pack_zip
from tests.train.event_files import (
    encode_aedat2,
    encode_npy,
    make_cifar10_dvs,
    make_gestures,
    make_n_mnist,
    make_rows,
    make_stream,
    make_tonic_gestures,
    make_zip,
    write,
    zip_classes,
)
from train.data import load
from train.errors import UserError

RECORDINGS = make_cifar10_dvs((0, 900))
N_MNIST = {name: raw for files in make_n_mnist().values() for name, raw in files.items()}


def load_cifar10_dvs(root):
    return load("cifar10_dvs", root, num_frames=1, size=8)


def move(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": raw for name, raw in files.items()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the frames of the official folder, which every layout must have."""
    root = tmp_path_factory.mktemp("official")
    write(root / "CIFAR10DVS", RECORDINGS)
    return load_cifar10_dvs(root)


@pytest.mark.parametrize(
    "files",
    [
        move(RECORDINGS, "CIFAR10DVS/extract"),
        move(zip_classes(RECORDINGS), "CIFAR10DVS/download"),
        move(RECORDINGS, "cifar10-dvs"),
        {f"{name.split('/')[0]}/{name}": raw for name, raw in RECORDINGS.items()},
        {name.upper().replace("CIFAR10_", "cifar10_"): raw for name, raw in RECORDINGS.items()},
        {name.replace(".zip", " (1).zip"): raw for name, raw in zip_classes(RECORDINGS).items()},
        {"4724671.zip": make_zip(zip_classes(RECORDINGS))},
        {"CIFAR10DVS.zip": make_zip(move(RECORDINGS, "./CIFAR10DVS"))},
        {"CIFAR10DVS.zip": make_zip({n.replace("/", "\\"): r for n, r in RECORDINGS.items()})},
        RECORDINGS | {"cat/cifar10_cat_0 (1).aedat": RECORDINGS["cat/cifar10_cat_0.aedat"]},
        RECORDINGS | move(RECORDINGS, "__MACOSX") | {"cat/._cifar10_cat_0.aedat": b"\0"},
    ],
    ids=range(11),
)
def test_cifar10_dvs_is_found_in_every_layout(tmp_path, files, expected):
    write(tmp_path, files)
    data = load_cifar10_dvs(tmp_path)
    for split, want in ((data.train, expected.train), (data.test, expected.test)):
        assert np.array_equal(split.images, want.images)
        assert np.array_equal(split.labels, want.labels)


def test_cifar10_dvs_is_extracted_from_a_tar_once(tmp_path, expected, capfd):
    pack_tar(tmp_path / "CIFAR10-DVS.tar.gz", move(RECORDINGS, "CIFAR10-DVS"))
    for lines in (1, 0):
        assert np.array_equal(load_cifar10_dvs(tmp_path).train.images, expected.train.images)
        assert capfd.readouterr().err.count("extracting ") == lines


def test_a_recording_in_the_folder_of_another_class_is_refused(tmp_path):
    write(tmp_path, RECORDINGS | {"cat/cifar10_dog_5.aedat": encode_aedat2(make_stream(1))})
    with pytest.raises(UserError, match="cifar10_dog_5.aedat: expected a name like"):
        load_cifar10_dvs(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        move(N_MNIST, "NMNIST/extract"),
        move(N_MNIST, "N-MNIST"),
        {name.replace("Tr", "tr").replace("Te", "te"): raw for name, raw in N_MNIST.items()},
        {f"{name.split('/')[0]}/{name}": raw for name, raw in N_MNIST.items()},
        {name.replace(".bin", ".BIN"): raw for name, raw in N_MNIST.items()},
        {f"nmnist/{name.lower()}.zip": make_zip(files) for name, files in make_n_mnist().items()},
        {f"{name} (1).zip": make_zip(move(files, ".")) for name, files in make_n_mnist().items()},
    ],
    ids=range(7),
)
def test_n_mnist_is_found_in_every_layout(tmp_path, files):
    write(tmp_path, files)
    data = load("n_mnist", tmp_path, num_frames=1)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [3, 7]


def test_a_folder_of_another_data_set_is_not_taken_for_n_mnist(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"")
    for name, files in make_n_mnist().items():
        write(tmp_path / "NMNIST", {f"{name}.zip": make_zip(files)})
    assert len(load("n_mnist", tmp_path, num_frames=1).train) == 2


GESTURES = move(make_gestures(), "DvsGesture")


def to_windows(text: bytes) -> bytes:
    return b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")


def to_utf16(text: bytes) -> bytes:
    return text.decode().replace("\n", "\r\n").encode("utf-16")


def to_semicolons(text: bytes) -> bytes:
    return text.replace(b",", b"; ").replace(b"\n", b"\n\n")


def change_texts(change) -> dict[str, bytes]:
    return {
        name: change(raw) if name.endswith(("csv", "led.txt", "train.txt", "test.txt")) else raw
        for name, raw in GESTURES.items()
    }


def check_gestures(root) -> None:
    data = load("dvs_gesture", root, num_frames=1, size=8)
    assert data.train.labels.tolist() == [0, 10] and data.test.labels.tolist() == [2]


@pytest.mark.parametrize(
    "files",
    [
        move(GESTURES, "DVS128Gesture/extract"),
        move(GESTURES, "DvsGesture"),
        move(GESTURES, "dvs_gesture"),
        make_gestures(),
        change_texts(to_windows),
        change_texts(to_utf16),
        change_texts(to_semicolons),
        {name.replace("DvsGesture", "dvsgesture"): raw for name, raw in GESTURES.items()},
    ],
    ids=range(8),
)
def test_gestures_are_found_in_every_layout_and_encoding(tmp_path, files):
    write(tmp_path, files)
    check_gestures(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *("DVS128Gesture/download/DvsGesture.tar.gz", "DvsGesture (1).tar.gz", "DvsGesture.tgz"),
        *("DvsGesture.tar", "DvsGesture.zip", "dvsgesture.TAR.GZ"),
    ],
)
@pytest.mark.parametrize("prefix", ["./DvsGesture", ".", "old\\DvsGesture"])
def test_gesture_archives_of_other_names_and_kinds_are_read(tmp_path, name, prefix):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    files = move(make_gestures(), prefix)
    if name.endswith("zip"):
        pack_zip(tmp_path / name, files)
    else:
        pack_tar(tmp_path / name, files, "w" if name.endswith("tar") else "w:gz")
    check_gestures(tmp_path)


def test_tonics_gestures_are_found_in_double_folders_and_repacked(tmp_path):
    train, test = make_tonic_gestures().values()
    write(tmp_path / "DVSGesture", move(train, "ibmGestureTrain"))
    pack_zip(tmp_path / "DVSGesture" / "ibmGestureTest.zip", test)
    data = load("dvs_gesture", tmp_path, num_frames=1, size=8)
    assert len(data.train) == len(train) and len(data.test) == len(test)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_flipped_bit_in_a_gesture_archive_is_refused_by_name(tmp_path, place):
    archive = pack_tar(tmp_path / "DvsGesture.tar.gz", GESTURES)
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= 16
    archive.write_bytes(content)
    with pytest.raises(UserError, match="DvsGesture.tar.gz is not a complete archive"):
        check_gestures(tmp_path)
    assert not (tmp_path / "cache" / "DvsGesture").exists()


def test_a_flipped_bit_in_an_extracted_gesture_is_refused_by_name(tmp_path):
    pack_tar(tmp_path / "DvsGesture.tar.gz", GESTURES)
    check_gestures(tmp_path)
    file = tmp_path / "cache" / "DvsGesture" / "user01_led.aedat"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="user01_led.aedat has changed since it was extracted"):
        check_gestures(tmp_path)


def test_no_error_about_a_missing_file_asks_to_delete_others(tmp_path):
    files = make_gestures()
    del files["user01_led.aedat"]
    write(tmp_path / "DvsGesture", files)
    with pytest.raises(UserError, match="Extract it again, or move") as error:
        check_gestures(tmp_path)
    assert "emove" not in str(error.value) and "elete" not in str(error.value)


def test_names_inside_an_archive_are_refused_with_the_name_of_the_archive(tmp_path: Path) -> None:
    files = make_cifar10_dvs([0, 1]) | {"bird/mine.aedat": b""}
    write(tmp_path / "dvs", zip_classes(files))
    with pytest.raises(UserError, match=r"bird.zip \(bird/mine.aedat\): expected a name like"):
        load("cifar10_dvs", tmp_path / "dvs")
    content = make_n_mnist()
    zips = {
        f"{split}.zip": make_zip(of | {f"{split}/x/1.bin": b""}) for split, of in content.items()
    }
    write(tmp_path / "n_mnist", zips)
    with pytest.raises(UserError, match=r"Train.zip \(Train/x/1.bin\): expected a name like"):
        load("n_mnist", tmp_path / "n_mnist")


CAT = RECORDINGS["cat/cifar10_cat_0.aedat"]
OTHER = encode_aedat2(make_stream(77))
GESTURE = encode_npy(make_rows(5))


@pytest.mark.parametrize(
    "name, base, more",
    [
        ("cifar10_dvs", RECORDINGS, {"cat/cifar10_cat_00.aedat": CAT}),
        ("cifar10_dvs", RECORDINGS, {"cat/more/cifar10_cat_0.aedat": CAT}),
        (
            "cifar10_dvs",
            RECORDINGS,
            {"cat/a/cifar10_cat_5.aedat": CAT, "cat/cifar10_cat_5.AEDAT": CAT},
        ),
        ("cifar10_dvs", RECORDINGS, {"cat/cifar10_cat_0 (1).aedat": OTHER}),
        ("cifar10_dvs", RECORDINGS, {"cat/cifar10_cat_0 - Copy.AEDAT": OTHER}),
        ("n_mnist", N_MNIST, {"Train/3/0.bin": N_MNIST["Train/3/00000.bin"]}),
        ("n_mnist", N_MNIST, {"Test/more/3/000.BIN": N_MNIST["Test/3/00000.bin"]}),
        ("n_mnist", N_MNIST, {"Train/3/00000 (1).bin": N_MNIST["Train/7/00001.bin"]}),
        (
            "dvs_gesture",
            GESTURES,
            {
                "DvsGesture/trials_to_train.txt": b"user01_led.aedat user1_led.aedat",
                "DvsGesture/user1_led.aedat": GESTURES["DvsGesture/user01_led.aedat"],
                "DvsGesture/user1_led_labels.csv": GESTURES["DvsGesture/user01_led_labels.csv"],
            },
        ),
        (
            "dvs_gesture",
            GESTURES,
            {
                "DvsGesture/trials_to_train.txt": b"user01_led.aedat user01_LED.aedat",
            },
        ),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_one_sample_under_two_names_is_refused_with_both(tmp_path, name, base, more, packed):
    files = base | more
    if packed:
        for top in {file.split("/")[0] for file in files}:
            of = {file: raw for file, raw in files.items() if file.startswith(f"{top}/")}
            pack_zip(tmp_path / f"{top}.zip", of)
    else:
        write(tmp_path, files)
    with pytest.raises(UserError, match="are the same sample by|have the same name, but") as error:
        load(name, tmp_path, num_frames=1)
    told = str(error.value)
    assert len(re.findall(r"\.(?:aedat|bin)\b", told, re.IGNORECASE)) == 2 and "\n" not in told


@pytest.mark.parametrize("other", ["user01_led/00", "user1_led/0", "user01_LED/0"])
def test_one_gesture_of_tonic_under_two_names_is_refused_with_both(tmp_path, other):
    for files in make_tonic_gestures().values():
        write(tmp_path / "DVSGesture", files)
    folder = tmp_path / "DVSGesture" / "ibmGestureTrain"
    write(folder, {f"{name}.npy": GESTURE for name in ("user01_led/0", other)})
    with pytest.raises(UserError, match=f"(?s){other}.npy.*are the same sample by their names"):
        load("dvs_gesture", tmp_path, num_frames=1)
