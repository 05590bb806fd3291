"""The error of this package."""

from pit_jax.reading import FileError


class CheckpointError(FileError):
    """A checkpoint cannot be read, has no known layout or does not fit the network."""
