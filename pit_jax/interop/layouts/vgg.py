"""Networks without shortcuts, of HuuYuLong/Complementary-LIF."""

from pit_jax.interop.layout import LayerNames, Layout
from pit_jax.neurons import LIF


def _rows(convolutions: tuple[tuple[str, str], ...], head: LayerNames) -> Layout:
    """The layers of pairs (convolution, its norm), counted from 1, and the head."""
    layers = [
        layer
        for number, (conv, norm) in enumerate(convolutions, start=1)
        for layer in (LayerNames(conv, f"conv{number}"), LayerNames(norm, f"norm{number}"))
    ]
    return Layout(layers=(*layers, head), neurons={"neuron": LIF})


# A convolution, its norm, a neuron and a dropout each; then the next one or a pool.
clif_vgg11 = _rows(
    tuple(
        (f"layer{stage}.{first}", f"layer{stage}.{first + 1}")
        for stage, convolutions in enumerate((1, 1, 2, 2, 2), start=1)
        for first in range(0, 4 * convolutions, 4)
    ),
    LayerNames("classifier.1", "head", map_of="conv8"),
)

# Every third entry of `features` is a pool. Also temporal_efficient_training's VGGSNN.
vggsnn = _rows(
    tuple((f"features.{i}.fwd.0", f"features.{i}.fwd.1") for i in (0, 1, 3, 4, 6, 7, 9, 10)),
    LayerNames("classifier", "head", map_of="conv8"),
)
