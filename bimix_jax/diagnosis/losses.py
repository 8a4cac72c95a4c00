"""The losses of a sweep: units, gaps, rises, jumps, and the noise that replicates show."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bimix_jax.diagnosis.observation import Observation, Severity, some_of
from bimix_jax.judging.noise import between_replicates
from bimix_jax.sweeps.checks import NOT_FINITE, PERPLEXITY, RISE
from bimix_jax.sweeps.scores import scores_among
from bimix_jax.sweeps.sweep import Sweep

MANY_EMPTY = 0.1
OTHER_UNIT = 0.3
"""Log of the ratio to the other runs beyond which losses are of another unit: ln 1.44 is .37."""
JUMP, BEYOND = 0.05, 10.0
"""A step along a curve is a jump where it differs from that of the other runs by more than 5 %,
and by more than ten times what is usual between runs at that budget."""
RUNS_TO_COMPARE = 4


def observe_losses(sweep: Sweep) -> Iterator[Observation]:
    """Everything about the losses."""
    yield from _unit(sweep)
    yield from _not_finite(sweep)
    yield from _empty(sweep)
    yield from _rising(sweep)
    yield from _jumps(sweep)
    yield from _replicates(sweep)


def _unit(sweep: Sweep) -> Iterator[Observation]:
    middle = float(np.nanmedian(sweep.loss))
    if middle > PERPLEXITY and sweep.meaning.loss_unit is None:
        yield Observation(
            Severity.ERROR,
            f"The median loss is {middle:.3g}, which looks like perplexities",
            "State the unit, --meaning loss_unit=perplexity, and losses are converted.",
        )
    away = _away_from_others(sweep, np.log(sweep.loss))
    level = pd.DataFrame(away).median(axis=1).groupby(sweep.run).median()
    other = [f"{run} ({np.exp(v):.2f} ×)" for run, v in level.items() if abs(v) > OTHER_UNIT]
    if other:
        yield Observation(
            Severity.WARNING,
            f"Runs whose losses are far from those of the others: {some_of(other)}",
            "Check that all are in one unit (bits are 1.44 × nats) and trained alike.",
        )


def _not_finite(sweep: Sweep) -> Iterator[Observation]:
    for note in sweep.notes:
        if NOT_FINITE in note:
            yield Observation(
                Severity.WARNING,
                note.rstrip("."),
                "Look whether these runs diverged, and leave out their points from there on.",
            )


def _empty(sweep: Sweep) -> Iterator[Observation]:
    gone = np.isnan(sweep.loss)
    if not gone.any():
        return
    share = gone.mean(axis=0)
    worst = [
        f"{t} {100 * s:.0f} %" for t, s in zip(sweep.targets, share, strict=True) if s > 0
    ]  # fmt: skip
    yield Observation(
        Severity.WARNING if share.max() > MANY_EMPTY else Severity.NOTE,
        f"{gone.sum()} of {gone.size} loss cells are empty ({some_of(worst)})",
        "They are left out of the fit; evaluate every target at every checkpoint.",
    )


def _rising(sweep: Sweep) -> Iterator[Observation]:
    order = np.argsort(sweep.budget, kind="stable")
    curves = pd.DataFrame(sweep.loss[order], columns=list(sweep.targets)).groupby(sweep.run[order])
    last, least = curves.last(), curves.min()
    scores = scores_among(sweep, sweep.targets)  # of which more is said
    high = (last > (1 + RISE) * least) & ~last.columns.isin(list(scores))
    rising = np.argwhere(high.to_numpy())
    if len(rising):
        names = [f"{last.columns[t]} in {last.index[r]}" for r, t in rising]
        yield Observation(
            Severity.WARNING,
            f"{len(names)} of {last.size} curves end more than {100 * RISE:g} % above their least "
            f"loss: {some_of(names)}",
            "No law here lets a loss rise; look for diverged or overfitted runs, and leave them "
            "out.",
        )


def _jumps(sweep: Sweep) -> Iterator[Observation]:
    """Steps between neighbouring budgets of a run that the other runs do not make there."""
    order = np.lexsort((sweep.budget, sweep.run))
    run, budget = sweep.run[order], sweep.budget[order]
    logs = np.log(sweep.loss[order])
    same = run[1:] == run[:-1]
    steps = (logs[1:] - logs[:-1])[same]
    at = pd.Index(budget[1:][same])
    table = pd.DataFrame(steps, index=at, columns=list(sweep.targets))
    middle = table.groupby(level=0).transform("median")
    several = pd.Series(at).groupby(at).transform("size").to_numpy() >= RUNS_TO_COMPARE
    away = (table - middle).abs().to_numpy()
    # What is usual differs along training: early on, mixtures part.
    usual = pd.DataFrame(away).median(axis=1).groupby(at).transform("median").to_numpy()
    unlike = (away > np.maximum(JUMP, BEYOND * usual)[:, None]) & several[:, None]
    # A curve may well fall at another time than the others; it does not rise, or halve.
    jumps = np.argwhere(unlike & ((steps > 0) | (away > OTHER_UNIT)))
    if len(jumps):
        names = [f"{sweep.targets[t]} in {run[1:][same][r]} at {at[r]:g}" for r, t in jumps]
        yield Observation(
            Severity.WARNING,
            f"{len(names)} losses jump where those of other runs do not: {some_of(names)}",
            "Look for loss spikes, restarts, or a changed evaluation set.",
        )


def _replicates(sweep: Sweep) -> Iterator[Observation]:
    noise = between_replicates(sweep)
    if np.isnan(noise):
        yield Observation(
            Severity.NOTE,
            "No mixture was run twice",
            "Repeat one with another seed: it shows the noise, below which no gain counts.",
        )
    else:
        yield Observation(
            Severity.NOTE,
            f"Replicates of a mixture differ by {100 * noise:.2f} % a run",
            "A predicted gain below that is none.",
        )


def _away_from_others(sweep: Sweep, values: np.ndarray) -> np.ndarray:
    """Values (points, targets) less the median of the points at their budget."""
    table = pd.DataFrame(values)
    groups = table.groupby(sweep.budget)
    away = (table - groups.transform("median")).to_numpy()
    few = groups[0].transform("size").to_numpy() < RUNS_TO_COMPARE
    return np.where(few[:, None], 0.0, away)
