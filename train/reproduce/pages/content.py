"""The content of a page in any format, and the digits of its numbers."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...config.pages import load_shipped
from ..results import Result, read_results
from ..statistics import MeanEstimate
from ..verdicts import Verdict, judge_results

if TYPE_CHECKING:
    from configs.claims import Claim
    from configs.scales import Case, Experiment

ACCURACY, SPIKES = "accuracy", "spikes"
HEADINGS = {
    ACCURACY: "accuracy, %",
    SPIKES: "spikes",
    "s_ace_g": "S-ACE, G",
    "ns_ace_g": "NS-ACE, G",
    "acs_m": "ACs, M",
    "macs_m": "MACs, M",
    "energy_uj": "energy, µJ",
    "all_energy_uj": "energy of all operations, µJ",
    "memory_gb": "memory, GB",
    "first_epoch_accuracy": "accuracy after epoch 1, %",
    "train_loss": "training loss",
    "membranes_apart": "change of membranes",
    "loss_rise": "rise of the loss",
    "rate_trend": "trend of the rate",
    "scale_spread": "spread of scales",
}
# A sentence on each measure whose heading does not say what it is.
MEANINGS = {
    SPIKES: "Spikes: the integers that a neuron fires for a test image, summed over the steps; the "
    "mean over all neurons.",
    "energy_uj": "ACs, MACs and energy: of a test image, by the rules of the paper's Table 10.",
    "all_energy_uj": "Energy of all operations: with the operations that these rules omit.",
    "ns_ace_g": "S-ACE and NS-ACE: of a test image, by the rules of the paper's Table 3.",
    "membranes_apart": "Change of membranes: in the last layer, the mean over steps of the total "
    "variation distance between the density of a step and the mean of all steps.",
    "loss_rise": "Rise of the loss: its mean over a square around the trained weights, minus its "
    "value at the weights.",
    "rate_trend": "Trend of the rate: the firing rate of the last step minus the first one's, "
    "mean over the layers.",
    "scale_spread": "Spread of scales: the standard deviation over layers of the median scale, in "
    "doublings.",
}
NONE = "–"
# The only scale whose data and networks are the paper's.
PAPER = "paper"


class Content(NamedTuple):
    """The content of a page.

    `measures` are the keys of its columns, `printed` the paper's numbers by label and key.
    """

    experiment: "Experiment"
    scale: str
    command: str
    results: Mapping[str, Result]
    verdicts: tuple[Verdict, ...]
    measures: tuple[str, ...]
    printed: Mapping[str, Mapping[str, float]]

    def get_printed(self, case: "Case", measure: str) -> float:
        """Return the paper's number of a case; NaN if it prints none."""
        return self.printed.get(case.label, {}).get(measure, math.nan)

    def get_difference(self, case: "Case", measure: str) -> float:
        """Return the mean of a case minus the paper's number; NaN if either is missing."""
        found = self.results[case.label].estimate(measure)
        return found.mean - self.get_printed(case, measure) if found else math.nan

    def has_printed(self, measure: str) -> bool:
        """Return whether the paper prints `measure` for any case."""
        return any(measure in printed for printed in self.printed.values())

    @property
    def others(self) -> tuple[str, ...]:
        """The measures that are neither accuracy nor spikes."""
        return tuple(measure for measure in self.measures if measure not in (ACCURACY, SPIKES))

    @property
    def tests(self) -> list[Verdict]:
        """The verdicts that are not exact comparisons of counts."""
        return [verdict for verdict in self.verdicts if not verdict.exact]


def make_page(
    experiment: "Experiment",
    records: Mapping[str, Mapping[str, Any]],
    seeds: int | None,
    scale: str,
) -> Content:
    """Return the content of the page of an experiment, from the records of its cases by label."""
    results = read_results(experiment, records, seeds)
    printed = _read_printed(experiment)
    command = f"python -m train.reproduce {experiment.name} --scale {scale}"
    if seeds:
        command += f" --seeds {seeds}"
    verdicts = tuple(judge_results(experiment.claims, results))
    measures = tuple(_list_measures(experiment, printed.values()))
    return Content(experiment, scale, command, results, verdicts, measures, printed)


def _read_printed(experiment: "Experiment") -> dict[str, Mapping[str, float]]:
    rows = {row.label: row.printed for row in load_shipped(f"tables.{experiment.name}").ROWS}
    return {case.label: rows[case.row] for case in experiment.cases if case.row}


def _list_measures(
    experiment: "Experiment", printed: Iterable[Mapping[str, float]]
) -> dict[str, None]:
    """Return the keys of the columns, in order: those that the paper prints or that are claimed.

    They depend on the experiment alone: a run that another experiment has measured further must
    not change this page.
    """
    trained = any(case.seeds for case in experiment.cases)
    keys = [ACCURACY, SPIKES] if trained else []
    keys += [key for each in printed for key in each]
    keys += [claim.measure for claim in experiment.claims]
    # Printed accuracies are shown only next to trained ones.
    return dict.fromkeys(key for key in keys if trained or key not in (ACCURACY, SPIKES))


def get_heading(measure: str) -> str:
    """Return the heading of a measure's column, with its unit."""
    words = measure.replace("_", " ")
    return HEADINGS.get(measure, f"{words}, %" if measure.endswith(ACCURACY) else words)


def describe_difference(page: Content, claim: "Claim") -> str:
    """Return what is compared, such as `accuracy, points: PIT 1x4 − LIF 4x1`."""
    better, worse = (shorten_label(page.results[each].case) for each in (claim.better, claim.worse))
    return f"{get_heading(claim.measure).replace('%', 'points')}: {better} − {worse}"


def split_shape(label: str) -> str:
    """Return T x D of a case as `4 × 1`; every label has it as `4x1` unless it is not defined."""
    found = re.search(r"\b(\d+)x(\d+)\b", label)
    return f"{found[1]} × {found[2]}" if found else ""


def shorten_label(case: "Case") -> str:
    """Return the label of a case without its group, where that is shown already."""
    return case.label.removesuffix(f", {case.group}")


def format_number(measure: str, value: float, sign: str = "") -> str:
    """Return a number with as many digits as its measure needs; a dash for NaN."""
    if math.isnan(value):
        return NONE
    if measure.endswith(ACCURACY):
        text = f"{round(value, 2) + 0:{sign}.2f}"  # Adding 0 turns -0 into 0.
    elif measure == SPIKES:
        text = f"{round(value, 3) + 0:{sign}.3f}"
    elif abs(value) >= 1000:
        text = f"{value:{sign},.0f}"
    else:
        text = f"{value:{sign}#.4g}" if value else "0"
    return text.replace("-", "−")


def format_printed(measure: str, value: float, sign: str = "") -> str:
    """Return a number of the paper with the digits that it prints; a dash for NaN."""
    if math.isnan(value) or measure.endswith(ACCURACY):
        return format_number(measure, value, sign)
    return f"{value:{sign}g}".replace("-", "−")


def format_interval(measure: str, low: float, high: float, sign: str = "") -> str:
    """Return `[low, high]`; a dash if it is not known."""
    if math.isnan(low):
        return NONE
    return f"[{format_number(measure, low, sign)}, {format_number(measure, high, sign)}]"


def format_absent(result: Result, measure: str) -> str:
    """Return the cell of a case without a mean: `missing`, or a dash if it is not measured."""
    measured = any(measure in run for run in result.runs.values())
    return "missing" if result.missing or measured else NONE


def format_estimate(measure: str, found: MeanEstimate) -> str:
    """Return a mean with its interval, or a number without one."""
    mean = format_number(measure, found.mean)
    return mean if found.size < 2 else f"{mean} {format_interval(measure, found.low, found.high)}"


def format_p(value: float) -> str:
    """Return a p value; a dash for NaN."""
    if math.isnan(value):
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def format_power(value: float) -> str:
    """Return a power in percent; a dash for NaN."""
    return NONE if math.isnan(value) else f"{100 * value:.0f} %"


def count_seeds(result: Result) -> str:
    """Return the number of finished runs, `4 of 5` if some are missing, a dash for no seeds."""
    total, missing = len(result.seeds), len(result.missing)
    if not total:
        return NONE
    return f"{total - missing} of {total}" if missing else f"{total}"
