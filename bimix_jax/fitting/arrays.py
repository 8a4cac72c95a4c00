"""The pure core: from arrays of points to arrays of coefficients, under jit, vmap and grad."""

import functools
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting._solution import Data, by_problem, settled, solve
from bimix_jax.fitting.coefficients import Code, Coefficients
from bimix_jax.fitting.measured import Measured
from bimix_jax.fitting.problem import Asked, Problem, Settings
from bimix_jax.fitting.residual import Points, determined
from bimix_jax.fitting.shrinkage import STRONGEST, choose_strength
from bimix_jax.laws.law import Law
from bimix_jax.reading.settings import settings_of
from bimix_jax.xla.compilation import full_precision
from bimix_jax.xla.mapping import over_leading_axis


class ArrayFit(NamedTuple):
    """A fit as arrays; for several targets every entry has a leading axis (targets,)."""

    coefficients: Coefficients
    code: Array
    """() int, see `Code`"""
    sum_of_squares: Array
    """() Σ w ρ² (twice the Huber penalty with `huber`)"""
    points: Array
    """() int, points used"""
    steps: Array
    """() int, evaluations of the objective from the best start"""
    identified: Array
    """(exponents,) bool: True where this exponent is identified"""
    agreement: Array
    """() share of the searches that ended at the best objective"""
    shrinkage: Array
    """() strength of the shrinkage to the law's centre, 0 for none"""
    objective: Array
    """() the minimised value, half the sum of squares plus the shrinkage; of all tied targets"""


@full_precision
def fit_arrays(
    law: Law,
    mixture: ArrayLike,
    budget: ArrayLike,
    loss: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    own: ArrayLike,
    budget_scale: ArrayLike | None = None,
    size: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    shrinkage: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    folds: int = 0,
    **settings: Unpack[Asked],
) -> ArrayFit:
    """Fit a law to one target, or to several at once; pure, so jit, vmap and grad apply.

    Call it within `jax.jit`: outside, every call compiles its loops anew.

    Args:
        law: which law; static under jit.
        mixture: (points, domains) proportions; or (mixtures, domains), which the points have in
            turn, again and again; that takes less time for laws with `Law.log_worth`.
        budget: (points,) in any unit, > 0.
        loss: (points,) of one target or (points, targets); nan where it was not measured.
        weight: like `loss` or (points,); ≥ 0, default 1. Resampling is a matter of weights.
        own: int or (targets,) ints, the column of each target's own domain, or −1 for none.
        budget_scale: () that divides budgets, one for fits to be compared; default the largest.
        size: (points,) parameters of the model, for laws with a size.
        starts: (starts, exponents) or (targets, starts, exponents); default of the law.
        shrinkage: () strength ≥ 0 of `Law.shrinkage`; default none, unless folds are given. An
            infinite one becomes the largest finite one where a loss refutes the simpler law.
        fold: (points,) ints in 0 … folds − 1, or −1 for none: then `choose_strength` by them.
        folds: how many folds there are; static under jit.
        settings: how the search goes; static under jit, except for the tolerance.

            - residual: "relative" (ŷ−y)/y (default), "log" ln ŷ − ln y, or "absolute" ŷ−y.
            - huber: residuals beyond this count linearly; default None for plain squares.
            - tied: names of exponents that all targets share; default none.
            - optimizer: any optax transformation; default damped Gauss-Newton.
            - max_steps: largest number of evaluations per start; default 100, 300 where targets
              share exponents, 5000 for an optimizer passed in.
            - tolerance: () on the scaled gradient; default 1e-7 in float64 and 1e-4 in float32.

    Returns:
        An `ArrayFit`; with a leading axis (targets,) when loss has two. Its derivatives follow from
        the implicit function theorem, one-sided at bounds, 0 for exponents left open by the data.

    Raises:
        ValueError: on an unknown residual or tied name, or shapes that do not fit together.
        TypeError: on a setting that does not exist.

    >>> from bimix_jax.laws import BiMix
    >>> share, budget = jnp.array([0.2, 0.5, 0.8] * 4), jnp.repeat(jnp.array([1.0, 2, 4, 8]), 3)
    >>> mixture = jnp.stack([share, 1 - share], axis=1)
    >>> fit = jax.jit(lambda loss: fit_arrays(BiMix(), mixture, budget, loss, own=0))
    >>> print(fit(2.0 * share**-0.1 * (0.5 * budget**-0.5 + 0.5)).coefficients.exponents.round(3))
    [0.1 0.5]
    """
    asked = settings_of(Settings, fit_arrays, settings)
    measured = Measured(mixture, budget, loss, weight, own, budget_scale, size)
    bound = measured.bound(law, asked, starts)
    strength = shrinkage
    if strength is None:
        strength = _chosen_strength(bound.problem, bound.data, fold, folds, bound.refuted)
    strength = jnp.asarray(strength, bound.own.dtype)
    pull = jnp.where(bound.refuted & jnp.isinf(strength), STRONGEST, strength)
    parts, counted = _solved(bound.problem, bound.data.pulled(pull), bound.own)
    fitted = _array_fit(parts, counted, bound.broken, bound.own, bound.scale, pull)
    return jax.tree.map(lambda leaf: leaf[0], fitted) if jnp.ndim(loss) == 1 else fitted


def _array_fit(
    parts: "_Parts", points: Points, bad: Array, own: Array, scale: Array, strength: Array
) -> ArrayFit:
    # A broken row makes every other code meaningless.
    count = jnp.sum(points.weight.reshape(len(points.weight), -1) > 0, axis=1)
    code = jnp.where(bad | (count == 0), int(Code.BAD_DATA), parts.code)
    scales, strengths = (jnp.broadcast_to(x, count.shape) for x in (scale, strength))
    coefficients = Coefficients(parts.exponents, parts.amplitudes, own, scales)
    return ArrayFit(
        coefficients,
        code,
        2 * parts.values,
        count,
        parts.steps,
        parts.identified,
        parts.agreement,
        strengths,
        parts.objective,
    )


class _Parts(NamedTuple):
    exponents: Array
    amplitudes: Array
    values: Array
    code: Array
    steps: Array
    identified: Array
    agreement: Array
    objective: Array


def _chosen_strength(
    problem: Problem, data: Data, fold: ArrayLike | None, folds: int, refuted: Array
) -> Array:
    """() strength by cross-validation; 0 where there is nothing to choose."""
    if not problem.shrunk or fold is None:
        return jnp.zeros((), data.points.loss.dtype)
    # A choice does not move with the losses.
    return jax.lax.stop_gradient(choose_strength(problem, data, jnp.asarray(fold), folds, refuted))


def _solved(problem: Problem, data: Data, own: Array) -> tuple[_Parts, Points]:
    """Best end of all searches, tied targets together, and the points with their final weights."""

    def fit_together(data: Data, own: Array) -> _Parts:
        return _assemble(problem, data, own)

    known = settled(problem, data)
    return by_problem(problem, fit_together)(known, own), known.points


def _assemble(problem: Problem, data: Data, own: Array) -> _Parts:
    """Coefficients and codes of the targets of one problem, each with axis (targets,)."""
    found, dtype = solve(problem, data), own.dtype
    exponents, amplitudes = problem.unpack(found.params)
    dead = problem.exponents(found.dead.astype(dtype)) > 0
    at_bound = _at_bound(problem, exponents, dead | data.fixed)
    at_zero = jnp.any((amplitudes <= 0) & ~problem.law.is_signed, axis=1)
    named = len(problem.law.exponent_names)
    blind = _blind(problem, data.points, exponents, amplitudes, dead[:, :named])
    unidentified = found.singular | jnp.any(blind, axis=1) | found.deficient
    verdicts = [
        (~jnp.isfinite(found.values), Code.NONFINITE),
        (unidentified, Code.UNIDENTIFIED),
        (~(found.measure <= data.tolerance), Code.MAX_STEPS),
        (at_bound | at_zero, Code.BOUNDARY),
    ]
    code = jnp.full(found.values.shape, int(Code.CONVERGED))
    # Reversed, so that the first condition that holds has the last word.
    for condition, verdict in reversed(verdicts):
        code = jnp.where(condition, int(verdict), code)
    steps, agreement, objective = (
        jnp.broadcast_to(x, code.shape) for x in (found.steps, found.agreement, found.objective)
    )
    exponents, amplitudes = jax.vmap(problem.law.canonical)(exponents, amplitudes, own)
    return _Parts(exponents, amplitudes, found.values, code, steps, ~dead, agreement, objective)


def _blind(
    problem: Problem, points: Points, exponents: Array, amplitudes: Array, dead: Array
) -> Array:
    """(targets, named exponents) bool: dead, and not only because an amplitude is 0.

    An exponent that the loss would depend on if no amplitude were 0 is at a boundary, not a gap.
    """
    each = over_leading_axis(functools.partial(determined, problem.law))

    def without_effect() -> Array:
        present = jnp.where(jnp.abs(amplitudes) > 0, amplitudes, 1.0)
        return dead & ~each(points, exponents, present)

    # Seldom needed, and as much work as a step of the search.
    return jax.lax.cond(jnp.any(dead), without_effect, lambda: dead)


def _at_bound(problem: Problem, exponents: Array, aside: Array) -> Array:
    """(targets,) bool: a named exponent lies on a bound; exponents per domain may lie there."""
    named = len(problem.law.exponent_names)
    lower, upper = problem.bounds(exponents.dtype)
    on_bound = ~aside & ((exponents <= lower) | (exponents >= upper))
    return jnp.any(on_bound[:, :named], axis=1)
