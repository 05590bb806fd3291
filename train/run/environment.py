"""What a result was made with: commit, versions, hardware, command."""

import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import flax
import jax

import pit_jax

from ..files import write_atomically

CHANGES = ("status", "--porcelain", "-uno")


def describe() -> dict[str, str | int]:
    """The environment of this process, for the record of a run."""
    return {
        "commit": _commit(),
        "arguments": shlex.join(sys.argv[1:]),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "processor": _processor(),
    }


def note_start(workdir: Path, step: int) -> None:
    """Adds this process to environment.json, the list of those that trained, from which `step`."""
    file = workdir / "environment.json"
    starts = json.loads(file.read_text()) if file.exists() else []
    write_atomically(file, json.dumps([*starts, describe() | {"step": step}], indent=2))


def _commit() -> str:
    """Return the commit of this clone, with a `+` after it when files differ from it.

    Outside of a clone it is the version: a wheel may be installed below another repository.
    """

    def ask_git(*arguments: str) -> str:
        git = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.check_output(git, text=True, stderr=subprocess.DEVNULL)

    try:
        ask_git("ls-files", "--error-unmatch", Path(__file__).name)
        commit, changes = ask_git("rev-parse", "--short=12", "HEAD"), ask_git(*CHANGES)
    except (OSError, subprocess.CalledProcessError):
        return f"pit_jax {pit_jax.__version__}"
    return commit.strip() + ("+" if changes else "")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
