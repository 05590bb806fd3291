"""The experiments at the scales `medium`, `laptop` and `smoke`.

The label of a case says what it is: the neuron, T x D, and options, such as "PIT ours 1x4 frozen".
"""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from configs.claims import compare_cases, compare_rows
from configs.scales.groups import GROUPS, Group
from configs.scales.paper import QB_LIF
from configs.scales.rows import COUNTED, count_rows, find_printed, find_row
from configs.scales.types import ANALYSES, TITLES, Case, Experiment

# The variant of configs/neurons.py of each neuron, and the override that sets D where it has one.
LEVELS = "neuron.levels={D}"
NEURONS = {
    "LIF": ("lif", ""),
    "IF": ("if", ""),
    "PLIF": ("plif", ""),
    "CLIF": ("clif", ""),
    "GLIF": ("glif", ""),
    "Real Spike": ("real_spike", ""),
    # Two signs count as two levels, as in the paper's tables.
    "Ternary": ("ternary", ""),
    "Trainable Ternary": ("trainable_ternary", ""),
    "I-LIF": ("ilif", LEVELS),
    "QAT": ("qat", LEVELS),
    "QB-LIF": ("qb_lif", LEVELS),
    "PIT full": ("pit_full", LEVELS),
    "PIT paper": ("paper", LEVELS),
    "PIT released": ("released", LEVELS),
    "PIT ours": ("ours", LEVELS),
    "PIT ones": ("paper", f"neuron.scale_init=ones {LEVELS}"),
    "ReLU": ("relu", ""),
}
OPTIONS = {
    "lambda": "neuron.strength={}",
    # The scales are not trained.
    "frozen": 'freeze=("PIT",)',
    # At T = 1 this I-LIF network equals PIT with the start 3 sigma / D (docs/theory/capacity.md).
    "gain": "model.norm.gain=1.3333",
    "detached": "neuron.detach_reset=True",
}
REMARKS = {
    "QB-LIF": QB_LIF,
    "ReLU": "Neurons send their activations, and no spikes.",
    "frozen": "The scales keep their start.",
    "gain": "Not in the paper: the gains of all norms start at 4/3.",
    "detached": "Not in the paper: no gradient through the reset, as in PIT ours.",
}


class Part(NamedTuple):
    """The cases of an experiment that belong to one group.

    Args:
        group: the name of the group.
        labels: labels of cases, without the group.
        measures: further measures of each run.
        most: the largest number of seeds, of all cases or of some labels.
    """

    group: str
    labels: tuple[str, ...]
    measures: tuple[str, ...] = ()
    most: int | Mapping[str, int] = 1000


ABLATION = (
    *("LIF 1x1", "I-LIF 1x1", "QB-LIF 1x1", "PIT ones 1x1 lambda 0", "PIT ones 1x1"),
    *("PIT paper 1x1 lambda 0", "PIT paper 1x1", "PIT released 1x1", "PIT ours 1x1 lambda 0"),
    "PIT ours 1x1",
)
ABLATION_SHORT = ("LIF 1x1", "I-LIF 1x1", "PIT ones 1x1 lambda 0", "PIT paper 1x1", "PIT ours 1x1")
READINGS = ("PIT paper 1x4", "PIT released 1x4", "PIT ours 1x4")
FOUR = ("LIF 4x1", "I-LIF 1x4", *READINGS)
CONTROLS = ("I-LIF 1x4 gain 4/3", "PIT ours 1x4 frozen")
ALL_OF_FOUR = (
    *("LIF 4x1", "LIF 4x1 detached", "I-LIF 1x4", "QB-LIF 1x4", "PIT paper 4x1", "PIT ours 4x1"),
    *(*READINGS, *CONTROLS),
)
# Cases of Table 2 that no other table has. With several steps they take most of its time.
OTHERS = (
    *("IF 4x1", "PLIF 4x1", "CLIF 4x1", "GLIF 4x1", "Real Spike 4x1", "Ternary 2x2"),
    "Trainable Ternary 2x2",
)
TABLE2 = (
    *("LIF 4x1", *OTHERS, "ReLU", "QAT 1x4", "I-LIF 1x4", "QB-LIF 1x4", "PIT full 1x4"),
    *("PIT paper 1x2", "PIT ours 1x2", *READINGS),
)
STRENGTHS = tuple(
    f"PIT {reading} 1x4 lambda {strength}"
    for reading in ("paper", "ours")
    for strength in ("0", "0.001", "0.01", "0.1")
)
SPLITS = tuple(
    f"PIT {reading} {split}" for reading in ("paper", "ours") for split in ("4x1", "2x2", "1x4")
)
EVENTS11 = (
    *("LIF 10x1", "PLIF 10x1", "Real Spike 10x1", "Trainable Ternary 10x2", "I-LIF 10x4"),
    *("PIT paper 10x1", "PIT ours 10x1", "PIT paper 10x4", "PIT ours 10x4"),
)
EVENTS12 = (
    *("LIF 10x1", "PLIF 10x1", "CLIF 10x1", "Real Spike 10x1", "Trainable Ternary 10x2"),
    *("PIT paper 10x1", "PIT ours 10x1", "PIT paper 10x2", "PIT ours 10x2"),
)
ENERGY3 = ("LIF 4x1", "QAT 1x4", "PIT paper 1x4", "PIT ours 1x4")
ENERGY10 = ("LIF 4x1", "I-LIF 1x4", "PIT paper 1x4", "PIT ours 1x4")
CURVES = ("LIF 4x1", "PIT paper 1x4", "PIT ours 1x4", "ReLU")
STEPS = ("LIF 4x1", "PIT paper 4x1", "PIT ours 4x1")
MEMBRANES = ("LIF 10x1", "I-LIF 10x4", "PIT paper 10x4", "PIT ours 10x4")
SCALES = ("PIT paper 1x4", "PIT ours 1x4", "PIT ours 1x4 frozen")


def _list_parts(
    digits: str, all_fashion: str, fashion: str, events: str, side: int
) -> dict[str, list[Part]]:
    """Return the parts of all experiments by name, for the groups of a scale.

    `side` is the number of points on a side of the loss landscapes.
    """
    others = dict.fromkeys(OTHERS, 10)
    losses = ("LIF 1x1", "PIT paper 1x1", "PIT ours 1x1")
    return {
        "table2": [Part(digits, TABLE2, most=others), Part(all_fashion, FOUR)],
        "table3": [Part(digits, ENERGY3, ("energy",))],
        "table4": [Part(digits, STRENGTHS)],
        "table5": [],
        "table7": [Part(digits, ABLATION), Part(fashion, ABLATION_SHORT, most=3)],
        "table8": [
            Part(digits, ALL_OF_FOUR, ("levels",)),
            Part(fashion, (*FOUR, *CONTROLS), ("levels",), {"LIF 4x1": 3}),
        ],
        "table9": [Part(digits, SPLITS)],
        "table10": [Part(digits, ENERGY10, ("energy",))],
        "table11": [Part(events, EVENTS11)],
        "table12": [Part(events, EVENTS12)],
        "figure3": [Part(fashion, CURVES, ("learning",), 3)],
        "figure4": [Part(events, MEMBRANES, ("membranes",))],
        "figure5": [Part(digits, losses, (f"landscape:{side}",), 5)],
        "figure6": [Part(digits, STEPS, ("rates",))],
        "figure7": [Part(digits, SCALES, ("scales",))],
    }


# The arguments of `_list_parts`. `smoke` does without Fashion-MNIST, which must be installed first.
DATA = {
    "laptop": ("dig200", "FM", "FM12k", "dvs400", 21),
    "medium": ("dig200", "FM", "FM", "dvs", 51),
    "smoke": ("dig100", "dig100", "dig100", "dvs100", 5),
}
# The cases of `smoke`: one of each kind, since most of its time is compilation.
SMOKE = {
    *("LIF 1x1", "PIT ones 1x1 lambda 0", "PIT paper 1x1 lambda 0", "PIT paper 1x1"),
    *("PIT ours 1x1", "LIF 4x1", "I-LIF 1x4", "QB-LIF 1x4", "QAT 1x4", "PIT paper 1x4"),
    *("PIT ours 1x4", "PIT ours 4x1", "PIT ours 1x4 frozen", "PIT ours 2x2", "ReLU"),
    *("PIT ours 1x4 lambda 0", "PIT ours 1x4 lambda 0.01", "LIF 10x1", "PIT ours 10x1"),
    "PIT ours 10x4",
}


def make(name: str, scale: str) -> Experiment:
    """Return an experiment at a small scale."""
    printed, groups = find_printed(name), GROUPS[scale]
    cases: dict[str, dict[str, Case]] = {}
    for part in _list_parts(*DATA[scale])[name]:
        for label in part.labels:
            if scale != "smoke" or label in SMOKE:
                case = _make_case(label, name, part, groups[part.group])
                cases.setdefault(part.group, {}).setdefault(label, case)
    counted = count_rows(name)
    claims = [compare_cases(name, group, labels, printed) for group, labels in cases.items()]
    if counted:
        claims.append(compare_rows(name, printed, COUNTED))
    return Experiment(
        name,
        TITLES[name],
        (*(case for group in cases.values() for case in group.values()), *counted),
        tuple(chain.from_iterable(claims)),
        ANALYSES.get(name, ""),
    )


def _make_case(label: str, name: str, part: Part, shared: Group) -> Case:
    neuron, split, options = _read_label(label)
    variant, levels = NEURONS[neuron]
    own = [f"num_steps={split[0]}", *levels.format(D=split[-1]).split()] if split else []
    own += [OPTIONS[key].format(value) for key, value in options.items()]
    most = part.most if isinstance(part.most, int) else part.most.get(label, shared.seeds)
    return Case(
        label=f"{label}, {part.group}",
        config=f"{shared.page}:{variant}",
        overrides=(*shared.settings.split(), *own),
        seeds=min(shared.seeds, most),
        row=find_row(name, label),
        group=part.group,
        measures=part.measures,
        remark=" ".join(REMARKS[word] for word in (neuron, *options) if word in REMARKS),
    )


def _read_label(label: str) -> tuple[str, list[str], dict[str, str]]:
    """Return the neuron of a label, T and D (empty without), and the options with their values."""
    neuron = max((each for each in NEURONS if f"{label} ".startswith(f"{each} ")), key=len)
    words = label.removeprefix(neuron).split()
    split = words.pop(0).split("x") if words else []
    options = {}
    while words:
        key = words.pop(0)
        options[key] = words.pop(0) if words else ""
    return neuron, split, options
