"""Targets that may be scores and have no stated direction: a decision may take the worst."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bimix_jax.reading.column_names import says_score
from bimix_jax.reading.metadata import Metadata
from bimix_jax.sweeps.sweep import Sweep

NAMED = "by a word of the name"
RISE = 0.02
"""Median relative rise along runs above which noise of a flat loss is ruled out."""
SURE = 3.0
"""Standard deviations from 0 at which a smaller rise is ruled out as noise, too."""
RANGES = 1.0, 100.0
"""Upper ends of the ranges of fractions and of percentages."""


def refuse_scores(sweep: Sweep, targets: Sequence[str]) -> None:
    """Raise ValueError if more may be better in one of the targets, by its name or its values.

    Targets with a direction (`Target`) are exempt. A target that is a domain has the domain's
    name, which is not evidence.
    """
    found = scores_among(sweep, targets)
    if found:
        _refuse(found)


def refuse_scores_by_name(
    targets: Iterable[str], domains: Iterable[str], metadata: Metadata
) -> None:
    """Apply `refuse_scores` by names alone, where the values are no longer available."""
    found = _by_name(targets, domains, metadata)
    if found:
        _refuse(found)


def scores_among(sweep: Sweep, targets: Iterable[str]) -> dict[str, str]:
    """Map targets without a direction in which more seems to be better to the evidence."""
    asked = tuple(targets)
    found = _by_name(asked, sweep.domains, sweep.metadata)
    exempt = {*found, *_with_direction(sweep.metadata)}
    rest = [t for t in asked if t not in exempt]
    return found | _by_values(sweep, rest)


def about_scores(found: dict[str, str]) -> tuple[str, str]:
    """Return a sentence that names the targets that look like scores, with the reasons, and the
    advice for them."""
    reasons = dict.fromkeys(found.values())
    targets = [[target for target in found if found[target] == why] for why in reasons]
    said = [f"{', '.join(names)} ({why})" for names, why in zip(targets, reasons, strict=True)]
    stated = " ".join(f"--metadata higher_is_better={target}" for target in found)
    return (
        f"More seems to be better in {'; '.join(said)}.",
        f"Say so with {stated} (metadata={{'higher_is_better': {list(found)}}} in read_sweep), "
        "with lower_is_better where less is better, or leave the columns out.",
    )


def _by_name(targets: Iterable[str], domains: Iterable[str], metadata: Metadata) -> dict[str, str]:
    known = {*domains, *_with_direction(metadata)}
    return {t: NAMED for t in targets if t not in known and says_score(t)}


def _with_direction(metadata: Metadata) -> list[str]:
    return [target.name for target in metadata.targets if target.direction is not None]


def _by_values(sweep: Sweep, targets: Sequence[str]) -> dict[str, str]:
    """Find targets within 0 to 1, or 0 to 100, that rise along most runs."""
    found = {}
    for target, curves, rising in _rising(sweep, targets):
        limit = next((limit for limit in RANGES if curves.values.max(initial=0) <= limit), None)
        if limit is not None:
            found[target] = (
                f"between 0 and {limit:g}, and rising along {rising} of {len(curves.counts)} runs"
            )
    return found


def falling_scores(sweep: Sweep, targets: Sequence[str]) -> dict[str, str]:
    """Map scores that fall along most runs, as their distances rise, to the number of runs."""
    return {
        target: f"{rising} of {len(curves.counts)} runs"
        for target, curves, rising in _rising(sweep, targets)
    }


def _rising(sweep: Sweep, targets: Sequence[str]) -> Iterator[tuple[str, "_Curves", int]]:
    """Yield targets whose values rise along most runs, with their curves and number of runs."""
    numbers, losses, names = sweep.run_number, sweep.loss, sweep.targets
    order = np.lexsort((sweep.budget, numbers))
    run, columns = numbers[order], [names.index(t) for t in targets]
    # Sorted by run, so a run begins where the number changes.
    begins = np.flatnonzero(np.diff(run, prepend=-1))
    ends = np.append(begins[1:], len(order)) - 1
    several = ends > begins
    first, last = (losses[order[at[several]]][:, columns] for at in (begins, ends))
    # Most targets fall, and this quick test spares them the trend test.
    for i in np.flatnonzero(_may_rise(first, last)).tolist():
        values = losses[order, columns[i]]
        there = np.isfinite(values)
        curves = _Curves(values[there], run[there])
        rising = curves.rising()
        if rising:
            yield targets[i], curves, rising


def _may_rise(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return (targets,) bool: False where at least half of the runs end no higher than they begin.

    Both are losses, (runs, targets).
    """
    falls = last <= first  # False where one is nan
    # Most runs must rise in the end; half of them falling rules this out.
    return 2 * np.sum(falls, axis=0) < len(falls)


class _Curves:
    """The values of a target along its runs of two points or more."""

    def __init__(self, values: np.ndarray, run: np.ndarray) -> None:
        """Take values and run numbers, both (points,), sorted by run."""
        counts = np.bincount(run)
        several = (counts > 1)[run]
        self.values, self.counts = values[several], counts[counts > 1]
        self.begins = np.cumsum(self.counts) - self.counts

    def rising(self) -> int:
        """Return the number of rising runs, or 0 if they are few or within the noise.

        This is the trend test of Mann and Kendall, summed over the runs.
        """
        counts = self.counts
        rise = self.values[self.begins + counts - 1] / self.values[self.begins] - 1
        if 2 * np.sum(rise > 0) <= len(counts):
            return 0
        trend = np.empty(len(counts))
        # Runs of one length are compared at once; a sweep has few lengths.
        for count in np.unique(counts):
            alike = np.flatnonzero(counts == count)
            trend[alike] = _trend(self.values[self.begins[alike, None] + np.arange(count)])
        rising = int(np.sum((trend > 0) & (rise > 0)))
        # Without a trend, the statistic of n points has the variance n (n − 1)(2n + 5) / 18.
        spread = np.sqrt(np.sum(counts * (counts - 1) * (2 * counts + 5) / 18))
        # A large rise is beyond the noise of a loss; a small one needs the statistic.
        clear = np.median(rise) > RISE or np.sum(trend) > SURE * spread
        return rising if 2 * rising > len(counts) and clear else 0


def _trend(curves: np.ndarray) -> np.ndarray:
    """Return (runs,) the rising minus the falling pairs of points of each curve; curves is
    (runs, n)."""
    apart = range(1, curves.shape[1])
    return sum(np.sign(curves[:, k:] - curves[:, :-k]).sum(axis=1) for k in apart)


def _refuse(found: dict[str, str]) -> None:
    seen, advice = about_scores(found)
    raise ValueError(
        f"targets: {seen} Without its direction a decision may make a score small, and recommend "
        f"the worst mixture. {advice}"
    )
