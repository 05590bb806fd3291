"""The tables and figures of the paper as rows: the printed values, and the run that repeats them.

Each module, such as `configs.tables.table2`, has `ROWS`. To train a row:

    python -m train.main --config ROW.config --config.OVERRIDE --config.OVERRIDE ...
"""

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One row of a table, or one run that a figure shows.

    Args:
        label: names the row within its page: method, network, data set where there are several,
            and T x D.
        config: a page of configs/ and a variant, such as cifar10:paper; empty for a cited row.
        overrides: the overrides without `--config.`, such as num_steps=4.
        printed: the printed values: accuracy in percent, and others whose names end in their unit,
            such as memory_gb.
        printed_parameters: the printed number of parameters, such as 11.18M; empty for none.
        parameters: the exact number of trainable values of our network, without PIT's scales.
        remark: the reason if the printed and the exact number differ, and other remarks.
        source: the origin of the row and its recipe, and what is unknown about the recipe.
        sd: the printed standard deviation over three seeds.
        cited: the reason why the row is not trained; empty for a row that is.
        analysis: the analysis of `python -m train.analyze` that shows what the row prints.
    """

    label: str
    config: str = ""
    overrides: tuple[str, ...] = ()
    printed: Mapping[str, float] = {}
    printed_parameters: str = ""
    parameters: int = 0
    remark: str = ""
    source: str = ""
    sd: float | None = None
    cited: str = ""
    analysis: str = ""
