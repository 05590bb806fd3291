"""W2: a linear layer and LIF neurons over 500 steps, forward and backward.

The workload of Open Neuromorphic's comparison: `n` inputs, `n` neurons, 16 samples. The gradient
is taken for the weights and the input. Each library has decay 1/2, threshold 1 and subtracts it.
"""

from typing import Any

from benchmarks.workload import Cell, Entry, Subject, Workload
from benchmarks.workloads.neuron import make_gradient_subject, make_torch_subject

STEPS, SAMPLES, SIZES = 500, 16, (512, 2048)
PEERS = ("pit_jax", "spikingjelly", "snntorch", "norse", "spyx", "jaxpike")


def make_cell(size: int) -> Cell:
    entries = tuple(Entry(peer, "LIF", {"size": size}) for peer in PEERS)
    return Cell(f"n={size}", entries, rounds=9, turn_seconds=0.5)


WORKLOAD = Workload(
    name="W2",
    title=f"Linear layer and LIF, T = {STEPS}, {SAMPLES} samples",
    unit="samples",
    cells=tuple(make_cell(size) for size in SIZES),
)


def make(peer: str, task: dict[str, Any]) -> Subject:
    """Return the two layers of a peer."""
    size, steps = (16, 8) if task.get("small") else (task["size"], STEPS)
    makers = {
        "pit_jax": make_ours,
        "spikingjelly": make_torch,
        "snntorch": make_torch,
        "norse": make_torch,
        "spyx": make_spyx,
        "jaxpike": make_jaxpike,
    }
    subject = makers[peer](peer, size, steps)
    subject.work = float(SAMPLES)
    return subject


def make_ours(peer: str, size: int, steps: int) -> Subject:
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from pit_jax.neurons import LIF
    from pit_jax.tuning import compiler_options

    network, shape = nn.Sequential([nn.Dense(size), LIF()]), (SAMPLES, steps, size)
    params = network.init(jax.random.key(1), jnp.zeros(shape))
    return make_gradient_subject(network.apply, params, shape, compiler_options("train"))


def make_torch(peer: str, size: int, steps: int) -> Subject:
    import torch

    from benchmarks.workloads.neuron import TORCH_LAYERS

    linear, neuron = torch.nn.Linear(size, size), TORCH_LAYERS[peer]("LIF")
    subject = make_torch_subject(lambda x: neuron(linear(x)), (steps, SAMPLES, size))
    run = subject.run

    def run_from_zero() -> None:
        linear.zero_grad(set_to_none=True)
        run()

    subject.run = run_from_zero
    return subject


def make_spyx(peer: str, size: int, steps: int) -> Subject:
    import spyx
    from flax import nnx

    rngs = nnx.Rngs(0)
    network = spyx.nn.Sequential(
        nnx.Linear(size, size, rngs=rngs), spyx.nn.LIF((size,), beta=0.5, rngs=rngs)
    )
    graph, state = nnx.split(network)

    def apply(state: Any, x: Any) -> Any:
        return spyx.nn.run(nnx.merge(graph, state), x)[0]

    return make_gradient_subject(apply, state, (steps, SAMPLES, size))


def make_jaxpike(peer: str, size: int, steps: int) -> Subject:
    import equinox as eqx
    import jax
    import jaxpike

    from benchmarks.workloads.neuron import make_jaxpike_neuron

    dense = jaxpike.Dense(size, size, key=jax.random.key(0))
    network = jaxpike.Sequential(dense, make_jaxpike_neuron())
    arrays, rest = eqx.partition(network, eqx.is_inexact_array)

    def apply(arrays: Any, x: Any) -> Any:
        network = eqx.combine(arrays, rest)
        state = jax.tree.map(lambda z: z, network.init_state(x.shape[1:]))
        return jaxpike.unroll(network, x, state)[0]

    return make_gradient_subject(apply, arrays, (steps, SAMPLES, size))
