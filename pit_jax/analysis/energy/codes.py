"""Codes: how a neuron sends a count of 0 … D in binary spikes."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jaxtyping import Array, Int


@dataclass(frozen=True)
class Code:
    """A code of counts: `slots(D)` slots in each step, of which a count k >= 0 uses `spikes(k)`."""

    name: str
    slots: Callable[[int], int]
    spikes: Callable[[Int[Array, "..."]], Int[Array, "..."]]


def _return_count(count: Int[Array, "..."]) -> Int[Array, "..."]:
    return count


EXPANDED = Code("expanded", int, _return_count)
"""The paper's inference (Appendix A): one slot for each of D levels, k spikes for a count of k."""
BINARY_CODE = Code("binary_code", int.bit_length, jax.lax.population_count)
"""⌈log₂(D+1)⌉ slots, each worth twice the next: one spike for each bit that is set in k."""
