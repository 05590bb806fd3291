"""The script that writes the shipped network works with any run of the digits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pit_jax.examples.stored import FOLDER, read_run
from pit_jax.run import open_run
from tests.train.helpers import ENVIRONMENT, run_main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_shipped_network_is_made_from_a_run(tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    out.mkdir()
    options = ("--config.epochs=1", "--config.model.width=4", "--config.cpu_devices=4")
    assert run_main("--config", "digits", *options, str(run)) == 0
    make = (sys.executable, "-m", "examples.digits.make", run, "--out", out)
    printed = subprocess.check_output(make, cwd=ROOT, env=ENVIRONMENT, text=True)
    assert f"{out / 'digits.json'}: " in printed
    made, opened = read_run("digits", out), open_run(run, "last")
    images, labels = made.images()
    np.testing.assert_array_equal(made.predict(images), opened.predict(images))
    assert made.about["test_accuracy"] == (made.predict(images).argmax(axis=1) == labels).mean()
    assert made.about["command"].startswith("python -m train.main ")
    # The images are the same bytes as those of the library.
    shipped = read_run("digits")
    for split in ("test", "train"):
        for one, other in zip(made.images(split), shipped.images(split), strict=True):
            np.testing.assert_array_equal(one, other)
    assert {file.name for file in out.iterdir()} == {
        file.name for file in FOLDER.glob("digits*") if file.is_file()
    }
