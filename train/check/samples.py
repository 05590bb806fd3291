"""The samples of a data set: counts by class, blank samples, and duplicates in both splits."""

import numpy as np
from rich.markup import escape
from rich.table import Table

from pit_jax.display import show_name

from ..data import Dataset
from ..data.dataset import Batch

# The published numbers of training and test samples; some data sets exist in two versions.
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
# Data sets whose classes have the same number of samples.
EQUAL = {"cifar10", "cifar100", "cifar10_dvs", "fashion_mnist"}
MOST_ROWS = 20


def make_table(dataset: Dataset, *, own: bool = False) -> Table:
    """Return a table of the number of samples by class, with published counts unless `own`."""
    counts = _count(dataset)
    table = Table("class", title=f"samples of {dataset.name}", title_justify="left")
    for split in counts:
        table.add_column(split, justify="right")
    if dataset.num_classes <= MOST_ROWS:
        for label in range(dataset.num_classes):
            name = _name_class(dataset, label)
            table.add_row(name, *(f"{of[label]:,}" for of in counts.values()))
    else:
        ranges = (f"{of.min():,} to {of.max():,} each" for of in counts.values())
        table.add_row(f"0 to {dataset.num_classes - 1}", *ranges)
    table.add_section()
    table.add_row("all", *(f"{of.sum():,}" for of in counts.values()))
    for published in [] if own else PUBLISHED.get(dataset.name, []):
        table.add_row("published", *(f"{count:,}" for count in published))
    return table


def _name_class(dataset: Dataset, label: int) -> str:
    """Return a label, and the name of its class if it is not just the label."""
    name = show_name(dataset.classes[label]) if dataset.classes else ""
    # Names are a user's own, and may look like markup.
    return str(label) if name in ("", str(label)) else f"{label} {escape(name)}"


def check_counts(dataset: Dataset, *, own: bool = False) -> list[str]:
    """Return problems: counts that differ from the published ones, classes without samples.

    A user's `own` data set has no published counts, even under a name that has.
    """
    counts = _count(dataset)
    # Neither has a subset that a config selects.
    problems = [] if own or dataset.subset else _compare_published(dataset, counts)
    if missing := np.flatnonzero(counts["train"] == 0).tolist():
        problems.append(f"no training sample is of class {', '.join(map(str, missing))}.")
    return problems


def _compare_published(dataset: Dataset, counts: dict[str, np.ndarray]) -> list[str]:
    found, published = (len(dataset.train), len(dataset.test)), PUBLISHED.get(dataset.name)
    if published and found not in published:
        expected = " or ".join(f"{train:,} and {test:,}" for train, test in published)
        return [
            f"{dataset.name} has {found[0]:,} training and {found[1]:,} test samples, not "
            f"{expected}: files are missing or of another version; see docs/guide/data.md."
        ]
    if dataset.name in EQUAL and any(of.min() != of.max() for of in counts.values()):
        return [
            f"the classes of {dataset.name} do not have the same size, as in the published data: "
            "labels were changed. Fetch the files again."
        ]
    return []


def find_imbalance(dataset: Dataset) -> list[str]:
    """Return notes on splits whose largest class is more than twice the smallest."""
    return [
        f"the largest class of {split} has {of.max():,} samples and the smallest {of.min():,}: "
        "accuracy will mostly measure the large classes."
        for split, of in _count(dataset).items()
        if of.max() > 2 * of.min()
    ]


def find_blank(train: Batch, test: Batch) -> list[str]:
    """Return notes on samples whose values are all equal, such as recordings without events."""
    found = []
    for name, samples in (("train", train), ("test", test)):
        count = sum(bool((sample == sample.flat[0]).all()) for sample in samples["image"])
        if count:
            found.append(f"{count:,} samples of {name} are blank.")
    return found


def find_duplicates(train: Batch, test: Batch) -> list[str]:
    """Return a note if some test samples are also training samples, bit for bit."""
    label_of: dict[bytes, int] = {}
    for sample, label in zip(train["image"], train["label"].tolist(), strict=True):
        label_of[sample.tobytes()] = label
    labels = [
        (label, label_of[sample.tobytes()])
        for sample, label in zip(test["image"], test["label"].tolist(), strict=True)
        if sample.tobytes() in label_of
    ]
    if not labels:
        return []
    other = sum(there != here for there, here in labels)
    return [
        f"{len(labels):,} of {len(test['label']):,} test samples are also training samples, bit "
        f"for bit, {other:,} of them with another label: the test accuracy includes samples that "
        "were trained on."
    ]


def _count(dataset: Dataset) -> dict[str, np.ndarray]:
    splits = {"train": dataset.train, "test": dataset.test}
    if dataset.validation is not None:
        splits["validation"] = dataset.validation
    return {name: split.count_classes(dataset.num_classes) for name, split in splits.items()}
