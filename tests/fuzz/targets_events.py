"""Targets: files of events, data sets of recordings, and whatever users call events."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pit_jax.events import (
    EVENT,
    convert_events,
    integrate_by_number,
    integrate_by_time,
    make_events,
    read_aedat2,
    read_aedat31,
    read_atis,
    read_npz,
)
from tests.fuzz.core import FileTarget, ValueTarget
from tests.train.event_files import (
    encode_aedat2,
    encode_aedat4,
    encode_aedat31,
    encode_atis,
    encode_npy,
    make_cifar10_dvs,
    make_gestures,
    make_n_mnist,
    make_rows,
    make_stream,
    make_zip,
    write,
)
from train.data import load
from train.data.events.aedat4 import read_aedat4
from train.data.events.tonic import read_array

HEADER = b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"


def check_recording(events: np.ndarray, side: int = 2**16) -> None:
    """Check the type and the range of events that a reader returned."""
    assert events.dtype == EVENT and events.ndim == 1
    if len(events):
        assert events["p"].max() <= 1
        assert max(events["x"].max(), events["y"].max()) < side


def write_aedat2(folder: Path) -> list[Path]:
    """Write recordings with and without the name of the camera, and one without events."""
    plain = encode_aedat2(make_stream(0))
    start = plain.index(b"# This")
    contents = [plain, plain[:start] + HEADER + plain[start:], encode_aedat2(make_stream(0, 0))]
    files = [folder / f"{number}.aedat" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return files


def read_aedat2_file(file: Path) -> None:
    """Read a recording of a DVS128, whose pixels are 128 x 128."""
    check_recording(read_aedat2(file), side=128)


def write_aedat31(folder: Path) -> list[Path]:
    """Write a recording of three packets."""
    (folder / "user01_led.aedat").write_bytes(encode_aedat31(make_stream(0)))
    return [folder / "user01_led.aedat"]


def read_aedat31_file(file: Path) -> None:
    """Read a recording whose pixels have 15 bits, and whose times are not negative."""
    events = read_aedat31(file)
    check_recording(events, side=2**15)
    assert not len(events) or events["t"].min() >= 0


def write_atis(folder: Path) -> list[Path]:
    """Write a recording of N-MNIST."""
    (folder / "00002.bin").write_bytes(encode_atis(make_stream(0, side=34)))
    return [folder / "00002.bin"]


def read_atis_file(file: Path) -> None:
    """Read a recording whose pixels have 8 bits."""
    check_recording(read_atis(file), side=256)


def write_npz(folder: Path) -> list[Path]:
    """Write archives of SpikingJelly, plain and compressed."""
    events = make_stream(0)
    columns = {name: events[name].astype(int) for name in "txyp"}
    np.savez(folder / "plain.npz", **columns)
    np.savez_compressed(folder / "compressed.npz", **columns)
    return [folder / "plain.npz", folder / "compressed.npz"]


def read_npz_file(file: Path) -> None:
    """Read an archive of SpikingJelly."""
    check_recording(read_npz(file))


def write_npy(folder: Path) -> list[Path]:
    """Write gestures of tonic: by row, by column, and of whole numbers."""
    rows = make_rows(0)
    contents = [rows, np.asfortranarray(rows), rows.astype(np.int64)]
    files = [folder / f"{number}.npy" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(encode_npy(content))
    return files


def read_npy_file(file: Path) -> None:
    """Read a gesture of tonic."""
    check_recording(read_array(file))


def write_aedat4(folder: Path) -> list[Path]:
    """Write a recording of three packets."""
    (folder / "one.aedat4").write_bytes(encode_aedat4(make_stream(0)))
    return [folder / "one.aedat4"]


def read_aedat4_file(file: Path) -> None:
    """Read a recording in the process that decodes AEDAT 4."""
    check_recording(read_aedat4(file))


def write_data_set(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write the files of a data set into a folder."""
    write(folder / "data", files)
    return [folder / "data"]


def read_data_set(name: str, folder: Path) -> None:
    """Load a data set; its frames must be counts of the right shape."""
    data = load(name, folder, num_frames=2, unsorted="skip")
    for split in (data.train, data.test):
        images = split.images  # type: ignore[attr-defined]
        assert images.shape[1] == 2 and images.shape[-1] == 2
        assert np.isfinite(images).all() and images.min() >= 0


SMALL = st.sampled_from([-1, 0, 1, 2, 0.5, np.nan, np.inf, 2**31, 2**63, -(2**63)])
DTYPES = st.sampled_from(["?", "i1", "u1", ">i2", "u4", "i8", "u8", "f2", "f4", "f8", "O", "S2"])


@st.composite
def columns(draw: st.DrawFn) -> object:
    """Draw a column of events of any type, mostly of small numbers."""
    count = draw(st.sampled_from([0, 1, 3, 3, 3]))
    kind = draw(st.sampled_from(["small", "small", "any", "list", "odd"]))
    if kind == "small":
        return draw(
            arrays.arrays(
                np.dtype(draw(st.sampled_from(["u1", "i2", "i8"]))),
                count,
                fill=None,
                elements=st.integers(0, 1),
            )
        )
    if kind == "any":
        dtype = np.dtype(draw(DTYPES.filter(lambda name: name != "O")))
        return draw(arrays.arrays(dtype, draw(arrays.array_shapes(max_dims=2, max_side=3))))
    if kind == "list":
        return draw(st.lists(SMALL, min_size=count, max_size=count))
    return draw(st.none() | SMALL | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=3))


NAMES = st.sampled_from(["t", "x", "y", "p", "ts", "on", "T", "polarity", "frames", ""])


@st.composite
def anything(draw: st.DrawFn) -> object:
    """Draw what users may call events: four columns, a mapping, a structured or a plain array."""
    four: dict[str, object] = {name: draw(columns()) for name in "txyp"}
    if draw(st.booleans()):
        # Mostly right: one column at most is another.
        right = {name: np.array([0, 1, 1]) for name in "txyp"}
        four = right | draw(st.sampled_from([{}, *({name: four[name]} for name in "txyp")]))
    kind = draw(st.sampled_from(["four", "mapping", "odd mapping", "structured", "other"]))
    if kind == "four":
        return tuple(four.values())
    if kind == "mapping":
        return four
    if kind == "odd mapping":
        return draw(st.dictionaries(NAMES, columns(), max_size=5))
    if kind == "structured":
        names = draw(st.lists(NAMES.filter(bool), min_size=1, max_size=5, unique=True))
        dtype = np.dtype([(name, draw(DTYPES)) for name in names])
        return np.zeros(draw(st.sampled_from([0, 2, (2, 2), ()])), dtype)
    return draw(columns())


def check_events(events: object) -> None:
    """Convert events, and integrate them; frames must have all of them."""
    converted = make_events(*events) if isinstance(events, tuple) else convert_events(events)
    check_recording(converted)
    for integrate in (integrate_by_number, integrate_by_time):
        frames = integrate(converted, 2, height=4, width=4)
        assert frames.shape == (2, 4, 4, 2) and frames.sum() == len(converted)


GESTURES = {f"DvsGesture/{name}": content for name, content in make_gestures().items()}
DIGITS = {name: content for files in make_n_mnist().values() for name, content in files.items()}
ZIPS = {f"{split}.zip": make_zip(files) for split, files in make_n_mnist().items()}
TARGETS = [
    FileTarget("AEDAT 2.0", write_aedat2, read_aedat2_file),
    FileTarget("AEDAT 3.1", write_aedat31, read_aedat31_file),
    FileTarget("AEDAT 4", write_aedat4, read_aedat4_file),
    FileTarget("N-MNIST .bin", write_atis, read_atis_file),
    FileTarget("events .npz", write_npz, read_npz_file),
    FileTarget("gestures .npy", write_npy, read_npy_file),
    FileTarget(
        "DVS-Gesture folder",
        lambda folder: write_data_set(GESTURES, folder),
        lambda folder: read_data_set("dvs_gesture", folder),
    ),
    FileTarget(
        "N-MNIST folder",
        lambda folder: write_data_set(DIGITS, folder),
        lambda folder: read_data_set("n_mnist", folder),
    ),
    FileTarget(
        "N-MNIST archives",
        lambda folder: write_data_set(ZIPS, folder),
        lambda folder: read_data_set("n_mnist", folder),
    ),
    FileTarget(
        "CIFAR10-DVS folder",
        lambda folder: write_data_set(make_cifar10_dvs((0, 950)), folder),
        lambda folder: read_data_set("cifar10_dvs", folder),
    ),
    ValueTarget("events", anything(), check_events, ("event", "t ", "x ", "y ", "p ")),
]
