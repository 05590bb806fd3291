"""Look at the data before hours are spent on them: python -m train.check --config FILE"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from .. import data
from ..config.arguments import run_program
from ..data import Dataset, Split
from ..data.dataset import Streamed
from ..data.events import cifar10_dvs, dvs_gesture, n_mnist
from ..data.images import cifar, mnist
from ..errors import UserError
from ..files import hash_file
from ..parts import check_parts
from . import throughput

Files = dict[Path, str | None]


def by_names(md5s: dict[str, str], root: Path) -> Files:
    """The archives with published hashes in `root` and the folders in it."""
    return {
        file: published
        for archive, published in md5s.items()
        for file in (root / archive, *root.glob(f"*/{archive}"))
        # Tonic's archive holds ten with these names, whose hashes nobody published.
        if file.is_file()
        and (archive == cifar10_dvs.TONIC or not file.with_name(cifar10_dvs.TONIC).exists())
    }


# What gives the files of a data set under a folder, with their hashes where they are published.
FILES: dict[str, Callable[[Path], Files]] = {
    "cifar10": partial(cifar.files, "cifar10"),
    "cifar100": partial(cifar.files, "cifar100"),
    "cifar10_dvs": partial(by_names, cifar10_dvs.MD5),
    "dvs_gesture": partial(by_names, dvs_gesture.MD5),
    "fashion_mnist": partial(mnist.files, "fashion_mnist"),
    "mnist": partial(mnist.files, "mnist"),
    "n_mnist": partial(by_names, n_mnist.MD5),
}
# How many samples train and test.
PUBLISHED = {
    "cifar10": [(50_000, 10_000)],
    "cifar100": [(50_000, 10_000)],
    "cifar10_dvs": [(9_000, 1_000)],
    "digits": [(1_437, 360)],
    "dvs_digits": [(1_437, 360)],
    "dvs_gesture": [(1_176, 288), (1_077, 264)],
    "fashion_mnist": [(60_000, 10_000)],
    "imagenet": [(1_281_167, 50_000)],
    "mnist": [(60_000, 10_000)],
    "n_mnist": [(60_000, 10_000)],
}
EQUAL = {"cifar10", "cifar100", "cifar10_dvs", "fashion_mnist"}  # As many samples in every class.
MOST_ROWS = 20


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("check", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Return 0 for data that are ready, and 2 where something is left to do."""
    jax.config.update("jax_num_cpu_devices", args.config.cpu_devices)
    problems = check(args.config, args.out, Console())
    for problem in problems:
        print(f"to do: {problem}")
    if not problems:
        print("ready")
    return 2 if problems else 0


def check(config: ConfigDict, out: Path, console: Console) -> list[str]:
    """Prints what is found; gives what has to be mended before training."""
    check_parts(config)
    problems = check_archives(config.data.name, Path(config.data.data_dir), console)
    began = time.monotonic()
    try:
        dataset = data.load(**config.data)
    except UserError as error:
        raise UserError("\n".join([*problems, str(error)])) from error
    console.print(
        f"{config.data.name} loaded in {time.monotonic() - began:.1f} s: "
        f"{dataset.train.dtype} {dataset.train.shape}",
        highlight=False,
    )
    console.print(table(dataset))
    problems += check_counts(dataset)
    notes = imbalance(dataset)
    if isinstance(dataset.train, Streamed):
        dataset.train.verify()
        dataset.test.verify()
        console.print("every file: whole, by its sha256", highlight=False)
        notes += ["blank samples and copies among those for testing are not looked for on disk."]
    else:
        notes += [*blank(dataset), *duplicates(dataset)]
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    file = out / "sheet.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        throughput.draw(config, dataset).savefig(file, dpi=150)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}); choose another --out.") from error
    console.print(f"contact sheet: {file}", highlight=False, soft_wrap=True)
    console.print(throughput.speed(config, dataset), highlight=False, soft_wrap=True)
    return problems


def check_archives(name: str, root: Path, console: Console) -> list[str]:
    """Compares the archives that are read under `root` with the published hashes."""
    if name not in FILES:
        return []
    problems, files = [], FILES[name](root)
    for file, published in files.items():
        if published is None:
            continue
        if (found := hash_file(file, "md5")) == published:
            console.print(f"{file}: whole, by its md5", highlight=False, soft_wrap=True)
        else:
            problems.append(
                f"{file} has the md5 {found}, the published file {published}: "
                "move it away and fetch it again."
            )
    plain = [str(file) for file, published in files.items() if published is None]
    if plain:
        told = f"{', '.join(plain)}: not hashed: only archives have published hashes"
        console.print(told, highlight=False, soft_wrap=True)
    elif not files:
        told = f"{root}: not hashed: it holds none of the archives that have published hashes"
        console.print(told, highlight=False, soft_wrap=True)
    return problems


def table(dataset: Dataset) -> Table:
    """How many samples of each class both splits have."""
    counts = _counts(dataset)
    made = Table("class", title=f"samples of {dataset.name}", title_justify="left")
    for split in counts:
        made.add_column(split, justify="right")
    if dataset.num_classes <= MOST_ROWS:
        for label in range(dataset.num_classes):
            made.add_row(str(label), *(f"{of[label]:,}" for of in counts.values()))
    else:
        ranges = (f"{of.min():,} to {of.max():,} each" for of in counts.values())
        made.add_row(f"0 to {dataset.num_classes - 1}", *ranges)
    made.add_section()
    made.add_row("all", *(f"{of.sum():,}" for of in counts.values()))
    for published in PUBLISHED.get(dataset.name, []):
        made.add_row("published", *(f"{count:,}" for count in published))
    return made


def check_counts(dataset: Dataset) -> list[str]:
    """What is missing: samples that were published, or a class that nothing trains."""
    counts, published = _counts(dataset), PUBLISHED.get(dataset.name)
    problems = []
    found = (len(dataset.train), len(dataset.test))
    if published and found not in published:
        expected = " or ".join(f"{train:,} and {test:,}" for train, test in published)
        problems.append(
            f"{dataset.name} has {found[0]:,} training and {found[1]:,} test samples, not "
            f"{expected}: files are missing or of another version; see docs/guide/data.md."
        )
    elif dataset.name in EQUAL and any(of.min() != of.max() for of in counts.values()):
        problems.append(
            f"the classes of {dataset.name} are not equally large, as published: labels were "
            "changed; fetch the files again."
        )
    if missing := np.flatnonzero(counts["train"] == 0).tolist():
        problems.append(f"no training sample is of class {', '.join(map(str, missing))}.")
    return problems


def imbalance(dataset: Dataset) -> list[str]:
    """Splits whose largest class has more than twice the samples of the smallest."""
    return [
        f"the largest class of {split} has {of.max():,} samples and the smallest {of.min():,}: "
        "accuracy will be that of the large classes above all."
        for split, of in _counts(dataset).items()
        if of.max() > 2 * of.min()
    ]


def blank(dataset: Dataset) -> list[str]:
    """Samples in which every value is the same, such as recordings without events."""
    found = []
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        count = sum(bool((sample == sample.flat[0]).all()) for sample in split.images)
        if count:
            found.append(f"{count:,} samples of {name} are blank.")
    return found


def duplicates(dataset: Dataset) -> list[str]:
    """Test samples that are training samples too, bit by bit."""
    trained: dict[bytes, int] = {}
    for sample, label in zip(dataset.train.images, dataset.train.labels.tolist(), strict=True):
        trained[sample.tobytes()] = label
    labels = [
        (label, trained[sample.tobytes()])
        for sample, label in zip(dataset.test.images, dataset.test.labels.tolist(), strict=True)
        if sample.tobytes() in trained
    ]
    if not labels:
        return []
    other = sum(there != here for there, here in labels)
    return [
        f"{len(labels):,} of {len(dataset.test.labels):,} test samples are training samples too, "
        f"bit by bit, {other:,} of them with another label: the test accuracy is not that of new "
        "samples only."
    ]


def _counts(dataset: Dataset) -> dict[str, np.ndarray]:
    def count(split: Split | Streamed) -> np.ndarray:
        if isinstance(split, Streamed):
            return np.array(split.per_class)
        return np.bincount(split.labels, minlength=dataset.num_classes)

    return {"train": count(dataset.train), "test": count(dataset.test)}


if __name__ == "__main__":
    sys.exit(main(sys.argv))
