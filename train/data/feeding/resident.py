"""Batches of samples that are all in device memory, selected there by index."""

import jax
from jax.sharding import NamedSharding
from jaxtyping import Array


def take(
    samples: dict[str, Array], index: Array, sharding: NamedSharding | None = None
) -> dict[str, Array]:
    """Return the samples `index`; with `sharding` each device takes only its part."""
    batch = {name: array[index] for name, array in samples.items()}
    if sharding is None:
        return batch
    # Without the constraint right after the gather, every device gathers the whole batch.
    return jax.lax.with_sharding_constraint(batch, sharding)
