"""Compares the memory that a run certainly needs with the memory that this process may use.

A run that fits is never refused: needs are lower bounds (every array counted is in memory at the
same time as all others), and limits are upper bounds (all memory and swap of the machine, also what
other processes use now).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from .errors import UserError
from .host_memory import GIB, MemoryLimit, find_host_limits

# The share of the temporaries that are certainly in memory at the same time.
LEAST_TOUCHED = 0.9


def check_state(state: Any, params: Any, mesh: Mesh) -> None:
    """Raise UserError if `mesh` cannot hold a state and the gradients of its parameters.

    `state` and `params` may be abstract arrays.
    """
    # The gradients are in memory at the same time as the state: a step is only applied after all of
    # them are known to be finite.
    size = count_bytes(params)
    check_fits(
        count_bytes(state) + size,
        mesh.devices.flatten().tolist(),
        f"training this network, with {size / GIB:,.1f} GiB of parameters, their gradients and the "
        "state of the optimizer,",
        "A smaller config.model or another config.optimizer needs less.",
    )


def check_compiled(compiled: jax.stages.Compiled, mesh: Mesh) -> None:
    """Raise UserError if `mesh` cannot hold the results and temporaries of a program."""
    memory = compiled.memory_analysis()
    if memory is None:
        return
    # The results are the new state. Gaps between temporaries may never be touched; arguments that
    # are not donated may be shared by virtual devices.
    temporary = int(LEAST_TOUCHED * memory.temp_size_in_bytes)
    check_fits(
        memory.output_size_in_bytes + temporary,
        mesh.devices.flatten().tolist(),
        f"a program of this run, with {temporary / GIB:,.1f} GiB of activations and other "
        "temporaries,",
        "A smaller config.batch_size, config.num_steps or config.model needs less, and so does "
        "config.accumulate=N, which trains a batch in N parts.",
    )


def check_fits(needed: int, devices: Sequence[jax.Device], what: str, advice: str) -> None:
    """Raise UserError if `needed` bytes on each of `devices` are more than the memory limit."""
    own = [device for device in devices if device.process_index == jax.process_index()]
    # Virtual devices of a CPU have one memory.
    on_host = sum(device.platform == "cpu" for device in own)
    limits = [(needed, limit) for limit in map(find_device_limit, own) if limit]
    if on_host:
        limits += [(needed * on_host, limit) for limit in find_host_limits()]
    for total, limit in limits:
        if total > limit.bytes:
            many = f", {on_host} times on one host" if on_host > 1 and total != needed else ""
            raise UserError(
                f"{what} needs at least {needed / GIB:,.1f} GiB{many}, and there are "
                f"{limit.bytes / GIB:,.1f} GiB ({limit.name}). {advice}"
            )


def count_bytes(tree: Any) -> int:
    """Return the bytes of all arrays, which may be abstract; keys are not counted."""
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
        if not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)
    )


def find_device_limit(device: jax.Device) -> MemoryLimit | None:
    """Return the memory of a device that JAX may use; None for CPUs and where it is unknown."""
    try:
        stats = device.memory_stats() or {}
    except (RuntimeError, NotImplementedError):
        return None
    size = stats.get("bytes_limit")
    return MemoryLimit(size, f"of {device.device_kind} that JAX may use") if size else None
