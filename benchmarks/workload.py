"""What is measured: workloads of cells, whose entries take turns; and the subject that runs one."""

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType
from typing import Any

# The module of each workload in benchmarks/workloads/.
WORKLOADS = {
    "W1": "neuron",
    "W2": "dense",
    "W3": "resnet",
    "W4": "sew_resnet",
    "W5": "vgg",
    "W6": "inference",
    "W7": "pipeline",
    "W8": "startup",
}
MIB = 2**20


class Missing(Exception):
    """A peer that cannot do a task, with the reason."""


@dataclass(frozen=True)
class Entry:
    """One peer with its task, measured in its own process.

    `peer` is a key of peers.PEERS, `label` names what it runs, such as "PIT 1×4". `task` goes to
    `make` of the workload as JSON. The table compares the entry with those of pit_jax whose labels
    are `against`; by default with the one of the same label, or else with the first one.
    """

    peer: str
    label: str
    task: Mapping[str, Any]
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """Entries that do the same work and take turns, so that their times can be compared.

    Args:
        name: the name of the cell, unique in its workload.
        entries: what is compared; ratios are relative to the entries of pit_jax.
        rounds: how many turns each entry has.
        turn_seconds: how long a turn lasts; an entry repeats its work until then.
        quick: whether `make bench` measures the cell.
    """

    name: str
    entries: tuple[Entry, ...]
    rounds: int = 9
    turn_seconds: float = 0.5
    quick: bool = False


@dataclass(frozen=True)
class Workload:
    """Cells of one kind of work; `unit` is what `Subject.work` counts, such as "images"."""

    name: str
    title: str
    unit: str
    cells: tuple[Cell, ...]

    def select(
        self, *, quick: bool, peers: tuple[str, ...], small: bool, cell: str = ""
    ) -> "Workload":
        """Return the workload with the quick cells only, some peers only, or in small size.

        Only cells whose names contain `cell` are selected.
        """

        def change(each: Cell) -> Cell:
            found = [x for x in each.entries if not peers or x.peer in peers]
            if small:
                found = [replace(x, task={**x.task, "small": True}) for x in found]
            return replace(each, entries=tuple(found))

        wanted = [each for each in self.cells if cell in each.name and (each.quick or not quick)]
        cells = [change(each) for each in wanted]
        return replace(self, cells=tuple(each for each in cells if each.entries))


@dataclass
class Subject:
    """Work that a worker measures.

    Args:
        run: does the work once and returns when it is finished.
        work: how many units of the workload one run does.
        details: what the record says of it, as JSON: parameters, settings, temporaries.
        warm_up: the runs before the first turn, after the one that compiles.
        repeats: the runs in a turn; 0: as many as fit into `Cell.turn_seconds`.
    """

    run: Callable[[], object]
    work: float
    details: dict[str, Any] = field(default_factory=dict)
    warm_up: int = 2
    repeats: int = 0

    def prepare(self) -> float:
        """Compile and warm up; return the seconds until the end of the first run."""
        start = time.perf_counter()
        self.run()
        seconds = time.perf_counter() - start
        for _ in range(self.warm_up):
            self.run()
        return seconds

    def measure(self, repeats: int) -> float:
        """Run `repeats` times, and return the seconds of one run."""
        start = time.perf_counter()
        for _ in range(repeats):
            self.run()
        return (time.perf_counter() - start) / repeats

    def read_peak_mib(self) -> float:
        """Return the largest resident memory of the process so far, or of the GPU it uses."""
        for library, read in (("torch", _read_torch_peak), ("jax", _read_jax_peak)):
            if library in sys.modules and (peak := read()) is not None:
                return peak / MIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def count_compiled(self) -> int:
        """Return how many programs its child processes have compiled so far."""
        return 0

    def close(self) -> None:
        """End what the subject has started."""


def _read_torch_peak() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None


def _read_jax_peak() -> int | None:
    import jax

    peak: int | None = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return peak


def load_module(name: str) -> ModuleType:
    """Return the module of a workload: its `WORKLOAD`, and `make(peer, task)` for workers.

    Raises ValueError for an unknown name.
    """
    if name not in WORKLOADS:
        raise ValueError(f"there is no workload {name!r}. Choose from {', '.join(WORKLOADS)}.")
    return import_module(f"benchmarks.workloads.{WORKLOADS[name]}")


def count_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
