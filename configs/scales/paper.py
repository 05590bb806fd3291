"""The experiments at the scale of the paper: the rows of `configs.tables`, and one of QB-LIF."""

from configs.claims import compare_rows
from configs.scales.rows import COUNTED, count_rows, find_printed, load_rows
from configs.scales.types import ANALYSES, TITLES, Case, Experiment
from configs.tables import Row

SEEDS = 3
MEASURES = {"table3": ("energy",), "table10": ("energy",), "table8": ("levels",)}
FIGURES = ANALYSES | {"figure5": "landscape:51"}
# A row that the paper does not have, by experiment: its label, and the row of PIT that it repeats
# with the nearest competitor instead.
NEAREST = {
    "table2": ("QB-LIF ResNet18 1x4", "PIT ResNet18 1x4"),
    "table7": ("QB-LIF 1x1", "PIT 1x1"),
    "table8": ("QB-LIF 1x4", "PIT 1x4"),
}
QB_LIF = "Not in the paper: our reading of QB-LIF's abstract (arXiv 2604.25688)."
DATA = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "cifar10_dvs": "CIFAR10-DVS",
    "dvs_gesture": "DVS-Gesture",
}


def make(name: str) -> Experiment:
    """Return an experiment with the paper's networks and data."""
    printed, analysis = find_printed(name), ANALYSES.get(name, "")
    if name == "table5":  # Nothing of it needs training.
        cases, claims = count_rows(name), compare_rows(name, printed, COUNTED)
    else:
        measures = (FIGURES[name],) if analysis else MEASURES.get(name, ())
        rows = load_rows(name)
        first = next(DATA[row.config.split(":")[0]] for row in rows if row.config)
        cases = tuple(_make_case(row, measures, first) for row in rows)
        if name in NEAREST:
            cases += (_make_nearest(cases, *NEAREST[name]),)
        claims = compare_rows(name, printed)
    return Experiment(name, TITLES[name], cases, claims, analysis)


def _make_case(row: Row, measures: tuple[str, ...], first: str) -> Case:
    # A cited row has no config; its label ends in its data set unless that is the table's first.
    data = DATA.get(row.config.split(":")[0]) or row.label.rpartition(", ")[2]
    return Case(
        label=row.label,
        config=row.config,
        overrides=row.overrides,
        seeds=0 if row.cited else SEEDS,
        row=row.label,
        group=data if data in DATA.values() else first,
        measures=() if row.cited else measures,
        remark=f"Cited: it {row.cited}." if row.cited else row.remark,
    )


def _make_nearest(cases: tuple[Case, ...], label: str, repeated: str) -> Case:
    """Return the case of QB-LIF with the config of the case `repeated`."""
    (like,) = (case for case in cases if case.label == repeated)
    page = like.config.partition(":")[0]
    return like._replace(label=label, config=f"{page}:qb_lif", row="", remark=QB_LIF)
