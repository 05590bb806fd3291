"""Where arrays live: the mesh of devices and the two ways to lie on it."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.errors import UserError


def data_mesh(batch_size: int, accumulate: int = 1) -> Mesh:
    """All devices in one row, `data`; raises UserError unless they divide each part of the batch.

    The axis is Auto: with the default Explicit one, average pools, gathers from resident data and
    vmapped crops raise.
    """
    devices = jax.device_count()
    shares = devices * accumulate
    if batch_size % shares:
        below = batch_size // shares * shares
        nearest = f"{below}, {below + shares}" if below else f"{shares}"
        parts = f" in {accumulate} parts" if accumulate > 1 else ""
        raise UserError(
            f"batch_size {batch_size} does not divide among {devices} devices{parts}; "
            f"the nearest that do: {nearest}."
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis, the batch, divided among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))
