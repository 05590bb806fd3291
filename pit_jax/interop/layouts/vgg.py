"""Layouts of networks without shortcuts, from HuuYuLong/Complementary-LIF."""

from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.neurons import LIF


def _number_layers(convolutions: tuple[tuple[str, str], ...], head: LayerNames) -> Layout:
    """Return the layout of pairs (convolution, norm), counted from 1, and the head."""
    layers = [
        layer
        for number, (conv, norm) in enumerate(convolutions, start=1)
        for layer in (LayerNames(conv, f"conv{number}"), LayerNames(norm, f"norm{number}"))
    ]
    return Layout(layers=(*layers, head), neurons={"neuron": LIF})


# A stage repeats convolution, norm, neuron, dropout: convolutions are four entries apart.
clif_vgg11 = _number_layers(
    tuple(
        (f"layer{stage}.{first}", f"layer{stage}.{first + 1}")
        for stage, convolutions in enumerate((1, 1, 2, 2, 2), start=1)
        for first in range(0, 4 * convolutions, 4)
    ),
    LayerNames("classifier.1", "head", map_of="conv8"),
)

# Every third entry of `features` is a pool. VGGSNN of temporal_efficient_training is the same.
vggsnn = _number_layers(
    tuple((f"features.{i}.fwd.0", f"features.{i}.fwd.1") for i in (0, 1, 3, 4, 6, 7, 9, 10)),
    LayerNames("classifier", "head", map_of="conv8"),
)
