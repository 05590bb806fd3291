"""W6: inference of ResNet18 on CIFAR shapes, dense and event-driven.

All networks have random weights, and norms with the statistics of a batch of random images. Ours
runs as `train.evaluate` does, compiled for batches or for single samples; event-driven, the network
is compiled into a program of binary spikes, whose time depends on the firing rate: the record has
it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.workload import Cell, Entry, Missing, Subject, Workload
from benchmarks.workloads.resnet import NETWORK, NEURONS

BATCHES = (1, 128)
PIT, LIF = "PIT 1×4", "LIF 4×1"
# Each with the rows of ours that it is compared with.
RUNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("pit_jax", "ReLU", ()),
    ("pit_jax", "PIT 1×4", ("ReLU",)),
    ("pit_jax-untuned", "PIT 1×4", ()),
    ("pit_jax", "LIF 4×1", ("ReLU",)),
    ("pytorch", "ReLU", ("ReLU", "PIT 1×4")),
    ("pytorch-compiled", "ReLU", ("ReLU", "PIT 1×4")),
    ("spikingjelly", "I-LIF 1×4", ("PIT 1×4",)),
    ("spikingjelly", "LIF 4×1", ()),
    ("flax", "ReLU", ()),
)
STATISTICS = 32  # Images whose statistics the norms have.
MOMENTUM = 0.9


def make_entries(batch: int) -> tuple[Entry, ...]:
    """Return the dense entries of a batch size, and the event-driven one."""
    entries = [
        Entry(peer, label, {**NETWORK, **NEURONS[label][1], "batch": batch}, against)
        for peer, label, against in RUNS
    ]
    task = {**NETWORK, **NEURONS[PIT][1], "batch": batch, "event_driven": True}
    return (*entries, Entry("pit_jax", f"{PIT}, event-driven", task, against=(PIT,)))


def make_cells() -> tuple[Cell, ...]:
    """Return a cell for each batch size; LIF in batches, which takes half the time, has its own."""
    one, batch = (make_entries(size) for size in BATCHES)
    others = tuple(entry for entry in batch if entry.label != LIF)
    lif = tuple(replace(entry, against=()) for entry in batch if entry.label == LIF)
    return (
        Cell("batch 1", one, rounds=9, turn_seconds=0.3, quick=True),
        Cell("batch 128", others, rounds=5, quick=True),
        Cell(f"batch 128, {LIF}", lif, rounds=5),
    )


WORKLOAD = Workload(
    name="W6",
    title="Inference of ResNet18, 32x32",
    unit="images",
    cells=make_cells(),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the inference of a task by a peer, on images that stay in memory."""
    if task.get("small"):
        task = {**task, "width": 4, "batch": min(task["batch"], 4)}
    name, _, path = peer.partition("-")
    if name in ("pytorch", "spikingjelly"):
        return make_torch(task, compiled=path == "compiled")
    if name == "flax":
        from benchmarks.workloads.flax_networks import ResNet18

        return make_jax(ResNet18(task["classes"], task.get("width", 64)), task, None)
    if name == "pit_jax":
        return make_ours(task)
    raise Missing(f"inference of {peer} is not measured")


def draw_images(batch: int) -> Any:
    """Return random images `[batch, 32, 32, 3]`, as normalized ones are distributed."""
    import numpy as np

    return np.random.default_rng(0).standard_normal((batch, 32, 32, 3), np.float32)


def make_ours(task: Mapping[str, Any]) -> Subject:
    """Return a network of ours, as jitted evaluation or as an event-driven program."""
    from pit_jax import models, neurons
    from pit_jax.tuning import LEAST_BATCH, compiler_options

    made = {"ReLU": neurons.ReLU, "PIT": neurons.PIT, "LIF": neurons.LIF}[task["neuron"]]
    model = models.create(
        task["network"],
        num_classes=task["classes"],
        neuron=partial(made, levels=task["levels"]) if "levels" in task else made,
        num_steps=task["steps"],
        width=task.get("width", 64),
    )
    if task.get("event_driven"):
        return make_event_driven(model, draw_images(task["batch"]))
    is_batch = task["batch"] >= LEAST_BATCH
    return make_jax(model, task, compiler_options("evaluate") if is_batch else None)


def make_jax(model: Any, task: Mapping[str, Any], options: Any) -> Subject:
    """Return the jitted evaluation of a Flax network."""
    import jax
    import jax.numpy as jnp

    variables, x = begin(model), jnp.asarray(draw_images(task["batch"]))

    def infer(variables: Any, x: Any) -> Any:
        logits = model.apply(variables, x, train=False)
        return logits.mean(1) if logits.ndim == 3 else logits

    apply = jax.jit(infer, compiler_options=options)
    details = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))}
    return Subject(lambda: apply(variables, x).block_until_ready(), float(len(x)), details)


def begin(model: Any) -> Any:
    """Return random variables of a Flax network; its norms have the statistics of random images."""
    import jax

    from pit_jax.jaxprs import draw_at_once

    x = jax.numpy.asarray(draw_images(STATISTICS))
    start = jax.jit(draw_at_once(partial(model.init, train=False)))
    variables = start(jax.random.key(0), x)

    @jax.jit
    def move(variables: Any) -> Any:
        return model.apply(variables, x, train=True, mutable=["batch_stats"])[1]["batch_stats"]

    def extend(old: Any, new: Any) -> Any:
        # Flax keeps `MOMENTUM` of the old statistics; those of the batch are at the end of the way.
        return old + (new - old) / (1 - MOMENTUM)

    before = variables["batch_stats"]
    return {**variables, "batch_stats": jax.tree.map(extend, before, move(variables))}


def make_event_driven(model: Any, x: Any) -> Subject:
    """Return the event-driven program of a network; the details have its mean firing rate."""
    from pit_jax.inference import compile

    sample = x[:2]
    program = compile(model, begin(model), sample, verify=False)
    rates = [float((count != 0).mean()) for count in program.counts(sample).values()]
    runtime = program.event_driven()
    details = {"firing_rate": round(sum(rates) / len(rates), 4)}
    return Subject(lambda: runtime(x), float(len(x)), details)


def make_torch(task: Mapping[str, Any], *, compiled: bool) -> Subject:
    """Return the network in PyTorch, with ReLU or a neuron of SpikingJelly."""
    import torch

    from benchmarks.workloads import torch_networks
    from benchmarks.workloads.torch_inference import Inference

    torch.manual_seed(0)
    images, first = draw_images(task["batch"]), draw_images(STATISTICS)
    inference = Inference(torch_networks.make_network(task), images, first, compiled=compiled)
    details = {
        "layout": inference.layout,
        "parameters": torch_networks.count_parameters(inference.network),
        "threads": torch.get_num_threads(),
    }
    return Subject(inference.run, float(len(images)), details)
