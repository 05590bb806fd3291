"""Turns of `python -m train.main` in the benchmarks."""

import sys

import pytest

from benchmarks.peers import SETTINGS, clean_environment
from benchmarks.workloads import resnet, training


def test_settings_of_the_shell_reach_no_entry(monkeypatch):
    for name in SETTINGS:
        monkeypatch.setenv(name, "given")
    monkeypatch.setenv("OTHER", "given")
    found = clean_environment()
    assert found["OTHER"] == "given" and not set(SETTINGS) & set(found)


@pytest.mark.slow  # Half a minute: it starts the whole program.
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_turns_after_the_first_epoch_compile_nothing_and_last_as_long_as_their_steps():
    entry = resnet.make_entry("pit_jax", "PIT 1×4", 32, small=True, steps_per_epoch=3)
    subject = training.make("pit_jax", dict(entry.task))
    try:
        first = subject.prepare()
        before = subject.count_compiled()
        seconds = [subject.measure(4) for _ in range(3)]
        assert subject.count_compiled() == before > 0
        assert 0 < max(seconds) < first and subject.read_peak_mib() > 100
        assert "Eigen for convolutions" in subject.details["tuning"]
    finally:
        subject.close()
