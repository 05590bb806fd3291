"""What an export refuses."""


class NotInNIR(ValueError):
    """A part of a program or a graph that has no counterpart on the other side, exactly."""
