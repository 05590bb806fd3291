"""What a network holds, counted from shapes alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict


def parameters_by_kind(params: Mapping[str, Any]) -> Counter[str]:
    """The number of trainable values of each kind, for arrays or their shapes alike.

    Kinds: `conv kernel`, `conv bias`, `norm`, `linear kernel`, `linear bias`, and `neuron` for all
    that neurons learn, PIT's scales among it.
    """
    leaves = {path: value for path, value in flatten_dict(params).items()}
    kinds: Counter[str] = Counter()
    for (*layer, leaf), value in leaves.items():
        if (kernel := leaves.get((*layer, "kernel"))) is not None:
            kinds[f"{'linear' if kernel.ndim == 2 else 'conv'} {leaf}"] += value.size
        else:
            kinds["norm" if (*layer, "scale") in leaves else "neuron"] += value.size
    return kinds
