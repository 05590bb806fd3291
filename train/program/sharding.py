"""The mesh of devices, and the two ways to place arrays on it: whole copies or parts."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from ..errors import UserError


def data_mesh(
    batch_size: int, accumulate: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Return a mesh of one axis, `data`: all devices of all processes, or `devices`.

    Raises UserError unless they divide each part of the batch. The axis is Auto: with the default
    Explicit one, average pools, gathers from resident data and vmapped crops raise.
    """
    devices = jax.devices() if devices is None else devices
    shares = len(devices) * accumulate
    if batch_size % shares:
        below = batch_size // shares * shares
        nearest = f"{below}, {below + shares}" if below else f"{shares}"
        parts = f" in {accumulate} parts" if accumulate > 1 else ""
        raise UserError(
            f"batch_size {batch_size} does not divide among {len(devices)} devices{parts}; "
            f"the nearest that do: {nearest}."
        )
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def make_replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of a whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def make_batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding that divides the first axis, the batch, among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def get_local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Return the rows of a batch that the devices of this process take, in their order."""
    taken = make_batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    rows = np.arange(batch_size)
    return np.unique(np.concatenate([rows[place] for place in taken.values() if place]))


def place(tree: Any, sharding: Sharding) -> Any:
    """Put arrays on the devices; each process has what its own devices need.

    Where every device has a whole copy, that is all of it, and the same in every process.
    """

    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def abstract_arrays(tree: Any, sharding: Sharding) -> Any:
    """Return shapes and types of arrays that are placed as `sharding` says."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
