"""Parameters, operations and neurons of a network, counted from shapes alone."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict

from pit_jax.models.trace import Trace, trace
from pit_jax.old_names import serve_old_names

PARAMETER_KINDS = (
    "conv kernel",
    "conv bias",
    "norm",
    "linear kernel",
    "linear bias",
    "neuron",
)


def parameters_by_kind(params: Mapping[str, Any]) -> Counter[str]:
    """Count the trainable values of each kind; `params` may be arrays or their shapes.

    Kinds: `conv kernel`, `conv bias`, `norm`, `linear kernel`, `linear bias`, and `neuron` for all
    parameters of neurons, e.g. PIT's scales.
    """
    leaves = flatten_dict(params)
    kinds: Counter[str] = Counter()
    for (*layer, leaf), value in leaves.items():
        if (kernel := leaves.get((*layer, "kernel"))) is not None:
            kinds[f"{'linear' if kernel.ndim == 2 else 'conv'} {leaf}"] += value.size
        else:
            # Norms have a leaf `scale`; so has NormedLIF, which is a norm inside a neuron.
            kinds["norm" if (*layer, "scale") in leaves else "neuron"] += value.size
    return kinds


@dataclass(frozen=True)
class LayerCount:
    """One layer of a network: `kind` is `conv`, `linear`, `norm`, `neuron` or `product`.

    `shape` is the output shape, batch and steps first. `macs` counts the multiply-accumulates of
    one sample over all steps; a layer before the repetition over time has one step. A `product`
    multiplies two activations, as in q k^T v; its path is the module around it. `neurons` counts
    the neurons of one sample, which run at every step. `bytes` is the size of the output for the
    whole batch.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    neurons: int
    bytes: int


@dataclass(frozen=True)
class Totals:
    """The sums over a network; `parameters` by kind as in `parameters_by_kind`.

    `layers` counts convolutions and linear layers, `neuron_layers` the layers of neurons, `macs`
    the multiply-accumulates of convolutions and linear layers, `products` those between two
    activations. `activation_bytes` sums the outputs of all these layers and of the norms for the
    whole batch, without the outputs of pools, shortcut sums and dropout and without membranes,
    parameters and gradients.
    """

    layers: int
    neuron_layers: int
    parameters: dict[str, int]
    macs: int
    products: int
    neurons: int
    activation_bytes: int


def count_layers(model: nn.Module, x_shape: tuple[int, ...]) -> list[LayerCount]:
    """Return the layers of `model` in the order in which they run, without running them.

    `x_shape` is the shape of images `[B, H, W, C]` or frames `[B, T, H, W, C]`.
    """
    return count_traced_layers(trace(model, x_shape))


def count_traced_layers(traced: Trace) -> list[LayerCount]:
    """Return the layers of a traced network."""
    sizes: Counter[str] = Counter()
    for path, value in flatten_dict(traced.params).items():
        # A neuron may contain modules, so a layer counts all leaves below its path.
        for depth in range(1, len(path)):
            sizes["/".join(path[:depth])] += value.size
    batch = traced.nodes[0].shape[0]  # MACs are per sample.
    return [
        LayerCount(
            path=node.path,
            kind=node.kind,
            shape=node.shape,
            # A product has the path of the module around it, whose parameters belong to its layers.
            parameters=0 if node.kind == "product" else sizes[node.path],
            # Each output has `terms` products, those with padding included, as papers count them.
            macs=math.prod(node.shape) // batch * node.terms,
            neurons=math.prod(node.shape[2:]) if node.kind == "neuron" else 0,
            bytes=math.prod(node.shape) * node.dtype.itemsize,
        )
        for node in traced.nodes
        if node.kind in ("conv", "linear", "norm", "neuron", "product")
    ]


def count_totals(model: nn.Module, x_shape: tuple[int, ...]) -> Totals:
    """Return the sums over `count_layers`, and the parameters by kind."""
    return count_traced_totals(trace(model, x_shape))


def count_traced_totals(traced: Trace) -> Totals:
    """Return the sums over a traced network."""
    rows = count_traced_layers(traced)
    kinds = Counter(row.kind for row in rows)
    by_kind = parameters_by_kind(traced.params)
    return Totals(
        layers=kinds["conv"] + kinds["linear"],
        neuron_layers=kinds["neuron"],
        parameters={kind: by_kind[kind] for kind in PARAMETER_KINDS},
        macs=sum(row.macs for row in rows if row.kind != "product"),
        products=sum(row.macs for row in rows if row.kind == "product"),
        neurons=sum(row.neurons for row in rows),
        activation_bytes=sum(row.bytes for row in rows),
    )


serve_old_names(__name__)
