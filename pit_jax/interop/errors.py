"""The one error of this package: a file or its arrays are not what was asked for."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is none of a known layout or does not fit the network."""
