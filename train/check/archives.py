"""The archives of a data set, compared with the hashes that were published."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from ..data.events import cifar10_dvs, dvs_gesture, n_mnist
from ..data.images import cifar, mnist
from ..files import hash_file

Files = dict[Path, str | None]


def find_archives(md5s: dict[str, str], root: Path) -> Files:
    """Return the archives with published hashes in `root` and in the folders in it."""
    return {
        file: published
        for archive, published in md5s.items()
        for file in (root / archive, *root.glob(f"*/{archive}"))
        # Tonic's archive holds ten with these names, whose hashes nobody published.
        if file.is_file()
        and (archive == cifar10_dvs.TONIC or not file.with_name(cifar10_dvs.TONIC).exists())
    }


# Functions that return the files of a data set in a folder, with hashes where those are published.
FILES: dict[str, Callable[[Path], Files]] = {
    "cifar10": partial(cifar.find_files, "cifar10"),
    "cifar100": partial(cifar.find_files, "cifar100"),
    "cifar10_dvs": partial(find_archives, cifar10_dvs.MD5),
    "dvs_gesture": partial(find_archives, dvs_gesture.MD5),
    "fashion_mnist": partial(mnist.find_files, "fashion_mnist"),
    "mnist": partial(mnist.find_files, "mnist"),
    "n_mnist": partial(find_archives, n_mnist.MD5),
}


def check_archives(name: str, root: Path, console: Console) -> list[str]:
    """Return the archives that are read under `root` and differ from the published hashes."""
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
        note = f"{', '.join(plain)}: not hashed: only archives have published hashes"
        console.print(note, highlight=False, soft_wrap=True)
    elif not files:
        note = f"{root}: not hashed: it holds none of the archives that have published hashes"
        console.print(note, highlight=False, soft_wrap=True)
    return problems
