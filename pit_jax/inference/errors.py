"""What a compiler cannot do, said in words."""


class NotFoldable(ValueError):
    """A part of a network that no spiking program says exactly."""


class NotEqual(AssertionError):
    """A program whose spikes are not the integers of its grid."""


class ArtifactError(ValueError):
    """A saved program that is damaged, or cannot be written where it shall be."""
