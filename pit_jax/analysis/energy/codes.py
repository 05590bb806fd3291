"""How a neuron that counts 0 .. D sends its count in spikes of one bit."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jaxtyping import Array, Int


@dataclass(frozen=True)
class Code:
    """`slots(D)` bits in each step, of which a count k >= 0 sets `spikes(k)`."""

    name: str
    slots: Callable[[int], int]
    spikes: Callable[[Int[Array, "..."]], Int[Array, "..."]]


def _same(count: Int[Array, "..."]) -> Int[Array, "..."]:
    return count


# A slot for each of D levels, as the paper infers (Appendix A): k spikes.
EXPANDED = Code("expanded", int, _same)
# ⌈log₂(D+1)⌉ slots, each worth twice the next: as many spikes as k has bits that are set.
BINARY_CODE = Code("binary_code", int.bit_length, jax.lax.population_count)
