"""docs/guide/runs.md and install.md: what they print and list is what the library has."""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pit_jax.check_install.extras import EXTRAS
from tests.docs.test_blocks import read

ROOT = Path(__file__).parents[2]
# Extras for those who work on the library.
INTERNAL = {"docs", "dev"}


@pytest.mark.slow
def test_the_page_returns_spikes_counts_and_membranes_of_the_third_layer():
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in read(ROOT / "docs/guide/runs.md"):
            if block.language == "python":
                exec(block.code, names)
    layers, third, program = names["layers"], names["third"], names["program"]
    name = list(layers)[2]
    assert name == "stage2_block1/PIT_0" and str(list(layers)) in printed.getvalue()
    assert third.count.ndim == 5 and third.count.shape == third.spike.shape == third.membrane.shape
    assert set(np.unique(third.count)) <= set(range(third.levels + 1))
    assert third.scale.shape == (1, third.count.shape[-1])
    assert np.allclose(third.spike, third.count * third.scale)
    assert list(layers) == list(names["spikes"])
    assert np.array_equal(names["spikes"][name].sum(axis=2), names["counts"][name])
    assert names["spikes"][name].ndim == 6 and program.num_steps == 1
    assert np.array_equal(names["count"], layers["stage1_block1/PIT_0"].count)


def test_every_extra_is_listed():
    page = (ROOT / "docs/guide/install.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = re.findall(r"^\| `([\w-]+)` \| ", page, re.M)
    assert set(listed) == set(project["optional-dependencies"]) - INTERNAL
    assert set(EXTRAS) <= set(listed)


def test_the_library_needs_what_the_page_says():
    page = (ROOT / "docs/guide/install.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [re.split(r"[<>=]", name)[0] for name in project["dependencies"]]
    (sentence,) = re.findall(r"it needs (.*?) \|", page)
    assert sorted(re.split(r", | and ", sentence.lower())) == sorted(needed)
