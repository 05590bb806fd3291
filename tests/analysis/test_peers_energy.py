"""SpikingJelly counts the same operations in the network expanded to binary slots."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.analysis.energy import count
from pit_jax.analysis.recorder import recorder
from pit_jax.inference import compile
from pit_jax.neurons import LIF, PIT
from tests.helpers import jit_once
from tests.inference.random_networks import RandomNetwork
from tests.interop import peers  # Stands in for what SpikingJelly would import of torchvision.

torch = pytest.importorskip("torch")
counters = pytest.importorskip("spikingjelly.activation_based.op_counter")

STEPS = 2
X = jax.random.normal(jax.random.key(0), (3, 6, 5, 3))
LAYERS = ((4, 3, 1, 1, ""), (4, 3, 2, 2, ""), (6, 1, 1, 1, "avg"), (6, 3, 1, 3, "add"))


def count_synapses(spikes, layer):
    """Return SynOpCounter's total of a PyTorch layer for spikes `[..., H, W, C]` or `[..., C]`."""
    places = 3 if isinstance(layer, torch.nn.Conv2d) else 1
    x = torch.tensor(np.asarray(spikes, np.float32).reshape(-1, *spikes.shape[-places:]))
    x = x.permute(0, 3, 1, 2) if places == 3 else x
    counter = counters.SynOpCounter()
    with counters.DispatchCounterMode([counter]), torch.no_grad():
        layer(x)
    return counter.get_total()


@pytest.mark.parametrize("neuron", [partial(PIT, levels=4), partial(LIF, threshold=0.1)])
def test_accumulations_equal_the_synaptic_operations_of_all_slots(neuron):
    model = RandomNetwork(neuron, STEPS, LAYERS)
    variables = dict(jit_once(model.init)(jax.random.key(0), X))
    rows = count(model, variables, X).synapses
    trace = compile(model, variables, X).trace(X)  # [B, T, D, ...]
    compared = 0
    for row in rows:
        if row.reads != "spikes":
            continue
        spikes = np.asarray(trace[row.source])
        assert spikes.any()
        if row.kind == "conv":
            features, kernel, stride, groups, _ = LAYERS[int(row.path.removeprefix("Conv_"))]
            sizes = spikes.shape[-1], features, kernel, stride, kernel // 2
            layer = torch.nn.Conv2d(*sizes, groups=groups, bias=False)
        else:
            layer = torch.nn.Linear(spikes.shape[-1], 3, bias=False)
        if row.source.endswith("_2"):
            # A sum over 2 x 2 binary spikes is like 4 layers that read one spike each.
            even = spikes[..., : spikes.shape[-3] // 2 * 2, : spikes.shape[-2] // 2 * 2, :]
            parts = [even[..., i::2, j::2, :] for i in range(2) for j in range(2)]
        else:
            parts = [spikes]
        assert row.accumulations == sum(count_synapses(part, layer) for part in parts), row
        compared += 1
    assert compared == 5  # Three convolutions, and a linear layer that reads two sources.


def test_the_counter_of_binary_inputs_counts_no_integers():
    """Check why we count integers ourselves: SpikingJelly skips inputs that are not binary."""
    model = RandomNetwork(partial(PIT, levels=4), STEPS, LAYERS[:2])
    variables = dict(jit_once(model.init)(jax.random.key(0), X))
    integers = np.asarray(recorder(model)(variables, X)["PIT_0"].count)
    assert integers.max() > 1
    layer = torch.nn.Conv2d(4, 4, 3, 2, 1, groups=2, bias=False)
    assert count_synapses(integers, layer) == 0
    (row,) = (row for row in count(model, variables, X).synapses if row.path == "Conv_1")
    slots = jnp.stack([integers >= level for level in (1, 2, 3, 4)])
    assert count_synapses(slots, layer) == row.accumulations > 0
    assert peers.torch is torch
