"""The one error that the programs print without a traceback."""


class UserError(Exception):
    """A mistake outside the program that the user can mend; programs exit with code 2."""
