"""Every operation of a network for some samples, counted in integers."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pit_jax.analysis.energy.codes import EXPANDED, Code
from pit_jax.analysis.energy.operations import NeuronOperations, operations
from pit_jax.analysis.energy.synapses import SynapseRow, Synapses, synapses_at
from pit_jax.analysis.recorder import LayerRecording, recorder
from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.fold import fold
from pit_jax.inference.compiler.trace import outline_layers
from pit_jax.inference.fan_out import count_arrivals
from pit_jax.inference.runtime.reductions import apply_structure


@dataclass(frozen=True)
class Neurons:
    """A layer of `neurons` neurons, each with `operations` for one sample.

    Summed over all samples: `counted` is the sum of |count| and `spikes` the number of spikes that
    send these counts, over all steps; `fired` `[T]` is how many counts are not 0 in each step.
    """

    path: str
    neurons: int
    levels: int
    steps: int
    operations: NeuronOperations
    counted: int
    spikes: int
    fired: tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """The counts of a folded network, layer by layer as it runs, summed over `samples` samples.

    Spikes are counted in `code`. `parameters`, `bytes`, `weights` and `zero_weights` (the weights
    that are 0) describe the trained network, before it is folded.
    """

    layers: list[Synapses | Neurons]
    samples: int
    steps: int
    code: Code
    parameters: int
    bytes: int
    weights: int
    zero_weights: int

    @property
    def synapses(self) -> list[Synapses]:
        """The layers without neurons."""
        return [layer for layer in self.layers if isinstance(layer, Synapses)]

    @property
    def neurons(self) -> list[Neurons]:
        """The layers of neurons."""
        return [layer for layer in self.layers if isinstance(layer, Neurons)]

    @property
    def rate(self) -> float:
        """The mean of |count| / D over all neurons, steps and samples."""
        # Every neuron has the same weight, so large layers dominate the mean.
        counted = sum(layer.counted / layer.levels for layer in self.neurons)
        return counted / self.samples / sum(layer.neurons * layer.steps for layer in self.neurons)


def count(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Float[ArrayLike, "..."] | Iterable[Float[ArrayLike, "..."]],
    *,
    code: Code = EXPANDED,
) -> Counts:
    """Count the operations of one batch or an iterable of `batches`.

    A batch has images `[B, H, W, C]` or frames `[B, T, H, W, C]`. Raises NotFoldable for a network
    that cannot be compiled to an exact program of spikes.
    """
    given: Any = [batches] if hasattr(batches, "shape") else batches
    network, samples = None, 0
    for x in given:
        if not len(x):
            continue
        network = network or _Network(model, variables, x.shape, code)
        if x.shape[1:] != network.shape:
            raise ValueError(
                f"samples have the shape {x.shape[1:]}, those before {network.shape}; count inputs "
                "of different shapes separately."
            )
        network.add(jnp.asarray(x))
        samples += len(x)
    if network is None:
        raise ValueError("there are no samples to count; give at least one.")
    return network.counts(samples)


class _Network:
    """A folded network and the sums of its counts over the batches so far."""

    def __init__(
        self, model: nn.Module, variables: Mapping[str, Any], shape: tuple[int, ...], code: Code
    ) -> None:
        self.variables, self.code, self.shape = variables, code, shape[1:]
        # Synapses are read from the folded network, counts from the trained one in floats. The grid
        # of a compiled program may round a membrane close to a boundary differently.
        outline = outline_layers(model, variables, shape)
        self.nodes, self.steps = fold(outline), outline.num_steps
        self.spiking = [node for node in self.nodes if isinstance(node, folded.Spikes)]
        self.rows = [
            synapses_at(self.nodes, number, self.steps, frames=len(shape) in (3, 5))
            for number in range(len(self.nodes))
        ]
        self.record = recorder(model)
        self.seen = jax.jit(self._sum_batch)
        # By path for neurons, but by identity for rows: several rows may have the same path.
        self.sums: dict[Any, Any] = defaultdict(int)
        self.by_sample: dict[int, list[np.ndarray]] = defaultdict(list)

    def add(self, x: Array) -> None:
        """Add a batch to the sums.

        An int32 holds the sums of one batch at one position, but not those of a layer over all
        batches, which are therefore NumPy's int64 or Python ints.
        """
        recorded = self.record(self.variables, x)
        counts = {node.path: _find_count(recorded, node.path) for node in self.spiking}
        fired, at_rows = jax.tree.map(np.asarray, self.seen(counts, x))
        for path, (counted, spikes, by_step) in fired.items():
            self.sums[path, "counted"] += _sum_all(counted)
            self.sums[path, "spikes"] += _sum_all(spikes)
            self.sums[path, "fired"] += by_step.astype(np.int64)
        for row, (counted, spikes, arrived, by_sample) in zip(
            self._list_rows(), at_rows, strict=True
        ):
            self.sums[id(row), "counted"] += _sum_all(counted)
            self.sums[id(row), "spikes"] += _sum_all(spikes)
            self.sums[id(row), "arrived"] += row.fan.count_additions(arrived)
            self.by_sample[id(row)].append(by_sample)

    def _list_rows(self) -> list[SynapseRow]:
        return [row for rows in self.rows for row in rows]

    def _sum_batch(self, counts: dict[str, Array], x: Array) -> Any:
        """Return a batch's sums of each layer by position and step, and of each row by position."""
        outputs = _flatten_outputs(self.nodes, counts, x)
        fired = {}
        for path, count in counts.items():
            # A negative spike costs as much as a positive one.
            k = jnp.abs(count.astype(jnp.int32))
            places = tuple(range(2, k.ndim))
            fired[path] = (
                jnp.sum(k, (0, 1)),
                jnp.sum(self.code.spikes(k), (0, 1)),
                jnp.sum(k != 0, (0, *places), dtype=jnp.int32),
            )
        return fired, [self._sum_row(row, outputs[row.source], len(x)) for row in self._list_rows()]

    def _sum_row(self, row: SynapseRow, output: Array | None, samples: int) -> tuple[Array, ...]:
        """Return counts, spikes and additions by position, and the additions of each sample."""
        nothing, none = jnp.zeros((), jnp.int32), jnp.zeros(samples)
        # Currents and attention multiply real numbers: their MACs follow from the shapes alone.
        if output is None or row.synapses.kind == "attention":
            return nothing, nothing, nothing, none
        if row.synapses.reads == "pixels":
            # NeuroBench counts products of pixels that are not 0; energy charges all of them.
            multiplied = apply_structure(row.fan.before, output.astype(jnp.float32)) != 0
            return nothing, nothing, jnp.sum(multiplied, axis=0, dtype=jnp.int32), none
        k = jnp.abs(output.astype(jnp.int32))
        # A max pool passes on a single spike, so arrivals are counted after it; a sum pool and the
        # weights are part of the fan-out, since there every spike is a separate addition.
        arrived = self.code.spikes(count_arrivals(row.fan.before, output))
        reached = jnp.asarray(row.fan.reached, jnp.float32)
        # float32 is enough here: `by_sample` is used for a standard deviation only.
        by_sample = jnp.sum((arrived * reached).reshape(samples, -1), axis=1)
        sums = jnp.sum(k, axis=0), jnp.sum(self.code.spikes(k), axis=0), jnp.sum(arrived, axis=0)
        return *sums, by_sample

    def counts(self, samples: int) -> Counts:
        """Return the counts of the `samples` samples so far."""
        layers: list[Synapses | Neurons] = []
        for node, rows in zip(self.nodes, self.rows, strict=True):
            layers.extend(self._fill_synapses(row) for row in rows)
            if isinstance(node, folded.Spikes):
                layers.append(self._make_neurons(node))
        return Counts(layers, samples, self.steps, self.code, **_count_stored(self.variables))

    def _fill_synapses(self, row: SynapseRow) -> Synapses:
        arrived = self.sums[id(row), "arrived"]
        if row.synapses.reads == "pixels":
            return replace(row.synapses, products=arrived)
        return replace(
            row.synapses,
            counted=self.sums[id(row), "counted"],
            spikes=self.sums[id(row), "spikes"],
            accumulations=arrived,
            by_sample=np.concatenate(self.by_sample[id(row)]).astype(np.float64),
        )

    def _make_neurons(self, node: folded.Spikes) -> Neurons:
        levels = node.firing.levels
        # A neuron compares once for each slot of the code, not for each level.
        slots = self.code.slots(levels)
        return Neurons(
            path=node.path,
            neurons=math.prod(node.shape),
            levels=levels,
            steps=self.steps,
            operations=operations(node.firing, node.shape[-1], self.steps, slots),
            counted=self.sums[node.path, "counted"],
            spikes=self.sums[node.path, "spikes"],
            fired=tuple(self.sums[node.path, "fired"].tolist()),
        )


def _find_count(recorded: Mapping[str, LayerRecording], path: str) -> Array:
    """Return the counts of the neuron at `path`, or of the neuron inside it that it scales."""
    (found,) = (
        layer.count for name, layer in recorded.items() if f"{name}/".startswith(f"{path}/")
    )
    return found


def _flatten_outputs(
    nodes: Sequence[folded.Node], counts: dict[str, Array], x: Array
) -> list[Array | None]:
    """Return the pixels or spikes of each node, samples and steps in one axis `[B or B T, ...]`.

    Nodes that send neither, such as accumulators, have None.
    """
    outputs: list[Any] = []
    for node in nodes:
        match node:
            case folded.Pixels():
                outputs.append(x.reshape(-1, *node.shape))
            case folded.Spikes():
                outputs.append(counts[node.path].reshape(-1, *node.shape))
            case folded.Product():
                first, second = (
                    apply_structure(pools, outputs[source])
                    for source, pools in zip((node.first, node.second), node.pools, strict=True)
                )
                # `silent` multiplies where the second neuron does not fire.
                outputs.append(first * (1 - second if node.silent else second))
            case _:
                outputs.append(None)
    return outputs


def _sum_all(sums: np.ndarray) -> int:
    return int(sums.astype(np.int64).sum())


def _count_stored(variables: Mapping[str, Any]) -> dict[str, int]:
    # NeuroBench counts zeros among the weights of synapses only, not in norms, biases or scales.
    kernels = [
        leaf
        for path, leaf in flatten_dict(dict(variables["params"])).items()
        if path[-1] == "kernel"
    ]
    held = [
        leaf
        for name in ("params", "batch_stats")
        for leaf in jax.tree.leaves(variables.get(name, {}))
    ]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "bytes": sum(leaf.nbytes for leaf in held),
        "weights": sum(leaf.size for leaf in kernels),
        "zero_weights": sum(int(jnp.sum(leaf == 0)) for leaf in kernels),
    }
