"""CIFAR10-DVS: 10,000 recordings of moving CIFAR-10 images.

They are in AEDAT 2.0, in tonic's AEDAT 4, or in the .npz files that SpikingJelly makes.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pit_jax.events import read_aedat2, read_npz

from ...errors import UserError
from ...files import hash_content
from ..dataset import DataNotFound, Dataset
from ..images.class_names import CIFAR10 as CLASSES
from ..storage.archives import DamagedArchive, is_zip
from ..storage.cache import choose_cache_folder
from ..storage.extracted import extract_once, fingerprint
from ..storage.members import get_path, list_files, list_zip, show_place
from ..storage.names import find_entry, list_places, name_archives, simplify, walk
from .aedat4 import read_aedat4
from .recordings import Frames, Recording, check_once, load_frames, warn_of_missing
from .splits import check_rule, select_test

SENSOR = (128, 128)
PUBLISHED = dict.fromkeys(CLASSES, 1_000)
HOW = (
    "the ten .zip files of https://doi.org/10.6084/m9.figshare.4724671.v2\n"
    "or tonic's copy in AEDAT 4: pip install tonic aedat, then in Python "
    "tonic.datasets.CIFAR10DVS(save_to=DIR)"
)
TONIC = "CIFAR10DVS.zip"  # tonic's copy, an archive of archives: one for each class.
# Common names of its folder, and of one archive with all classes: tonic's name, and the one that
# "Download all" of figshare gives.
HOMES = ("CIFAR10DVS", "cifar10_dvs", "CIFAR10-DVS", "DVS-CIFAR10")
BUNDLES = (*HOMES, "4724671")
MD5 = {
    "airplane.zip": "0afd5c4bf9ae06af762a77b180354fdd",
    "automobile.zip": "8438dfeba3bc970c94962d995b1b9bdd",
    "bird.zip": "a9c207c91c55b9dc2002dc21c684d785",
    "cat.zip": "52c63c677c2b15fa5146a8daf4d56687",
    "deer.zip": "b6bf21f6c04d21ba4e23fc3e36c8a4a3",
    "dog.zip": "f379ebdf6703d16e0a690782e62639c3",
    "frog.zip": "cad6ed91214b1c7388a5f6ee56d08803",
    "horse.zip": "e7cbbf77bec584ffbf913f00e682782a",
    "ship.zip": "41c7bd7d6b251be82557c6cce9a7d5c9",
    "truck.zip": "89f3922fd147d9aeff89e76a2b0b70a7",
    TONIC: "ce3a4a0682dc0943703bd8f749a7701c",
}
# The authors' files come first: their axes are known to agree with other code.
READERS = {".aedat": read_aedat2, ".aedat4": read_aedat4, ".npz": read_npz}


def cifar10_dvs(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 10,
    split_by: str = "number",
    size: int = 48,
    split: str = "first900",
    unsorted: str = "refuse",
    cache_dir: str | None = None,
) -> Dataset:
    """Return frames of counts `N T size size 2`.

    Prints a warning if recordings are missing. Raises `DataNotFound` if a whole class is missing,
    `UserError` for damaged files and unknown rules.

    Args:
        num_frames: T, the number of frames of each recording.
        split_by: how events are divided into frames, by equal number or equal time: `number` or
            `time`.
        size: height and width of the frames; 128 leaves them as they were recorded.
        split: the rule that selects the test recordings, a name in splits/cifar10_dvs.json:
            `first900`, `tebn`, `random` or `spikingjelly`.
        unsorted: what happens to events that are not sorted by time: `refuse`, `sort`, or
            `skip`, which drops as few as possible.
        cache_dir: the folder in which frames are cached; default: `data_dir`/cache.
    """
    frames = Frames(num_frames, split_by, SENSOR, (size, size), unsorted)
    frames.check()
    check_rule("cifar10_dvs", split)
    cache = choose_cache_folder(data_dir, cache_dir).absolute()
    recordings, suffix = _find(Path(data_dir).absolute(), cache)
    tested = select_test("cifar10_dvs", split, recordings)
    return load_frames(
        "cifar10_dvs",
        len(CLASSES),
        [recording for recording, test in zip(recordings, tested, strict=True) if not test],
        [recording for recording, test in zip(recordings, tested, strict=True) if test],
        READERS[suffix],
        frames,
        cache,
    )


_Files = list[tuple[Path, str]]


def _list_sources(root: Path, cache: Path) -> Iterator[tuple[Path, list[_Files]]]:
    """Yield each place to look in, and the files of each class there.

    The contents of an archive of all classes come after those next to it.
    """
    for folder in list_places(root, *HOMES):
        yield folder, [list_files(folder / name, READERS, HOW, cache) or [] for name in CLASSES]
        bundle = find_entry(folder, *name_archives(BUNDLES))
        if bundle is not None and bundle.is_file():
            try:
                yield from _open_bundle(bundle, cache)
            except DamagedArchive as error:
                raise UserError(f"{bundle}: {error.reason}; fetch it again: {HOW}") from error


def _open_bundle(bundle: Path, cache: Path) -> Iterator[tuple[Path, list[_Files]]]:
    files = list_zip(bundle, READERS) if is_zip(bundle) else []
    if files:
        folders = [simplify(get_path(*pair).parent.name) for pair in files]
        each = list(zip(folders, files, strict=True))
        yield bundle, [[pair for of, pair in each if of == name] for name in CLASSES]
        return
    # A compressed zip inside a zip can only be read from its start, so each recording would cost
    # reading its whole class. The folder's name has the fingerprint: a new archive gets a new one.
    name = f"{bundle.name.partition('.')[0]}-{hash_content(fingerprint(bundle))[:16]}"
    extract_once(bundle, cache / name, {".zip", *READERS})
    found = list(walk(cache / name))
    for folder in dict.fromkeys(f.parent if f.suffix == ".zip" else f.parents[1] for f in found):
        yield folder, [list_files(folder / name, READERS, HOW) or [] for name in CLASSES]


def _find(root: Path, cache: Path) -> tuple[list[Recording], str]:
    """Return all recordings in the order of classes and numbers, and their suffix."""
    expected = "a folder of .aedat, .aedat4 or .npz files or a .zip"
    missing = {root / name: f"the ten classes ({expected})" for name in HOMES[:2]}
    for place, files in _list_sources(root, cache):
        for suffix in READERS:
            found = [_make_recordings(label, of, suffix) for label, of in enumerate(files)]
            if all(found):
                counts = dict(zip(CLASSES, map(len, found), strict=True))
                warn_of_missing("cifar10_dvs", counts, PUBLISHED)
                return [recording for recordings in found for recording in recordings], suffix
        absent = [name for name, of in zip(CLASSES, files, strict=True) if not of]
        # Every class has files, but some only .aedat and others only .aedat4.
        names = ", ".join(absent) or "single kind of file for all classes"
        missing[place] = f"no {names} ({expected})"
    raise DataNotFound("cifar10_dvs", list(missing.items()), HOW)


def _make_recordings(label: int, files: _Files, suffix: str) -> list[Recording]:
    recordings = [
        Recording(label, _parse_number(*pair, CLASSES[label]), *pair)
        for pair in files
        if get_path(*pair).suffix.lower() == suffix
    ]
    check_once((each.number, each) for each in recordings)
    # By number, not by name, where 10 comes before 2: the order of samples follows from this.
    return sorted(recordings, key=lambda recording: recording.number)


def _parse_number(file: Path, member: str, name: str) -> int:
    match = re.fullmatch(rf"cifar10_{name}_(\d+)", simplify(get_path(file, member).stem))
    if not match:
        raise UserError(
            f"{show_place(file, member)}: expected a name like cifar10_airplane_0.aedat in the "
            "folder airplane, whose number decides whether it is for training or testing."
        )
    return int(match[1])
