"""Layouts: tables of patterns that map the layer names of checkpoints to ours and back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import flax.linen as nn

from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class LayerNames:
    """A row of a layout: the layer `theirs` of a checkpoint is our layer `ours`.

    Both may contain named numbers: `{block}`, or `{block-1}` for the number less one, because
    PyTorch counts from 0 and we from 1. `map_of` is our convolution whose flattened map a linear
    layer reads, channels first in PyTorch and last here. `shift` is our norm that absorbs the bias
    of their convolution if ours has none.
    """

    theirs: str
    ours: str
    map_of: str | None = None
    shift: str | None = None


@dataclass(frozen=True)
class Layout:
    """The names of one family of checkpoints.

    `layers` starts with the first convolution and ends with the linear head. `unread` are layers of
    ours that the family does not have and that no output depends on; they become zeros. `neurons`
    maps the neuron fields of our networks to the published neurons, which have no parameters.
    """

    layers: tuple[LayerNames, ...]
    neurons: Mapping[str, Callable[[], nn.Module]]
    unread: tuple[str, ...] = ()

    def find_source(self, ours: str) -> tuple[str, LayerNames] | None:
        """Return their name of our layer `ours` and its row, or None."""
        for layer in self.layers:
            if (numbers := _match_numbers(layer.ours, ours)) is not None:
                return _fill_numbers(layer.theirs, numbers), layer
        return None

    def find_shift(self, ours: str) -> str | None:
        """Return their convolution whose bias our norm `ours` absorbs, or None."""
        for layer in self.layers:
            if layer.shift and (numbers := _match_numbers(layer.shift, ours)) is not None:
                return _fill_numbers(layer.theirs, numbers)
        return None

    def is_unread(self, ours: str) -> bool:
        """Return whether our layer `ours` is in `unread`."""
        return any(_match_numbers(pattern, ours) is not None for pattern in self.unread)

    def knows(self, theirs: str) -> bool:
        """Return whether a row matches the layer `theirs` of a checkpoint."""
        return any(_match_numbers(layer.theirs, theirs) is not None for layer in self.layers)


_NUMBER = re.compile(r"\{(\w+?)([+-]1)?\}")


@cache
def _compile_pattern(pattern: str) -> re.Pattern[str]:
    # Splitting at two groups gives text, name, shift, text, name, shift, ..., text.
    text, *rest = _NUMBER.split(pattern)
    expression = re.escape(text)
    for name, text in zip(rest[::3], rest[2::3], strict=True):
        expression += f"(?P<{name}>[0-9]+)" + re.escape(text)
    return re.compile(expression)


def _match_numbers(pattern: str, name: str) -> dict[str, int] | None:
    """Return the numbers of `pattern` in `name`, or None if it does not match."""
    if (found := _compile_pattern(pattern).fullmatch(name)) is None:
        return None
    shifts = {number: int(shift or 0) for number, shift in _NUMBER.findall(pattern)}
    # With `{block-1}` the text is block - 1, so the shift is taken back.
    return {number: int(text) - shifts[number] for number, text in found.groupdict().items()}


def _fill_numbers(pattern: str, numbers: dict[str, int]) -> str:
    return _NUMBER.sub(lambda found: str(numbers[found[1]] + int(found[2] or 0)), pattern)


serve_old_names(__name__)
