"""Small event data sets, written byte by byte in the layouts in which people have them."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pit_jax.events import make_events
from train.data.events.cifar10_dvs import CLASSES

# Gestures of two recordings: class, start and end in µs. Their streams end at 9,999 µs.
GESTURES = {"user01_led": [(1, 0, 4_000), (11, 3_000, 9_999)], "user29_lab": [(3, 2_000, 10_000)]}
# Tonic's copy, in the order in which it is read: by user number.
TONIC_TRAIN = ("user02_lab/4", "user10_fluorescent/0", "user10_fluorescent/10", "user10_led/0")
TONIC_TEST = ("user24_led/3",)


def make_stream(seed: int, count: int = 40, side: int = 128) -> np.ndarray:
    """Draw random events, the last one at 9,999 µs."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 10_000, count))
    times[-1:] = 9_999
    x, y = random.integers(0, side, (2, count))
    return make_events(times, x, y, random.integers(0, 2, count))


def count_in_frames(events: np.ndarray, num_frames: int, side: int = 128) -> np.ndarray:
    """Count events in frames, in a loop: an equal number in each, and the remainder in the last."""
    frames = np.zeros((num_frames, side, side, 2), int)
    for i, (_, x, y, p) in enumerate(events.tolist()):
        frames[min(i // (len(events) // num_frames), num_frames - 1), y, x, p] += 1
    return frames


def write(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files into `root`, by their paths in it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def make_zip(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of `files`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_tar(file: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def encode_aedat2(events: np.ndarray) -> bytes:
    """Encode lines of text, then an address and a time per event, both big-endian.

    The camera counts rows and columns from the opposite corner, and its bit is 0 for ON.
    """
    pairs = [
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t)
        for t, x, y, p in events.tolist()
    ]
    header = (
        b"#!AER-DAT2.0\r\n"
        b"# This is a raw AE data file - do not edit\r\n"
        b"# Data format is int32 address, int32 timestamp (8 bytes total), repeated\r\n"
        b"# Timestamps tick is 1 us\r\n"
    )
    return header + b"".join(pairs)


def encode_aedat31(events: np.ndarray, size: int = 16) -> bytes:
    """Encode lines of text, then packets of `size` events, little-endian."""
    content = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for start in range(0, len(events), size):
        part = events[start : start + size].tolist()
        content += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, len(part), len(part), len(part))
        content += b"".join(
            struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in part
        )
    return content


def encode_atis(events: np.ndarray) -> bytes:
    """Encode five bytes per event, as in N-MNIST."""
    return b"".join(
        bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in events.tolist()
    )


def _encode_flatbuffer(identifier: bytes, vtable: bytes, table: bytes, rest: bytes) -> bytes:
    """Encode a size-prefixed FlatBuffer: offset of the table, identifier, vtable, table, rest."""
    at = 8 + len(vtable)
    content = struct.pack("<I4s", at, identifier) + vtable + struct.pack("<i", len(vtable))
    content += table + rest
    return struct.pack("<I", len(content)) + content


def _encode_packet(events: np.ndarray) -> bytes:
    """Encode an uncompressed packet: a vector of structs of 16 bytes, t x y p."""
    vtable = struct.pack("<HHHxx", 6, 8, 4)
    structs = b"".join(struct.pack("<qhh?xxx", *event) for event in events.tolist())
    buffer = _encode_flatbuffer(
        b"EVTS", vtable, struct.pack("<I", 4), struct.pack("<I", len(events)) + structs
    )
    return struct.pack("<II", 0, len(buffer)) + buffer


def encode_aedat4(events: np.ndarray, size: int = 16) -> bytes:
    """Encode an uncompressed recording: version, header with its streams, packets of `size`."""
    streams = (
        b'<dv version="2.0"><node name="outInfo"><node name="0">'
        b'<attr key="typeIdentifier" type="string">EVTS</attr><node name="info">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b"</node></node></node></dv>"
    )
    packets = b"".join(_encode_packet(events[i : i + size]) for i in range(0, len(events), size))

    def header(end_of_packets: int) -> bytes:
        vtable = struct.pack("<HHHHHxx", 10, 16, 0, 8, 4)
        table = struct.pack("<Iq", 12, end_of_packets)
        text = struct.pack("<I", len(streams)) + streams + b"\0"
        return b"#!AER-DAT4.0\r\n" + _encode_flatbuffer(b"IOHE", vtable, table, text)

    return header(len(header(0)) + len(packets)) + packets


def encode_npy(array: np.ndarray) -> bytes:
    """Return the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make_rows(seed: int, count: int = 30) -> np.ndarray:
    """Draw x, y, p and milliseconds, as in a file of tonic's DVS-Gesture."""
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 128, (2, count))
    times = np.sort(random.integers(0, 50, count))
    return np.stack([x, y, random.integers(0, 2, count), times], axis=1).astype(np.float64)


def get_seed(label: int, number: int) -> int:
    """Return the seed of the events of a CIFAR10-DVS recording."""
    return 1000 * label + number


def make_cifar10_dvs(
    numbers: Sequence[int],
    suffix: str = ".aedat",
    write_events: Callable[[np.ndarray], bytes] = encode_aedat2,
) -> dict[str, bytes]:
    """Return recordings with these numbers of each class, in folders."""
    return {
        f"{name}/cifar10_{name}_{number}{suffix}": write_events(
            make_stream(get_seed(label, number))
        )
        for label, name in enumerate(CLASSES)
        for number in numbers
    }


def zip_classes(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files as ten archives, as they are downloaded, in no order."""
    return {
        f"{name}.zip": make_zip(
            {file: files[file] for file in reversed(files) if file.startswith(f"{name}/")}
        )
        for name in CLASSES
    }


def make_gestures() -> dict[str, bytes]:
    """Return IBM's layout: recordings, their labels, and the lists of both splits."""
    files = {"README.txt": b"", "trials_to_train.txt": b"user01_led.aedat\n"}
    files["trials_to_test.txt"] = b"user29_lab.aedat\n"
    for seed, (name, gestures) in enumerate(GESTURES.items()):
        files[f"{name}.aedat"] = encode_aedat31(make_stream(seed))
        lines = ["class,startTime_usec,endTime_usec"]
        lines += [",".join(map(str, gesture)) for gesture in gestures]
        files[f"{name}_labels.csv"] = "\n".join(lines).encode() + b"\n"
    return files


def make_tonic_gestures() -> dict[str, dict[str, bytes]]:
    """Return the contents of both of tonic's archives: one file per gesture."""
    named = {"ibmGestureTrain": TONIC_TRAIN, "ibmGestureTest": TONIC_TEST}
    return {
        split: {
            f"{split}/{name}.npy": encode_npy(make_rows(seed)) for seed, name in enumerate(names)
        }
        for split, names in named.items()
    }


def make_n_mnist(labels: Sequence[int] = (3, 7)) -> dict[str, dict[str, bytes]]:
    """Return the contents of both of N-MNIST's archives."""
    return {
        split: {
            f"{split}/{label}/{i:05d}.bin": encode_atis(make_stream(label, side=34))
            for i, label in enumerate(labels)
        }
        for split in ("Train", "Test")
    }
