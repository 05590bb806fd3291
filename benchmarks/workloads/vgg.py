"""W5: training steps of VGG11 on event frames, T = 10, 48 × 48, as for CIFAR10-DVS."""

from typing import Any

from benchmarks.workload import Cell, Entry, Workload
from benchmarks.workloads.training import make

__all__ = ["WORKLOAD", "make"]

TASK: dict[str, Any] = {
    "network": "vgg11",
    "shape": (10, 48, 48, 2),
    "classes": 10,
    "batch": 16,
    "steps": 10,
    # SpikingJelly's neurons have this decay here.
    "config_changes": {"neuron.decay": 0.5},
    # A step takes seconds.
    "steps_per_epoch": 18,
    "turn_steps": 2,
    "if_small": {"widths": (4,) * 8},
}
LIF = {"neuron": "LIF", "config": "configs/cifar10_dvs.py:lif"}
PIT = {"neuron": "PIT", "levels": 4, "config": "configs/cifar10_dvs.py:pit"}
ILIF = {"neuron": "I-LIF", "levels": 4, "config": "configs/cifar10_dvs.py:ilif"}

WORKLOAD = Workload(
    name="W5",
    title="Training step of VGG11 on event frames, T = 10, 48 × 48, ours through train.main",
    unit="samples",
    cells=(
        Cell(
            "batch 16",
            (
                Entry("pit_jax", "LIF 10×1", {**TASK, **LIF}),
                Entry("spikingjelly", "LIF 10×1", {**TASK, **LIF}),
                Entry("pit_jax", "PIT 10×4", {**TASK, **PIT}),
                Entry("pit_jax", "I-LIF 10×4", {**TASK, **ILIF}),
                Entry("spikingjelly", "I-LIF 10×4", {**TASK, **ILIF}, ("PIT 10×4", "I-LIF 10×4")),
            ),
            rounds=5,
            turn_seconds=2.0,
        ),
    ),
)
