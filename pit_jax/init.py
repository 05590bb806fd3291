"""The old name of `pit_jax.initializers`."""

from pit_jax.initializers import *  # noqa: F403
