"""Verdicts on claims, from records as the programs write them."""

import math

import numpy as np
import pytest

from configs.claims import Claim
from configs.scales import Case, Experiment
from train.reproduce.results import describe_missing, read_results
from train.reproduce.statistics import compute_power
from train.reproduce.verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED, judge


def make_record(accuracy, **measures):
    """Return the record of runs 0, 1, ... with these accuracies (shares), and values by measure."""
    runs = {
        str(seed): {
            "accuracy": float(share),
            "spikes": 0.5 + 0.01 * seed,
            "measures": {key: values[seed] for key, values in measures.items()},
        }
        for seed, share in enumerate(accuracy)
    }
    return {"slug": "some-case-0123456789", "runs": runs}


def make_table(seeds, *claims, labels=("PIT", "I-LIF", "LIF")):
    cases = tuple(Case(label, "digits:ours", seeds=seeds, group="dig200") for label in labels)
    return Experiment("table8", "Neurons", cases, claims)


def draw_accuracies(draw, pairs, *effects):
    """Return accuracies of cases that are `effects` standard deviations above the first."""
    shared = 0.9 + 0.02 * draw.standard_normal(pairs)
    own = 0.005 * draw.standard_normal((1 + len(effects), pairs)) / np.sqrt(2)
    return shared + own + 0.005 * np.array([[0, *effects]]).T


ABOVE = Claim("PIT above I-LIF", "PIT", "I-LIF", printed=1.03, source="Table 8")


@pytest.mark.parametrize(
    "effect, more, outcome",
    [
        (5, True, HOLDS),
        (-5, True, OPPOSITE),
        (5, False, OPPOSITE),
        (-5, False, HOLDS),
        (0, True, NOT_SEEN),
    ],
)
def test_outcome_has_the_sign_of_the_claim(effect, more, outcome):
    worse, better = draw_accuracies(np.random.default_rng(1), 8, effect)
    records = {"PIT": make_record(better), "I-LIF": make_record(worse)}
    (found,) = judge(make_table(8, ABOVE._replace(more=more)), records)
    assert found.outcome == str(found) == outcome
    # In percentage points, better - worse, whatever is claimed.
    assert found.comparison.difference == pytest.approx(100 * np.mean(better - worse))
    assert found.comparison.pairs == 8 and found.power == compute_power(8, 1)


def test_null_effects_are_called_null_in_nineteen_of_twenty_tables():
    labels = tuple("ABCDEF")
    # All compared with the first: the tests depend on each other.
    claims = [Claim(f"{label} above A", label, "A") for label in labels[1:]]
    experiment = make_table(10, *claims, labels=labels)
    draw, wrong = np.random.default_rng(2), 0
    for _ in range(300):
        accuracies = draw_accuracies(draw, 10, 0, 0, 0, 0, 0)
        records = dict(zip(labels, map(make_record, accuracies), strict=True))
        wrong += any(found.outcome != NOT_SEEN for found in judge(experiment, records))
    assert wrong / 300 <= 0.05


def test_planted_effect_of_one_sd_is_found_at_the_stated_power():
    claims = (ABOVE, Claim("PIT above LIF", "PIT", "LIF"), Claim("null", "I-LIF", "LIF"))
    experiment = make_table(12, *claims)
    draw, found = np.random.default_rng(3), 0
    for _ in range(300):
        ilif, pit, lif = draw_accuracies(draw, 12, 1, 0)
        records = dict(PIT=make_record(pit), LIF=make_record(lif))
        records["I-LIF"] = make_record(ilif)
        first = judge(experiment, records)[0]
        found += first.outcome == HOLDS
    # Holm finds more than the stated power when the other effect is found, too.
    lowest, highest = compute_power(12, 3), compute_power(12, 1)
    assert first.power == lowest and 0.6 < lowest < highest < 0.95
    assert lowest - 0.05 < found / 300 < highest


@pytest.mark.parametrize(
    "run, reason",
    [
        (None, "I-LIF, seed 2 missing"),
        ({"failed": "loss is NaN"}, "I-LIF, seed 2 failed: loss is NaN"),
        ({"accuracy": math.nan, "spikes": 0.5}, "I-LIF, seed 2 without accuracy"),
    ],
)
def test_claim_on_a_missing_or_failed_run_cannot_be_tested(run, reason):
    worse, better, _ = draw_accuracies(np.random.default_rng(4), 5, 5, 0)
    records = {"PIT": make_record(better), "I-LIF": make_record(worse)}
    records["LIF"] = make_record(worse - 0.05)
    experiment = make_table(5, ABOVE, Claim("PIT above LIF", "PIT", "LIF"))
    before = judge(experiment, records)
    del records["I-LIF"]["runs"]["2"]
    if run:
        records["I-LIF"]["runs"]["2"] = run
    first, second = judge(experiment, records)
    assert first.outcome == UNTESTED and first.reason == reason and first.comparison is None
    assert str(first) == f"cannot be tested: {reason}"
    # The claim that cannot be tested counts: the other one does not get easier.
    assert second.outcome == HOLDS and second.power == before[1].power == compute_power(5, 2)
    assert second.corrected >= before[1].corrected
    results = read_results(experiment, records)
    assert results["I-LIF"].estimate("accuracy") is None
    assert results["PIT"].estimate("accuracy").size == 5


@pytest.mark.parametrize(
    "seeds, records, reason",
    [
        (3, {}, "PIT, seeds 0-2 missing"),
        (1, {name: make_record([0.9]) for name in ("PIT", "I-LIF")}, "at least 2 pairs"),
        (0, {}, "PIT is not trained"),
        (2, {"PIT": make_record([0.9, 0.8]), "I-LIF": make_record([0.8, 0.7])}, "are equal"),
    ],
)
def test_reason_says_why_a_claim_cannot_be_tested(seeds, records, reason):
    (found,) = judge(make_table(seeds, ABOVE), records)
    assert found.outcome == UNTESTED and reason in found.reason


def test_cases_with_fewer_seeds_are_compared_on_the_shared_ones():
    worse, better = draw_accuracies(np.random.default_rng(5), 5, 5)
    experiment = make_table(5, ABOVE)
    slow = experiment.cases[1]._replace(seeds=3)
    experiment = experiment._replace(cases=(experiment.cases[0], slow))
    records = {"PIT": make_record(better), "I-LIF": make_record(worse)}
    (found,) = judge(experiment, records)
    assert found.comparison.pairs == 3
    assert found.comparison.difference == pytest.approx(100 * np.mean((better - worse)[:3]))
    # Runs with more seeds than asked for are ignored.
    assert judge(experiment, records, seeds=2)[0].comparison.pairs == 2


def test_claim_on_spikes_and_measures_is_tested_as_well():
    worse, better = draw_accuracies(np.random.default_rng(6), 5, 0)
    records = {
        "PIT": make_record(better, energy_uj=[5.0, 5.1, 5.2, 5.1, 5.0], histogram=[[1]] * 5),
        "I-LIF": make_record(worse, energy_uj=[6.0, 6.2, 6.3, 6.1, 6.1], histogram=[[1]] * 5),
    }
    claims = (
        Claim("fewer spikes", "PIT", "I-LIF", "spikes", more=False),
        Claim("less energy", "PIT", "I-LIF", "energy_uj", more=False),
        Claim("another", "PIT", "I-LIF", "acs_m", more=False),
    )
    spikes, energy, another = judge(make_table(5, *claims), records)
    assert spikes.outcome == NOT_SEEN and spikes.corrected == 1
    assert energy.outcome == HOLDS and energy.comparison.difference == pytest.approx(-1.06)
    assert another.outcome == UNTESTED


def test_counts_are_compared_exactly_and_are_no_tests():
    memory = Claim("more memory", "PIT", "LIF", "memory_gb")
    claims = (memory, memory._replace(more=False), memory._replace(better="LIF"), ABOVE)
    worse, better = draw_accuracies(np.random.default_rng(7), 5, 0.4)
    records = {"PIT": make_record(better, acs_m=[9] * 5), "I-LIF": make_record(worse)}
    counted = {"PIT": {"measures": {"memory_gb": 2.43}}, "LIF": {"measures": {"memory_gb": 2.21}}}
    records["PIT"].update(counted["PIT"])
    more, less, same, accuracy = judge(make_table(5, *claims), {**counted, **records})
    assert (more.outcome, less.outcome, same.outcome) == (HOLDS, OPPOSITE, NOT_SEEN)
    assert more.exact and more.comparison.difference == pytest.approx(0.22)
    assert math.isnan(more.corrected) and math.isnan(more.power)
    # One test only: nothing to correct for.
    assert accuracy.corrected == accuracy.comparison.p
    (found,) = judge(make_table(5, memory), {"PIT": counted["PIT"]})
    assert found.reason == "LIF has no count of memory_gb"


def test_a_claim_on_counts_is_no_test_before_they_are_counted_either():
    counted = tuple(Case(name, group="g", measures=("memory",)) for name in ("big", "small"))
    trained = tuple(Case(name, "digits", seeds=5, group="g") for name in ("PIT", "I-LIF"))
    claims = (ABOVE, Claim("more memory", "big", "small", "memory_gb"))
    table = Experiment("table3", "Counts", (*trained, *counted), claims)
    worse, better = draw_accuracies(np.random.default_rng(9), 5, 0.4)
    records = {"PIT": make_record(better), "I-LIF": make_record(worse)}
    counts = {"big": {"measures": {"memory_gb": 2}}, "small": {"measures": {"memory_gb": 1}}}
    before, waiting = judge(table, records)
    after, done = judge(table, records | counts)
    assert (waiting.outcome, done.outcome) == (UNTESTED, HOLDS) and waiting.exact
    assert before == after and before.corrected == before.comparison.p


def test_measures_that_do_not_vary_with_the_seed_are_counts():
    records = {
        "PIT": make_record([0.9, 0.8], macs_m=[2.88, 2.88]),
        "LIF": make_record([0.9, 0.8], macs_m=[2.33, 2.33]),
    }
    (found,) = judge(make_table(2, Claim("more products", "PIT", "LIF", "macs_m")), records)
    assert found.exact and found.outcome == HOLDS


@pytest.mark.parametrize(
    "effect, outcome", [(0.1, HOLDS), (6, OPPOSITE), (-6, OPPOSITE), (2, NOT_SEEN)]
)
def test_claim_of_a_small_difference(effect, outcome):
    # One standard deviation of the differences is half a point, and 1 point is claimed.
    worse, better = draw_accuracies(np.random.default_rng(8), 12, effect)
    records = {"PIT": make_record(better), "I-LIF": make_record(worse)}
    (found,) = judge(make_table(12, ABOVE._replace(within=1.0)), records)
    assert found.outcome == outcome and math.isnan(found.power)


def test_accuracies_among_the_measures_are_in_percent_too():
    records = {"PIT": make_record([0.9, 0.8], first_epoch_accuracy=[0.5, 0.25])}
    runs = read_results(make_table(2), records)["PIT"].runs
    assert runs[1] == {"accuracy": 80, "spikes": 0.51, "first_epoch_accuracy": 25}


def test_missing_seeds_are_described_in_short():
    missing = {0: "missing", 1: "missing", 2: "failed: NaN", 5: "missing"}
    assert describe_missing(missing) == "seeds 0-1, 5 missing; seed 2 failed: NaN"
