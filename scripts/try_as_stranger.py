"""Follow the first instructions as a new user would, and print the minutes that each takes.

python scripts/try_as_stranger.py [wheel] [clone] [notebook]     # without a name: all three

- wheel: install it into a new environment, and run the first example of README in an empty folder.
- clone: `make run` of README, in a new clone.
- notebook: the commands of the first tutorial, in a new environment.

Commands are read from the pages; nothing else is installed. Where there is git, only committed
files are tried.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
README = "README.md"
NOTEBOOK = "docs/start/01_first_neuron.ipynb"
# Variables of the environment that a new user does not have.
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def call(command: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a folder and return its standard output; end the program if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stdout[-5000:] + done.stderr[-5000:]
        sys.exit(f"error: {shlex.join(map(str, command))} failed:\n{said}")
    return done.stdout


def make_environment(folder: Path) -> dict[str, str]:
    """Create a virtual environment, and return the variables of a shell in which it is active."""
    venv.create(folder, with_pip=True)
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return kept | {"PATH": os.pathsep.join((str(folder / "bin"), kept["PATH"]))}


def make_clone(folder: Path) -> Path:
    """Clone this repository into a folder; copy the tree if it has no history."""
    clone = folder / "pit_jax"
    if (ROOT / ".git").exists() and shutil.which("git"):
        call(["git", "clone", "--quiet", str(ROOT), str(clone)], folder, dict(os.environ))
    else:
        shutil.copytree(ROOT, clone, ignore=ignore_untracked)
    return clone


def ignore_untracked(folder: str, names: list[str]) -> set[str]:
    """Return the names in a folder that .gitignore lists; a leading slash means the root only."""
    patterns = (ROOT / ".gitignore").read_text().split()
    here = [each for each in patterns if not each.startswith("/") or Path(folder) == ROOT]
    return {name for each in here for name in fnmatch.filter(names, each.strip("/"))}


def try_wheel(folder: Path) -> str:
    """Run the first example of README from a wheel; return what it prints."""
    clone, environment = make_clone(folder), make_environment(folder / "environment")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    call(build, clone, dict(os.environ))
    (wheel,) = folder.glob("*.whl")
    call(["pip", "install", "--quiet", str(wheel)], folder, environment)
    example, shown = re.search(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", (clone / README).read_text(), re.S
    ).groups()
    empty = folder / "empty"
    empty.mkdir()
    printed = call(["python", "-c", example], empty, environment)
    # Last bits, and so shares and differences, differ between machines.
    numbers = re.compile(r"\d+(\.\d+)?(e-?\d+)?%?")
    if numbers.sub("", printed) != numbers.sub("", shown):
        sys.exit(f"error: README shows\n{shown}and its example prints\n{printed}")
    return printed


def try_clone(folder: Path) -> str:
    """Run `make run` of README in a clone; return the accuracy that it prints."""
    clone, environment = make_clone(folder), make_environment(folder / "environment")
    if not re.search(r"^    make run\b", (clone / README).read_text(), re.M):
        sys.exit("error: README does not show `make run`.")
    printed = call(["make", "run"], clone, environment)
    (line,) = (line for line in printed.splitlines() if "test accuracy, last epoch" in line)
    return line


def try_notebook(folder: Path) -> str:
    """Run the commands of the first tutorial; return them."""
    clone, environment = make_clone(folder), make_environment(folder / "environment")
    cells = json.loads((clone / NOTEBOOK).read_text())["cells"]
    (block,) = re.findall(r"```console\n(.*?)```", "".join(cells[0]["source"]), re.S)
    for command in map(shlex.split, block.splitlines()):
        if command[:2] == ["jupyter", "lab"]:  # A stranger runs all cells; `execute` does so too.
            command[1] = "execute"
        call(command, clone, environment)
    return block


WAYS = {"wheel": try_wheel, "clone": try_clone, "notebook": try_notebook}


def main(names: Sequence[str]) -> int:
    """Try each way, print its result and its minutes, and return 0."""
    minutes = {}
    for name in names or WAYS:
        start = time.monotonic()
        with TemporaryDirectory() as folder:
            print(f"{name}\n{WAYS[name](Path(folder)).rstrip()}", flush=True)
        minutes[name] = (time.monotonic() - start) / 60
        print(f"{minutes[name]:.1f} minutes\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
