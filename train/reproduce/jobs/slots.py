"""The slots in which runs train at the same time: one for each GPU, or one for each CPU core.

JAX is not asked for its devices here: a process that has asked holds the memory of a GPU.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ...data.storage import workers
from ...host_memory import find_host_limits

# Scales whose networks are too small to keep two cores busy.
SMALL = ("laptop", "smoke")
PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
VISIBLE = "CUDA_VISIBLE_DEVICES"
# A run in a slot of one core. The number of threads changes the order of sums, so it never depends
# on how many runs train at the same time.
ONE_THREAD = {"PJRT_NPROC": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# JAX reserves this share of a GPU's memory by default.
RESERVED = 0.75
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Slot(NamedTuple):
    """A place for one run at a time: its name, and its environment variables."""

    name: str
    environment: Mapping[str, str]


def make_slots(scale: str, gpus: Sequence[str], cores: int, wanted: int | None) -> list[Slot]:
    """Return the slots of this machine; `wanted` replaces their number."""
    if gpus:
        number = wanted or len(gpus)
        each = -(-number // len(gpus))
        share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{RESERVED / each:.3f}"} if each > 1 else {}
        chosen = [gpus[slot % len(gpus)] for slot in range(number)]
        return [Slot(f"GPU {gpu}", {VISIBLE: gpu, **share}) for gpu in chosen]
    if scale in SMALL:
        return [Slot("one core", ONE_THREAD)] * (wanted or cores)
    return [Slot("all cores", {})] * (wanted or 1)


def limit_slots(slots: list[Slot], needed: int) -> list[Slot]:
    """Return as many of the slots on CPUs as fit if each needs `needed` bytes; at least one."""
    available = find_available_memory()
    if available is None or not needed or any(VISIBLE in slot.environment for slot in slots):
        return slots
    return slots[: max(1, available // needed)]


def list_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs that JAX would use, as CUDA_VISIBLE_DEVICES names them."""
    platforms = environment.get("JAX_PLATFORMS", "").split(",")
    if not {"", "cuda", "gpu"} & set(platforms) or not any(map(find_spec, PLUGINS)):
        return []
    if VISIBLE in environment:
        names = [name.strip() for name in environment[VISIBLE].split(",")]
        # CUDA ignores all names after the first that is not a device.
        return names[: names.index("-1")] if "-1" in names else [name for name in names if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_gpus(listed.stdout)


def parse_gpus(listed: str) -> list[str]:
    """Return the devices in the output of `nvidia-smi -L`: of a divided GPU, its parts."""
    found: list[str] = []
    for name in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", listed):
        if name.startswith("MIG") and found and found[-1].startswith("GPU"):
            found.pop()
        found.append(name)
    return found


def count_cores() -> int:
    """Return the number of cores that this process may use, also in a container with a quota."""
    usable = workers.count_cores()
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(usable, int(quota) // int(period)))
    except (OSError, ValueError):  # No such file, or no quota: "max".
        return usable


def find_available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes of memory that are free now, within all limits; None if unknown."""
    limits = [limit.bytes for limit in find_host_limits()]
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        limits.append(int(found[1]) * 1024)
    return min(limits, default=None)
