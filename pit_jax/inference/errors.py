"""What a compiler cannot do, said in words."""

from pit_jax.old_names import serve_old_names


class NotFoldable(ValueError):
    """A part of a network that no spiking program says exactly."""


class NotEqual(AssertionError):
    """A program whose spikes are not the integers of its grid."""


class ArtifactError(ValueError):
    """A saved program that is damaged, or cannot be written where it shall be."""


serve_old_names(__name__)
