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
    """A layer of `neurons`, each with `operations`.

    Of all samples and steps: `counted`, the sum of |count|, the `spikes` that say it, and `fired`
    `[T]`, how many counts are not 0 in each step.
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
    """The layers of a folded network in the order in which they run, for `samples` in all.

    Spikes are those of `code`. `parameters`, `zero_weights` of `weights` and `bytes` are of the
    trained network as it is, before it is folded.
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
        counted = sum(layer.counted / layer.levels for layer in self.neurons)
        return counted / self.samples / sum(layer.neurons * layer.steps for layer in self.neurons)


def count(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Float[ArrayLike, "..."] | Iterable[Float[ArrayLike, "..."]],
    *,
    code: Code = EXPANDED,
) -> Counts:
    """Counts what `batches` of images `[B, H, W, C]` or frames `[B, T, H, W, C]`, or one, take.

    Raises NotFoldable for a network that no program of spikes says exactly.
    """
    given: Any = [batches] if hasattr(batches, "shape") else batches
    network, samples = None, 0
    for x in given:
        if not len(x):
            continue
        network = network or _Network(model, variables, x.shape, code)
        if x.shape[1:] != network.shape:
            raise ValueError(
                f"samples are {x.shape[1:]} in this batch and {network.shape} before; count inputs "
                "of different shapes one by one."
            )
        network.add(jnp.asarray(x))
        samples += len(x)
    if network is None:
        raise ValueError("counts are of samples, of which there are none; give some.")
    return network.counts(samples)


class _Network:
    """A folded network and the sums of what was counted so far."""

    def __init__(
        self, model: nn.Module, variables: Mapping[str, Any], shape: tuple[int, ...], code: Code
    ) -> None:
        self.variables, self.code, self.shape = variables, code, shape[1:]
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        self.steps: int = jax.eval_shape(model.apply, variables, x).shape[1]
        self.nodes = fold(outline_layers(model, variables, shape))
        self.spiking = [node for node in self.nodes if isinstance(node, folded.Spikes)]
        self.rows = [
            synapses_at(self.nodes, number, self.steps, frames=len(shape) == 5)
            for number in range(len(self.nodes))
        ]
        self.record = recorder(model)
        self.seen = jax.jit(self._sum_batch)
        self.sums: dict[Any, Any] = defaultdict(int)
        self.by_sample: dict[int, list[np.ndarray]] = defaultdict(list)

    def add(self, x: Array) -> None:
        """Adds a batch to the sums, which are integers of any size."""
        recorded = self.record(self.variables, x)
        counts = {node.path: _find_count(recorded, node.path) for node in self.spiking}
        fired, at_rows = jax.tree.map(np.asarray, self.seen(counts, x))
        for path, (counted, spikes, by_step) in fired.items():
            self.sums[path, "counted"] += _total(counted)
            self.sums[path, "spikes"] += _total(spikes)
            self.sums[path, "fired"] += by_step.astype(np.int64)
        for row, (counted, spikes, arrived, by_sample) in zip(
            self._list_rows(), at_rows, strict=True
        ):
            self.sums[id(row), "counted"] += _total(counted)
            self.sums[id(row), "spikes"] += _total(spikes)
            self.sums[id(row), "arrived"] += row.fan.count_additions(arrived)
            self.by_sample[id(row)].append(by_sample)

    def _list_rows(self) -> list[SynapseRow]:
        return [row for rows in self.rows for row in rows]

    def _sum_batch(self, counts: dict[str, Array], x: Array) -> Any:
        """The sums of each layer, and those of each row, by its place or step: an int32 holds
        them."""
        outputs = _outputs(self.nodes, counts, x)
        fired = {}
        for path, count in counts.items():
            k = jnp.abs(count.astype(jnp.int32))
            places = tuple(range(2, k.ndim))
            fired[path] = (
                jnp.sum(k, (0, 1)),
                jnp.sum(self.code.spikes(k), (0, 1)),
                jnp.sum(k != 0, (0, *places), dtype=jnp.int32),
            )
        return fired, [self._row(row, outputs[row.source], len(x)) for row in self._list_rows()]

    def _row(self, row: SynapseRow, output: Array | None, samples: int) -> tuple[Array, ...]:
        nothing, none = jnp.zeros((), jnp.int32), jnp.zeros(samples)
        if output is None or row.synapses.kind == "attention":
            return nothing, nothing, nothing, none
        if row.synapses.reads == "pixels":
            multiplied = apply_structure(row.fan.before, output.astype(jnp.float32)) != 0
            return nothing, nothing, jnp.sum(multiplied, axis=0, dtype=jnp.int32), none
        k = jnp.abs(output.astype(jnp.int32))
        arrived = self.code.spikes(count_arrivals(row.fan.before, output))
        reached = jnp.asarray(row.fan.reached, jnp.float32)
        by_sample = jnp.sum((arrived * reached).reshape(samples, -1), axis=1)
        sums = jnp.sum(k, axis=0), jnp.sum(self.code.spikes(k), axis=0), jnp.sum(arrived, axis=0)
        return *sums, by_sample

    def counts(self, samples: int) -> Counts:
        """All that was counted so far, of `samples`."""
        layers: list[Synapses | Neurons] = []
        for node, rows in zip(self.nodes, self.rows, strict=True):
            layers.extend(self._synapses(row) for row in rows)
            if isinstance(node, folded.Spikes):
                layers.append(self._neurons(node))
        return Counts(layers, samples, self.steps, self.code, **_count_stored(self.variables))

    def _synapses(self, row: SynapseRow) -> Synapses:
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

    def _neurons(self, node: folded.Spikes) -> Neurons:
        levels = node.firing.levels
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
    """The counts of the neuron at `path`; one that scales another's spikes has them inside."""
    (found,) = (
        layer.count for name, layer in recorded.items() if f"{name}/".startswith(f"{path}/")
    )
    return found


def _outputs(
    nodes: Sequence[folded.Node], counts: dict[str, Array], x: Array
) -> list[Array | None]:
    """What pixels and spikes are, all samples and steps in one axis: `[B or B T, ...]`."""
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
                outputs.append(first * (1 - second if node.silent else second))
            case _:
                outputs.append(None)
    return outputs


def _total(sums: np.ndarray) -> int:
    return int(sums.astype(np.int64).sum())


def _count_stored(variables: Mapping[str, Any]) -> dict[str, int]:
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
