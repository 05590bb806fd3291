"""The example of spike-driven inference runs as documented, its second half without pit_jax."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "spike_driven"
# A process that cannot import pit_jax and flax.
WITHOUT_LIBRARY = """
import runpy, sys
sys.modules["pit_jax"] = sys.modules["flax"] = None
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def run_python(*command: object) -> str:
    return subprocess.check_output(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        text=True,
    )


@pytest.mark.slow
def test_digits_are_trained_verified_exported_and_classified_without_pit_jax(tmp_path):
    made = run_python("-m", "examples.spike_driven.make", tmp_path, "--epochs=2")
    assert "verified on 360 samples: spikes of 7 of 7 layers and logits are equal" in made
    folder = tmp_path / "digits.stablehlo"
    printed = run_python("-c", WITHOUT_LIBRARY, EXAMPLE / "run.py", folder)
    accuracy = re.search(r"^accuracy ([\d.]+)%", made, re.M)[1]
    assert f"{accuracy}% of 360 test images, in 1 step of binary spikes" in printed
    assert float(accuracy) > 60 and "is a " in printed

    content = bytearray((folder / "program.stablehlo").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "program.stablehlo").write_bytes(content)
    with pytest.raises(subprocess.CalledProcessError):
        run_python("-c", WITHOUT_LIBRARY, EXAMPLE / "run.py", folder)


def test_the_second_half_imports_neither_pit_jax_nor_flax():
    imported = re.findall(r"^(?:import|from) (\w+)", (EXAMPLE / "run.py").read_text(), re.M)
    assert set(imported) <= {"hashlib", "json", "sys", "pathlib", "numpy", "jax", "sklearn"}
