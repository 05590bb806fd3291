"""Operations on the values of a network while it is folded, in terms of the nodes so far."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import is_signed
from pit_jax.inference.compiler.fold_weights import (
    broadcast_steps,
    fold_weight,
    make_kernel,
    multiply_gains,
    reduce_gain,
    scale_weight,
    varies,
)
from pit_jax.inference.compiler.neuron_rules import FiringRule
from pit_jax.inference.compiler.trace import ModelLayer
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.reductions import (
    Cells,
    Pool,
    Reshape,
    Shape,
    Structure,
    Sum,
    apply_structure,
)


class Builder:
    """The nodes so far, with methods that add nodes and return values that read them."""

    def __init__(self) -> None:
        self.nodes: list[folded.Node] = []

    def add(self, node: folded.Node) -> int:
        """Add a node and return its number."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def add_accumulator(self, value: folded.Value, path: str) -> int:
        """Return the accumulator of a value, an existing one if the value is just its current."""
        if len(value.synapses) == 1 and not np.any(value.bias):
            (synapse,) = value.synapses
            plain = not synapse.structure and synapse.weight is None and np.all(synapse.gain == 1)
            if plain and self._is_current(synapse.source):
                return synapse.source
        return self.add(folded.Accumulator(value, path))

    def accumulate(self, value: folded.Value) -> folded.Value:
        """Add an accumulator of `value` and return its current, for several readers or a gain."""
        path = next(synapse.path for synapse in reversed(value.synapses) if synapse.path)
        return read(folded.Synapse(self.add_accumulator(value, path)), value.shape)

    def accumulate_weights(self, value: folded.Value) -> folded.Value:
        """Return a value without weights: the value itself, or the current of its accumulator."""
        return self.accumulate(value) if has_weights(value) else value

    def apply_layer(self, layer: ModelLayer, value: folded.Value, shape: Shape) -> folded.Value:
        """Return the outputs of a convolution or linear layer, whose weights absorb all gains.

        W (sum_i g_i s_i + b) = sum_i (W g_i) s_i + W b: one copy of the weights for each source.
        """
        value = self.accumulate_weights(value)
        params = {k: np.asarray(x, np.float64) for k, x in layer.variables["params"].items()}
        synapses = tuple(
            replace(
                synapse,
                gain=np.ones((1, 1)),
                mixing=None,
                weight=fold_weight(layer, params["kernel"], synapse, value.shape),
                path=layer.path,
            )
            for synapse in value.synapses
        )
        bias = params.get("bias", np.zeros(1))[None]
        if np.any(value.bias):
            # W b would be another number where the window overlaps the padding, which has no bias.
            if isinstance(layer.module, nn.Conv):
                raise NotFoldable(
                    f"{layer.path} reads a sum with a bias, but padding at a border is 0.",
                    "Add the bias after the layer, or to the images before the network.",
                )
            inputs = (*value.bias.shape[:-1], value.shape[-1])
            bias = np.broadcast_to(value.bias, inputs) @ params["kernel"] + bias
        return folded.Value(synapses, bias, shape)

    def add_neurons(self, layer: ModelLayer, rule: FiringRule, value: folded.Value) -> folded.Value:
        """Add a neuron layer; return its counts times their gain, or mixed (PITFull)."""
        value = self.scale(value, rule.current_gain, rule.current_bias, layer.path)
        mixing = rule.mixing
        if mixing is not None:
            value = self.mix(value, np.linalg.inv(mixing), layer.path)
        accumulator = self.add_accumulator(value, layer.path)
        number = self.add(folded.Spikes(accumulator, rule, value.shape, layer.path))
        return read(folded.Synapse(number, (), rule.gain, mixing, path=layer.path), value.shape)

    def scale(self, value: folded.Value, gain: np.ndarray, bias: Any, path: str) -> folded.Value:
        """Return gain * value + bias; both are `[1 or T, 1 or C]`."""
        if np.all(gain == 1):
            return replace(value, bias=value.bias + bias)
        # A current counts in one unit for all of its readers, so one summand cannot be scaled on
        # its own: the sum is accumulated and scaled as a whole, by scaling its unit.
        currents = any(s.weight is None and self._is_current(s.source) for s in value.synapses)
        if len(value.synapses) > 1 and currents:
            value = self.accumulate(value)
        synapses = []
        for synapse in value.synapses:
            if synapse.weight is None:
                scale = multiply_gains(synapse.gain, gain)
                synapses.append(replace(synapse, gain=scale, path=synapse.path or path))
            else:
                synapses.append(replace(synapse, weight=scale_weight(synapse.weight, gain)))
        return folded.Value(tuple(synapses), multiply_gains(value.bias, gain) + bias, value.shape)

    def mix(self, value: folded.Value, matrix: np.ndarray, path: str) -> folded.Value:
        """Return the matrix product of `matrix` `[T, C, C]` and a value, step by step."""
        synapses = []
        for synapse in value.synapses:
            weight = synapse.weight
            # Kernels are [C_in, C_out] and act from the right: x K followed by M is x K Mᵀ.
            if weight is None:
                kernel = make_kernel(synapse, value.shape[-1]) @ np.swapaxes(matrix, 1, 2)
                structure = synapse.structure
                synapses.append(
                    folded.Synapse(
                        synapse.source, structure, weight=folded.Dense(kernel), path=path
                    )
                )
                continue
            kernel = weight.kernel @ np.swapaxes(matrix, 1, 2).reshape(
                len(matrix), *(1,) * (weight.kernel.ndim - 3), *matrix.shape[1:]
            )
            synapses.append(replace(synapse, weight=replace(weight, kernel=kernel)))
        bias = np.broadcast_to(value.bias, (*value.bias.shape[:-1], value.shape[-1]))
        bias = np.einsum("t...c,tdc->t...d", *broadcast_steps(bias, matrix))
        return folded.Value(tuple(synapses), bias, value.shape)

    def multiply_spikes(
        self, a: folded.Value, b: folded.Value, shape: Shape, path: str
    ) -> folded.Value:
        """Return the product a b of spikes, or a (1 - b), which is silent where b fires."""
        # A bias of 1 comes from `1 - spikes`, the only product with a bias that stays binary.
        silent = bool(np.all(b.bias == 1))
        both = (*a.synapses, *b.synapses)
        single = len(a.synapses) == len(b.synapses) == 1 and not np.any(a.bias)
        binary = all(
            folded.count_levels(self.nodes, s.source) == 1 and np.all(abs(s.gain) == 1)
            for s in both
        )
        spikes = all(self._is_pooled_spikes(synapse) for synapse in both)
        if not (single and spikes and (binary or not silent)) or (np.any(b.bias) and not silent):
            raise NotFoldable(
                f"the product {path} reads sums of spikes, more than one level or scaled spikes; "
                "only the product of two neurons' spikes is binary spikes again.",
                "Multiply the outputs of two neurons of one level, before any sum or scale.",
            )
        (first,), (second,) = a.synapses, b.synapses
        # 1 + b is 2 where b fires, and so is 1 - b where b fires -1: not binary, and twice
        # the bound of the next sum.
        if silent and (np.any(second.gain != -1) or is_signed(self.nodes, second.source)):
            raise NotFoldable(
                f"the product {path} has the factor 1 + spikes, or 1 - spikes that can be -1, and "
                "so can be 2.",
                "Use 1 - spikes of a neuron that fires 0 or 1.",
            )
        pools = first.structure, second.structure
        number = self.add(folded.Product(first.source, second.source, shape, path, silent, pools))
        # (g1 s1) (g2 s2) = (g1 g2) s1 s2.
        gain = first.gain if silent else multiply_gains(first.gain, second.gain)
        return read(folded.Synapse(number, (), gain, path=path), shape)

    def attend(
        self, values: tuple[folded.Value, ...], heads: int, shape: Shape, path: str
    ) -> folded.Value:
        """Return linear attention of query, key and value, each the spikes of one neuron layer."""
        for value in values:
            synapse = value.synapses[0]
            plain = synapse.weight is None and synapse.mixing is None and not synapse.structure
            spikes = isinstance(self.nodes[synapse.source], folded.Spikes)
            if len(value.synapses) > 1 or not plain or not spikes:
                raise NotFoldable(
                    f"the attention {path} reads values that are not the spikes of one neuron.",
                    "Put a neuron after each of query, key and value.",
                )
        query, key, content = (value.synapses[0] for value in values)
        channels = values[0].shape[-1]
        # sum_c (g_q q)_c (g_k k)_c (g_v v)_f = g_v,f sum_c (g_q g_k)_c q_c k_c v_f: the gains of
        # query and key stay inside the sum over channels, the gain of the value leaves it.
        weight = multiply_gains(query.gain, key.gain) * np.ones((1, channels))
        sources = query.source, key.source, content.source
        number = self.add(folded.LinearAttention(*sources, heads, weight, shape, path))
        # The factor of layers.attention.linear_attention.
        gain = content.gain * (2 * (channels // heads) ** -0.5)
        return read(folded.Synapse(number, (), gain, path=path), shape)

    def reduce(
        self, value: folded.Value, structure: Structure, shape: Shape, path: str
    ) -> folded.Value:
        """Return a pool, sum or reshape of a value."""
        value = self.accumulate_weights(value)
        if np.any(value.bias):
            raise NotFoldable(
                f"the pool or sum {path} reads a bias.", "Add the bias after it, or in the weights."
            )
        if isinstance(structure, Pool) and structure.largest:
            self._check_maximum(value, path)
        synapses = []
        for synapse in value.synapses:
            if isinstance(structure, Sum) and varies(synapse.gain, structure.axes):
                synapses.append(self._sum_as_layer(synapse, structure, shape, path))
                continue
            gain = reduce_gain(structure, synapse.gain, value.shape, path)
            synapses.append(replace(synapse, structure=(*synapse.structure, structure), gain=gain))
        return folded.Value(tuple(synapses), np.zeros((1, 1)), shape)

    def _check_maximum(self, value: folded.Value, path: str) -> None:
        """Raise NotFoldable unless max(a k) = a max(k), and the same holds slot by slot."""
        for synapse in value.synapses:
            if len(value.synapses) > 1 or synapse.mixing is not None:
                raise NotFoldable(
                    f"the max-pool {path} reads a sum, not the spikes of one neuron.",
                    "Put a neuron in front of it, PIT instead of PITFull, or pool before the sum.",
                )
            if (
                any(map(_adds, synapse.structure))
                and folded.count_levels(self.nodes, synapse.source) > 1
            ):
                raise NotFoldable(
                    f"the max-pool {path} reads sums of counts, whose maximum is not the sum of "
                    "the maxima of their slots.",
                    "Put the max-pool in front, or use one level.",
                )
            if not np.all(synapse.gain > 0):
                raise NotFoldable(
                    f"the max-pool {path} follows a scale that is not above 0, so the largest "
                    "count is not the largest value.",
                    "Keep the scale above 0.",
                )

    def _sum_as_layer(
        self, synapse: folded.Synapse, structure: Structure, shape: Shape, path: str
    ) -> folded.Synapse:
        """Return a sum over places of different scales, such as a vote, as a linear layer."""
        source = self.nodes[synapse.source]
        if synapse.mixing is not None or len(shape) != 1 or not isinstance(source, folded.Spikes):
            raise NotFoldable(
                f"the sum {path} adds positions with different scales.",
                "Give all positions one scale, or put a linear layer in place of the sum.",
            )
        # Row i of the kernel is the output for the unit vector i.
        inputs = int(np.prod(source.shape))
        one = jnp.eye(inputs).reshape(inputs, *source.shape)
        outputs = np.asarray(apply_structure(synapse.structure, one), np.float64)
        steps = [np.asarray(structure(jnp.asarray(outputs * gain[None]))) for gain in synapse.gain]
        weight = folded.Dense(np.stack(steps))
        return folded.Synapse(synapse.source, (Reshape((inputs,)),), weight=weight, path=path)

    def _is_current(self, source: int) -> bool:
        return isinstance(self.nodes[source], folded.Accumulator | folded.LinearAttention)

    def _is_pooled_spikes(self, synapse: folded.Synapse) -> bool:
        """Return whether a synapse reads spikes, directly or after maxima over places."""
        return (
            isinstance(self.nodes[synapse.source], folded.Spikes | folded.Product)
            and all(isinstance(s, Pool) and s.largest for s in synapse.structure)
            and synapse.weight is None
            and synapse.mixing is None
        )


def read(synapse: folded.Synapse, shape: Shape) -> folded.Value:
    """Return one synapse as a value."""
    return folded.Value((synapse,), np.zeros((1, 1)), shape)


def has_weights(value: folded.Value) -> bool:
    """Return whether a layer of weights is in some synapse of a value."""
    return any(synapse.weight is not None for synapse in value.synapses)


def _adds(structure: Structure) -> bool:
    return isinstance(structure, Sum | Cells | Pool) and not getattr(structure, "largest", False)
