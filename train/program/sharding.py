"""Where arrays live: the mesh of devices and the two ways to lie on it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from ..errors import UserError


def data_mesh(
    batch_size: int, accumulate: int = 1, among: Sequence[jax.Device] | None = None
) -> Mesh:
    """All devices of all processes in one row, `data`, or those it is `among`.

    Raises UserError unless they divide each part of the batch. The axis is Auto: with the default
    Explicit one, average pools, gathers from resident data and vmapped crops raise.
    """
    among = jax.devices() if among is None else among
    devices = len(among)
    shares = devices * accumulate
    if batch_size % shares:
        below = batch_size // shares * shares
        nearest = f"{below}, {below + shares}" if below else f"{shares}"
        parts = f" in {accumulate} parts" if accumulate > 1 else ""
        raise UserError(
            f"batch_size {batch_size} does not divide among {devices} devices{parts}; "
            f"the nearest that do: {nearest}."
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=among)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis, the batch, divided among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def rows_here(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Which rows of a batch the devices of this process take, in their order."""
    taken = over_batch(mesh).addressable_devices_indices_map((batch_size,))
    rows = np.arange(batch_size)
    return np.unique(np.concatenate([rows[place] for place in taken.values() if place]))


def placed(tree: Any, sharding: Sharding) -> Any:
    """Arrays on the devices, of which each process gives what its own devices need.

    Where every device has a whole copy, that is all of it, and the same in every process.
    """

    def place(x: Any) -> jax.Array:
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(place, tree)
