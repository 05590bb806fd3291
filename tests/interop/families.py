"""Every layout at a small size, and every network at its published size."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.interop.published import (
    Shapes,
    clif_resnet,
    clif_vgg11,
    e_spikeformer,
    ms_resnet,
    sew_resnet,
    spike_driven_transformer,
    spikingjelly_ms_resnet,
    spikingjelly_sdt,
    torchvision,
    vggsnn,
)


@dataclass(frozen=True)
class Family:
    """The names of a layout at a small size, and the fields `kw` of our network `model` for it.

    `places` maps names of the checkpoint to our parameters: the first and the last layer, and those
    that are easily confused.
    """

    names: Callable[..., Shapes]
    small: dict[str, Any]
    model: str
    kw: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, int, int] = (16, 16, 3)
    places: dict[str, str] = field(default_factory=dict)

    def state_dict(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return random values, positive because some are variances."""
        random = np.random.default_rng(seed)
        return {
            name: np.array(7) if shape == () else random.uniform(0.5, 1.5, shape).astype("f4")
            for name, shape in self.names(classes=5, **self.small).items()
        }


_SMALL = {"stages": (1, 2), "width": 4}
_VGG = {"widths": (2, 3, 4, 4, 5, 5, 6, 6)}
_SEW_PLACES = {
    "conv1.weight": "stem/kernel",
    "bn1.weight": "stem_norm/scale",
    "layer1.0.conv2.module.0.weight": "stage1_block1/conv2/kernel",
    "layer1.0.conv2.module.1.bias": "stage1_block1/norm2/bias",
    "layer2.0.downsample.0.module.0.weight": "stage2_block1/shortcut/kernel",
    "layer2.0.downsample.0.module.1.weight": "stage2_block1/shortcut_norm/scale",
    "layer2.1.conv1.module.0.weight": "stage2_block2/conv1/kernel",
    "fc.bias": "head/bias",
}

FAMILIES = {
    "torchvision": Family(
        torchvision,
        _SMALL | {"bottleneck": True},
        "sew_resnet50",
        _SMALL,
        places={
            "conv1.weight": "stem/kernel",
            "bn1.weight": "stem_norm/scale",
            "layer1.0.bn3.bias": "stage1_block1/norm3/bias",
            "layer1.0.downsample.0.weight": "stage1_block1/shortcut/kernel",
            "layer2.0.downsample.1.weight": "stage2_block1/shortcut_norm/scale",
            "layer2.1.conv2.weight": "stage2_block2/conv2/kernel",
            "fc.weight": "head/kernel",
        },
    ),
    "sew_resnet": Family(sew_resnet, _SMALL, "sew_resnet18", _SMALL, places=_SEW_PLACES),
    "sew_resnet_sequential": Family(
        sew_resnet,
        _SMALL | {"module": ""},
        "sew_resnet18",
        _SMALL,
        places={name.replace(".module", ""): ours for name, ours in _SEW_PLACES.items()},
    ),
    "ms_resnet": Family(
        ms_resnet,
        _SMALL,
        "ms_resnet18",
        _SMALL,
        places={
            "conv1.1.bn.weight": "stem_norm/scale",
            "conv2_x.0.residual_function.1.weight": "stage1_block1/conv1/kernel",
            "conv2_x.0.residual_function.5.bn.bias": "stage1_block1/norm2/bias",
            "conv3_x.1.residual_function.4.weight": "stage2_block2/conv2/kernel",
            "conv3_x.0.shortcut.1.bn.weight": "stage2_block1/shortcut_norm/scale",
            "fc.weight": "head/kernel",
        },
    ),
    "spikingjelly_ms_resnet": Family(
        spikingjelly_ms_resnet,
        _SMALL,
        "ms_resnet18",
        _SMALL,
        places={
            "stem.0.weight": "stem/kernel",
            "stem.1.bias": "stem_norm/bias",
            "layer1.0.downsample.0.weight": "stage1_block1/shortcut/kernel",
            "layer2.1.bn2.weight": "stage2_block2/norm2/scale",
            "head.weight": "head/kernel",
        },
    ),
    "clif_resnet": Family(
        clif_resnet,
        _SMALL,
        "resnet18",
        _SMALL,
        places={
            "conv1.weight": "stem/kernel",
            "bn1.weight": "norm/scale",
            "layer1.0.bn1.weight": "stage1_block1/norm1/scale",
            "layer1.0.conv1.bias": "stage1_block1/conv1/bias",
            "layer2.0.shortcut.bias": "stage2_block1/shortcut/bias",
            "linear.weight": "head/kernel",
        },
    ),
    "clif_vgg11": Family(
        clif_vgg11,
        _VGG,
        "vgg11",
        _VGG | {"pool_after": (1, 2, 4, 6, 8), "head": "adaptive7"},
        (32, 32, 2),
        places={
            "layer1.0.weight": "conv1/kernel",
            "layer3.0.bias": "conv3/bias",
            "layer3.4.bias": "conv4/bias",
            "layer4.5.weight": "norm6/scale",
            "layer5.4.weight": "conv8/kernel",
            "classifier.1.bias": "head/bias",
        },
    ),
    "vggsnn": Family(
        vggsnn,
        _VGG,
        "vgg11",
        _VGG | {"head": "flatten"},
        (48, 48, 2),
        places={
            "features.0.fwd.0.weight": "conv1/kernel",
            "features.3.fwd.0.bias": "conv3/bias",
            "features.4.fwd.1.weight": "norm4/scale",
            "features.10.fwd.0.weight": "conv8/kernel",
            "classifier.bias": "head/bias",
        },
    ),
    "spike_driven_transformer": Family(
        spike_driven_transformer,
        {"width": 16, "depth": 2, "heads": 2},
        "spike_driven_transformer",
        {"width": 16, "depth": 2, "heads": 2},
        places={
            "patch_embed.proj_conv.weight": "patch1/kernel",
            "patch_embed.proj_conv1.weight": "patch2/kernel",
            "patch_embed.proj_bn3.weight": "patch4_norm/scale",
            "patch_embed.rpe_conv.weight": "position/kernel",
            "block.0.attn.q_conv.weight": "block1/attention/query/kernel",
            "block.1.attn.v_bn.bias": "block2/attention/value_norm/bias",
            "block.1.attn.talking_heads.weight": "block2/attention/talking_heads/kernel",
            "block.1.mlp.fc2_conv.bias": "block2/mlp/contract/bias",
            "head.weight": "head/kernel",
        },
    ),
    "spikingjelly_sdt": Family(
        spikingjelly_sdt,
        {"width": 16, "depth": 2},
        "spike_driven_transformer",
        {"width": 16, "depth": 2},
        places={
            "patch_embed.stages.0.0.weight": "patch1/kernel",
            "patch_embed.stages.2.1.weight": "patch3_norm/scale",
            "patch_embed.final_stage.0.weight": "patch4/kernel",
            "patch_embed.final_stage.1.bias": "patch4_norm/bias",
            "blocks.0.attn.k_conv.weight": "block1/attention/key/kernel",
            "blocks.1.mlp.bn1.weight": "block2/mlp/expand_norm/scale",
            "head.weight": "head/kernel",
        },
    ),
    "e_spikeformer": Family(
        e_spikeformer,
        {"widths": (4, 8, 8, 16), "depths": (2, 1)},
        "e_spikeformer_s",
        {"widths": (2, 4, 8, 8, 16), "stages": (1, 1, 2, 2, 1)},
        places={
            "downsample1_1.encode_conv.bias": "stage1_down/bias",
            "downsample4.encode_bn.weight": "stage5_down_norm/scale",
            "ConvBlock1_2.0.Conv.pwconv1.0.weight": "stage2_block1/separable/expand/kernel",
            "ConvBlock2_2.0.Conv.dwconv.0.weight": "stage3_block2/separable/depthwise/kernel",
            "ConvBlock2_1.0.conv2.weight": "stage3_block1/mlp/contract/kernel",
            "block3.1.conv.dwconv.1.weight": "stage4_block2/separable/depthwise_norm/scale",
            "block3.1.attn.v_conv.0.weight": "stage4_block2/attention/value/kernel",
            "block4.0.mlp.fc1_conv.weight": "stage5_block1/mlp/expand/kernel",
            "head.weight": "head/kernel",
        },
    ),
}

# Networks at their published size, with the fields of ours.
FULL_SIZE = {
    "resnet34": (lambda: torchvision((3, 4, 6, 3)), {}),
    "sew_resnet18": (torchvision, {}),
    "sew_resnet34": (lambda: sew_resnet(stages=(3, 4, 6, 3)), {}),
    "sew_resnet50": (lambda: torchvision((3, 4, 6, 3), bottleneck=True), {}),
    "sew_resnet101": (lambda: torchvision((3, 4, 23, 3), bottleneck=True), {}),
    "sew_resnet152": (lambda: torchvision((3, 8, 36, 3), bottleneck=True), {}),
    "ms_resnet18": (ms_resnet, {}),
    "ms_resnet34": (lambda: ms_resnet((3, 4, 6, 3)), {}),
    "resnet18": (clif_resnet, {}),
    "vgg11": (clif_vgg11, {"pool_after": (1, 2, 4, 6, 8), "head": "adaptive7"}),
    "spike_driven_transformer": (spike_driven_transformer, {}),
    "e_spikeformer_s": (e_spikeformer, {}),
    "e_spikeformer_m": (lambda: e_spikeformer((48, 96, 192, 240)), {}),
}
