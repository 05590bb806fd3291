"""The errors of the compiler."""

from pit_jax.old_names import serve_old_names


class NotFoldable(ValueError):
    """A part of a network that no spiking program computes exactly; `path` is that of its module.

    `path` is empty where it is not the part of one module alone.
    """

    path: str = ""


class NotEqual(AssertionError):
    """A program whose binary spikes differ from the integers of its grid."""


serve_old_names(__name__)
