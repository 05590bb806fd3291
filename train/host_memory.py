"""The memory that this process may use on its host: of the machine, of control groups, of ulimit.

Without JAX: processes that only read data import it, and they start in half the time.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import resource
except ImportError:  # Windows.
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
# Files with the limits of control groups, without and with swap, in versions 2 and 1.
V2, V2_SWAP = "memory.max", "memory.swap.max"
V1, V1_SWAP = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
GIB = 2**30


class MemoryLimit(NamedTuple):
    """A number of bytes that this process may use, and what limits it."""

    bytes: int
    name: str


def find_host_limits(
    meminfo: Path = Path("/proc/meminfo"),
    groups: Path = Path("/proc/self/cgroup"),
    mounted: Path = CGROUPS,
) -> list[MemoryLimit]:
    """Return the limits of the memory of this process on the host; [] if none are known."""
    limits = []
    total, swap = (_read_meminfo(meminfo, name) for name in ("MemTotal", "SwapTotal"))
    if total:
        limits.append(MemoryLimit(total + swap, "the memory and swap of this machine"))
    limits += [
        MemoryLimit(size, "the limit of this container or job")
        for size in _list_group_limits(groups, mounted, swap)
    ]
    if resource is not None:
        size = resource.getrlimit(resource.RLIMIT_AS)[0]
        if size != resource.RLIM_INFINITY:
            limits.append(MemoryLimit(size, "ulimit -v"))
    return limits


def _read_meminfo(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", _read(file), re.MULTILINE | re.ASCII)
    return int(found[1]) * 1024 if found else 0


def _list_group_limits(groups: Path, mounted: Path, swap: int) -> Iterator[int]:
    """Yield the limits of all control groups of this process."""
    for line in _read(groups).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0":
            for folder in _list_parents(mounted, place):
                if limit := _read_number(folder / V2):
                    # Without a file for swap, a group may use all of it.
                    more = _read_number(folder / V2_SWAP)
                    yield limit + (swap if more is None else min(more, swap))
        elif "memory" in controllers.split(","):
            for folder in _list_parents(mounted / "memory", place):
                if limit := _read_number(folder / V1):
                    both = _read_number(folder / V1_SWAP)
                    yield limit + swap if both is None else max(both, limit)


def _list_parents(root: Path, place: str) -> Iterable[Path]:
    """Return the folder of a group and those of its parents; a container sees some at the root."""
    folder = root / place.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _read_number(file: Path) -> int | None:
    """Return the number in a file; None for "max" and for a file that is missing."""
    text = _read(file).strip()
    return int(text) if re.fullmatch(r"\d{1,20}", text, re.ASCII) else None


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except (OSError, ValueError):  # ValueError for a zero byte in a name.
        return ""
