"""Errors and warnings about what people give to be read: tables of runs, and text."""


class SweepError(ValueError):
    """A table that is not a sweep; the message lists every finding with its remedy."""


class SweepWarning(UserWarning):
    """A doubtful property of a sweep that the user should read; also kept in `Sweep.notes`."""


class EntropyWarning(UserWarning):
    """A doubtful property of a domain's text that the user should read; also kept as a note."""
