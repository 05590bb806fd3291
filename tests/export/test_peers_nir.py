"""SpikingJelly reads our NIR graphs and computes the same spikes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("nirtorch")
pytest.importorskip("spikingjelly")

import torch
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir

from pit_jax import neurons
from pit_jax.export import from_nir, to_nir
from pit_jax.inference import compile
from tests.export.graphs import HARD_LIF, count_by_layer, round_to_grid
from tests.inference.networks import make_firing_network


def run_spikingjelly(path, x, num_steps, dtype) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return logits `[B, K]`, and the spikes `[B, T, ...]` of each neuron by its node name."""
    net = import_from_nir(path, dtype=dtype)
    recorded: dict[str, list[np.ndarray]] = {}

    def record_spikes(name, module, inputs, outputs):
        spikes = outputs[0].numpy()
        recorded.setdefault(name, []).append(np.moveaxis(spikes, 1, -1))

    for name, module in net.named_children():
        if type(module).__name__ == "_NIRStatefulModule":
            module.register_forward_hook(partial(record_spikes, name))
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).to(dtype)
    state, logits = None, []
    with torch.no_grad():
        for _ in range(num_steps):
            out, state = net(pixels, state)
            logits.append(out.numpy())
    spikes = {name: np.stack(steps, 1) for name, steps in recorded.items()}
    return np.mean(logits, axis=0), spikes


def unify_scales(variables):
    """Give each layer one scale, because SpikingJelly reads one threshold per layer."""

    def average_scale(path, leaf):
        return jnp.full_like(leaf, leaf.mean()) if path[-1].key == "a" else leaf

    return variables | {
        "params": jax.tree_util.tree_map_with_path(average_scale, variables["params"])
    }


@pytest.mark.parametrize(
    ("name", "neuron", "num_steps", "weights"),
    [
        ("cifarnet", neurons.IF, 4, "int8"),
        ("cifarnet", HARD_LIF, 4, "int8"),
        ("vgg11", neurons.IF, 4, "float32"),
        ("vgg16", HARD_LIF, 4, "float32"),
        ("vgg11", partial(neurons.PIT, levels=2), 1, "float32"),
        ("plifnet", partial(neurons.ILIF, levels=4), 1, "float32"),
    ],
)
def test_spikes_and_logits_are_equal(name, neuron, num_steps, weights, tmp_path):
    model, variables, x = make_firing_network(name, neuron, num_steps)
    program = compile(model, unify_scales(variables), x, weights=weights, verify=False)
    path = tmp_path / "program.nir"
    graph = to_nir(program, path)
    dtype = {"float32": torch.float32, "float64": torch.float64}[graph.metadata["precision"]]
    x = round_to_grid(x, graph)
    logits, spikes = run_spikingjelly(path, x, num_steps, dtype)
    counts = program.counts(x)
    ours = count_by_layer(program, spikes)
    for path in counts:
        assert np.array_equal(ours[path], counts[path]), path
    assert np.mean([np.any(count) for count in counts.values()]) > 0.5
    assert np.array_equal(logits, program(x))


def test_a_graph_of_spikingjelly_is_read(x64, tmp_path):
    # Compute in float64, where another summation order flips no spike.
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        neuron.IFNode(),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(4 * 3 * 3, 10),
        neuron.LIFNode(tau=4.0),
    ).double()
    net[4].weight.data *= 10
    x = 3 * torch.rand(5, 2, 6, 6, dtype=torch.float64)
    export_to_nir(net, x, tmp_path / "theirs.nir")
    with torch.no_grad():
        spikes = np.stack([net(x).numpy() for _ in range(6)], 1)
    model, variables = from_nir(tmp_path / "theirs.nir", num_steps=6)
    ours = model.apply(variables, jnp.asarray(np.moveaxis(x.numpy(), 1, -1)))
    assert 0.01 < spikes.mean() < 0.99
    assert np.array_equal(ours, spikes)
