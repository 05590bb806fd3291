"""Where arrays live: the mesh of devices and the two ways to lie on it."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from train.errors import UserError


def data_mesh(batch_size: int) -> Mesh:
    """All devices in one row, `data`; raises UserError unless they divide the batch.

    The axis is Auto: with the default Explicit one, average pools, gathers from resident data and
    vmapped crops raise.
    """
    devices = jax.device_count()
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below}, {below + devices}" if below else f"{devices}"
        raise UserError(
            f"batch_size {batch_size} does not divide among {devices} devices; "
            f"the nearest that do: {nearest}."
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis, the batch, divided among the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))
