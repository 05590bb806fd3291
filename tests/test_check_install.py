"""pit-jax check-install reports devices and extras, and runs a training step."""

import re
import sys
import tomllib
from pathlib import Path

import jax
import pytest

import pit_jax
from pit_jax.check_install import __main__ as program
from pit_jax.check_install import extras
from pit_jax.check_install.step import StepResult, run_step

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
# Of developers; the last one has the packages of other extras and an editor.
NOT_LISTED = {"dev", "docs", "notebooks"}


def get_names(requirements: list[str]) -> tuple[str, ...]:
    return tuple(re.split(r"[^\w.-]", requirement)[0] for requirement in requirements)


def test_all_extras_are_listed_with_their_packages():
    declared = {
        name: get_names(needed)
        for name, needed in PROJECT["optional-dependencies"].items()
        if name not in NOT_LISTED
    }
    assert {name: packages for name, (_, packages) in extras.EXTRAS.items()} == declared
    assert program.LIBRARIES == ("jax", "jaxlib", *get_names(PROJECT["dependencies"])[1:])


def test_a_step_lowers_the_loss():
    step = run_step()
    assert 0 < step.after < step.before < 4 and step.run_seconds < step.compile_seconds


def run_program(monkeypatch, capsys, before: float, after: float) -> tuple[int, list[str]]:
    result = StepResult(before, after, 0.5, 0.001)
    monkeypatch.setattr("pit_jax.check_install.step.run_step", lambda: result)
    code = program.main([])
    return code, capsys.readouterr().out.splitlines()


def test_versions_devices_and_missing_packages_are_reported(monkeypatch, capsys):
    versions = {"numba": None, "matplotlib": "3.10"}
    monkeypatch.setattr(extras, "find_version", lambda name: versions.get(name, "1"))
    code, lines = run_program(monkeypatch, capsys, 2.5, 2.4)
    assert code == 0 and lines[0].startswith(f"pit_jax {pit_jax.__version__}, Python 3.")
    assert lines[1].startswith(f"jax {jax.__version__}, jaxlib ")
    assert f"backend {jax.default_backend()}: {jax.device_count()} x cpu" in lines
    (line,) = [line for line in lines if line.startswith("event-driven")]
    assert line.endswith("pip install 'pit-jax[event-driven]'  (missing: numba)")
    assert all(line.endswith(" installed") for line in lines if line.startswith("plots"))
    assert lines[-2:] == [
        "one training step of PIT: loss 2.500 -> 2.400, compiled in 0.5 s, run in 1.0 ms",
        "this installation works",
    ]


@pytest.mark.parametrize("after", [2.6, float("nan")])
def test_a_step_that_does_not_lower_the_loss_is_an_error(after, monkeypatch, capsys):
    code, lines = run_program(monkeypatch, capsys, 2.5, after)
    assert code == 1 and lines[-1] == "error: the step did not lower the loss"


def test_a_driver_without_a_backend_is_mentioned(monkeypatch, tmp_path):
    driver = tmp_path / "driver"
    monkeypatch.setattr(program, "DRIVERS", {str(driver): "cuda13"})
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert program.advise_backend("cpu") == ""
    driver.touch()
    assert program.advise_backend("cpu").endswith("pip install -U 'jax[cuda13]'")
    assert program.advise_backend("gpu") == ""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert program.advise_backend("cpu") == ""


def test_packages_that_a_platform_does_not_have_are_not_missing(monkeypatch):
    monkeypatch.setattr(extras, "find_version", lambda name: None)
    assert "array-record" in extras.list_missing("train")
    monkeypatch.setattr(sys, "platform", "win32")
    assert "array-record" not in extras.list_missing("train")
