"""Layers of a network that a config names."""

from collections.abc import Iterable, Sequence

from ..errors import UserError


def chosen_layers(key: str, names: Sequence[str], layers: Iterable[str]) -> set[str]:
    """Those of `layers` with a part that begins with one of `names`: `stage1` or `PIT`.

    A name may be of several parts, `stage1_block1/conv1`. Raises UserError for one, of
    `config.KEY`, with which no layer begins.
    """
    layers = list(layers)
    found = {name: [layer for layer in layers if f"/{name}" in f"/{layer}"] for name in names}
    for name, of_it in found.items():
        if not of_it:
            there = dict.fromkeys(layer.partition("/")[0] for layer in layers)
            raise UserError(
                f"config.{key}: no layer begins with {name!r}; there are {', '.join(there)}."
            )
    return {layer for of_it in found.values() for layer in of_it}
