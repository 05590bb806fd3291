"""Warnings about the health of layers: when they are printed, and how many."""

import json

import numpy as np

from tests.train.helpers import load_records
from train.monitor.health import LIMITS, MEASURES, Health, find_complaints
from train.program.probe import Look

WELL = {
    "rate": 0.1,
    **{"silent": 0.0, "saturated": 0.0, "floor": 0.0},
    **{"distance": 0.37, "flips": 0.1, "oscillating": 0.02},
}


class Sick:
    """A program whose state is the measures of one layer that its probe returns."""

    steps_per_epoch, neuron_layers = 2, ["PIT_0"]

    def probe(self, state):
        return Look({"PIT_0": WELL | state}, {"PIT_0": np.zeros(3)})


def collect_warnings(workdir, states, begun=0):
    """Return the warnings after each epoch since step `begun`; write metrics.jsonl."""
    notes: list[str] = []
    health = Health(Sick(), workdir, every_epochs=1, begun=begun, note=notes.append)
    with (workdir / "metrics.jsonl").open("a") as file:
        for step, state in enumerate(states, begun + 1):
            file.write(json.dumps({"step": step} | health.end(state, step)) + "\n")
    return notes


def test_a_warning_is_printed_once_and_again_after_recovery(tmp_path):
    ill = {"silent": 0.43}
    notes = collect_warnings(tmp_path, [{}, ill, ill, {}, ill, ill])
    assert [note.partition(",")[0] for note in notes] == ["epoch 2", "epoch 5"]
    assert "PIT_0: 43 % of its channels never fire (over 30 %); a smaller scale" in notes[0]


def test_one_layer_gets_one_warning_without_contradictory_advice(tmp_path):
    for ill, advice in (
        ({"silent": 0.4, "saturated": 0.1}, "a norm before it"),
        ({"silent": 0.4, "floor": 0.1}, "a norm before it"),
        ({"rate": 0.95, "silent": 0.4}, "a norm before it"),
        ({"rate": 0.95, "saturated": 0.5}, "a larger scale or threshold, a lower learning rate"),
        ({"silent": 1.0, "rate": 0.0}, "a smaller scale or threshold, a lower learning rate"),
        ({"flips": 0.6, "oscillating": 0.3}, "a lower learning rate, a longer warm-up or average"),
    ):
        complaint = find_complaints({"PIT_0": WELL | ill})["PIT_0"]
        assert len(complaint.limits) == 2 and f"; {advice}" in complaint.text
        assert not ("smaller scale" in complaint.text and "larger scale" in complaint.text)
        assert complaint.text.count("may help") == 1


def test_an_epoch_has_at_most_three_warnings_the_worst_first():
    notes: list[str] = []
    layers = {f"PIT_{n}": WELL | {"silent": 0.4} for n in range(6)}
    layers["PIT_4"] = WELL | {"silent": 0.4, "flips": 0.6}
    health = Health(Sick(), None, every_epochs=1, begun=0, note=notes.append)
    health._warn(find_complaints(layers), 9, has_norms=False)
    assert [note.split(":")[0] for note in notes[:3]] == [
        "epoch 9, PIT_4",
        "epoch 9, PIT_0",
        "epoch 9, PIT_1",
    ]
    assert notes[3:] == [
        "epoch 9, 3 more layers have measures out of range; metrics.jsonl has the measures of all "
        "layers"
    ]
    health._warn(find_complaints(layers), 10, has_norms=False)
    assert len(notes) == 4


def test_warnings_after_few_steps_name_the_statistics_of_norms_first():
    notes: list[str] = []
    health = Health(Sick(), None, every_epochs=1, begun=0, note=notes.append)
    health._warn(find_complaints({"PIT_0": WELL | {"silent": 0.4}}), 3, has_norms=True)
    assert notes[1].startswith("first of all train longer: after 6 steps the running statistics")
    health._warn(find_complaints({"PIT_0": WELL | {"rate": 0.0}}), 11, has_norms=True)
    assert len(notes) == 3


def test_a_resumed_run_does_not_repeat_warnings(tmp_path):
    ill = {"silent": 0.43}
    collect_warnings(tmp_path, [{}, ill, {}])
    # A run that resumes after step 2 does not know the record of step 3.
    assert collect_warnings(tmp_path, [ill], begun=2) == []
    assert len(collect_warnings(tmp_path, [ill | {"floor": 0.5}], begun=2)) == 1
    assert len(collect_warnings(tmp_path, [ill], begun=1)) == 1


def test_every_measure_has_a_limit_and_a_healthy_layer_is_within_all():
    assert {limit.measure for limit in LIMITS} == set(MEASURES)
    assert find_complaints({"PIT_0": WELL}) == {}
    assert find_complaints({"PIT_0": dict.fromkeys(MEASURES)}) == {}
    for place, limit in enumerate(LIMITS):
        (bound,) = {limit.least, limit.most} - {np.inf, -np.inf}
        assert find_complaints({"PIT_0": WELL | {limit.measure: bound}}) == {}
        beyond = bound + (0.001 if limit.most == bound else -0.001)
        found = find_complaints({"PIT_0": WELL | {limit.measure: beyond}})
        assert list(found) == ["PIT_0"] and found["PIT_0"].limits == (place,)
        side = "over" if limit.most == bound else "under"
        assert f"({side} {100 * bound:g} %); " in found["PIT_0"].text


def test_nan_is_recorded_as_none(tmp_path):
    collect_warnings(tmp_path, [{"distance": np.nan}])
    (line,) = load_records(tmp_path)
    assert line["health"]["PIT_0"]["distance"] is None
    assert line["health"]["PIT_0"]["rate"] == 0.1
