"""Execute notebooks and write their outputs: python scripts/run_notebooks.py NOTEBOOK...

A notebook runs in an empty folder, in the environment of this Python. Its outputs are committed:
figures have few pixels, and what differs between two executions is removed. A notebook that fails,
or prints a path of this machine, is not written.
"""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

ROOT = Path(__file__).resolve().parents[1]
# Seconds for one cell. The longest trains 60 small networks in minutes on two idle cores.
MOST_SECONDS = 1800
DPI = 80


def execute(path: Path) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of all cells; raise CellExecutionError for a failure."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder, TemporaryDirectory() as settings:
        style = Path(settings) / "matplotlibrc"
        style.write_text(f"figure.dpi: {DPI}\n")
        client = NotebookClient(
            notebook,
            timeout=MOST_SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            # Without warnings of the kernel, which are not the notebook's.
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=make_environment(style))
        clean(notebook)
        text = nbformat.writes(notebook)
        for place in (folder, str(ROOT), sys.prefix, os.path.expanduser("~")):
            if place not in ("/", "~") and place in text:
                sys.exit(f"error: {path} prints {place}, a path of this machine.")
    return notebook


def make_environment(style: Path) -> dict[str, str]:
    """Return environment variables: the library of this clone, its programs, and CPUs only."""
    binaries = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": os.pathsep.join((binaries, os.environ["PATH"])),
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "TORCH_LOGS": "-all",  # Without warnings of PyTorch that it found no GPU compiler.
        "MATPLOTLIBRC": str(style),
    }


def clean(notebook: nbformat.NotebookNode) -> None:
    """Join the pieces of printed text, and remove what differs between executions."""
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def main(paths: list[str]) -> int:
    """Execute and write each notebook, print its time and size, and return the exit code."""
    for path in map(Path, paths):
        start = time.monotonic()
        try:
            notebook = execute(path)
        except CellExecutionError as error:
            print(f"error: {path} fails.\n{error}", file=sys.stderr)
            return 1
        nbformat.write(notebook, path)
        seconds, size = time.monotonic() - start, path.stat().st_size / 1000
        print(f"{path}: {seconds:.0f} s, {size:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
