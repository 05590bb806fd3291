"""W6: inference of ResNet18 on CIFAR shapes, dense and event-driven.

All networks have random weights, and norms with the statistics of a batch of random images. Ours
runs as `train.evaluate` does, compiled for batches or for single samples; event-driven, the network
is compiled into a program of binary spikes, whose time depends on the firing rate: the record has
it.
"""

from typing import Any

from benchmarks.workload import Cell, Entry, Missing, Subject, Workload

BATCHES = (1, 128)
NEURONS: dict[str, dict[str, Any]] = {
    "ReLU": {"neuron": "ReLU", "steps": 1},
    "PIT 1×4": {"neuron": "PIT", "steps": 1},
    "I-LIF 1×4": {"neuron": "I-LIF", "steps": 1},
    "LIF 4×1": {"neuron": "LIF", "steps": 4},
}
RUNS = (
    ("pit_jax", "ReLU"),
    ("pit_jax", "PIT 1×4"),
    ("pit_jax", "LIF 4×1"),
    ("pytorch", "ReLU"),
    ("spikingjelly", "I-LIF 1×4"),
    ("spikingjelly", "LIF 4×1"),
    ("flax", "ReLU"),
)
STATISTICS = 32  # Images whose statistics the norms have.
MOMENTUM = 0.9


def make_cell(batch: int) -> Cell:
    """Return the cell of a batch size."""
    entries = [Entry(peer, label, {**NEURONS[label], "batch": batch}) for peer, label in RUNS]
    task = {**NEURONS["PIT 1×4"], "batch": batch, "event_driven": True}
    entries.insert(3, Entry("pit_jax", "PIT 1×4, event-driven", task))
    return Cell(f"batch {batch}", tuple(entries), rounds=9, turn_seconds=0.5, quick=True)


WORKLOAD = Workload(
    name="W6",
    title="Inference of ResNet18, 32x32",
    unit="images",
    cells=tuple(make_cell(batch) for batch in BATCHES),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the inference of a task by a peer, on images that stay in memory."""
    sizes = {"width": 4, "classes": 10} if task.get("small") else {"width": 64, "classes": 100}
    library, _, path = peer.partition("-")
    if library not in ("pit_jax", "flax", "pytorch", "spikingjelly"):
        raise Missing(f"inference of {peer} is not measured")
    if library in ("pytorch", "spikingjelly"):
        return make_torch(task, path == "compiled", **sizes)
    if library == "flax":
        return make_flax(task, **sizes)
    return make_ours(task, **sizes)


def draw_images(batch: int) -> Any:
    """Return random images `[batch, 32, 32, 3]`, as normalized ones are distributed."""
    import numpy as np

    return np.random.default_rng(0).standard_normal((batch, 32, 32, 3), np.float32)


def make_ours(task: dict[str, Any], *, width: int, classes: int) -> Subject:
    """Return a network of ours, as jitted evaluation or as an event-driven program."""
    from functools import partial

    from pit_jax import models, neurons

    made = {
        "ReLU": neurons.ReLU,
        "PIT": partial(neurons.PIT, levels=4),
        "LIF": neurons.LIF,
    }
    model = models.create(
        "resnet18",
        num_classes=classes,
        neuron=made[task["neuron"]],
        num_steps=task["steps"],
        width=width,
    )
    return make_jax(model, task, is_ours=True)


def make_flax(task: dict[str, Any], *, width: int, classes: int) -> Subject:
    """Return the same network in plain Flax."""
    from benchmarks.workloads.flax_networks import ResNet18

    return make_jax(ResNet18(classes, width), task, is_ours=False)


def make_jax(model: Any, task: dict[str, Any], *, is_ours: bool) -> Subject:
    """Return the inference of a Flax network, or of the event-driven program of one of ours."""
    import jax
    import jax.numpy as jnp

    variables = begin(model)
    x = draw_images(task["batch"])
    details = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))}
    if task.get("event_driven"):
        return make_event_driven(model, variables, x, details)
    options = read_options(task["batch"]) if is_ours else None

    def infer(variables: Any, x: Any) -> Any:
        logits = model.apply(variables, x)
        return logits.mean(1) if logits.ndim == 3 else logits

    apply, given = jax.jit(infer, compiler_options=options), jnp.asarray(x)
    return Subject(lambda: apply(variables, given).block_until_ready(), len(x), details)


def read_options(batch: int) -> Any:
    """Return the compiler options of pit_jax for inference of a batch."""
    from pit_jax.tuning import LEAST_BATCH, compiler_options

    return compiler_options("evaluate") if batch >= LEAST_BATCH else None


def begin(model: Any) -> Any:
    """Return random variables of a Flax network; its norms have the statistics of random images."""
    import jax

    x = draw_images(STATISTICS)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    before = variables["batch_stats"]
    _, changed = jax.jit(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables
    )
    # Flax keeps 0.99 or 0.9 of the old statistics, which are 0 and 1: solved for the new ones.
    moved = changed["batch_stats"]
    stats = jax.tree.map(lambda old, new: old + (new - old) / (1 - MOMENTUM), before, moved)
    return {**variables, "batch_stats": stats}


def make_event_driven(model: Any, variables: Any, x: Any, details: dict[str, Any]) -> Subject:
    """Return the event-driven program of a network; the details have its firing rate."""
    from pit_jax.inference import compile

    program = compile(model, variables, x[:2], verify=False)
    rates = [float((count != 0).mean()) for count in program.counts(x[:2]).values()]
    runtime = program.event_driven()
    details = {**details, "firing_rate": round(sum(rates) / len(rates), 4)}
    return Subject(lambda: runtime(x), len(x), details)


def make_torch(task: dict[str, Any], compiled: bool, *, width: int, classes: int) -> Subject:
    """Return the network in PyTorch, with ReLU or a neuron of SpikingJelly."""
    import torch

    from benchmarks.workloads.torch_networks import ResNet18, count_parameters, reset_net

    torch.manual_seed(0)
    network = ResNet18(task["neuron"], task["steps"], classes, width)
    network = network.to(memory_format=torch.channels_last)

    def convert(batch: int) -> torch.Tensor:
        x = torch.from_numpy(draw_images(batch)).permute(0, 3, 1, 2)
        return x.contiguous(memory_format=torch.channels_last)

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # The statistics of one batch become those of the norm.
    with torch.no_grad():
        network.train()(convert(STATISTICS))
    network.eval()
    reset_net(network)
    forward = torch.compile(network) if compiled else network
    x = convert(task["batch"])

    def run() -> None:
        with torch.inference_mode():
            forward(x).mean(0)
        reset_net(network)

    return Subject(run, len(x), {"parameters": count_parameters(network)})
