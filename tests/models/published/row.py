"""The integers of a published network at full size."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """The integers of a network of `MODELS` with the fields `kw`, `num_classes` and images `shape`.

    `parameters` counts them by kind and `total` is their sum, both without parameters of neurons;
    `layers`, `channels` and `neurons` count the neuron layers, their channels (PIT's parameters at
    one step) and the neurons of one image; `maps` has output shapes `(H, W, C)` by layer; `macs`
    counts multiply-accumulates of convolutions and linear layers at one step, if published.
    """

    name: str
    shape: tuple[int, int, int]
    num_classes: int
    parameters: dict[str, int]
    total: int
    layers: int
    channels: int
    neurons: int
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kw: dict[str, Any] = field(default_factory=dict)
    macs: int | None = None

    def __str__(self) -> str:
        options = (key if callable(value) else value for key, value in self.kw.items())
        return "-".join(map(str, (self.name, self.num_classes, *options, self.shape[0])))


def parameters(
    conv_kernel: int, conv_bias: int, norm: int, linear_kernel: int, linear_bias: int
) -> dict[str, int]:
    """Return the trainable values by kind, without kinds that a network does not have."""
    kinds = ("conv kernel", "conv bias", "norm", "linear kernel", "linear bias")
    counts = (conv_kernel, conv_bias, norm, linear_kernel, linear_bias)
    return {kind: count for kind, count in zip(kinds, counts, strict=True) if count}
