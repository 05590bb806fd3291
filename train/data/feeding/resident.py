"""Batches of samples that are all on the device, selected there by index."""

import jax
from jax.sharding import NamedSharding
from jaxtyping import Array


def take(
    samples: dict[str, Array], index: Array, sharding: NamedSharding | None = None
) -> dict[str, Array]:
    """Return the samples `index`; with `sharding` each device takes its own part only."""
    batch = {name: array[index] for name, array in samples.items()}
    if sharding is None:
        return batch
    # Without the constraint directly behind the gather every device takes the whole batch.
    return jax.lax.with_sharding_constraint(batch, sharding)
