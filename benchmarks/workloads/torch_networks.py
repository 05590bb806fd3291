"""The networks of the comparison in PyTorch, with ReLU or SpikingJelly's neurons.

They have the layers and the parameter counts of ours, and the names of published code, so that
`pit_jax.interop.convert` reads their weights. Activations are `[T, B, C, H, W]`; layers without
state see `[T B, C, H, W]`, which is SpikingJelly's multi-step path.
"""

import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import nn

# SpikingJelly imports torchvision only for a function that downloads weights.
_DOWNLOADS = "torchvision._internally_replaced_utils"
THRESHOLD, TAU, LEVELS = 1.0, 2.0, 4
WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)
Neuron = Callable[[], nn.Module]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Timed steps in each layout.
TRIALS = 3


def import_spikingjelly() -> Any:
    """Return SpikingJelly's `activation_based`."""
    for name in ("torchvision", "torchvision.models", _DOWNLOADS):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules[_DOWNLOADS].load_state_dict_from_url = None  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from spikingjelly import activation_based
        from spikingjelly.activation_based import functional, neuron, surrogate  # noqa: F401
    return activation_based


def make_neuron(name: str, levels: int = LEVELS) -> nn.Module:
    """Return a neuron of SpikingJelly that sees all steps, or ReLU.

    Decay 1/2, threshold 1, soft reset with its gradient; IF is SEW's, with a hard reset.
    """
    if name == "ReLU":
        return nn.ReLU()
    library = import_spikingjelly()
    neuron, surrogate = library.neuron, library.surrogate
    if name == "LIF":
        return neuron.LIFNode(
            tau=TAU,
            decay_input=False,
            v_threshold=THRESHOLD,
            v_reset=None,
            surrogate_function=surrogate.Rect(),
            step_mode="m",
        )
    if name == "I-LIF":
        return neuron.ILIFNode(
            tau=TAU,
            v_threshold=THRESHOLD,
            surrogate_function=surrogate.MultiLevelSpikeCount(levels),
            step_mode="m",
        )
    if name == "IF":
        return neuron.IFNode(
            v_threshold=THRESHOLD,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(),
            detach_reset=True,
            step_mode="m",
        )
    raise ValueError(f"there is no neuron {name!r}.")


def reset_net(module: nn.Module) -> None:
    """Set the membranes of a network to their first value."""
    if "spikingjelly" in sys.modules:
        import_spikingjelly().functional.reset_net(module)


def fold(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Apply a layer without state to all steps at once."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class PreActBlock(nn.Module):
    """Norm, neuron, convolution, twice; the shortcut carries the first spikes."""

    def __init__(self, fan_in: int, features: int, stride: int, neuron: Neuron) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(fan_in), nn.BatchNorm2d(features)
        self.neuron1, self.neuron2 = neuron(), neuron()
        self.conv1 = nn.Conv2d(fan_in, features, 3, stride, 1)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1)
        changes = stride != 1 or fan_in != features
        self.shortcut = nn.Conv2d(fan_in, features, 1, stride) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.neuron1(fold(self.bn1, x))
        y = fold(self.conv1, spikes)
        y = fold(self.conv2, self.neuron2(fold(self.bn2, y)))
        return y + (spikes if self.shortcut is None else fold(self.shortcut, spikes))


class ResNet18(nn.Module):
    """The pre-activation network of the paper for CIFAR: images to logits `[T, B, K]`."""

    def __init__(self, neuron: Neuron, steps: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.steps = steps
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        fan_in = width
        for stage in range(4):
            blocks, features = [], width * 2**stage
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(PreActBlock(fan_in, features, stride, neuron))
                fan_in = features
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn1, self.neuron = nn.BatchNorm2d(fan_in), neuron()
        self.linear = nn.Linear(fan_in, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x).expand(self.steps, -1, -1, -1, -1)
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = self.neuron(fold(self.bn1, x))
        out: torch.Tensor = self.linear(x.mean((3, 4)))
        return out


class ConvNormNeuron(nn.Module):
    """A layer of VGGSNN; `fwd` is its container of convolution and norm."""

    def __init__(self, fan_in: int, features: int, neuron: Neuron) -> None:
        super().__init__()
        self.fwd = nn.Sequential(nn.Conv2d(fan_in, features, 3, 1, 1), nn.BatchNorm2d(features))
        self.act = neuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(fold(self.fwd, x))


class VGG11(nn.Module):
    """VGGSNN of TET: frames `[T, B, 2, H, W]` to logits `[T, B, K]`."""

    def __init__(self, neuron: Neuron, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = 2
        for number, features in enumerate(widths, start=1):
            layers.append(ConvNormNeuron(fan_in, features, neuron))
            fan_in = features
            if number % 2 == 0:
                layers.append(nn.AvgPool2d(2))
        self.features = nn.ModuleList(layers)
        self.pool, self.dropout = nn.AdaptiveAvgPool2d(3), nn.Dropout(0.25)
        self.classifier = nn.Linear(fan_in * 9, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.features:
            x = fold(layer, x) if isinstance(layer, nn.AvgPool2d) else layer(x)
        x = fold(self.pool, x).flatten(2)
        # One mask for all steps of a sample.
        mask = self.dropout(torch.ones_like(x[0]))
        out: torch.Tensor = self.classifier(x * mask)
        return out


class SEWResNet18(nn.Module):
    """SpikingJelly's SEW-ResNet18 on images that are repeated over time."""

    def __init__(self, neuron: Neuron, steps: int, classes: int) -> None:
        super().__init__()
        library = import_spikingjelly()
        from spikingjelly.activation_based.model import sew_resnet

        self.steps = steps
        self.network = sew_resnet.sew_resnet18(
            cnf="ADD", spiking_neuron=lambda **_: neuron(), num_classes=classes
        )
        library.functional.set_step_mode(self.network, "m")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(x.expand(self.steps, -1, -1, -1, -1))
        return out


def make_network(task: Mapping[str, Any]) -> nn.Module:
    """Return the network of a task."""
    levels, classes = task.get("levels", LEVELS), task["classes"]
    neuron = partial(make_neuron, task["neuron"], levels)
    if task["network"] == "resnet18":
        return ResNet18(neuron, task["steps"], classes, task.get("width", 64))
    if task["network"] == "vgg11":
        return VGG11(neuron, classes, task.get("widths", WIDTHS))
    if task["network"] == "sew_resnet18":
        return SEWResNet18(neuron, task["steps"], classes)
    raise ValueError(f"there is no {task['network']!r} in PyTorch here.")


def count_parameters(network: nn.Module) -> int:
    """Return the number of learned parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def time_shortest(run: Callable[[], None]) -> float:
    """Return the seconds of the shortest of some runs, after a run of warm-up."""
    times = []
    for _ in range(1 + TRIALS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


class Training:
    """Training steps of a network on one batch that stays on the device.

    SGD with momentum 0.9 and weight decay, cross-entropy of the mean over time; with `bfloat16`
    under autocast. `layout` is "contiguous" or "channels_last"; by default the faster one of both
    is measured and used. torch.compile chooses layouts itself.
    """

    def __init__(
        self,
        network: nn.Module,
        x: torch.Tensor,
        classes: int,
        dtype: str = "float32",
        compiled: bool = False,
        layout: str = "",
    ) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.to(self.device).train()
        self.x = x.to(self.device)
        self.labels = torch.randint(classes, (x.shape[-4],)).to(self.device)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )
        self.loss = nn.CrossEntropyLoss()
        self.bfloat16 = dtype == "bfloat16"
        self.forward = torch.compile(self.compute) if compiled else self.compute
        self.layout = "contiguous"
        if not compiled:
            self.use_layout(layout or min(LAYOUTS, key=self.time_layout))

    def use_layout(self, layout: str) -> None:
        """Give weights and images another layout in memory."""
        self.layout, memory_format = layout, LAYOUTS[layout]
        self.network.to(memory_format=memory_format)
        if self.x.ndim == 4:  # Frames have five axes; their layers see folded copies.
            self.x = self.x.contiguous(memory_format=memory_format)

    def time_layout(self, layout: str) -> float:
        """Return the shortest time of a step in a layout, after a step of warm-up."""
        self.use_layout(layout)
        return time_shortest(self.run)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            loss: torch.Tensor = self.loss(self.network(x).float().mean(0), self.labels)
        return loss

    def run(self) -> None:
        """Do one training step and wait for it."""
        reset_net(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        self.forward(self.x).backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
