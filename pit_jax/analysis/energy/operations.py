"""Operations inside a neuron: thresholds, leak and reset, without its synapses."""

from dataclasses import dataclass

import numpy as np

from pit_jax.inference.compiler.neuron_rules import FiringRule


@dataclass(frozen=True)
class NeuronOperations:
    """The operations of one neuron of a folded network for one sample, over all steps.

    `subtracts` is true of a neuron with a soft reset, which subtracts a level for each spike; these
    subtractions depend on the samples and are not in `additions`. `scaled` is true of a neuron that
    rounds u / a; folding moves this product into the weights, so it is not counted here.
    """

    multiplications: int
    additions: int
    comparisons: int
    subtracts: bool
    scaled: bool


def operations(rule: FiringRule, channels: int, steps: int, slots: int) -> NeuronOperations:
    """Return the operations of a neuron that fires by `rule`, in a layer of `channels` channels."""
    leaks = np.concatenate([rule.leak.ravel(), rule.leak_fired.ravel()])
    # The first step has no membrane to add, and a leak of 0 forgets it between steps.
    between = steps - 1 if leaks.any() else 0
    # A leak of 1 keeps the membrane as it is and needs no product.
    multiplications = between * bool(np.any((leaks != 0) & (leaks != 1)))
    # The current is added to the membrane that remains.
    additions = between
    # PITFull multiplies the remaining membrane by a row of its C × C matrix.
    if rule.mixing is not None:
        multiplications += between * channels
        additions += between * (channels - 1)
    # CLIF updates its second potential and its reset; its sigmoids are read from a table.
    if rule.tau is not None:
        multiplications += 3 * steps
        additions += 2 * steps
    return NeuronOperations(
        multiplications,
        additions,
        # One comparison for each slot; ternary spikes compare with a negative threshold too.
        comparisons=steps * slots * (2 if rule.signed else 1),
        subtracts=bool(rule.drop.any()) or rule.tau is not None,
        scaled=rule.mixing is not None or bool(np.any(rule.step != 1)),
    )
