"""The one error that the programs print without a traceback."""


class UserError(ValueError):
    """A mistake outside the program that the user can fix; programs print it and exit with 2."""
