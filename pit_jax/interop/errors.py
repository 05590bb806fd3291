"""The error of this package."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read, has no known layout or does not fit the network."""
