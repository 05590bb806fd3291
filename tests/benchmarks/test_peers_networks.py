"""The libraries of the benchmarks do the same work: parameters, and outputs for equal weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

import torch

from benchmarks.workload import load_module
from benchmarks.workloads import flax_networks, inference, torch_networks
from benchmarks.workloads.torch_inference import Inference
from pit_jax import neurons
from pit_jax.interop import convert
from pit_jax.models import create

OURS = {
    "ReLU": neurons.ReLU,
    "LIF": neurons.LIF,
    "I-LIF": partial(neurons.ILIF, levels=4),
    "IF": neurons.IF,
}


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def count_ours(network, neuron, shape, classes, steps):
    model = create(network, num_classes=classes, neuron=OURS[neuron], num_steps=steps)
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return count(jax.eval_shape(model.init, jax.random.key(0), images))


@pytest.mark.parametrize("name", ("W3", "W4", "W5"))
def test_networks_have_equal_numbers_of_parameters(name):
    tasks = {
        (entry.task["neuron"], entry.task["steps"]): entry.task
        for cell in load_module(name).WORKLOAD.cells
        for entry in cell.entries
        if entry.task["neuron"] != "PIT"  # Its scales are in addition to the others' parameters.
    }
    for (neuron, steps), task in tasks.items():
        theirs = torch_networks.count_parameters(torch_networks.make_network(task))
        assert theirs == count_ours(task["network"], neuron, task["shape"], task["classes"], steps)


def test_plain_flax_has_the_parameters_of_our_network():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = partial(flax_networks.ResNet18(100).init, train=False)
    assert count(jax.eval_shape(init, jax.random.key(0), images)) == count_ours(
        "resnet18", "ReLU", (32, 32, 3), 100, 1
    )


def randomize(network):
    """Return a network in float64 for evaluation, with random norms that let neurons fire."""
    torch.manual_seed(0)
    for module in network.double().eval().modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.uniform_(module.bias, -0.5, 1.0)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return network


def compare_outputs(network, model, x, theirs):
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    variables = convert(weights, model, jnp.asarray(x))
    ours = np.asarray(jax.jit(model.apply)(variables, jnp.asarray(x)))
    with torch.no_grad():
        expected = network(torch.tensor(theirs)).numpy().swapaxes(0, 1)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())
    assert expected.std() > 1e-3


@pytest.mark.parametrize("neuron, steps", (("ReLU", 1), ("I-LIF", 1), ("I-LIF", 2), ("LIF", 4)))
def test_equal_weights_have_equal_outputs_in_resnet18(neuron, steps, x64):
    network = randomize(
        torch_networks.ResNet18(partial(torch_networks.make_neuron, neuron), steps, 10, width=8)
    )
    model = create("resnet18", num_classes=10, neuron=OURS[neuron], num_steps=steps, width=8)
    x = np.random.default_rng(1).normal(size=(2, 16, 16, 3))
    compare_outputs(network, model, x, x.transpose(0, 3, 1, 2))


def test_equal_weights_have_equal_outputs_in_vgg11(x64):
    widths = (4, 4, 8, 8, 8, 8, 8, 8)
    neuron = partial(torch_networks.make_neuron, "LIF")
    network = randomize(torch_networks.VGG11(neuron, 10, widths))
    model = create("vgg11", num_classes=10, neuron=neurons.LIF, num_steps=3, widths=widths)
    x = np.random.default_rng(1).poisson(0.5, (2, 3, 48, 48, 2)).astype(np.float64)
    compare_outputs(network, model, x, x.transpose(1, 0, 4, 2, 3))


@pytest.mark.parametrize("neuron", ("LIF", "I-LIF", "IF"))
def test_neurons_of_spikingjelly_have_our_outputs_and_gradients(neuron, x64):
    x, weights = np.random.default_rng(0).normal(0.5, 1.5, size=(2, 6, 3, 50))
    given = torch.tensor(x, requires_grad=True)
    spikes = torch_networks.make_neuron(neuron)(given)
    (spikes * torch.tensor(weights)).sum().backward()
    module = OURS[neuron]()

    def loss(x):
        out = module.apply({}, jnp.swapaxes(x, 0, 1))
        return jnp.sum(jnp.swapaxes(out, 0, 1) * weights), out

    (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(x))
    np.testing.assert_array_equal(np.swapaxes(out, 0, 1), spikes.detach().numpy())
    assert 0.1 < np.mean(np.asarray(out) > 0) < 0.9
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("faster", torch_networks.LAYOUTS)
def test_inference_runs_in_the_faster_layout(faster, monkeypatch):
    tried = []

    def time_layout(self, layout):
        self.use_layout(layout)
        tried.append(layout)
        return 1.0 if layout == faster else 2.0

    monkeypatch.setattr(Inference, "time_layout", time_layout)
    task = {**inference.NETWORK, "neuron": "I-LIF", "steps": 1, "levels": 4, "batch": 2}
    subject = inference.make("spikingjelly", {**task, "small": True})
    assert subject.details["layout"] == faster
    assert sorted(tried) == sorted(torch_networks.LAYOUTS)
    used = subject.run.__self__
    memory_format = torch_networks.LAYOUTS[faster]
    weight = used.network.layer1[0].conv1.weight
    assert used.x.is_contiguous(memory_format=memory_format)
    assert weight.is_contiguous(memory_format=memory_format)
    assert not used.network.training
    assert subject.measure(1) > 0


def test_norms_of_inference_in_pytorch_have_the_statistics_of_the_images():
    task = {**inference.NETWORK, "neuron": "ReLU", "steps": 1, "batch": 2, "small": True}
    network = inference.make("pytorch", task).run.__self__.network
    x = torch.from_numpy(inference.draw_images(inference.STATISTICS)).permute(0, 3, 1, 2)
    with torch.no_grad():
        mean = network.conv1(x).mean((0, 2, 3))
    np.testing.assert_allclose(network.layer1[0].bn1.running_mean, mean, atol=1e-5)
