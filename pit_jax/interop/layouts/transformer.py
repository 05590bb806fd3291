"""Layouts of spike-driven transformers: BICLab's and SpikingJelly's."""

from functools import partial

from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.neurons import ILIF, LIF, hard_reset

# SpikingJelly's LIF at tau = 2: u = v + (x - v) / 2, hard reset, no gradient through the reset.
_lif = partial(LIF, decay_input=True, reset=hard_reset, detach_reset=True)
_sdt_neurons = {"neuron": _lif, "gate_neuron": partial(_lif, threshold=0.5)}


def _pairs(theirs: str, ours: str, names: dict[str, tuple[str, str]]) -> tuple[LayerNames, ...]:
    """Return rows for convolutions and norms; `names` maps our name to their (conv, norm)."""
    return tuple(
        layer
        for name, (conv, norm) in names.items()
        for layer in (
            LayerNames(f"{theirs}{conv}", f"{ours}{name}"),
            LayerNames(f"{theirs}{norm}", f"{ours}{name}_norm"),
        )
    )


_ATTENTION = {
    "query": ("q_conv", "q_bn"),
    "key": ("k_conv", "k_bn"),
    "value": ("v_conv", "v_bn"),
    "projection": ("proj_conv", "proj_bn"),
}

# BICLab/Spike-Driven-Transformer.
spike_driven_transformer = Layout(
    layers=(
        *_pairs(
            "patch_embed.",
            "",
            {
                # The first matching row counts: proj_conv has no number, so it precedes the
                # pattern.
                "patch1": ("proj_conv", "proj_bn"),
                "patch{patch}": ("proj_conv{patch-1}", "proj_bn{patch-1}"),
                "position": ("rpe_conv", "rpe_bn"),
            },
        ),
        *_pairs("block.{block-1}.attn.", "block{block}/attention/", _ATTENTION),
        LayerNames("block.{block-1}.attn.talking_heads", "block{block}/attention/talking_heads"),
        *_pairs(
            "block.{block-1}.mlp.",
            "block{block}/mlp/",
            {"expand": ("fc1_conv", "fc1_bn"), "contract": ("fc2_conv", "fc2_bn")},
        ),
        LayerNames("head", "head"),
    ),
    neurons=_sdt_neurons,
)

# In SpikingJelly the convolutions of the embedding have a bias, and there is no talking_heads.
spikingjelly_sdt = Layout(
    layers=(
        LayerNames("patch_embed.stages.0.0", "patch1", shift="patch1_norm"),
        LayerNames("patch_embed.final_stage.0", "patch4", shift="patch4_norm"),
        LayerNames("patch_embed.final_stage.1", "patch4_norm"),
        LayerNames("patch_embed.stages.{patch-1}.0", "patch{patch}", shift="patch{patch}_norm"),
        LayerNames("patch_embed.stages.{patch-1}.1", "patch{patch}_norm"),
        *_pairs("patch_embed.", "", {"position": ("rpe_conv", "rpe_bn")}),
        *_pairs("blocks.{block-1}.attn.", "block{block}/attention/", _ATTENTION),
        *_pairs(
            "blocks.{block-1}.mlp.",
            "block{block}/mlp/",
            {"expand": ("fc1", "bn1"), "contract": ("fc2", "bn2")},
        ),
        LayerNames("head", "head"),
    ),
    neurons=_sdt_neurons,
    unread=("block{block}/attention/talking_heads",),
)


def _conv_block(theirs: str, ours: str) -> tuple[LayerNames, ...]:
    return (
        *_separable(f"{theirs}.Conv.", f"{ours}/separable/"),
        *_pairs(
            f"{theirs}.",
            f"{ours}/mlp/",
            {"expand": ("conv1", "bn1"), "contract": ("conv2", "bn2")},
        ),
    )


def _separable(theirs: str, ours: str) -> tuple[LayerNames, ...]:
    names = {"expand": "pwconv1", "depthwise": "dwconv", "contract": "pwconv2"}
    return _pairs(theirs, ours, {ours: (f"{x}.0", f"{x}.1") for ours, x in names.items()})


def _attention_block(theirs: str, ours: str) -> tuple[LayerNames, ...]:
    names = {"query": "q_conv", "key": "k_conv", "value": "v_conv", "projection": "proj_conv"}
    return (
        *_separable(f"{theirs}.conv.", f"{ours}/separable/"),
        *_pairs(
            f"{theirs}.attn.",
            f"{ours}/attention/",
            {name: (f"{x}.0", f"{x}.1") for name, x in names.items()},
        ),
        *_pairs(
            f"{theirs}.mlp.",
            f"{ours}/mlp/",
            {"expand": ("fc1_conv", "fc1_bn"), "contract": ("fc2_conv", "fc2_bn")},
        ),
    )


_DOWN = ("downsample1_1", "downsample1_2", "downsample2", "downsample3", "downsample4")

# BICLab/Spike-Driven-Transformer-V3, the models trained from scratch.
e_spikeformer = Layout(
    layers=(
        *(
            layer
            for stage, theirs in enumerate(_DOWN, start=1)
            for layer in _pairs(
                f"{theirs}.", "", {f"stage{stage}_down": ("encode_conv", "encode_bn")}
            )
        ),
        *_conv_block("ConvBlock1_1.0", "stage1_block1"),
        *_conv_block("ConvBlock1_2.0", "stage2_block1"),
        *_conv_block("ConvBlock2_{block}.0", "stage3_block{block}"),
        *_attention_block("block3.{block-1}", "stage4_block{block}"),
        *_attention_block("block4.{block-1}", "stage5_block{block}"),
        LayerNames("head", "head"),
    ),
    neurons={
        "neuron": partial(ILIF, decay=0.0, normalize=True),
        # As published, only the integers before the head are not divided by the levels.
        "head_neuron": partial(ILIF, decay=0.0),
    },
)
