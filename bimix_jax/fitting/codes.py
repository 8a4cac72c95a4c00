"""How a fit ended, as a code whose message says what to do."""

import enum


class Code(enum.IntEnum):
    """Result of one target's fit; a batch carries codes, never exceptions.

    >>> Code.UNIDENTIFIED.label
    'unidentified'
    """

    CONVERGED = 0
    BOUNDARY = 1
    UNIDENTIFIED = 2
    MAX_STEPS = 3
    NONFINITE = 4
    BAD_DATA = 5

    @property
    def label(self) -> str:
        """The code in lower case, as tables show it."""
        return self.name.lower()

    @property
    def message(self) -> str:
        """What happened and what to do about it."""
        return _MESSAGES[self]


FAILED = (int(Code.BAD_DATA), int(Code.NONFINITE))
"""Codes of fits that predict nothing."""

_MESSAGES = {
    Code.CONVERGED: "The fit converged inside its bounds.",
    Code.BOUNDARY: (
        "The best fit lies on a bound: an amplitude is 0 or an exponent at its limit, so the data "
        "do not show the shape of the law; add budgets or mixtures that are further apart. "
        "It is the best end found from several starts; there may be a better one."
    ),
    Code.UNIDENTIFIED: (
        "These data cannot tell some exponent (shown as nan): α needs runs with different own "
        "proportions, β needs several budgets; predictions hold only where the data vary. "
        "It is the best end found from several starts; there may be a better one."
    ),
    Code.MAX_STEPS: (
        "The search stopped before it converged; raise max_steps or try the default optimizer."
    ),
    Code.NONFINITE: (
        "The search met numbers that are not finite; look for extreme losses or budgets."
    ),
    Code.BAD_DATA: (
        "No usable points: every loss is missing, or the law is infinite at every mixture."
    ),
}
