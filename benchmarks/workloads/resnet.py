"""W3: training steps of the paper's ResNet18 on CIFAR shapes, T×D = 4×1, 2×2 and 1×4.

ReLU is the floor: the same network without neurons over time. Batch 32, as two cores hold it; the
peak memory is measured at batch 128.
"""

from typing import Any

from benchmarks.workload import Cell, Entry, Workload
from benchmarks.workloads.training import make

__all__ = ["WORKLOAD", "make"]

NETWORK = {"network": "resnet18", "shape": (32, 32, 3), "classes": 100}
# The variant of configs/cifar100.py, T, and the levels where the neuron has them.
NEURONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ReLU": ("relu", {"neuron": "ReLU", "steps": 1}),
    "PIT 1×4": ("pit", {"neuron": "PIT", "steps": 1, "levels": 4}),
    "I-LIF 1×4": ("ilif", {"neuron": "I-LIF", "steps": 1, "levels": 4}),
    "PIT 2×2": ("pit", {"neuron": "PIT", "steps": 2, "levels": 2}),
    "I-LIF 2×2": ("ilif", {"neuron": "I-LIF", "steps": 2, "levels": 2}),
    # The first epoch passes before the first turn: 30 steps would take two minutes.
    "LIF 4×1": ("lif", {"neuron": "LIF", "steps": 4, "steps_per_epoch": 18, "turn_steps": 2}),
}


def make_entry(peer: str, label: str, batch: int, *against: str, **more: Any) -> Entry:
    """Return the entry of a peer and a neuron."""
    variant, neuron = NEURONS[label]
    task: dict[str, Any] = {**NETWORK, **neuron, "batch": batch, **more}
    if peer.startswith("pit_jax"):
        task["config"] = f"configs/cifar100.py:{variant}"
    return Entry(peer, label, task, against)


def list_entries(batch: int) -> tuple[Entry, ...]:
    """Return the neurons of `make bench` with their rivals."""
    rows = (
        ("pit_jax", "ReLU"),
        ("pytorch", "ReLU"),
        ("flax", "ReLU"),
        ("pit_jax", "PIT 1×4", "ReLU"),
        ("spikingjelly", "I-LIF 1×4", "PIT 1×4"),
        ("pit_jax", "LIF 4×1", "ReLU"),
        ("spikingjelly", "LIF 4×1"),
    )
    return tuple(make_entry(peer, label, batch, *against) for peer, label, *against in rows)


def list_integers(batch: int) -> tuple[Entry, ...]:
    """Return our I-LIF, and two time steps of two levels."""
    rows = (
        ("pit_jax", "I-LIF 1×4"),
        ("spikingjelly", "I-LIF 1×4"),
        ("pit_jax", "PIT 2×2"),
        ("spikingjelly", "I-LIF 2×2", "PIT 2×2"),
    )
    return tuple(make_entry(peer, label, batch, *against) for peer, label, *against in rows)


def list_steps(batch: int, **more: Any) -> tuple[Entry, ...]:
    """Return steps without train.main: one batch, no augmentation, as the peers have it."""
    rows = (
        ("pit_jax", "ReLU"),
        ("pytorch", "ReLU"),
        ("flax", "ReLU"),
        ("pit_jax", "PIT 1×4", "ReLU"),
        ("spikingjelly", "I-LIF 1×4", "PIT 1×4"),
    )
    more["through"] = "step"
    return tuple(make_entry(peer, label, batch, *against, **more) for peer, label, *against in rows)


def list_other_paths(batch: int) -> tuple[Entry, ...]:
    """Return torch.compile, kept memory for all, and ours without tuning."""
    rows = (
        ("pit_jax", "ReLU"),
        ("pit_jax-kept", "ReLU"),
        ("pit_jax-untuned", "ReLU"),
        ("pytorch-compiled", "ReLU"),
        ("pytorch-kept", "ReLU"),
        ("pit_jax", "PIT 1×4"),
        ("pit_jax-kept", "PIT 1×4"),
        ("pit_jax-untuned", "PIT 1×4"),
        ("spikingjelly-compiled", "I-LIF 1×4", "PIT 1×4"),
        ("spikingjelly-kept", "I-LIF 1×4", "PIT 1×4"),
        ("pit_jax", "LIF 4×1"),
        ("pit_jax-kept", "LIF 4×1"),
        ("pit_jax-untuned", "LIF 4×1"),
        ("spikingjelly-compiled", "LIF 4×1"),
        ("spikingjelly-kept", "LIF 4×1"),
    )
    return tuple(make_entry(peer, label, batch, *against) for peer, label, *against in rows)


def make_memory_cell(name: str, *rows: tuple[str, ...], quick: bool = False) -> Cell:
    """Return a cell that measures peak memory at batch 128, in few steps."""
    # PyTorch's default layout, since trying both would add to the peak.
    few = {"steps_per_epoch": 2, "layout": "contiguous"}
    entries = [make_entry(peer, label, 128, *against, **few) for peer, label, *against in rows]
    return Cell(name, tuple(entries), rounds=1, turn_seconds=0.0, quick=quick)


WORKLOAD = Workload(
    name="W3",
    title="Training step of ResNet18 on CIFAR shapes, ours through train.main",
    unit="images",
    cells=(
        Cell("batch 32", list_entries(32), rounds=5, turn_seconds=3.0, quick=True),
        make_memory_cell(
            "batch 128, memory",
            ("pit_jax", "PIT 1×4"),
            ("spikingjelly", "I-LIF 1×4", "PIT 1×4"),
            quick=True,
        ),
        make_memory_cell(
            "batch 128, memory of LIF", ("pit_jax", "LIF 4×1"), ("spikingjelly", "LIF 4×1")
        ),
        make_memory_cell(
            "batch 128, kept memory", ("pit_jax", "PIT 1×4"), ("pit_jax-kept", "PIT 1×4")
        ),
        Cell("batch 32, step alone", list_steps(32), rounds=5, turn_seconds=3.0),
        Cell("batch 32, one core", list_steps(32, cores=1), rounds=5, turn_seconds=3.0),
        Cell("batch 32, other levels", list_integers(32), rounds=5, turn_seconds=3.0),
        Cell("batch 32, other paths", list_other_paths(32), rounds=5, turn_seconds=3.0),
    ),
)
