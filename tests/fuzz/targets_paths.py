"""Targets: the texts that users give as paths."""

import os

from hypothesis import strategies as st

from pit_jax.paths import read_path
from tests.fuzz.core import ValueTarget


def check_path(text: str) -> None:
    """Read a text as a path; the path must be one that can be written to UTF-8."""
    path = read_path(text)
    assert os.fspath(path).encode()


ANY = st.text(st.characters(codec=None), max_size=40)
TARGETS = [ValueTarget("texts of paths", ANY | ANY.map(lambda t: f"~{t}"), check_path, ("path",))]
