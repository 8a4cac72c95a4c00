"""The best fits of a task, from all starts of its law, of `fit` and `compare`."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bimix_jax.fitting._folds import chosen_strengths
from bimix_jax.fitting._many_starts import promising, reached, searched_further
from bimix_jax.fitting._solution import AGREEMENT
from bimix_jax.fitting._together import linked, with_squares
from bimix_jax.fitting.again import all_starts, best_ends
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.problem import default_tolerance
from bimix_jax.fitting.searches import Drawn, Searches, Solved
from bimix_jax.fitting.shrinkage import STRENGTHS, STRONGEST
from bimix_jax.fitting.stacked import combined, joined, member_tasks
from bimix_jax.fitting.task import FitTask, Folds

if TYPE_CHECKING:
    import optax

WORTH = 2**31
"""Number of starts and fits times points times squared exponents, from which the first steps of all
starts take longer than the compilation of their values alone, about half a second."""


def refit(
    task: FitTask, drawn: Drawn, starts: np.ndarray | None, strength: float, tolerance: float
) -> ArrayFit:
    """Fit a task to many draws, at one strength of the shrinkage, by the program of `solve`.

    Args:
        task: what is fitted.
        drawn: the draws.
        starts: (fits, targets, exponents), one for each; None for the best of all that the law has.
        strength: of the shrinkage.
        tolerance: on the scaled gradient.

    Returns:
        An `ArrayFit` of numpy arrays with leading axes (fits, targets).
    """
    strengths = np.full(len(drawn.factor), strength)
    with jax.enable_x64(task.options.dtype == "float64"):
        search = Searches.of(task)
        if starts is not None:
            return search(drawn, starts, strengths, tolerance, False).fit
        every = np.concatenate(all_starts(task.law, task.options.tied, len(task.sweep.domains)))
        return _best_of(search, drawn, strengths, every, tolerance).fit


def solve(
    task: FitTask,
    factor: np.ndarray | None = None,
    folds: Sequence[Folds | None] | None = None,
    optimizer: "optax.GradientTransformation | None" = None,
    tolerance: float | None = None,
) -> Solved:
    """Find the best fits of a task from all starts of its law, further ones where in doubt.

    All fits of one law and one shape of the data share one compiled search, whatever their number,
    weights, starts and strengths.

    Args:
        task: what is fitted, and how.
        factor: (fits, points) ≥ 0, of the weights of the task; default one fit, of all points.
        folds: of each fit, that choose its strength of the shrinkage, None for too few runs;
            default those of the task.
        optimizer: any optax transformation instead of damped Gauss-Newton.
        tolerance: on the scaled gradient; default that of `fit`.

    Returns:
        A `Solved` of numpy arrays.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> found = solve(FitTask.of(sweep, bx.BiMix(), bx.FitOptions(), ["c", "python"]))
    >>> found.predicted.shape == (1, 2, len(sweep.budget))
    True
    """
    factors = np.ones((1, len(task.sweep.budget))) if factor is None else factor
    if task.law.members or task.law.of_losses:
        return _together(task, factors, folds, optimizer, tolerance)
    parts = [task.folds] * len(factors) if folds is None else folds
    with jax.enable_x64(task.options.dtype == "float64"):
        strength = _strengths(task, factors, parts)
        search, drawn = Searches.of(task, optimizer), Drawn.of_points(factors)
        exact = tolerance or default_tolerance(search.loss.dtype)

        def from_starts(starts: Any) -> Solved:
            return _best_of(search, drawn, strength, np.asarray(starts), exact)

        return best_ends(task.law, task.options.tied, len(task.sweep.domains), from_starts)


def _together(
    task: FitTask,
    factor: np.ndarray,
    folds: Sequence[Folds | None] | None,
    *how: Any,
) -> Solved:
    """Fit every member of a law, and combine their predictions; `how` as `solve` takes it.

    A law `ThroughLosses` has the losses as its one member.
    """
    each = [solve(member, factor, folds, *how) for member in member_tasks(task)]
    if task.law.of_losses:
        return Solved(*linked(task, each[0].fit, each[0].predicted, factor))
    predicted = combined(task.law, np.stack([one.predicted for one in each]))
    fit = with_squares(task, joined([one.fit for one in each]), predicted, factor)
    return Solved(fit, predicted)


def _best_of(
    search: Searches, drawn: Drawn, strength: np.ndarray, starts: np.ndarray, tolerance: float
) -> Solved:
    """Find the best ends of all fits from these starts (starts, exponents)."""
    fits, targets = len(drawn.factor), len(search.task.targets)
    each = np.repeat(search.task.starts(starts)[:, None], fits, axis=1)
    ends_of = functools.partial(_ends_of, search, drawn, strength)
    work = search.loss.size * each[..., 0, 0].size * starts.shape[1] ** 2
    values = functools.partial(search.values, drawn, strength) if work > WORTH else None
    near = promising(lambda begin, loose: ends_of(begin, loose, False).fit, each, values)
    ends = ends_of(near, tolerance)
    found = reached(ends)
    # An end may be off by the rounding of a sum over the points.
    rounding = 16 * np.finfo(found.dtype).eps * drawn.factor[:, drawn.unit].sum(axis=1)
    least = found.min(axis=0)
    agreement = np.mean(found <= least + AGREEMENT * least + rounding[:, None], axis=0)
    best = found.argmin(axis=0), *np.indices((fits, targets))
    fit = jax.tree.map(lambda leaf: leaf[best], ends.fit)._replace(agreement=agreement)
    solved = Solved(fit, ends.predicted[best])
    if len(near) == len(each) or search.task.options.max_steps is not None:
        return solved
    return searched_further(solved, lambda begin: ends_of(begin, tolerance))


def _ends_of(
    search: Searches,
    drawn: Drawn,
    strength: np.ndarray,
    starts: np.ndarray,
    tolerance: float,
    predict: bool = True,
) -> Solved:
    """Ends of all fits, with leading axes (starts, fits, targets) as the starts have."""
    count, fits = starts.shape[:2]
    begin, strengths = starts.reshape(count * fits, *starts.shape[2:]), np.tile(strength, count)
    found = search(drawn.repeated(count), begin, strengths, tolerance, predict)
    ends: Solved = jax.tree.map(lambda leaf: leaf.reshape(count, fits, *leaf.shape[1:]), found)
    return ends


def _strengths(task: FitTask, factor: np.ndarray, folds: Sequence[Folds | None]) -> np.ndarray:
    """(fits,) strength of the shrinkage, as given or chosen by the folds of each fit."""
    if not task.has_shrinkage:
        return np.zeros(len(factor))
    asked = task.options.shrinkage
    strength = np.full(len(factor), STRENGTHS[0] if isinstance(asked, str) else asked)
    groups: dict[int, dict[int, Folds]] = {}
    for place, parts in enumerate(folds if isinstance(asked, str) else ()):
        if parts is not None:
            groups.setdefault(parts.parts, {})[place] = parts
    # By the default search, whatever the fit itself is asked for: this only makes a choice.
    plain = dataclasses.replace(task.options, max_steps=None)
    search = Searches.of(dataclasses.replace(task, options=plain))
    for count, of_fits in groups.items():
        inside = np.stack([f.number == np.arange(count)[:, None] for f in of_fits.values()])
        strength[list(of_fits)] = chosen_strengths(
            search, Drawn.of_points, factor[list(of_fits)], inside
        )
    # A loss of one target refutes the simpler law for all of them, which share a strength.
    refuted = (task.seen(factor) & task.refuting).any(axis=(1, 2))
    return np.where(refuted & np.isinf(strength), STRONGEST, strength)
