"""The errors of the compiler."""

from pit_jax.old_names import serve_old_names


class NotFoldable(ValueError):
    """Raised for a part of a network that no spiking program computes exactly.

    `path` is the path of the module, or empty if the part does not belong to one module.
    """

    path: str = ""


class NotEqual(AssertionError):
    """Raised for a program whose binary spikes differ from the counts of its grid."""


serve_old_names(__name__)
