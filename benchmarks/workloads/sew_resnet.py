"""W4: training steps of SEW-ResNet18 on images of 64 × 64, repeated over time.

SpikingJelly's own network against ours: IF neurons with T = 4, and integers with T×D = 1×4.
"""

from typing import Any

from benchmarks.workload import Cell, Entry, Workload
from benchmarks.workloads.training import make

__all__ = ["WORKLOAD", "make"]

TASK: dict[str, Any] = {
    "network": "sew_resnet18",
    "shape": (64, 64, 3),
    "classes": 100,
    "batch": 16,
    "width": 64,
}
IF = {
    "neuron": "IF",
    "steps": 4,
    "config": "configs/folder.py:if",
    # A step takes seconds.
    "steps_per_epoch": 18,
    "turn_steps": 2,
}
PIT = {"neuron": "PIT", "steps": 1, "levels": 4, "config": "configs/folder.py:pit"}
ILIF = {"neuron": "I-LIF", "steps": 1, "levels": 4, "config": "configs/folder.py:ilif"}

WORKLOAD = Workload(
    name="W4",
    title="Training step of SEW-ResNet18 at 64 × 64, ours through train.main",
    unit="images",
    cells=(
        Cell(
            "batch 16",
            (
                Entry("pit_jax", "PIT 1×4", {**TASK, **PIT}),
                Entry("pit_jax", "I-LIF 1×4", {**TASK, **ILIF}),
                Entry("spikingjelly", "I-LIF 1×4", {**TASK, **ILIF}, ("PIT 1×4", "I-LIF 1×4")),
                Entry("pit_jax", "IF 4×1", {**TASK, **IF}),
                Entry("spikingjelly", "IF 4×1", {**TASK, **IF}),
            ),
            rounds=5,
            turn_seconds=2.0,
        ),
    ),
)
