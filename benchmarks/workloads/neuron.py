"""W1: one neuron layer alone, forward and backward, 2**20 neurons and T steps.

Every neuron has decay 1/2, threshold 1, a soft reset with its gradient, and a rectangular
surrogate. SpikingJelly has no learned scale: PIT is compared with its ILIFNode, which does less.
The loss is the sum of all outputs times fixed numbers; its gradient is taken for the currents (for
PIT, for the scale too). Currents are resident in memory in the layout of each library.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.workload import MIB, Cell, Entry, Subject, Workload

STEPS = (1, 4, 10, 32)
# Samples and channels of a layer.
SHAPE = (2**10, 2**10)
# torch.compile writes every step of the loop out: 32 of them compile for minutes.
MOST_COMPILED_STEPS = 10
SPIKINGJELLY = ("spikingjelly", "spikingjelly-kept")
# The cells: our neurons, and the neurons of others that do the same work.
CELLS = {
    "LIF": (("LIF",), (*SPIKINGJELLY, "snntorch", "norse", "spyx", "jaxpike"), "LIF"),
    "I-LIF and PIT": (("I-LIF", "PIT"), SPIKINGJELLY, "I-LIF"),
    "ReLU": (("ReLU",), ("pytorch", "flax"), "ReLU"),
}
# `make bench` compares with these; the others are in cells of their own.
QUICK = (*SPIKINGJELLY, "spikingjelly-compiled", "pytorch", "flax")


def make_cell(name: str, steps: int, *, quick: bool) -> Cell:
    """Return the cell of a neuron and a number of steps, with or without the quick peers."""
    ours, peers, label = CELLS[name]
    if "spikingjelly" in peers and steps <= MOST_COMPILED_STEPS:
        peers += ("spikingjelly-compiled",)
    task = {"steps": steps}
    own = ("pit_jax", "pit_jax-kept") if quick and name != "ReLU" else ("pit_jax",)
    entries = [Entry(peer, neuron, {"neuron": neuron, **task}) for neuron in ours for peer in own]
    entries += [
        Entry(peer, label, {"neuron": label, **task}, against=ours)
        for peer in peers
        if (peer in QUICK) == quick
    ]
    title = f"{name} T={steps}" if quick else f"{name} T={steps}, other libraries"
    return Cell(title, tuple(entries), rounds=9, turn_seconds=0.2, quick=quick)


WORKLOAD = Workload(
    name="W1",
    title="Neuron alone, forward and backward, 2^20 neurons",
    unit="neuron steps",
    cells=(
        *(
            make_cell(name, steps, quick=True)
            for name in CELLS
            for steps in STEPS
            if name != "ReLU" or steps in (1, 10)
        ),
        *(make_cell("LIF", steps, quick=False) for steps in STEPS),
    ),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the layer of a peer."""
    rows, channels = (8, 16) if task.get("small") else SHAPE
    neuron, steps = task["neuron"], task["steps"]
    name, _, path = peer.partition("-")
    if name in TORCH_LAYERS:
        forward = TORCH_LAYERS[name](neuron)
        return make_torch_subject(forward, (steps, rows, channels), path == "compiled")
    batch_major, time_major = (rows, steps, channels), (steps, rows, channels)
    if name == "pit_jax":
        return make_ours(neuron, batch_major)
    if name == "flax":
        return make_flax(batch_major)
    makers = {"spyx": make_spyx, "jaxpike": make_jaxpike}
    return makers[name](time_major)


def make_gradient_subject(
    apply: Callable[..., Any], params: Any, shape: tuple[int, ...], options: Any = None
) -> Subject:
    """Return the value and gradient of `apply(params, currents)` in JAX, compiled ahead."""
    import jax
    import jax.numpy as jnp

    def loss(params: Any, x: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(apply(params, x) * weights)

    keys = jax.random.split(jax.random.key(0))
    x, weights = (jax.random.normal(key, shape) for key in keys)
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), compiler_options=options)
    details: dict[str, Any] = {}
    programs: list[Any] = []

    def run() -> None:
        if not programs:  # The first run compiles.
            programs.append(gradient.lower(params, x, weights).compile())
            analysis = programs[0].memory_analysis()
            if analysis is not None:
                details["temporary_mib"] = round(analysis.temp_size_in_bytes / MIB, 1)
        jax.block_until_ready(programs[0](params, x, weights))

    return Subject(run, work=float(x.size), details=details)


def make_ours(neuron: str, shape: tuple[int, ...]) -> Subject:
    """Return a neuron of pit_jax, with the compiler options of training."""
    import jax

    from pit_jax import neurons
    from pit_jax.tuning import compiler_options

    makers = {
        "LIF": neurons.LIF,
        "I-LIF": partial(neurons.ILIF, levels=4),
        "PIT": partial(neurons.PIT, levels=4),
        "ReLU": neurons.ReLU,
    }
    module = makers[neuron]()
    # PIT starts its scales from the first batch.
    params = module.init(jax.random.key(1), jax.random.normal(jax.random.key(2), shape))
    return make_gradient_subject(module.apply, params, shape, compiler_options("train"))


def make_flax(shape: tuple[int, ...]) -> Subject:
    """Return Flax's ReLU."""
    import flax.linen as nn

    return make_gradient_subject(lambda _, x: nn.relu(x), {}, shape)


def make_spyx(shape: tuple[int, ...]) -> Subject:
    """Return spyx's LIF in its own loop over time."""
    import spyx
    from flax import nnx

    graph, state = nnx.split(spyx.nn.LIF(shape[2:], beta=0.5, rngs=nnx.Rngs(0)))

    def apply(state: Any, x: Any) -> Any:
        return spyx.nn.run(nnx.merge(graph, state), x)[0]

    return make_gradient_subject(apply, state, shape)


def make_jaxpike_neuron() -> Any:
    """Return jaxpike's LIF with decay 1/2."""
    import jaxpike

    return jaxpike.LIF(tau=1 / math.log(2), surrogate=jaxpike.Boxcar())


def make_jaxpike(shape: tuple[int, ...]) -> Subject:
    """Return jaxpike's LIF in its own loop over time."""
    import equinox as eqx
    import jaxpike

    arrays, rest = eqx.partition(make_jaxpike_neuron(), eqx.is_inexact_array)

    def apply(arrays: Any, x: Any) -> Any:
        return jaxpike.unroll(eqx.combine(arrays, rest), x)[0]

    return make_gradient_subject(apply, arrays, shape)


def make_torch_subject(
    forward: Callable[[Any], Any], shape: tuple[int, ...], compiled: bool = False
) -> Subject:
    """Return forward and backward pass of `forward(currents)` in PyTorch, currents `[T, ...]`."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    x = torch.randn(shape, device=device).requires_grad_()
    weights = torch.randn(shape, device=device)

    def compute(x: Any) -> Any:
        return (forward(x) * weights).sum()

    compute = torch.compile(compute) if compiled else compute

    def run() -> None:
        x.grad = None
        compute(x).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return Subject(run, work=float(x.numel()), details={"threads": torch.get_num_threads()})


def make_relu(neuron: str) -> Callable[[Any], Any]:
    """Return PyTorch's ReLU."""
    import torch

    return torch.relu


def make_spikingjelly(neuron: str) -> Callable[[Any], Any]:
    """Return a neuron of SpikingJelly that sees all steps."""
    from benchmarks.workloads.torch_networks import make_neuron

    layer = make_neuron(neuron)

    def forward(x: Any) -> Any:
        layer.reset()
        return layer(x)

    return forward


def make_snntorch(neuron: str) -> Callable[[Any], Any]:
    """Return snnTorch's LIF and a loop over time."""
    import snntorch
    import torch

    layer = snntorch.Leaky(beta=0.5, reset_mechanism="subtract")

    def forward(x: Any) -> Any:
        membrane, spikes = layer.reset_mem(), []
        for current in x:
            spike, membrane = layer(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return forward


def make_norse(neuron: str) -> Callable[[Any], Any]:
    """Return Norse's LIF without a current of its own, and a loop over time."""
    import torch
    from norse.torch.functional import lif_box, reset

    # dt is 1 ms, so the decay is 1/2.
    parameters = lif_box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(500.0), reset_method=reset.reset_subtract
    )

    def forward(x: Any) -> Any:
        state, spikes = lif_box.LIFBoxFeedForwardState(v=torch.zeros_like(x[0])), []
        for current in x:
            spike, state = lif_box.lif_box_feed_forward_step(current, state, parameters)
            spikes.append(spike)
        return torch.stack(spikes)

    return forward


# For each library on PyTorch, a function from a neuron's name to one from currents to spikes.
TORCH_LAYERS: dict[str, Callable[[str], Callable[[Any], Any]]] = {
    "pytorch": make_relu,
    "spikingjelly": make_spikingjelly,
    "snntorch": make_snntorch,
    "norse": make_norse,
}
