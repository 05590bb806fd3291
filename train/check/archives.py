"""The archives of a data set, compared with published hashes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..data.events import cifar10_dvs, dvs_gesture, n_mnist
from ..data.images import cifar, mnist
from ..files import hash_file
from ..terminal import Terminal

Files = dict[Path, str | None]


def find_archives(md5s: dict[str, str], root: Path) -> Files:
    """Return the archives with published hashes in `root` and its subfolders."""
    return {
        file: published
        for archive, published in md5s.items()
        for file in (root / archive, *root.glob(f"*/{archive}"))
        # Tonic's archive contains ten archives with the same names but without published hashes.
        if file.is_file()
        and (archive == cifar10_dvs.TONIC or not file.with_name(cifar10_dvs.TONIC).exists())
    }


# Functions that return the files of a data set in a folder, with their published hashes or None.
FILES: dict[str, Callable[[Path], Files]] = {
    "cifar10": partial(cifar.find_files, "cifar10"),
    "cifar100": partial(cifar.find_files, "cifar100"),
    "cifar10_dvs": partial(find_archives, cifar10_dvs.MD5),
    "dvs_gesture": partial(find_archives, dvs_gesture.MD5),
    "fashion_mnist": partial(mnist.find_files, "fashion_mnist"),
    "mnist": partial(mnist.find_files, "mnist"),
    "n_mnist": partial(find_archives, n_mnist.MD5),
}


def check_archives(name: str, root: Path, console: Terminal) -> list[str]:
    """Return a problem for each archive under `root` that differs from its published hash."""
    if name not in FILES:
        return []
    problems, files = [], FILES[name](root)
    for file, published in files.items():
        if published is None:
            continue
        if (found := hash_file(file, "md5")) == published:
            console.print(f"{file}: md5 matches", soft_wrap=True)
        else:
            problems.append(
                f"{file} has the md5 {found}, the published file {published}: "
                "move it away and fetch it again."
            )
    plain = [str(file) for file, published in files.items() if published is None]
    if plain:
        note = f"{', '.join(plain)}: not checked: only archives have published hashes"
        console.print(note, soft_wrap=True)
    elif not files:
        note = f"{root}: not checked: it has none of the archives with published hashes"
        console.print(note, soft_wrap=True)
    return problems
