"""The paper's rules for the numbers of Tables 3 and 10, and the numbers that they print.

These rules are rougher than our own counts: layers.py counts every operation, and
pit_jax/inference/fan_out.py the synapses that a spike reaches.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pit_jax.analysis.energy.prices import FLOAT32, Number, Picojoules


def s_ace(macs: Number, *, weight_bits: int, steps: int, spike_bits: int) -> Number:
    """Return macs · T · b_w · b_s, the S-ACE of `macs` products a step (Shen et al. 2024)."""
    return macs * steps * weight_bits * spike_bits


def paper_table3(
    macs: Number, rate: Number, *, steps: int, levels: int, weight_bits: int = 16
) -> tuple[Number, Number]:
    """Return S-ACE and NS-ACE by the rule of Table 3.

    All layers are charged T · D spikes, including the first, and `rate`, the mean count over D, is
    one number for the whole network.
    """
    # Only the products rounded to two digits, 0.56 G, give the printed 35.84 G.
    ace = s_ace(float(f"{macs:.1e}"), weight_bits=weight_bits, steps=steps, spike_bits=levels)
    return ace, rate * ace


def paper_table10(
    first_macs: int,
    neurons: int,
    accumulations: Number,
    *,
    scaled: bool,
    picojoules: Picojoules = FLOAT32,
) -> tuple[int, Number]:
    """Return MACs and energy (pJ) by the rule of Table 10.

    MACs are those of the first layer at one step, plus one per neuron, or two per neuron if PIT's
    scale is counted (`scaled`). Neither depends on T.
    """
    macs = first_macs + neurons * (2 if scaled else 1)
    return macs, picojoules.ac * accumulations + picojoules.mac * macs


class Table3(NamedTuple):
    """A row of Table 3, in G; the row of QAT has neither T × D nor NS-ACE."""

    data: str
    method: str
    steps: int | None
    levels: int | None
    s_ace: float
    ns_ace: float | None


TABLE_3: Sequence[Table3] = (
    Table3("CIFAR10", "LIF", 4, 1, 35.84, 6.45),
    Table3("CIFAR10", "QAT", None, None, 35.84, None),
    Table3("CIFAR10", "PIT", 1, 4, 35.84, 4.31),
    Table3("CIFAR100", "LIF", 4, 1, 35.84, 7.88),
    Table3("CIFAR100", "QAT", None, None, 35.84, None),
    Table3("CIFAR100", "PIT", 1, 4, 35.84, 5.73),
)
"""The rows of Table 3 as the paper prints them."""


class Table10(NamedTuple):
    """A row of Table 10: ACs and MACs in millions, energy in µJ."""

    method: str
    steps: int
    levels: int
    acs: float
    macs: float
    energy: float


TABLE_10: Sequence[Table10] = (
    Table10("LIF", 4, 1, 68.04, 2.33, 71.94),
    Table10("I-LIF", 1, 4, 56.67, 2.33, 61.71),
    Table10("PIT", 1, 4, 49.30, 2.88, 57.64),
)
"""The rows of Table 10 as the paper prints them."""
