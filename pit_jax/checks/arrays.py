"""Arrays of numbers that a user passes as inputs or currents."""

from typing import Any

from pit_jax.display import show_value


def read_array(name: str, value: Any) -> Any:
    """Return an array of real numbers unchanged, and a nested list of them as an array; a `Bound`.

    Raises ValueError for texts, objects, complex numbers, and lists of different lengths.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    try:
        array = value if isinstance(value, np.ndarray | jax.Array) else jnp.asarray(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of real numbers, got {show_value(value)}."
        ) from error
    # NumPy would read the texts of ["1.5"] as numbers, and drop the imaginary part of others.
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, bool)):
        raise ValueError(
            f"{name} must be an array of real numbers, got {array.dtype} of the shape "
            f"{array.shape}."
        )
    return array
