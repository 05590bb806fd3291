"""The README's example runs as printed."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_example_runs_and_prints_a_line_like_the_one_shown():
    readme = (ROOT / "README.md").read_text()
    example, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", readme, re.S).groups()
    printed = subprocess.check_output([sys.executable, "-c", example], cwd=ROOT, text=True)
    without_figures = re.compile(r"\d+\.\d+%")
    assert without_figures.sub("", printed) == without_figures.sub("", shown)
    # Last bits differ between machines, so the accuracy is held to what a reader would notice.
    accuracy, promised = (float(re.search(r"[\d.]+", text)[0]) for text in (printed, shown))
    assert abs(accuracy - promised) < 5
