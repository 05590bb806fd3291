"""The mesh of devices, and the two shardings on it: replicated, or divided by the batch."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from ..errors import UserError

MOST_CPU_DEVICES = 1024


def use_cpu_devices(count: int, batch_size: int, key: str = "config.cpu_devices") -> None:
    """Let a CPU have `count` virtual devices; raise UserError for more than `batch_size`."""
    # Each has threads of its own: of thousands, JAX aborts or takes minutes.
    if count > MOST_CPU_DEVICES:
        raise UserError(f"{key} must be at most {MOST_CPU_DEVICES}, got {count}.")
    if not 1 <= count <= max(batch_size, 1):
        raise UserError(
            f"{key} must be at least 1 and at most {batch_size}, the batch size; got {count}."
        )
    # JAX reads this when the first device is asked for. The reason for several virtual devices on a
    # CPU is in docs/theory/decisions.md.
    jax.config.update("jax_num_cpu_devices", count)


def make_data_mesh(
    batch_size: int, accumulate: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Return a mesh with one axis, `data`, of all devices of all processes, or of `devices`.

    Raises UserError unless the devices divide each of the `accumulate` parts of a batch.
    """
    devices = jax.devices() if devices is None else devices
    shares = len(devices) * accumulate
    if batch_size % shares:
        below = batch_size // shares * shares
        nearest = f"{below}, {below + shares}" if below else f"{shares}"
        parts = f" in {accumulate} parts" if accumulate > 1 else ""
        fewer = "a smaller config.accumulate may help; " if accumulate > 1 else ""
        raise UserError(
            f"config.batch_size {batch_size} does not divide among {len(devices)} devices{parts}; "
            f"{fewer}the nearest that do: {nearest}."
        )
    # Auto: with Explicit axes, JAX's default, average pools, gathers from resident data and vmapped
    # crops raise errors.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def make_replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding with a full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def make_batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that divides the first axis, the batch, among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def get_local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Return the rows of a batch on the devices of this process, in ascending order."""
    # The order of devices in a mesh need not be the order of processes: ask the sharding.
    taken = make_batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = np.arange(batch_size)
    return np.unique(np.concatenate([rows[place] for place in taken.values() if place]))


def place(tree: Any, sharding: Sharding) -> Any:
    """Place arrays on the devices; each process passes the part for its own devices.

    With a replicated sharding, every process passes the whole array.
    """
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def abstract_arrays(tree: Any, sharding: Sharding) -> Any:
    """Return the shapes and types of arrays, with `sharding`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
