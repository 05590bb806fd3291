"""`import pit_jax` is quick, and serves modules and the names that people type first."""

import subprocess
import sys
from importlib import import_module

import pytest

import pit_jax
from pit_jax.inference.costs import Cost, Costs
from pit_jax.inference.verify import LayerProof, Report

NAMES = {
    **{name: f"neurons.{name}" for name in ("PIT", "LIF", "ILIF")},
    "create": "models.create",
    "open_run": "run.open_run",
    "tune_runtime": "tuning.tune_runtime",
}
MODULES = {*pit_jax.__all__, "plots", "run"} - NAMES.keys() - {"__version__"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_modules_are_attributes_of_the_package(name):
    assert getattr(pit_jax, name) is import_module(f"pit_jax.{name}")
    assert name in dir(pit_jax)


@pytest.mark.parametrize("name, place", NAMES.items())
def test_first_names_are_those_of_their_modules(name, place):
    module, _, attribute = place.partition(".")
    assert getattr(pit_jax, name) is getattr(import_module(f"pit_jax.{module}"), attribute)
    assert name in dir(pit_jax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pit_jax' has no attribute 'Pit'"):
        _ = pit_jax.Pit


def test_completion_offers_public_names_only():
    offered = {name for name in dir(pit_jax) if not name.startswith("__")}
    assert offered == MODULES | NAMES.keys()


def test_importing_the_package_does_not_import_jax_and_names_work_at_once():
    code = (
        "import sys, pit_jax; assert not {'jax', 'flax', 'numpy'} & set(sys.modules)\n"
        "assert pit_jax.PIT(levels=4).levels == 4 and callable(pit_jax.inference.compile)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


REPORT = Report(2000, True, True, [LayerProof("a<b>", [True], 0.5)], 0, accuracy=0.75)
COSTS = Costs([Cost("a<b>", "pixels", macs=9, weights=3, dense_macs=9)])


@pytest.mark.parametrize("shown", [REPORT, COSTS])
def test_a_repl_shows_what_print_shows_and_jupyter_escapes_names(shown):
    assert repr(shown) == str(shown)
    assert "<b>" not in shown._repr_html_()


def test_reports_and_costs_in_jupyter():
    assert REPORT._repr_html_() == (
        "<pre>verified on 2,000 samples: spikes of 1 of 1 layers and logits are equal\n"
        "accuracy 75.00%</pre>"
    )
    rows = COSTS._repr_html_().splitlines()
    assert rows[0] == "<table>" and rows[-1] == "</table>" and len(rows) == 5
    assert rows[1].startswith('<tr><th style="text-align: left">layer</th>')
    assert '<td style="text-align: left">a&lt;b&gt;</td>' in rows[2]
    assert '<td style="text-align: right">9</td>' in rows[2]


def test_a_report_of_one_sample_says_so():
    report = Report(1, True, True, [LayerProof("PIT_0", [True], 0.5)], 0)
    assert str(report).startswith("verified on 1 sample: spikes of 1 of 1 layers")


def test_a_report_that_is_false_says_where():
    report = Report(8, True, False, [LayerProof("PIT_0", [True, False], 0.5)], 0)
    assert not report and str(report).splitlines() == [
        "NOT EQUAL on 8 samples: spikes of 0 of 1 layers are equal, logits are not",
        "  PIT_0: slots differ from counts at step 2",
    ]
