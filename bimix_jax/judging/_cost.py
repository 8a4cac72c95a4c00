"""About how long a comparison takes, told before it starts."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from bimix_jax.fitting._many_starts import screens_of
from bimix_jax.fitting.shrinkage import has_shrinkage
from bimix_jax.judging._trial import Trial
from bimix_jax.laws import Law
from bimix_jax.quantities import counted

STEP = (30.0, 3e-3, 1.2e-4, 3.6e-4)
"""Microseconds of one step of a search: of any, per point and exponent, per row and squared
exponent, and per cubed exponent; rows are mixtures where the law sees these through one number,
else points. Measured on one core of 2026; whole comparisons of 7 × 60 × 11, 24 × 100 × 4, 39 × 240
× 1 and 64 × 300 × 4 (domains, runs, budgets) took 0.8 to 1.0 of the estimate."""
SEARCH, LAST = 12, 80
"""Steps of a search from a start, and of one that is the last of many."""
CHOICE = 200
"""Steps for the choice of the shrinkage in one training part."""
COMPILATION = 2.5
"""Seconds of one core to compile a law: 1.6 to 3.9 for those judged by default."""
LONG = 20.0
"""Seconds that are worth a warning."""


class Outlook(NamedTuple):
    """How far a comparison is, and about how long it still takes."""

    laws: int
    """number of laws that are left in the race"""
    done: int
    """number of splits that are judged"""
    splits: int
    seconds: float
    """about so long from now, if no law is dropped; nan where it is unknown"""

    @property
    def is_long(self) -> bool:
        """True where the rest takes long enough to say so; False where it is unknown."""
        return self.seconds > LONG

    def __str__(self) -> str:
        what = f"judging {counted(self.laws, 'law')} on {counted(self.splits, 'split')}"
        if self.done:
            what += f", {self.done} done"
        if not self.is_long:
            return what
        return f"{what}, about {_about(self.seconds)}{' left' if self.done else ''}"


class Watch:
    """Tells how far a comparison is, with estimates that follow the pace so far."""

    def __init__(self, trial: Trial, progress: Callable[[Outlook], None] | None) -> None:
        self.trial, self.progress, self.begun = trial, progress, time.monotonic()

    def tell(self, wanted: np.ndarray, done: np.ndarray) -> None:
        """Tell of the fits that are wanted (laws, splits), of which some splits are done."""
        if self.progress is None:
            return
        left, before = (self._expected(wanted & those) for those in (~done, done))
        at_once = min(2, os.cpu_count() or 1)
        compilation = COMPILATION * len(self.trial.laws) / at_once
        if done.any():
            left *= (time.monotonic() - self.begun) / (before + compilation)
        else:
            left += compilation
        laws = int(wanted[:, ~done].any(axis=1).sum())
        self.progress(Outlook(laws, int(done.sum()), len(done), left))

    def _expected(self, wanted: np.ndarray) -> float:
        """Seconds for the fits wanted (laws, splits), without compilation.

        Unknown, nan, on other devices than CPUs.
        """
        if jax.default_backend() != "cpu":
            return float("nan")
        each = [_seconds_per_split(self.trial, law) for law in self.trial.laws]
        return float(np.dot(each, wanted.sum(axis=1))) / (os.cpu_count() or 1)


def _seconds_per_split(trial: Trial, law: Law) -> float:
    """Seconds of one core for the fits of a law to one train part."""
    if law.members:
        return sum(_seconds_per_split(trial, member) for member in law.members)
    sweep = trial.sweep
    if law.of_losses:
        # Links take little beside the losses, of which there are about as many as targets.
        return _seconds_per_split(trial, law.of_losses)
    bound = law.for_sweep(sweep, sweep.largest_budget)
    domains, points = len(sweep.domains), len(sweep.budget)
    exponents, starts = len(bound.names(sweep.domains)), len(bound.starts(domains))
    (_, some), (_, few) = screens_of(starts)
    steps = SEARCH * min(starts, some)
    if starts > some:
        steps = starts + 4 * SEARCH * some + LAST * few
    if has_shrinkage(bound, domains) and isinstance(trial.options.shrinkage, str):
        steps += CHOICE
    rows = len(np.unique(sweep.mixture_group)) if bound.has_log_worth else points
    step = np.dot(STEP, [1, points * exponents, rows * exponents**2, exponents**3])
    return 1e-6 * float(step) * steps * len(trial.targets)


def _about(seconds: float) -> str:
    """A time in words, rounded as an estimate deserves.

    >>> _about(34.0), _about(200.0), _about(4000.0), _about(9000.0)
    ('30 seconds', '3 minutes', '67 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{10 * round(seconds / 10)} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
