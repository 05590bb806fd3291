"""The known layouts of PyTorch checkpoints by name, with the names of their layers.

Each family of networks has its own file; a layout is a table of patterns (`interop.layout.Layout`).
Start at resnet.py, whose `torchvision` is the best known. Add a new layout to `LAYOUTS`.
"""

from collections.abc import Iterable

from pit_jax.interop.layout import Layout
from pit_jax.interop.layouts import resnet, transformer, vgg

LAYOUTS: dict[str, Layout] = {
    "torchvision": resnet.torchvision,
    "sew_resnet": resnet.sew_resnet,
    "sew_resnet_sequential": resnet.sew_resnet_sequential,
    "ms_resnet": resnet.ms_resnet,
    "spikingjelly_ms_resnet": resnet.spikingjelly_ms_resnet,
    "clif_resnet": resnet.clif_resnet,
    "clif_vgg11": vgg.clif_vgg11,
    "vggsnn": vgg.vggsnn,
    "spike_driven_transformer": transformer.spike_driven_transformer,
    "spikingjelly_sdt": transformer.spikingjelly_sdt,
    "e_spikeformer": transformer.e_spikeformer,
}
"""The known layouts by name, as `convert` and `pit-jax import --layout` take them."""


def score_layouts(names: Iterable[str]) -> dict[str, float]:
    """Return for each layout which share of the layers with the parameters `names` it knows."""
    layers = {name.rpartition(".")[0] for name in names}
    return {
        layout: sum(map(table.knows, layers)) / max(len(layers), 1)
        for layout, table in LAYOUTS.items()
    }
