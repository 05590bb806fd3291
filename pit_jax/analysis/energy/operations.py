"""What a neuron computes by itself, besides what its synapses add to it."""

from dataclasses import dataclass

import numpy as np

from pit_jax.inference.compiler.neuron_rules import FiringRule


@dataclass(frozen=True)
class NeuronOperations:
    """Of one neuron for one sample: all steps, in the folded network.

    A step compares the membrane with a threshold for each slot (of ternary spikes with two) and
    subtracts a level for each spike, if `subtracts`. Between steps the membrane is multiplied by
    its leak, unless that is 0 or 1, and added to the next current, unless it is forgotten. CLIF
    has three products and two sums more in each step, its sigmoids being looked up, and PITFull
    takes what is left through a matrix. Scales are none of this: they are folded into the weights.
    `scaled` says that there is one that rounds u / a.
    """

    multiplications: int
    additions: int
    comparisons: int
    subtracts: bool
    scaled: bool


def operations(rule: FiringRule, channels: int, steps: int, slots: int) -> NeuronOperations:
    """The operations of a neuron of a layer with `channels` that fires by `rule`."""
    leaks = np.concatenate([rule.leak.ravel(), rule.leak_fired.ravel()])
    between = steps - 1 if leaks.any() else 0
    multiplications = between * bool(np.any((leaks != 0) & (leaks != 1)))
    additions = between
    if rule.mixing is not None:
        multiplications += between * channels
        additions += between * (channels - 1)
    if rule.tau is not None:
        multiplications += 3 * steps
        additions += 2 * steps
    return NeuronOperations(
        multiplications,
        additions,
        comparisons=steps * slots * (2 if rule.signed else 1),
        subtracts=bool(rule.drop.any()) or rule.tau is not None,
        scaled=rule.mixing is not None or bool(np.any(rule.step != 1)),
    )
