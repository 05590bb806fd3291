"""Write the table of docs/theory/information.md, from the files in docs/runs.

python -m docs._build.information also prints the bias that remains after corrections of an entropy
if neurons depend on each other.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from docs._build.tables import fill_tables, format_table
from pit_jax.analysis.entropy import entropy, miller_madow
from pit_jax.analysis.jackknife import jackknife

PAGE = Path(__file__).parents[1] / "theory" / "information.md"
# Names of the data on the page, by their names in docs/runs.
DATA = {"digits": "digits", "fashion_mnist": "Fashion-MNIST", "dvs_digits": "event digits"}
NEURON_NAMES = {"lif": "LIF", "ilif": "I-LIF", "pit": "PIT"}
# T of the configs: for PIT, and for neurons with a different T.
STEPS = {
    "digits": {"pit": 1, "lif": 4},
    "fashion_mnist": {"pit": 1, "lif": 4},
    "dvs_digits": {"pit": 10},
}
HEAD = (
    *("run", "bits a spike and step", "bits, sum over steps", "‖s − u‖ / ‖u‖"),
    *("KL a step, spike from membrane", "Var(s) / Var(u), least … largest layer"),
)
REPETITIONS, NEURONS, LEVELS, A, COMMON = 1000, 20, 4, 0.75, 0.9
SIZES = ((32, 32), (64, 64), (256, 64))


def main() -> None:
    """Print a line with bias and coverage for each number of images and groups."""
    rng = np.random.default_rng(0)
    boundaries = A * (np.arange(1, LEVELS + 1) - 0.5)
    truth = entropy(np.diff(stats.norm.cdf(boundaries), prepend=0, append=1))
    print(f"true entropy {truth:.4f} bits")
    for images, groups in SIZES:
        counts = draw_counts(rng, images).reshape(groups, -1, REPETITIONS, LEVELS + 1).sum(1)
        found = jackknife(entropy, counts, np.full(groups, images // groups))
        plain, corrected = entropy(counts.sum(0)).mean(), miller_madow(counts.sum(0)).mean()
        left, error = found.value.mean() - truth, found.value.std() / REPETITIONS**0.5
        inside = np.mean((found.low <= truth) & (truth <= found.high))
        print(
            f"{images} x {NEURONS}, {groups} groups: plain {plain - truth:+.4f}, Miller-Madow "
            f"{corrected - truth:+.4f}, jackknife {left:+.4f} +- {error:.4f}, inside "
            f"{inside:.1%}"
        )


def make_table() -> str:
    """Return the information in the spikes of each run, as means over the layers."""
    rows = []
    for data, name in DATA.items():
        for neuron, shown in NEURON_NAMES.items():
            found, steps = read_run(data, neuron), STEPS[data].get(neuron, STEPS[data]["pit"])
            mean = {measure: np.mean(layers) for measure, layers in found.items()}
            rows.append(
                [
                    f"{name}, {shown}",
                    f"{mean['information'] / steps:.2f}",
                    f"{mean['information']:.2f}",
                    f"{mean['relative']:.3f}",
                    f"{mean['spike_membrane'] / steps:.2f}",
                    f"{min(found['variance']):.3f} … {max(found['variance']):.3f}",
                ]
            )
    return format_table(HEAD, rows, left=1)


def read_run(data: str, neuron: str) -> dict[str, list[float]]:
    """Return each measure of every layer over all steps."""
    # The row "all" of a layer sums over its steps.
    found: dict[str, list[float]] = defaultdict(list)
    with (PAGE.parents[1] / f"runs/information_{data}.csv").open() as file:
        for row in csv.DictReader(file):
            if row["run"].endswith(f"_{neuron}") and row["step"] == "all":
                found[row["measure"]].append(float(row["value"]))
    return found


TABLES = {"measured": make_table}


def draw_counts(rng: np.random.Generator, images: int) -> np.ndarray:
    """Draw how many neurons fire each integer, `[images, REPETITIONS, LEVELS + 1]`."""
    # Neurons share a part of their membrane; bias corrections assume that samples are independent.
    common = rng.normal(size=(images, REPETITIONS, 1))
    own = rng.normal(size=(images, REPETITIONS, NEURONS))
    u = COMMON**0.5 * common + (1 - COMMON) ** 0.5 * own
    k = np.clip(np.floor(u / A + 0.5), 0, LEVELS)
    return np.stack([(k == level).sum(-1) for level in range(LEVELS + 1)], -1)


if __name__ == "__main__":
    main()
    PAGE.write_text(fill_tables(PAGE.read_text(), "information", TABLES))
