"""CIFAR10-DVS: 10,000 recordings of moving CIFAR-10 images in AEDAT 2.0, as their authors ship."""

import os
import re
import zipfile
from pathlib import Path, PurePosixPath

from pit_jax.events import read_aedat2
from train.data.cache import cache_folder
from train.data.dataset import DataNotFound, Dataset
from train.data.recordings import Frames, Recording, frames_dataset
from train.data.split import in_test
from train.errors import UserError

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
SENSOR = (128, 128)
HOW = "the ten .zip files of https://doi.org/10.6084/m9.figshare.4724671.v2"


def cifar10_dvs(
    data_dir: str | os.PathLike[str] = "data",
    *,
    num_frames: int = 10,
    split_by: str = "number",
    size: int = 48,
    split: str = "first900",
    cache_dir: str | None = None,
) -> Dataset:
    """Frames of counts `N T size size 2`; `split` names a rule of `splits/cifar10_dvs.json`.

    Frames are made once, and kept in `cache_dir`, by default `data_dir`/cache. Raises
    `DataNotFound` where a class is missing, `UserError` for damaged files and unknown rules.
    """
    recordings = _find(Path(data_dir).absolute())
    tested = in_test("cifar10_dvs", split, recordings)
    return frames_dataset(
        "cifar10_dvs",
        len(CLASSES),
        [recording for recording, test in zip(recordings, tested, strict=True) if not test],
        [recording for recording, test in zip(recordings, tested, strict=True) if test],
        read_aedat2,
        Frames(num_frames, split_by, SENSOR, (size, size)),
        cache_folder(data_dir, cache_dir),
    )


def _find(root: Path) -> list[Recording]:
    """Every recording in the order of classes and numbers, from folders or zips of the classes."""
    missing = []
    for folder in (root / "CIFAR10DVS", root / "cifar10_dvs", root):
        found = [_of_class(folder, label) for label in range(len(CLASSES))]
        if all(found):
            return [recording for recordings in found for recording in recordings]
        absent = [name for name, recordings in zip(CLASSES, found, strict=True) if not recordings]
        missing.append((folder, f"no {', '.join(absent)} (a folder of .aedat files or a .zip)"))
    raise DataNotFound("cifar10_dvs", missing, HOW)


def _of_class(folder: Path, label: int) -> list[Recording]:
    name = CLASSES[label]
    archive = folder / f"{name}.zip"
    if (folder / name).is_dir():
        found = [(file, "") for file in (folder / name).glob("*.aedat")]
    elif archive.is_file():
        try:
            with zipfile.ZipFile(archive) as content:
                members = content.namelist()
        except zipfile.BadZipFile as error:
            raise UserError(f"{archive}: {error}; fetch it again: {HOW}") from error
        found = [(archive, member) for member in members if member.endswith(".aedat")]
    else:
        return []
    recordings = [
        Recording(label, _number(PurePosixPath(member or file)), file, member)
        for file, member in found
    ]
    return sorted(recordings, key=lambda recording: recording.number)


def _number(file: PurePosixPath) -> int:
    match = re.fullmatch(r"cifar10_[a-z]+_(\d+)", file.stem)
    if not match:
        raise UserError(
            f"{file}: expected a name like cifar10_airplane_0.aedat, whose number says whether it "
            "is for training or testing."
        )
    return int(match[1])
