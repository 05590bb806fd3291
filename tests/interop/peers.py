"""Networks of SpikingJelly with random weights and statistics, and the spikes of their neurons."""

import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")

# SpikingJelly imports torchvision only for a function that downloads weights.
_DOWNLOADS = "torchvision._internally_replaced_utils"
for _name in ("torchvision", "torchvision.models", _DOWNLOADS):
    sys.modules.setdefault(_name, ModuleType(_name))
sys.modules[_DOWNLOADS].load_state_dict_from_url = None

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.model import (
        ms_resnet,
        sew_resnet,
        spike_driven_transformer,
    )


def _sew(make: Callable) -> Callable:
    return lambda: make(cnf="ADD", spiking_neuron=neuron.IFNode)


def _ms(make: Callable) -> Callable:
    return lambda: make(T=2, num_classes=10)


NETWORKS = {
    "sew_resnet18": _sew(sew_resnet.sew_resnet18),
    "sew_resnet34": _sew(sew_resnet.sew_resnet34),
    "sew_resnet50": _sew(sew_resnet.sew_resnet50),
    "ms_resnet18": _ms(ms_resnet.ms_resnet18),
    "ms_resnet34": _ms(ms_resnet.ms_resnet34),
    "spike_driven_transformer": lambda: spike_driven_transformer.sdt_8_384(T=2, num_classes=10),
}


def random_network(name: str, seed: int = 0) -> torch.nn.Module:
    """Return a float64 network in evaluation mode; norms spread currents around the threshold."""
    torch.manual_seed(seed)
    net = NETWORKS[name]().double().eval()
    functional.set_step_mode(net, "m")
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.uniform_(module.bias, -0.5, 1.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return net


def run(net: torch.nn.Module, images: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return class scores for images `[B, H, W, C]` and the spikes `[T, B, ...]` of every layer."""
    spikes: list[np.ndarray] = []
    hooks = [
        module.register_forward_hook(lambda _, inputs, out: spikes.append(out.numpy()))
        for module in net.modules()
        if isinstance(module, neuron.BaseNode)
    ]
    x = torch.tensor(images.transpose(0, 3, 1, 2))
    if isinstance(net, sew_resnet.SEWResNet):
        x = x.repeat(2, 1, 1, 1, 1)
    with torch.no_grad():
        logits = net(x).numpy()
    functional.reset_net(net)
    for hook in hooks:
        hook.remove()
    return logits.mean(0) if logits.ndim == 3 else logits, spikes
