"""Stages of a decision on a terminal: their number, and about how long the rest takes."""

import time
from collections.abc import Callable

PARTS = (0.02, 0.48, 0.03, 0.07, 0.3, 0.1)
"""Part of the time that every stage takes, from reading to writing. Measured with 36 runs at 12
budgets; compiled programs shorten all stages by about the same factor."""
SHORT = 5.0
"""Seconds that are not worth a word."""


class Stages:
    """Counts the stages, and tells from the time that is gone how much is left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.begun = clock, clock()
        self.number, self._name = 0, ""

    def told(self, text: str) -> str:
        """Return the text on a stage, with the time left; how far it is stands behind ": "."""
        name, within, _ = text.partition(": ")
        self.number += name != self._name
        self._name = name
        left = self._left()
        # What is inside of a stage comes with its own estimate.
        return text if within or left < SHORT else f"{text}, about {left:.0f} s left"

    def _left(self) -> float:
        """Seconds left at the begin of the stage, as far as the ones before tell."""
        done = sum(PARTS[: self.number - 1])
        # Reading alone says little about all that is computed.
        if done < PARTS[1]:
            return 0.0
        return (self.clock() - self.begun) * (1 - done) / done
