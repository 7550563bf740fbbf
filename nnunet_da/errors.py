"""Errors that are the user's to fix."""


class UserError(Exception):
    """Bad input: the command line prints it as one line and exits with code 2.

    The message says what was expected, what came and what to do.
    """


class CheckFailed(Exception):
    """A check ran and failed: the command line prints it as one line and exits with code 1."""
