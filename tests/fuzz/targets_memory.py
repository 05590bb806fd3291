"""Fuzz the files of the system that limit the memory of a run; damaged, they limit nothing."""

from pathlib import Path

from tests.fuzz.core import FileTarget
from train.host_memory import find_host_limits


def write_limits(folder: Path) -> list[Path]:
    """Write what Linux shows of the memory of a machine and of the groups of a process."""
    meminfo, groups = folder / "meminfo", folder / "cgroup"
    meminfo.write_text("MemTotal:       24689412 kB\nMemFree: 1 kB\nSwapTotal:       1024 kB\n")
    groups.write_text("4:memory:/job\n1:name=systemd:/\n0::/user.slice/run\n")
    return [meminfo, groups]


def read_limits(path: Path) -> None:
    """Read a file as each of both."""
    for limit in find_host_limits(path, path, path.parent):
        assert isinstance(limit.bytes, int) and limit.bytes > 0 and limit.name


TARGETS = [FileTarget("limits of the memory", write_limits, read_limits)]
