"""What a compiler cannot do, said in words."""


class NotFoldable(ValueError):
    """A part of a network that no spiking program says exactly."""
