"""The environment of a result: commit, versions, hardware, command."""

import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax
import jax

import pit_jax

from ..files import write_atomically


def describe_environment() -> dict[str, str | int]:
    """Return the environment of this process, for the record of a run."""
    return {
        "commit": find_commit(),
        "arguments": shlex.join(sys.argv[1:]),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "processor": _find_processor(),
    }


def note_start(workdir: Path, step: int) -> None:
    """Append this process and its first `step` to environment.json, one entry for each start."""
    file = workdir / "environment.json"
    starts = json.loads(file.read_text()) if file.exists() else []
    write_atomically(file, json.dumps([*starts, describe_environment() | {"step": step}], indent=2))


def find_commit(file: Path = Path(__file__)) -> str:
    """Return the commit of the checkout that contains `file`, with a `+` if there are changes.

    For an installed package, return its version.
    """
    git = ["git", "-C", str(file.parent)]
    quiet: dict[str, Any] = {"text": True, "stderr": subprocess.DEVNULL}
    try:
        # An installed package may be inside the checkout of another project.
        subprocess.check_output([*git, "ls-files", "--error-unmatch", file.name], **quiet)
        commit = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], **quiet)
        changes = subprocess.check_output([*git, "status", "--porcelain", "-uno"], **quiet)
    except (OSError, subprocess.CalledProcessError):
        return f"pit_jax {pit_jax.__version__}"
    return commit.strip() + ("+" if changes else "")


def _find_processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
