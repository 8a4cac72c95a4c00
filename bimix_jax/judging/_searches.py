"""Searches of one law on one sweep, and their predictions at held-out points."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.again import best_ends
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.budget_power import budget_weight
from bimix_jax.fitting.coefficients import FAILED, predict_losses
from bimix_jax.fitting.folds import Folds, Purpose, choose_folds
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.problem import default_tolerance
from bimix_jax.fitting.shrinkage import (
    STRENGTHS,
    TOLERANCE,
    has_shrinkage,
    mean_where,
    relative_errors,
    strength_index,
)
from bimix_jax.fitting.solution import AGREEMENT
from bimix_jax.fitting.task import law_for_sweep
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.splits import Split
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.xla.compilation import jit

MOST = 64
"""Searches per call. They run one after the other, because side by side all would run until the
last of them ends; but in one call, because calls of one each spend most of their time on memory."""


class Ends(NamedTuple):
    """Results of searches."""

    exponents: Any
    """(searches, targets, exponents)"""
    predicted: Any
    """(searches, points, targets) losses, also of points without weight; nan where a fit failed"""
    code: Any
    """(searches, targets) int, see `Code`"""
    objective: Any
    """(searches, targets) minimised value, shrinkage included"""
    points: Any
    """(searches, targets) int, number of counted points"""


class _Searches:
    """A law, a sweep and its targets (columns), for many searches.

    >>> import numpy as np
    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> search = _Searches(sweep, bx.BiMix(), [0, 1], FitOptions())
    >>> start = np.broadcast_to(search.starts()[0], (3, 2, 2))
    >>> ends = search(np.ones((3, len(sweep.budget))), start, np.zeros(3), 1e-7)
    >>> ends.predicted.shape == (3, len(sweep.budget), 2)
    True
    """

    def __init__(self, sweep: Sweep, law: Law, columns: list[int], options: FitOptions) -> None:
        self.law = law_for_sweep(law, sweep, sweep.largest_budget)
        self.options = options.static
        self.own = sweep.own_index()[columns]
        self.domains = len(sweep.domains)
        self.loss = sweep.loss[:, columns]
        self.points: dict[str, Any] = {
            "mixture": sweep.mixture,
            "budget": sweep.budget,
            "size": sweep.size,
        }

    def starts(self) -> np.ndarray:
        """(starts, exponents) of the law."""
        return np.asarray(self.law.starts(self.domains), float)

    @functools.cached_property
    def valued(self) -> np.ndarray:
        """(points, targets) bool: the law has a value there."""
        return self._at_points(self.law.usable)

    def usable(self) -> np.ndarray:
        """(points, targets) bool: measured, and the law has a value there."""
        return np.isfinite(self.loss) & self.valued

    def refuted(self, weight: np.ndarray) -> np.ndarray:
        """(fits,) bool: a loss that counts refutes the simpler law, of weight (fits, points)."""
        proof = (self.usable() & self._at_points(self.law.refutes_centre)).any(axis=1)
        return np.asarray((weight > 0) @ proof)

    def called(self, exponents: np.ndarray, code: np.ndarray) -> str:
        """Name of the simplest law to which a fit with exponents (targets, exponents) reduces."""
        known = ~np.isin(code, FAILED)
        if not known.any():
            return self.law.label
        return self.law.reduced(exponents[known], self._membership()[known]).label

    def _membership(self) -> np.ndarray:
        """(targets, domains) 1 at the own domain of each target."""
        return (self.own[:, None] == np.arange(self.domains)).astype(float)

    def _at_points(self, stated: Any) -> np.ndarray:
        """(points, targets) values of a method of the law at every mixture and own domain."""
        of_targets = jax.vmap(stated, in_axes=(None, 0))
        with jax.enable_x64(True):
            return np.asarray(
                jax.vmap(of_targets, in_axes=(0, None))(self.points["mixture"], self._membership())
            )

    def __call__(
        self, weight: np.ndarray, starts: np.ndarray, strength: np.ndarray, tolerance: float
    ) -> Ends:
        """Search once for every row of the arguments.

        Args:
            weight: (searches, points) ≥ 0.
            starts: (searches, targets, exponents).
            strength: (searches,) of the shrinkage, of no effect on a law that has none.
            tolerance: on the scaled gradient.
        """
        count = len(weight)
        program = _compiled(self.law, self.options)
        parts = []
        for first in range(0, count, MOST):
            places = np.arange(first, first + MOST).clip(max=count - 1)
            with jax.enable_x64(True):
                parts.append(
                    program(
                        self.points,
                        _Targets(self.loss, self.own),
                        _Rows(weight[places], starts[places], strength[places]),
                        tolerance,
                        min(count - first, MOST),
                    )
                )
        return Ends(*(np.concatenate(leaves)[:count] for leaves in zip(*parts, strict=True)))


class _Targets(NamedTuple):
    """Arrays that differ between the targets of a search."""

    loss: Any
    """(points, targets)"""
    own: Any
    """(targets,) int"""


class _Rows(NamedTuple):
    """Arrays that differ between the searches of a call."""

    weight: Any
    """(searches, points)"""
    starts: Any
    """(searches, targets, exponents)"""
    strength: Any
    """(searches,)"""


@functools.lru_cache(maxsize=64)
def _compiled(law: Law, options: FitOptions) -> Any:
    def run(
        points: dict[str, Any], targets: _Targets, rows: _Rows, tolerance: Array, used: Array
    ) -> Ends:
        scale = jnp.max(points["budget"])

        def one(row: _Rows) -> Ends:
            def fitted(loss: Array, own: Array, start: Array) -> ArrayFit:
                return fit_arrays(
                    law,
                    loss=loss,
                    weight=row.weight,
                    own=own,
                    budget_scale=scale,
                    starts=start,
                    shrinkage=row.strength,
                    tolerance=tolerance,
                    **options.settings,
                    **points,
                )

            starts = row.starts[:, None]
            if law.ties(()):
                found = fitted(*targets, starts)
            else:
                # Side by side, all targets would go on until the last of them ends.
                each = targets.loss.T, targets.own, starts
                found = jax.lax.map(lambda target: fitted(*target), each)
            losses = predict_losses(law, found.coefficients, **points)
            predicted = jnp.where(jnp.isin(found.code, jnp.array(FAILED)), jnp.nan, losses)
            exponents = found.coefficients.exponents
            return Ends(exponents, predicted, found.code, found.objective, found.points)

        def row_of(number: Any) -> _Rows:
            return jax.tree.map(lambda leaf: leaf[number], rows)

        def next_one(number: Array, ends: Ends) -> Ends:
            return jax.tree.map(
                lambda all_, new: all_.at[number].set(new), ends, one(row_of(number))
            )

        shapes = jax.eval_shape(one, row_of(0))
        nothing = jax.tree.map(lambda leaf: jnp.zeros((MOST, *leaf.shape), leaf.dtype), shapes)
        return jax.lax.fori_loop(0, used, next_one, nothing)

    return jit(run)


EXACT = default_tolerance(np.float64)


class HeldOut(NamedTuple):
    """Fits of one law to every split, as arrays."""

    predicted: np.ndarray
    """(splits, points, targets) losses, also of the points that were fitted"""
    code: np.ndarray
    """(splits, targets) int, see `Code`"""
    usable: np.ndarray
    """(points, targets) bool: the law has a value there"""
    shrinkage: np.ndarray
    """(splits,) chosen strength"""
    agreement: np.ndarray
    """(splits, targets) share of the starts that reach the best optimum of the train part"""
    called: tuple[str, ...]
    """(splits,) simplest law to which each fit reduces"""


def predict_splits(
    sweep: Sweep,
    law: Law,
    splits: Sequence[Split],
    targets: Sequence[str],
    options: FitOptions,
) -> HeldOut:
    """Fit a law to the train part of every split and predict all points.

    As in `fit`, a shrinkage without a given strength is chosen within each train part, for the
    purpose of the split, and the fit is searched from all starts of the law. So no held-out loss
    affects a fit. Points are weighted by their budget where later budgets are held out, see
    `_weights_of`.
    """
    columns = [sweep.targets.index(target) for target in targets]
    search = _Searches(sweep, law, columns, options)
    weight = np.stack([_weights_of(sweep, split, options.budget_power) for split in splits])
    strength = _strengths(sweep, splits, search, weight, options.shrinkage)
    ends = _best_ends(search, weight, strength)
    called = tuple(search.called(*fit) for fit in zip(ends.exponents, ends.code, strict=True))
    predicted = np.moveaxis(ends.predicted, 1, 2)
    return HeldOut(predicted, ends.code, search.valued, strength, ends.agreement, called)


def _strengths(
    sweep: Sweep,
    splits: Sequence[Split],
    search: _Searches,
    weight: np.ndarray,
    given: float | Purpose,
) -> np.ndarray:
    """(splits,) strength of the shrinkage: the given one, or one chosen within each train part."""
    if not isinstance(given, str):
        return np.full(len(splits), float(given))
    strength = np.full(len(splits), STRENGTHS[0])
    if has_shrinkage(search.law, search.domains):
        for folds, those in _alike(sweep, splits):
            with jax.enable_x64(True):
                strength[those] = _chosen_strengths(search, weight[those], folds)
    return strength


class _Best(NamedTuple):
    """Best ends of several fits."""

    predicted: np.ndarray
    """(fits, targets, points)"""
    exponents: np.ndarray
    """(fits, targets, exponents)"""
    code: np.ndarray
    """(fits, targets)"""
    objective: np.ndarray
    points: np.ndarray
    agreement: np.ndarray
    """(fits, targets) share of the starts that reach the end"""


def _best_ends(search: _Searches, weight: np.ndarray, strength: np.ndarray) -> _Best:
    """Find the best ends of fits of weight (fits, points) at strengths (fits,), as `fit` does."""

    def from_starts(starts: Any) -> _Best:
        return _best_of(search, weight, strength, np.asarray(starts, float))

    return best_ends(search.law, (), search.domains, from_starts)


def _best_of(
    search: _Searches, weight: np.ndarray, strength: np.ndarray, starts: np.ndarray
) -> _Best:
    """Find the best end from these starts (starts, exponents)."""
    count, fits, targets = len(starts), len(weight), len(search.own)
    each = np.broadcast_to(starts[:, None, None], (count, fits, targets, starts.shape[1]))
    found = search(
        np.tile(weight, (count, 1)),
        each.reshape(count * fits, targets, -1),
        np.tile(strength, count),
        EXACT,
    )
    ends = Ends(*(leaf.reshape(count, fits, *leaf.shape[1:]) for leaf in found))
    reached = np.where(np.isfinite(ends.objective), ends.objective, np.inf)
    least, rounding = reached.min(axis=0), 16 * np.finfo(float).eps * weight.sum(axis=1)
    agreement = np.mean(reached <= least + AGREEMENT * least + rounding[:, None], axis=0)
    best = reached.argmin(axis=0), *np.indices((fits, targets))
    return _Best(
        np.moveaxis(ends.predicted, 3, 2)[best],
        ends.exponents[best],
        ends.code[best],
        ends.objective[best],
        ends.points[best],
        agreement,
    )


def _alike(sweep: Sweep, splits: Sequence[Split]) -> list[tuple[np.ndarray, list[int]]]:
    """Group splits by their number of folds: the folds (splits, folds, points) and the splits."""
    groups: dict[int, dict[int, Folds]] = {}
    for i, split in enumerate(splits):
        folds = choose_folds(sweep, split.train, purpose_of(sweep, split))
        if folds is not None:
            groups.setdefault(folds.parts, {})[i] = folds
    return [
        (np.stack([f.number == np.arange(count)[:, None] for f in those.values()]), list(those))
        for count, those in groups.items()
    ]


def purpose_of(sweep: Sweep, split: Split) -> Purpose:
    """Purpose of the split: later budgets where it holds out only those, else mixtures."""
    unseen = np.setdiff1d(sweep.mixture_group[split.test], sweep.mixture_group[split.train])
    return "budgets" if later_held_out(sweep, split) and not len(unseen) else "mixtures"


def later_held_out(sweep: Sweep, split: Split) -> bool:
    """True where all held-out budgets are larger than the fitted ones."""
    return bool(sweep.budget[split.test].min() > sweep.budget[split.train].max())


def _weights_of(sweep: Sweep, split: Split, budget_power: float) -> np.ndarray:
    """(points,) 0 outside the train part; by budget where later ones are held out, else 1."""
    power = budget_power if later_held_out(sweep, split) else 0.0
    return split.train * budget_weight(sweep.budget, sweep.largest_budget, power)


def _chosen_strengths(search: _Searches, weight: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(splits,) strength with the least error on folds of each train part.

    As in `choose_strength`, searches begin at the first start of the law, and then at the end of
    the stronger shrinkage.

    Args:
        search: of the law and sweep.
        weight: (splits, points) of the fits, 0 outside the train parts.
        inside: (splits, folds, points) bool, what each fold leaves out.
    """
    fitted = (weight[:, None] * ~inside).reshape(-1, weight.shape[1])
    counted = ((weight > 0)[:, None] & inside)[..., None] & search.usable()
    start = search.starts()[0]
    begin = np.broadcast_to(start, (len(fitted), len(search.own), len(start)))
    each: list[list[Array]] = []
    valued = None
    for strength in STRENGTHS:
        ends = search(fitted, begin, np.full(len(fitted), strength), TOLERANCE)
        predicted = ends.predicted.reshape(counted.shape)
        if valued is None:
            # The simplest law may have no value where another has, so nothing starts at its end.
            valued = np.isfinite(predicted)
        else:
            begin = ends.exponents
        each.append(_errors(predicted, search.loss, counted, counted & valued))
    everywhere, shared = (np.stack(errors, axis=1) for errors in zip(*each, strict=True))
    return np.asarray(STRENGTHS)[_indices(everywhere, shared, search.refuted(weight))]


@jit
def _errors(predicted: Array, measured: Array, counted: Array, shared: Array) -> list[Array]:
    """Mean errors (splits, folds) of errors (splits, folds, points, targets), over points, then
    over targets, of the counted and of the shared points."""
    error = relative_errors(predicted, measured)
    return [jnp.nanmean(mean_where(error, which, 2), axis=-1) for which in (counted, shared)]


_indices = jit(jax.vmap(strength_index))
