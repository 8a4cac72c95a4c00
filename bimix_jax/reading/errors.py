"""The error and the warning about tables of runs."""


class SweepError(ValueError):
    """A table that is not a sweep; the message lists every finding with its remedy."""


class SweepWarning(UserWarning):
    """A doubtful property of a sweep that the user should read; also kept in `Sweep.notes`."""
