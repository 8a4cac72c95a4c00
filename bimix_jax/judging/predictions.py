"""What a law predicts of held-out points: restraints chosen and fits made within train parts."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.compilation import jit
from bimix_jax.fitting.emphasis import emphasised
from bimix_jax.fitting.fit import is_restrained
from bimix_jax.fitting.folds import Folds, Purpose, choose_folds
from bimix_jax.fitting.problem import default_tolerance
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.restraint import (
    STRENGTHS,
    TOLERANCE,
    mean_where,
    relative_errors,
    strength_index,
)
from bimix_jax.fitting.solution import AGREEMENT
from bimix_jax.judging.searches import Searches
from bimix_jax.judging.splits import Split
from bimix_jax.laws.law import Law
from bimix_jax.sweep import Sweep

WARM_STRENGTH = 1e-5
"""Restraint of the fit to the whole sweep, whose end is where every split's fit starts."""
EXACT = default_tolerance(np.float64)


class HeldOut(NamedTuple):
    """Fits of one law to every split, as arrays."""

    predicted: np.ndarray
    """(splits, points, targets) losses, also of the points that were fitted"""
    code: np.ndarray
    """(splits, targets) int, see `Code`"""
    restraint: np.ndarray
    """(splits,) strength that was chosen"""
    agreement: np.ndarray
    """(targets,) share of the starts that reach the best optimum of the whole sweep"""


def predict_splits(
    sweep: Sweep,
    law: Law,
    splits: Sequence[Split],
    targets: Sequence[str],
    residual: Residual,
    emphasis: float,
) -> HeldOut:
    """Fit a law to the train part of every split and predict all points.

    The law's starts search the whole sweep once; the fit of every split starts where that ends.
    Restraints are chosen within each train part, for what the split holds out; and points count
    by their budget where later ones are held out, see `weights_of`.
    """
    columns = [sweep.targets.index(target) for target in targets]
    search = Searches(sweep, law, columns, residual)
    weight = np.stack([weights_of(sweep, split, emphasis) for split in splits])
    start, agreement = _whole(search)
    strength = np.full(len(splits), STRENGTHS[0])
    for folds, those in _alike(sweep, splits) if is_restrained(law, len(sweep.domains)) else ():
        with jax.enable_x64(True):
            strength[those] = _chosen_strengths(search, weight[those], folds, start)
    ends = search(weight, _repeated(start, len(splits)), strength, EXACT)
    return HeldOut(ends.predicted, ends.code, strength, agreement)


def _whole(search: Searches) -> tuple[np.ndarray, np.ndarray]:
    """Exponents (targets, exponents) of the best end on all points, and its share of the starts."""
    starts = search.starts()
    count, targets, points = len(starts), len(search.own), len(search.points[1])
    each = np.broadcast_to(starts[:, None], (count, targets, starts.shape[1]))
    ends = search(np.ones((count, points)), each, np.full(count, WARM_STRENGTH), EXACT)
    reached = np.where(np.isfinite(ends.sum_of_squares), ends.sum_of_squares, np.inf)
    best, least = reached.argmin(axis=0), reached.min(axis=0)
    rounding = 32 * np.finfo(float).eps * points
    agreement = np.mean(reached <= least + AGREEMENT * least + rounding, axis=0)
    return ends.exponents[best, np.arange(targets)], agreement


def _alike(sweep: Sweep, splits: Sequence[Split]) -> list[tuple[np.ndarray, list[int]]]:
    """Splits whose train parts have as many folds: the folds (splits, folds, points) and which."""
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
    """Later budgets where they are all that is held out, else mixtures."""
    unseen = np.setdiff1d(sweep.mixture_group[split.test], sweep.mixture_group[split.train])
    return "budgets" if later_held_out(sweep, split) and not len(unseen) else "mixtures"


def later_held_out(sweep: Sweep, split: Split) -> bool:
    """Whether all that is held out has larger budgets than what is fitted."""
    return bool(sweep.budget[split.test].min() > sweep.budget[split.train].max())


def weights_of(sweep: Sweep, split: Split, emphasis: float) -> np.ndarray:
    """(points,) 0 outside the train part; by the budget where later ones are held out, else 1."""
    power = emphasis if later_held_out(sweep, split) else 0.0
    return split.train * emphasised(sweep.budget, sweep.largest_budget, power)


def _chosen_strengths(
    search: Searches, weight: np.ndarray, inside: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """(splits,) the strength that predicts folds left out of each train part best.

    Args:
        search: of the law and sweep.
        weight: (splits, points) of the fits, 0 outside the train parts.
        inside: (splits, folds, points) bool, what each fold leaves out.
        start: (targets, exponents) of the first searches; every other one begins where that of the
            stronger restraint ended.
    """
    fitted = (weight[:, None] * ~inside).reshape(-1, weight.shape[1])
    counted = ((weight > 0)[:, None] & inside)[..., None] & search.usable()
    begin, each, valued = _repeated(start, len(fitted)), [], None
    for strength in STRENGTHS:
        ends = search(fitted, begin, np.full(len(fitted), strength), TOLERANCE)
        predicted = ends.predicted.reshape(counted.shape)
        if valued is None:
            # The simplest law may have no value where another has, so nothing starts at its end.
            valued = np.isfinite(predicted)
        else:
            begin = ends.exponents
        each.append(_errors(predicted, search.points[2], counted, counted & valued))
    everywhere, shared = (np.stack(errors, axis=1) for errors in zip(*each, strict=True))
    return np.asarray(STRENGTHS)[_indices(everywhere, shared)]


@jit
def _errors(predicted: Array, measured: Array, counted: Array, shared: Array) -> list[Array]:
    """Two of (splits, folds): errors of (splits, folds, points, targets), mean over points, then
    over targets, of the counted and of the shared."""
    error = relative_errors(predicted, measured)
    return [jnp.nanmean(mean_where(error, which, 2), axis=-1) for which in (counted, shared)]


_indices = jit(jax.vmap(strength_index))


def _repeated(start: np.ndarray, count: int) -> np.ndarray:
    return np.broadcast_to(start, (count, *start.shape))
