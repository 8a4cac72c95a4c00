"""Links from losses to scores: which losses, and the sigmoid of their non-negative combination.

Everything is of losses in standard deviations of the sweep, z. A link is e = sigmoid(Σ_j u_j·z_j −
b), u_j ≥ 0, at the least weighted sum of squares of e.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import FAILED, Code, Coefficients
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.through_losses import MOST
from bimix_jax.xla.compilation import jit
from bimix_jax.xla.small_systems import positive_definite_solve

FOLDS = 5
"""Largest number of folds of mixtures by which the losses of a link are chosen."""
STEPS = 30
"""Steps of a search: it has one to four unknowns, and ends after about ten."""
RIDGE = 1e-5
"""Shrinkage of the slopes u, beside a mean square of e: it decides between losses that move
together, and moves no other slope by a thousandth."""
SLOPE = 0.3
"""Slope at which a search starts."""
SURE = 2.0
"""Standard errors by which a further loss has to lower the error at mixtures left out."""
KNOWN = 0.9
"""Least share of the measured scores beside which a loss is measured, for one of a link."""
AT_ONCE = 64
"""Searches side by side."""
FEWEST = 3
"""Least number of points that identify a link."""


class Links(NamedTuple):
    """Links of every score of some fits; targets that are losses have their own number."""

    number: np.ndarray
    """(fits, targets, 3) int, losses of the law; places that are not needed repeat the first"""
    level: np.ndarray
    """(fits, targets) a"""
    weight: np.ndarray
    """(fits, targets, 3) ≥ 0"""
    linked: np.ndarray
    """(targets,) bool: the target is a score"""
    points: np.ndarray
    """(fits, targets) int, points that were fitted"""

    def distances(self, losses: np.ndarray) -> np.ndarray:
        """Distances of scores, and losses, (fits, targets, points) of losses (fits, losses,
        points)."""
        each = np.take_along_axis(losses[:, None], self.number[..., None], axis=2)
        inside = np.sum(self.weight[..., None] * each, axis=2) - self.level[..., None]
        with np.errstate(over="ignore"):
            return np.where(self.linked[:, None], 1 / (1 + np.exp(-inside)), each[:, :, 0])


class _Measured(NamedTuple):
    """Standardised losses beside the distances of the scores of a task."""

    z: np.ndarray
    """(points, losses), 0 where not measured"""
    known: np.ndarray
    """(points, losses) bool"""
    mean: np.ndarray
    """(losses,)"""
    spread: np.ndarray
    """(losses,)"""
    distance: np.ndarray
    """(scores, points)"""
    weight: np.ndarray
    """(scores, points), of squared differences of e"""

    @classmethod
    def of(cls, task: FitTask, scores: np.ndarray, counted: np.ndarray) -> "_Measured":
        """Take the points of a task whose law is `ThroughLosses`; `scores` (scores,) int. Means and
        spreads are of the `counted` points (points,) bool."""
        law: Any = task.law
        losses = task.sweep.loss[:, [task.sweep.targets.index(name) for name in law.losses]]
        known = np.isfinite(losses)
        inside = np.where(counted[:, None], losses, np.nan).T
        mean = np.nan_to_num(_mean(inside))
        square = _mean((inside - mean[:, None]) ** 2)
        spread = np.sqrt(np.where(square > 0, square, 1.0))
        distance = task.loss[:, scores].T
        there = np.isfinite(distance)
        # Weights of relative residuals have the factor e², see `FitTask`; here they are of e.
        scale = 1.0 if task.options.residual == "absolute" else np.where(there, distance, 1.0)
        weight = np.where(there, task.weight[:, scores].T / scale**2, 0.0)
        z = np.where(known, (losses - mean) / spread, 0.0)
        return cls(z, known, mean, spread, np.where(there, distance, 0.5), weight)


def fitted_links(task: FitTask, factor: np.ndarray, chosen: np.ndarray | None = None) -> Links:
    """Fit the links of the scores of a task, to measured losses and scores.

    Args:
        task: its law is `ThroughLosses`.
        factor: (fits, points) of the weights.
        chosen: (targets, 3) int losses of every link, as `Links.number`; default chosen for every
            fit, by the mixtures that count in it.
    """
    law: Any = task.law
    linked = np.array([name not in law.losses for name in task.targets])
    scores, shape = np.flatnonzero(linked), (len(factor), len(task.targets))
    at = np.array([law.losses.index(n) if n in law.losses else 0 for n in task.targets])
    number = np.broadcast_to(at[:, None], (*shape, MOST)).copy()
    level, weight, points = np.zeros(shape), np.zeros((*shape, MOST)), np.zeros(shape, int)
    # Losses are chosen, and standardised, by the points of each fit alone.
    some = [slice(None)] if chosen is not None else [slice(i, i + 1) for i in range(len(factor))]
    for fits in some if len(scores) else []:
        counted = np.any(factor[fits] > 0, axis=0)
        measured = _Measured.of(task, scores, np.asarray(counted))
        here = chosen[scores] if chosen is not None else _chosen(task, measured, factor[fits][0])
        number[fits, scores] = here
        found = _ends(measured, factor[fits], number[fits, scores])
        level[fits, scores], weight[fits, scores], points[fits, scores] = found
    return Links(number, level, weight, linked, points)


def _needed(number: np.ndarray) -> np.ndarray:
    """(…, 3) bool: the place of a link is not the repetition of an earlier one."""
    first = number[..., :1]
    return np.concatenate([np.ones_like(first, bool), number[..., 1:] != first], axis=-1)


def _chosen(task: FitTask, measured: _Measured, factor: np.ndarray) -> np.ndarray:
    """(scores, 3) losses of the links of one fit, by weights times `factor` (points,).

    One loss is added after another, the one that lowers the error at mixtures left out most.
    """
    fold = task.sweep.folds(FOLDS, factor > 0)
    weight = measured.weight * factor
    losses = np.arange(measured.z.shape[1])
    number = np.zeros((len(weight), 1, MOST), int)
    best = np.full((len(weight), FOLDS), np.inf)
    for place in range(min(MOST, len(losses))):
        tried = np.repeat(number, len(losses), axis=1)
        tried[:, :, place:] = losses[:, None] if place == 0 else tried[:, :, :1]
        tried[:, :, place] = losses
        error = _left_out(measured, weight, fold, tried)
        total = np.nan_to_num(_mean(error), nan=np.inf)
        total[_scarce(measured, weight)] = np.inf
        at = np.arange(len(weight)), total.argmin(axis=1)
        # Before the first loss there is nothing that it could be worse than.
        better = np.full(len(weight), True) if place == 0 else _lower(error[at], best)
        if not better.any():
            break
        number[better, 0], best[better] = tried[at][better], error[at][better]
    return number[:, 0]


def _scarce(measured: _Measured, weight: np.ndarray) -> np.ndarray:
    """(scores, losses) bool: the loss is missing beside too many of the scores."""
    there = (weight > 0).astype(float)
    both = there @ measured.known
    # Where all are scarce, they are those at hand.
    return both < KNOWN * np.minimum(there.sum(axis=1), both.max(axis=1))[:, None]


def _lower(error: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(scores,) bool: errors (scores, folds) are lower than before, beyond their spread."""
    gain = before - error
    mean, freedom = _mean(gain), np.maximum(np.isfinite(gain).sum(axis=1) - 1, 1)
    return np.asarray(mean > SURE * np.sqrt(_mean((gain - mean[:, None]) ** 2) / freedom))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis of the values that are finite, nan for none."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _left_out(
    measured: _Measured, weight: np.ndarray, fold: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """(scores, trials, folds) mean squared errors at each fold, by links without it."""
    scores, trials = number.shape[:2]
    score, trial, out = np.indices((scores, trials, FOLDS)).reshape(3, -1)
    each = number[score, trial]
    found = _errors(
        measured.z,
        measured.known,
        measured.distance,
        weight,
        fold,
        {"score": score, "number": each, "needed": _needed(each), "out": out},
    )
    return np.asarray(found).reshape(scores, trials, FOLDS)


def _ends(measured: _Measured, factor: np.ndarray, number: np.ndarray) -> tuple[Any, Any, Any]:
    """Level (fits, scores), weights (fits, scores, 3) and points (fits, scores) of all links."""
    fits, scores = number.shape[:2]
    fit, score = np.indices((fits, scores)).reshape(2, -1)
    each = number[fit, score]
    # Up to a power of two, so that few numbers of links are compiled.
    count = 1 << (len(fit) - 1).bit_length()
    rows = {"fit": fit, "score": score, "number": each, "needed": _needed(each)}
    padded = {name: np.resize(row, (count, *row.shape[1:])) for name, row in rows.items()}
    parts = measured.z, measured.known, measured.distance, measured.weight
    end, points = (np.asarray(x)[: len(fit)] for x in _fits(*parts, factor, padded))
    weight = end[:, 1:] / measured.spread[each]
    level = end[:, 0] + np.sum(weight * measured.mean[each], axis=1)
    return (
        level.reshape(fits, scores),
        weight.reshape(fits, scores, MOST),
        points.reshape(fits, scores),
    )


@functools.partial(jit, x64=True)
def _errors(
    z: Array, known: Array, distance: Array, weight: Array, fold: Array, rows: dict[str, Array]
) -> Array:
    """(trials,) mean squared errors at the fold that each leaves out."""

    def one(row: dict[str, Array]) -> Array:
        at = z[:, row["number"]]
        counted = weight[row["score"]] * jnp.all(known[:, row["number"]], axis=1)
        inside, outside = (counted * here for here in (fold != row["out"], fold == row["out"]))
        end = _search(at, row["needed"], distance[row["score"]], inside)
        rest = jax.nn.sigmoid(at @ end[1:] - end[0]) - distance[row["score"]]
        return jnp.sum(outside * rest**2) / jnp.sum(outside)

    return jax.lax.map(one, rows, batch_size=AT_ONCE)


@functools.partial(jit, x64=True)
def _fits(
    z: Array,
    known: Array,
    distance: Array,
    weight: Array,
    factor: Array,
    rows: dict[str, Array],
) -> tuple[Array, Array]:
    """Unknowns (links, 4) and numbers of points (links,)."""

    def one(row: dict[str, Array]) -> tuple[Array, Array]:
        there = jnp.all(known[:, row["number"]], axis=1)
        counted = factor[row["fit"]] * weight[row["score"]] * there
        end = _search(z[:, row["number"]], row["needed"], distance[row["score"]], counted)
        return end, jnp.sum(counted > 0)

    return jax.lax.map(one, rows, batch_size=AT_ONCE)


def _search(z: Array, needed: Array, distance: Array, weight: Array) -> Array:
    """Unknowns (4,), b and u ≥ 0, of one link at z (points, 3): damped Gauss-Newton steps, cut off
    at the bounds."""
    share = weight / jnp.maximum(jnp.sum(weight), jnp.finfo(weight.dtype).tiny)
    mean = jnp.clip(jnp.sum(share * distance), 0.02, 0.98)
    start = jnp.concatenate([jnp.log(1 / mean - 1)[None], jnp.where(needed, SLOPE, 0.0)])
    ridge = jnp.concatenate([jnp.zeros(1), jnp.full(MOST, RIDGE)])
    design = jnp.concatenate([-jnp.ones((len(z), 1)), z], axis=1)

    def value(at: Array) -> Array:
        rest = jax.nn.sigmoid(design @ at) - distance
        return jnp.sum(share * rest**2) + jnp.sum(ridge * at**2)

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        at, best, damping = state
        new = _step(design, distance, share, ridge, needed, at, damping)
        found = value(new)
        lower = found < best
        return (
            jnp.where(lower, new, at),
            jnp.where(lower, found, best),
            jnp.clip(jnp.where(lower, damping / 10, damping * 10), 1e-9, 1e6),
        )

    return jax.lax.fori_loop(0, STEPS, step, (start, value(start), jnp.array(1e-3)))[0]


def _step(
    design: Array,
    distance: Array,
    share: Array,
    ridge: Array,
    needed: Array,
    at: Array,
    damping: Array,
) -> Array:
    """Next unknowns (4,); slopes that would leave the bound stay on it."""
    predicted = jax.nn.sigmoid(design @ at)
    slopes = design * (predicted * (1 - predicted))[:, None]
    gradient = slopes.T @ (share * (predicted - distance)) + ridge * at
    curvature = slopes.T @ (share[:, None] * slopes) + jnp.diag(ridge)
    held = jnp.concatenate([jnp.zeros(1, bool), ~needed | ((at[1:] <= 0) & (gradient[1:] > 0))])
    free = jnp.where(held, 0.0, 1.0)
    size = jnp.diagonal(curvature)
    matrix = curvature * free * free[:, None] + jnp.diag(
        jnp.where(held, 1.0, damping * size + jnp.finfo(size.dtype).tiny)
    )
    new = at - positive_definite_solve(matrix, free * gradient)
    return jnp.concatenate([new[:1], jnp.maximum(new[1:], 0.0)])


# ---- fits of the whole law -----------------------------------------------------------------------


def through_links(task: FitTask, losses: ArrayFit, used: np.ndarray, links: Links) -> ArrayFit:
    """Put the fits of the losses (fits, used, …) and the links together, (fits, targets, …).

    `used` (used,) int are the numbers of these losses, in rising order. The sums of squares are
    unknown. The code is the worst of the losses of a link.
    """
    fits, place = np.arange(len(links.number))[:, None, None], np.searchsorted(used, links.number)
    of = losses.coefficients

    def by_place(values: Any) -> np.ndarray:
        return np.asarray(values)[fits, place]

    code = np.where(_needed(links.number), by_place(losses.code), 0).max(axis=2)
    few = np.where(links.points == 0, Code.BAD_DATA, Code.UNIDENTIFIED)
    short = links.linked & (links.points < FEWEST)
    code = np.where(short, np.maximum(code, few), code)
    points = np.where(links.linked, links.points, by_place(losses.points)[..., 0])
    exponents, amplitudes = (by_place(x) for x in (of.exponents, of.amplitudes))
    lost = np.isin(by_place(losses.code), FAILED)[..., None]
    exponents = np.where(lost | ~np.isfinite(exponents), 0.0, exponents)
    numbered = np.concatenate([links.number[..., None], exponents], axis=3)
    identified = by_place(losses.identified)
    named = np.concatenate([np.ones_like(identified[..., :1]), identified], axis=3)
    one = np.broadcast_to(links.linked, points.shape)
    link = np.concatenate([links.level[..., None], links.weight, one[..., None]], axis=2)
    own = task.own[:, None] == np.arange(len(task.sweep.domains))
    coefficients: dict[str, Any] = {
        "exponents": numbered.reshape(*code.shape, -1),
        "amplitudes": np.concatenate([amplitudes.reshape(*code.shape, -1), link], axis=2),
        "own": np.broadcast_to(own.astype(float), (*code.shape, own.shape[1])),
        "budget_scale": by_place(of.budget_scale)[..., 0],
    }
    whole: dict[str, Any] = {
        "coefficients": Coefficients(**coefficients),
        "code": code,
        "sum_of_squares": np.full(code.shape, np.nan),
        "points": points,
        "steps": by_place(losses.steps).max(axis=2),
        "identified": named.reshape(*code.shape, -1),
        "agreement": by_place(losses.agreement).min(axis=2),
        "shrinkage": by_place(losses.shrinkage).max(axis=2),
        "objective": np.full(code.shape, np.nan),
    }
    return ArrayFit(**whole)


def task_of_losses(task: FitTask, used: np.ndarray) -> FitTask:
    """The task of some losses (used,) int of a law `ThroughLosses`, of the same points."""
    law: Any = task.law
    names = tuple(law.losses[i] for i in used)
    asked = [task.targets.index(name) if name in task.targets else -1 for name in names]
    # Points that count for some target count for the losses that are not targets.
    counted = np.any(task.weight > 0, axis=1).astype(float)
    weight = np.stack([counted if i < 0 else task.weight[:, i] for i in asked], axis=1)
    return dataclasses.replace(
        task, law=law.base, targets=names, weight=weight, own=np.array(law.own, int)[used]
    )
