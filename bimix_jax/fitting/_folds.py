"""The strength of the shrinkage of many fits of one task, by the errors of fits without a fold."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from bimix_jax.fitting._left_out import End, predict_left_out
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.measured import Measured
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.shrinkage import (
    ALONE,
    STRENGTHS,
    TOLERANCE,
    mean_where,
    relative_errors,
    strength_index,
)
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import OnceCompiled, jit
from bimix_jax.xla.mapping import over_rows

WORTH = 2**28
"""Number of searches times points times squared exponents, from which the searches without a fold
take longer than the compilation of `predict_left_out`, about a second."""
FEW = 32
"""Largest numbers of points of a fold are rounded up to multiples of this, to share programs."""

ENOUGH = 2
"""Least number of mixtures per exponent of a target for fits without a fold to begin at a fit to
it, or to end early: of few mixtures they would stay where they begin, and their errors would be
those of a fit to the fold, or of more shrinkage."""
LOOSE = 1e-2
"""Tolerance of fits without a fold to so many mixtures: their errors are averaged over folds, and
an objective is off by the square of its tolerance."""

Predictor = Callable[[ArrayFit, float, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a fit to all folds, with leading axes (fits, targets), its strength of the shrinkage, and
where it began (fits, targets, exponents) and the fits without a fold ended before (fits · folds,
targets, exponents): losses (fits, points, targets), those of each fold by the fit without it, nan
of other points; and the exponents at which the fits without a fold end."""


def chosen_strengths(
    search: Any, drawn_of: Callable[[np.ndarray], Any], factor: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """(fits,) strength with the least error on the folds of each fit, as `choose_strength` does it.

    Fits begin at the first start of the law, and then at their own end with the stronger shrinkage;
    of many mixtures, those without a fold go on from there as the fit to all has moved.

    Args:
        search: the searches of a task.
        drawn_of: draws by factors (searches, points) of the weights.
        factor: (fits, points) of the weights, 0 outside of what a fit sees.
        inside: (fits, folds, points) bool, what each fold leaves out.
    """
    rest, fits = (factor[:, None] * ~inside).reshape(-1, factor.shape[1]), len(factor)
    whole, task = drawn_of(factor), search.task
    predicted_without = predictor_of_folds(search, whole, drawn_of(rest), inside)
    seen = task.seen(factor)
    members = inside.astype(float)
    first = np.asarray(task.law.starts(len(task.sweep.domains)))[:1]
    begin = np.repeat(task.starts(first), fits, axis=0)
    near = np.repeat(begin, inside.shape[1], axis=0)
    each: list[list[np.ndarray]] = []
    valued = None
    for strength in STRENGTHS:
        end = search(whole, begin, np.full(fits, strength), TOLERANCE, False).fit
        predicted, ends = predicted_without(end, strength, begin, near)
        if valued is None:
            # The simplest law may have no value where another has, so nothing starts at its end.
            valued = np.isfinite(predicted)
        else:
            begin, near = end.coefficients.exponents, ends
        error = relative_errors(predicted, task.loss)
        each.append([_errors(error, counted, members) for counted in (seen, seen & valued)])
    everywhere, shared = (np.stack(errors, axis=1) for errors in zip(*each, strict=True))
    proof = (seen & task.refuting).any(axis=(1, 2))
    index = [strength_index(*errors) for errors in zip(everywhere, shared, proof, strict=True)]
    return np.asarray(STRENGTHS)[index]


def _errors(error: np.ndarray, counted: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Mean errors (fits, folds), over points, then over targets.

    Args:
        error: (fits, points, targets).
        counted: (fits, points, targets) bool.
        inside: (fits, folds, points), 1.0 for the points of a fold, else 0.0.
    """
    count = inside @ counted.astype(float)
    each = inside @ np.where(counted, error, 0.0) / np.where(count > 0, count, np.nan)
    return mean_where(each, np.isfinite(each), 2)


def predictor_of_folds(search: Any, whole: Any, rest: Any, inside: np.ndarray) -> Predictor:
    """Choose how points are predicted by fits without their fold.

    Args:
        search: the searches of a task.
        whole: draws (fits, …) of all folds.
        rest: draws (fits · folds, …) without each fold.
        inside: (fits, folds, points) bool, the points of each fold.
    """
    sweep, (fits, parts, _) = search.task.sweep, inside.shape
    exponents = len(search.task.law.names(sweep.domains))
    mixtures = min(len(np.unique(sweep.mixture_group[each > 0])) for each in rest.factor)
    enough = mixtures >= ENOUGH * exponents
    folds = _Folds(search, whole, rest, inside, enough)
    work = search.loss.size * fits * parts * exponents**2
    worth = enough and work > WORTH and not search.side_by_side
    return folds.stepped if worth else folds.searched


class _Rows(NamedTuple):
    """Arrays of single fits; each is of a group, one target or all that are tied."""

    loss: Any
    """(rows, points, group)"""
    weight: Any
    """(rows, points, group)"""
    own: Any
    """(rows, group) int"""
    end: End
    """each (rows, group, …)"""
    places: Any
    """(rows, folds, most) int"""


class _Folds(NamedTuple):
    """The arguments of `predictor_of_folds`; two methods are a `Predictor`."""

    search: Any
    whole: Any
    rest: Any
    inside: np.ndarray
    enough: bool

    def searched(
        self, end: ArrayFit, strength: float, before: np.ndarray, near: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each fold by a search without it, from its own end before; where the runs are
        enough, moved as the fit to all has."""
        fits, folds, points = self.inside.shape
        if self.enough:
            moved = near + self._near(end) - np.repeat(before, folds, axis=0)
            near = np.where(np.isfinite(moved), moved, self._near(end))
        found = self.search(self.rest, *self._begin(near, strength))
        each = np.moveaxis(found.predicted.reshape(fits, folds, -1, points), 2, 3)
        number = np.argmax(self.inside, axis=1)[:, None, :, None]
        somewhere = np.any(self.inside, axis=1)[..., None]
        losses = np.where(somewhere, np.take_along_axis(each, number, axis=1)[:, 0], np.nan)
        return losses, found.fit.coefficients.exponents

    def stepped(
        self, end: ArrayFit, strength: float, before: np.ndarray, near: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict each fold by a few steps from the fit to all, by a search if they do not do."""
        (fits, folds, points), (groups, rows, group) = self.inside.shape, self.search.loss.shape
        at_places = np.zeros((fits, folds, rows), bool)
        at_places[..., self.search.arranged.place] = self.inside
        places = _places(at_places, rows)
        found = self._of_steps(end, places).reshape(fits, groups, folds, -1, group)
        every = np.full((fits, groups, rows + 1, group), np.nan)
        of_fit, of_group = np.arange(fits)[:, None, None, None], np.arange(groups)[:, None, None]
        every[of_fit, of_group, places[:, None]] = found
        real = (places < rows)[:, None, :, :, None]
        fit, of, fold = np.nonzero((real & np.isnan(found)).any(axis=(3, 4)))
        if len(fit):
            pairs = fit * folds + fold, of
            again = self.search.of_pairs(pairs, self.rest, *self._begin(self._near(end), strength))
            for number, losses in enumerate(again.predicted):
                left = self.inside[fit[number], fold[number]].nonzero()[0]
                at = self.search.arranged.place[left]
                every[fit[number], of[number], at] = losses[:, left].T
        found = every[:, :, self.search.arranged.place]
        return np.moveaxis(found, 1, 2).reshape(fits, points, -1), self._near(end)

    @property
    def tolerance(self) -> float:
        """Tolerance of the fits without a fold."""
        if self.inside.shape[1] == 1:
            return ALONE
        return LOOSE if self.enough else TOLERANCE

    def _near(self, end: ArrayFit) -> np.ndarray:
        """(fits · folds, targets, exponents) of the fit to all folds."""
        return np.repeat(end.coefficients.exponents, self.inside.shape[1], axis=0)

    def _begin(self, near: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Starts, strengths and tolerance of searches without each fold."""
        return near, np.full(len(near), strength), self.tolerance

    def _of_steps(self, end: ArrayFit, places: np.ndarray) -> np.ndarray:
        """(fits · groups, folds, most, group) losses at the places (fits, folds, most)."""
        search, factor = self.search, self.whole.factor[:, self.search.arranged.rows, None]
        groups, _, group = search.loss.shape
        ends = jax.tree.map(
            lambda leaf: leaf.reshape(len(factor), groups, group, *leaf.shape[2:]),
            End(end.coefficients.exponents, end.coefficients.amplitudes, end.shrinkage),
        )

        def rows_of(row: np.ndarray, of: np.ndarray) -> _Rows:
            at = jax.tree.map(lambda leaf: leaf[row, of], ends)
            weight = factor[row] * search.weight[of]
            return _Rows(search.loss[of], weight, search.own[of], at, places[row])

        every = np.divmod(np.arange(len(factor) * groups), groups)
        program = program_of_steps(search.task.law, search.task.options.static)
        return search.over(every, program, rows_of, self.tolerance, lambda losses: losses)


def _places(inside: np.ndarray, rows: int) -> np.ndarray:
    """(fits, folds, most) int, the points of each fold (fits, folds, points), then `rows`."""
    most = -(-inside.sum(axis=2).max() // FEW) * FEW
    numbers = np.where(inside, np.arange(inside.shape[2]), rows)
    return np.sort(np.pad(numbers, ((0, 0), (0, 0), (0, most)), constant_values=rows))[..., :most]


@functools.lru_cache(maxsize=64)
def program_of_steps(law: Law, options: FitOptions) -> OnceCompiled:
    """`predict_left_out` of the ends of many fits of a law."""

    def run(
        points: dict[str, Any], scale: Array, tolerance: Array, rows: _Rows, used: Array
    ) -> Array:
        @jax.jit
        def one(row: _Rows) -> Array:
            measured = Measured(
                **points, loss=row.loss, weight=row.weight, own=row.own, budget_scale=scale
            )
            settings: Any = options.settings | {"tolerance": tolerance}
            return predict_left_out(law, measured, row.end, row.places, **settings)

        return over_rows(one, rows, used, False)

    return OnceCompiled(jit(run, made_of=(law, options)))
