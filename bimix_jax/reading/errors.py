"""What a table of runs can raise and warn of."""


class SweepError(ValueError):
    """A table that is not a sweep; the message lists every finding with its remedy."""


class SweepWarning(UserWarning):
    """Something about a sweep that a person should know; also kept in `Sweep.notes`."""
