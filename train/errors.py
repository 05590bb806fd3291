"""The error that programs print without a traceback."""


class UserError(ValueError):
    """A mistake that the user can fix; programs print its message and exit with code 2."""
