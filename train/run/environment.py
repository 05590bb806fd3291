"""The environment of a result: commit, versions, hardware, command."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib.version
import numpy
import optax

import pit_jax
from pit_jax.tuning import SWITCH, describe_tuning

from ..errors import UserError
from ..files import write_atomically
from .reading import read_starts

# JAX options that change the computed numbers: a run that resumes must have the same.
REFUSED = (
    *("jax_enable_x64", "jax_explicit_x64_dtypes", "jax_numpy_dtype_promotion"),
    *("jax_default_prng_impl", "jax_threefry_partitionable", "jax_random_seed_offset"),
    *("jax_high_dynamic_range_gumbel", "jax_softmax_custom_jvp", "jax_allow_f16_reductions"),
    "jax_default_matmul_precision",
)
# Options that may change the last bits of sums, as another version or device may.
REPORTED = (
    *("jax_disable_jit", "jax_disable_most_optimizations", "jax_optimization_level"),
    *("jax_exec_time_optimization_effort", "jax_memory_fitting_effort"),
    *("jax_memory_fitting_level", "jax_compiler_enable_remat_pass", "jax_use_shardy_partitioner"),
    *("jax_threefry_gpu_kernel_lowering", "jax_use_direct_linearize"),
)
# PJRT_NPROC is the number of threads of JAX on a CPU.
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "PJRT_NPROC", SWITCH)
MACHINE = ("jax", "jaxlib", "flax", "optax", "numpy", "device", "devices", "processes")
# On a CPU, its instructions and the number of threads change the order of additions.
OF_CPU = ("processor", "cores")


def describe_environment() -> dict[str, Any]:
    """Return the environment of this process, for the record of a run."""
    return {
        "commit": find_commit(),
        "arguments": shlex.join(sys.argv[1:]),
        "python": platform.python_version(),
        **_list_versions(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "processor": _find_processor(),
        "cores": _count_cores(),
        **_read_options(),
        **_read_variables(),
        "tuning": describe_tuning(),
    }


def describe_common() -> dict[str, Any]:
    """Return the part of the environment that must be equal in all processes of a run.

    Each of them computes its own copy of the weights: other numbers in one are never noticed.
    """
    # Where the compiler writes its dumps changes no numbers.
    kept = {
        name: " ".join(flag for flag in value.split() if not flag.startswith("--xla_dump"))
        for name, value in _read_variables().items()
    }
    return {**_list_versions(), **_read_options(), **kept}


def _read_variables() -> dict[str, str]:
    """Return the variables of the environment that may change the last bits of results."""
    found = {name: os.environ.get(name, "") for name in VARIABLES}
    # Whether freed memory is kept changes no numbers.
    return found | {SWITCH: found[SWITCH].replace("keep", "")}


def note_start(workdir: Path, step: int, pretrained: str = "") -> None:
    """Append this process and its first `step` to environment.json, one entry for each start.

    `pretrained` are the checkpoint that a new run starts from, and its hash.
    """
    start = describe_environment() | {"step": step}
    starts = [*read_starts(workdir), start | ({"pretrained": pretrained} if pretrained else {})]
    write_atomically(workdir / "environment.json", json.dumps(starts, indent=2))


def compare_environments(
    workdir: Path, starts: Sequence[Mapping[str, Any]], now: Mapping[str, Any]
) -> str:
    """Return a line on the differences of `now` from the latest start; empty if there are none.

    Raises UserError for other JAX options that change the computed numbers. Older versions of this
    program recorded fewer options.
    """
    was = starts[-1] if starts else {}
    differing = [name for name in now if name in was and was[name] != now[name]]
    for name in differing:
        if name in REFUSED:
            raise UserError(
                f"{workdir} was trained with {name}={was[name]}, and this process has "
                f"{now[name]}, so it would compute other numbers. Give JAX the same option "
                f"({name.upper()} in the environment), or choose another --workdir."
            )
    listed = (*MACHINE, *(OF_CPU if now.get("device") == "cpu" else ()), *REPORTED, *VARIABLES)
    reported = [name for name in differing if name in listed]
    if not reported:
        return ""
    changes = (f"{name} was {was[name]!r}, is {now[name]!r}" for name in reported)
    return f"the last bits of results may differ from an undisturbed run: {', '.join(changes)}."


def _list_versions() -> dict[str, str]:
    """Return the versions of the libraries that compute."""
    modules = {"jax": jax, "jaxlib": jaxlib.version, "flax": flax, "optax": optax, "numpy": numpy}
    return {name: module.__version__ for name, module in modules.items()}


def _read_options() -> dict[str, Any]:
    """Return the JAX options by their names in JAX; older versions of JAX have fewer."""
    names = (name for name in (*REFUSED, *REPORTED) if hasattr(jax.config, name))
    values = {name: getattr(jax.config, name) for name in names}
    return {
        name: value.name.lower() if isinstance(value, Enum) else value
        for name, value in values.items()
    }


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


def _count_cores() -> int | None:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _find_processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
