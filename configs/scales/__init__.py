"""The paper's tables and figures as experiments that `python -m train.reproduce` runs at any scale.

`paper` are the rows of `configs.tables`. The smaller scales ask the same questions of smaller data
and networks, which `groups` describes; `docs/guide/reproduce.md` explains the choice.
"""

from configs.claims import Claim
from configs.scales import paper, small
from configs.scales.types import ANALYSES, NAMES, REFUSED, SCALES, TITLES, Case, Experiment

__all__ = [
    "ANALYSES",
    "NAMES",
    "REFUSED",
    "SCALES",
    "TITLES",
    "Case",
    "Claim",
    "Experiment",
    "load",
]


def load(name: str, scale: str) -> Experiment:
    """Return an experiment by its name and scale.

    Raises ValueError for an unknown scale, and for other names with the reason.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}.")
    if name in REFUSED:
        raise ValueError(f"{name} is not an experiment: {REFUSED[name]}")
    if name not in NAMES:
        raise ValueError(f"there is no {name!r}; choose one of {', '.join(NAMES)}.")
    return paper.make(name) if scale == "paper" else small.make(name, scale)
