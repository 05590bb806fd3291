"""The published networks at full size: a row buys the tests of its integers."""

from dataclasses import dataclass, field
from typing import Any

from pit_jax.layers import batch_norm


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
        options = (key if callable(value) else value for key, value in self.kw.items())
        return "-".join(map(str, (self.name, self.num_classes, *options, self.shape[0])))


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
    Published(
        "resnet19",
        (32, 32, 3),
        10,
        parameters(12_553_600, 0, 10_496, 512 * 256 + 256 * 10, 256 + 10),
        layers=18,
        channels=4_736,
        neurons=1_442_048,
        maps={
            "stem_norm": (32, 32, 128),
            "stage1_block3": (32, 32, 128),
            "stage2_block3": (16, 16, 256),
            "stage3_block2": (8, 8, 512),
            "hidden": (256,),
        },
    ),
    Published(
        "resnet19",
        (32, 32, 3),
        100,
        parameters(12_553_600, 0, 10_496, 512 * 256 + 256 * 100, 256 + 100),
        layers=18,
        channels=4_736,
        neurons=1_442_048,
    ),
    Published(
        "resnet20",
        (32, 32, 3),
        10,
        parameters(11_232_960, 0, 0, 2_048 * 10, 0),
        layers=19,
        channels=4_032,
        neurons=319_488,
        maps={
            "stem": (32, 32, 64),
            "stem3": (32, 32, 64),
            "stage1_block2": (16, 16, 64),
            "stage2_block2": (8, 8, 128),
            "stage3_block2": (4, 4, 256),
            "stage4_block2": (2, 2, 512),
        },
    ),
    Published(
        "resnet20",
        (32, 32, 3),
        100,
        parameters(11_232_960, 0, 0, 2_048 * 100, 0),
        layers=19,
        channels=4_032,
        neurons=319_488,
    ),
    Published(
        "resnet20",
        (32, 32, 3),
        10,
        parameters(11_232_960, 0, 9_856, 512 * 10, 10),
        layers=19,
        channels=4_032,
        neurons=319_488,
        maps={"stage2_block1/shortcut": (8, 8, 128), "stage4_block2": (2, 2, 512)},
        kw={"norm": batch_norm},
    ),
    Published(
        "resnet20",
        (32, 32, 3),
        100,
        parameters(11_232_960, 0, 9_856, 512 * 100, 100),
        layers=19,
        channels=4_032,
        neurons=319_488,
        kw={"norm": batch_norm},
    ),
    Published(
        "resnet34",
        (224, 224, 3),
        1_000,
        parameters(21_267_648, 0, 17_024, 512_000, 1_000),
        layers=33,
        channels=7_616,
        neurons=3_562_496,
        maps={
            "stem_norm": (112, 112, 64),
            "stage1_block3": (56, 56, 64),
            "stage2_block4": (28, 28, 128),
            "stage3_block6": (14, 14, 256),
            "stage4_block3": (7, 7, 512),
        },
    ),
    Published(
        "sew_resnet18",
        (224, 224, 3),
        1_000,
        parameters(11_166_912, 0, 9_600, 512_000, 1_000),
        layers=20,
        channels=4_800,
        neurons=2_483_712,
        maps={
            "stem_norm": (112, 112, 64),
            "stage1_block2": (56, 56, 64),
            "stage2_block2": (28, 28, 128),
            "stage3_block2": (14, 14, 256),
            "stage4_block2": (7, 7, 512),
        },
    ),
    Published(
        "sew_resnet34",
        (224, 224, 3),
        1_000,
        parameters(21_267_648, 0, 17_024, 512_000, 1_000),
        layers=36,
        channels=8_512,
        neurons=3_738_112,
    ),
    Published(
        "sew_resnet50",
        (224, 224, 3),
        1_000,
        parameters(23_454_912, 0, 2 * 26_560, 2_048_000, 1_000),
        layers=53,
        channels=26_560,
        neurons=11_113_984,
        maps={
            "stem_norm": (112, 112, 64),
            "stage1_block3": (56, 56, 256),
            "stage2_block1/conv1": (56, 56, 128),
            "stage2_block1/conv2": (28, 28, 128),
            "stage2_block4": (28, 28, 512),
            "stage3_block6": (14, 14, 1_024),
            "stage4_block3": (7, 7, 2_048),
        },
    ),
    Published(
        "sew_resnet101",
        (224, 224, 3),
        1_000,
        parameters(42_394_816, 0, 2 * 52_672, 2_048_000, 1_000),
        layers=104,
        channels=52_672,
        neurons=16_231_936,
    ),
    Published(
        "sew_resnet152",
        (224, 224, 3),
        1_000,
        parameters(57_992_384, 0, 2 * 75_712, 2_048_000, 1_000),
        layers=155,
        channels=75_712,
        neurons=22_554_112,
    ),
    Published(
        "ms_resnet18",
        (224, 224, 3),
        1_000,
        parameters(11_171_008, 0, 9_728, 512_000, 1_000),
        layers=17,
        channels=3_904,
        neurons=2_308_096,
        maps={
            "stem_norm": (112, 112, 64),
            "stage1_block2": (56, 56, 64),
            "stage2_block2": (28, 28, 128),
            "stage3_block2": (14, 14, 256),
            "stage4_block2": (7, 7, 512),
        },
    ),
    Published(
        "ms_resnet34",
        (224, 224, 3),
        1_000,
        parameters(21_271_744, 0, 17_152, 512_000, 1_000),
        layers=33,
        channels=7_616,
        neurons=3_562_496,
    ),
        "vgg11",
        (48, 48, 2),
        10,
        parameters(9_217_152, 2_752, 5_504, 46_080, 10),
        layers=8,
        channels=2_752,
        neurons=921_600,
        maps={
            "conv1": (48, 48, 64),
            "conv2": (48, 48, 128),
            "conv3": (24, 24, 256),
            "conv5": (12, 12, 512),
            "conv7": (6, 6, 512),
        },
    ),
    Published(
        "vgg11",
        (128, 128, 2),
        10,
        parameters(9_217_152, 2_752, 5_504, 46_080, 10),
        layers=8,
        channels=2_752,
        neurons=6_553_600,
    ),
    Published(
        "vgg11",
        (128, 128, 2),
        11,
        parameters(9_217_152, 2_752, 5_504, 50_688, 11),
        layers=8,
        channels=2_752,
        neurons=2_424_832,
        maps={
            "conv1": (128, 128, 64),
            "conv2": (64, 64, 128),
            "conv3": (32, 32, 256),
            "conv5": (16, 16, 512),
            "conv7": (8, 8, 512),
        },
        kw={"pool_after": (1, 2, 4, 6, 8)},
    ),
    Published(
        "vgg11",
        (48, 48, 2),
        10,
        parameters(9_217_152, 2_752, 5_504, 250_880, 10),
        layers=8,
        channels=2_752,
        neurons=340_992,
        maps={"conv7": (3, 3, 512)},
        kw={"pool_after": (1, 2, 4, 6, 8), "head": "adaptive7"},
    ),
    Published(
        "vgg16",
        (32, 32, 3),
        10,
        parameters(14_710_464, 0, 8_448, 5_120, 10),
        layers=13,
        channels=4_224,
        neurons=276_480,
        maps={
            "conv2": (32, 32, 64),
            "conv4": (16, 16, 128),
            "conv7": (8, 8, 256),
            "conv10": (4, 4, 512),
            "conv13": (2, 2, 512),
        },
    ),
    Published(
        "plifnet",
        (32, 32, 3),
        10,
        parameters(3_545_856, 0, 3_584, 33_759_232, 0),
        layers=9,
        channels=3_940,
        neurons=1_247_332,
        maps={
            "conv1": (32, 32, 256),
            "conv4": (32, 32, 256),
            "conv5": (16, 16, 256),
            "conv7": (16, 16, 256),
            "hidden": (2_048,),
            "head": (100,),
        },
    ),
    Published(
        "cifarnet",
        (32, 32, 3),
        10,
        parameters(10_915_200, 2_432, 6_912, 33_564_672, 1_034),
        layers=6,
        channels=3_456,
        neurons=328_704,
        maps={
            "conv1": (32, 32, 128),
            "conv2": (16, 16, 256),
            "conv3": (8, 8, 512),
            "conv4": (8, 8, 1_024),
            "conv5": (8, 8, 512),
            "hidden": (1_024,),
        },
    ),
]
