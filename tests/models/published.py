"""The published networks at full size: a row buys the tests of its integers."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """What a network of `MODELS` has when built with `kw` for `num_classes` and images `shape`.

    `layers`, `channels` and `neurons` count the neuron layers, the channels summed over them (PIT's
    parameters at one step) and the neurons of one image; `maps` are outputs `(H, W, C)` by layer.
    """

    name: str
    shape: tuple[int, int, int]
    num_classes: int
    parameters: dict[str, int]
    layers: int
    channels: int
    neurons: int
    maps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kw: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(map(str, (self.name, self.num_classes, *self.kw.values(), self.shape[0])))


def parameters(
    conv_kernel: int, conv_bias: int, norm: int, linear_kernel: int, linear_bias: int
) -> dict[str, int]:
    """Trainable values by kind; a kind that a network has not is left out."""
    kinds = ("conv kernel", "conv bias", "norm", "linear kernel", "linear bias")
    counts = (conv_kernel, conv_bias, norm, linear_kernel, linear_bias)
    return {kind: count for kind, count in zip(kinds, counts, strict=True) if count}


PUBLISHED = [
    Published(
        "resnet18",
        (32, 32, 3),
        10,
        parameters(11_159_232, 4_736, 7_808, 5_120, 10),
        layers=17,
        channels=3_904,
        neurons=557_056,
        maps={
            "stem": (32, 32, 64),
            "stage1_block2": (32, 32, 64),
            "stage2_block2": (16, 16, 128),
            "stage3_block2": (8, 8, 256),
            "stage4_block2": (4, 4, 512),
        },
    ),
    Published(
        "resnet18",
        (32, 32, 3),
        100,
        parameters(11_159_232, 4_736, 7_808, 51_200, 100),
        layers=17,
        channels=3_904,
        neurons=557_056,
    ),
]
