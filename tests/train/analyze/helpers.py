"""Run the program of the tests in this folder, and read what it has written."""

import csv
from pathlib import Path

import jax

from tests.train.pages import Page
from train.analyze.__main__ import main

HERE = "--cpu-devices=4"  # Pytest's process has four devices, and their number cannot change.


def analyze(*args: object) -> int:
    # Programs of these tests run once, so they are compiled with few optimizations.
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        return main(["analyze", HERE, *map(str, args)])
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def read_table(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_text().splitlines()))


def read_page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text())
