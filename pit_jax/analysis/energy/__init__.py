"""Operations, bit operations, memory traffic and energy of a network, layer by layer.

found = report(model, variables, images)
print(found, found.neurobench, found.conventions["honest"])

Start at report.py. synapses.py finds the sources of each layer, counts.py counts operations, and
layers.py prices them with prices.py, codes.py and operations.py. conventions.py has the rules of
the paper's tables.
"""

from pit_jax.analysis.energy.codes import BINARY_CODE, EXPANDED, Code
from pit_jax.analysis.energy.conventions import (
    TABLE_3,
    TABLE_10,
    paper_table3,
    paper_table10,
    s_ace,
)
from pit_jax.analysis.energy.counts import Counts, count
from pit_jax.analysis.energy.prices import FLOAT32, INT8, Bits, Memory, Picojoules
from pit_jax.analysis.energy.report import EnergyReport, report
from pit_jax.old_names import serve_old_names

__all__ = [
    "BINARY_CODE",
    "EXPANDED",
    "FLOAT32",
    "INT8",
    "TABLE_3",
    "TABLE_10",
    "Bits",
    "Code",
    "Counts",
    "Memory",
    "Picojoules",
    "EnergyReport",
    "count",
    "paper_table3",
    "paper_table10",
    "report",
    "s_ace",
]

serve_old_names(__name__)
