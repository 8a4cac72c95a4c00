"""Fits of single targets by the kernel."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.coefficients import Code, Coefficients, one_float_type
from bimix_jax.fitting.kernel._search import DAMPING, Bounds, Flatness, ahead, search, settled
from bimix_jax.fitting.kernel._terms import (
    Collapsed,
    Scalars,
    ScalarTerms,
    Scaled,
    Within,
    any_of,
    best_start,
    full_terms,
    projected_terms,
)
from bimix_jax.fitting.measured import usable_points
from bimix_jax.fitting.problem import Asked, Problem, Settings, default_tolerance
from bimix_jax.fitting.residual import Points, summary
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import full_precision
from bimix_jax.xla.logarithm import log

STEPS = 16
"""Largest number of evaluations of a search; the few fits that need more go to the plain loop."""
LOOSE = 1e-4
"""Tolerance of a search that only starts another one, about the resolution of single precision."""
NEAR = 1e-5
"""Damping of a search that starts at the end of another, where full steps are best."""
TermsAt = Callable[[Scalars, Scalars], ScalarTerms]
"""ScalarTerms at parameters, near amplitudes."""
LARGEST = 4
"""Largest number of exponents or amplitudes; with more, scalars take long to compile."""


class KernelFit(NamedTuple):
    """Result of the search for one target."""

    exponents: Array
    """(exponents,)"""
    amplitudes: Array
    """(amplitudes,)"""
    value: Array
    """() ½ Σ w ρ², or its Huber form"""
    steps: Array
    """() evaluations"""
    at_bound: Array
    """() bool: an exponent lies on a bound, or an amplitude is 0"""
    settled: Array
    """() bool: converged with every exponent identified; if not, the plain loop has to fit it"""


@functools.cache
def suits_kernel(law: Law, domains: int) -> bool:
    """True where the kernel can fit a law: few exponents, none shared, no signed amplitude."""
    few = max(len(law.exponent_names), len(law.amplitude_names)) <= LARGEST
    own: Any = np.eye(domains)[0]
    kind = type(law)
    free = law.shrinkage(own) is None and all(
        getattr(kind, name) is getattr(Law, name) for name in ("fixed", "least", "gauges")
    )
    return few and free and not law.signed and not law.domain_exponent_names and not law.shared


def search_target(
    problem: Problem,
    points: Points,
    starts: Array,
    tolerance: float = 1e-7,
    steps: ArrayLike = STEPS,
    within: Within | None = None,
) -> KernelFit:
    """Fit the points of one target, from the best of starts (starts, exponents) within bounds.

    `steps` () is the largest number of evaluations of a search; a result that needs fewer does not
    depend on it. `within` is the part of the squares that averaged points leave out.
    """
    data, law = Scaled.of(points, problem.residual), problem.law
    lower, upper = problem.bounds(points.loss.dtype)
    bounds = list(lower), list(upper)
    begun = _begin(problem, data, starts, bounds, steps, within)
    # In single precision a step near the end is mostly rounding, and is not taken unseen.
    unseen = data.target.dtype == jnp.float64
    flatness = Flatness(begun.power, len(data.target), tolerance, unseen)
    if problem.needs_full:
        bounds[0].extend([jnp.zeros_like(a) for a in begun.near])
        bounds[1].extend([jnp.full_like(a, jnp.inf) for a in begun.near])
        start = [*begun.start, *begun.near]
        terms_at = _with(within, _full(problem, points))
    else:
        start, terms_at = begun.start, functools.partial(projected_terms, law, data)
    end = search(terms_at, start, begun.near, bounds, flatness, steps, begun.damping, begun.slope)
    params, amplitudes, norm = end.params, end.terms.amplitudes, end.terms.norm
    if unseen:
        params, amplitudes, norm = ahead(end, bounds)
    held = [(x <= a) | (x >= b) for x, a, b in zip(params, *bounds, strict=True)]
    return KernelFit(
        jnp.stack(params[: len(lower)]),
        jnp.stack(amplitudes),
        norm**2 / 2,
        begun.steps + end.steps,
        any_of([*held, *(a <= 0 for a in amplitudes)]),
        settled(end, bounds) & begun.ended & jnp.isfinite(end.terms.norm),
    )


class _Begun(NamedTuple):
    """Start of the last search."""

    start: Scalars
    """exponents"""
    near: Scalars
    """amplitudes near the best ones for them"""
    power: Array
    """() Σ of the squared targets"""
    steps: Array
    ended: Array
    """() bool: True where the previous search has converged"""
    damping: float
    slope: Array
    """slope of the last point there"""


def _begin(
    problem: Problem,
    data: Scaled,
    starts: Array,
    bounds: Bounds,
    steps: ArrayLike,
    within: Within | None,
) -> _Begun:
    """Find the best start, and the start of the last search.

    A single start counts as close to the end. From several starts, the first search runs in single
    precision, whose evaluations take less time.
    """
    law, wide = problem.law, data.target.dtype
    rough = data.astype(jnp.float32 if len(starts) > 1 else wide)
    start, near, power = best_start(law, rough, starts.astype(rough.target.dtype))
    damping = NEAR if len(starts) == 1 else DAMPING
    none = jnp.zeros_like(power)
    begun = _Begun(start, near, power, none.astype(int), jnp.array(True), damping, none)
    if problem.needs_full or rough.target.dtype != wide:
        edges = jax.tree.map(lambda edge: edge.astype(rough.target.dtype), bounds)
        roughly = jax.tree.map(lambda sums: sums.astype(rough.target.dtype), within)
        terms_at = _with(roughly, functools.partial(projected_terms, law, rough))
        flatness = Flatness(power, len(data.target), LOOSE, ahead=True)
        end = search(terms_at, start, near, edges, flatness, steps)
        start, near, _ = ahead(end, edges)
        begun = _Begun(start, near, power, end.steps, end.flat, NEAR, end.slope)
    start, near, power, slope = jax.tree.map(lambda x: x.astype(wide), (*begun[:3], begun.slope))
    return begun._replace(start=start, near=near, power=power, slope=slope)


def _with(within: Within | None, terms_at: TermsAt) -> TermsAt:
    if within is None:
        return terms_at
    return lambda params, near: within.added(terms_at(params, near), params[0])


def _full(problem: Problem, points: Points) -> Any:
    data = Scaled.without_weights(points, problem.residual)
    return functools.partial(full_terms, problem, data, points.weight)


def evaluation(problem: Problem, points: Points, params: Array) -> Any:
    """Compute one evaluation of the last stage; for counts of its operations."""
    near = [params[0]] * len(problem.law.amplitude_names)
    if problem.needs_full:
        return _full(problem, points)(list(params), near)
    return projected_terms(problem.law, Scaled.of(points, problem.residual), list(params), near)


@full_precision
def fit_in_kernel(
    law: Law,
    mixture: ArrayLike,
    budget: ArrayLike,
    loss: ArrayLike,
    weight: ArrayLike,
    *,
    own: ArrayLike,
    budget_scale: ArrayLike,
    size: ArrayLike | None = None,
    starts: ArrayLike | None = None,
    steps: ArrayLike = STEPS,
    levels: int = 0,
    **settings: Unpack[Asked],
) -> tuple[ArrayFit, Array, Array]:
    """Fit a law to one target; also return its error, and whether `fit_arrays` agrees.

    A batch should be the inner of two `vmap`, targets the outer: processors work on neighbours.

    Args as those of `fit_arrays`, where loss and weight are (points,), own () and starts
    (starts, exponents); `steps` () is the most evaluations, `levels` as `Collapsed` takes it.

    Returns:
        An `ArrayFit` without leading axes, the mean relative error (), and settled () bool. Where
        that is False the fit is invalid, and `fit_arrays` has to be used.
    """
    shares, budgets, losses, weights, scale, sizes = one_float_type(
        mixture, budget, loss, weight, budget_scale, size
    )
    domains = shares.shape[1]
    membership = jax.nn.one_hot(jnp.asarray(own), domains, dtype=losses.dtype)

    def prepared() -> tuple[Points, Array, Array]:
        points, bad = usable_points(
            law, shares, budgets / scale, sizes, losses, weights, membership, differentiable=False
        )
        return points, bad, log(points.loss) if levels else points.loss

    points, bad, logs = _computed_once(prepared, jnp.asarray(steps) >= 0)
    given = jnp.asarray(law.starts(domains) if starts is None else starts, losses.dtype)
    asked = Settings(**settings)
    problem = asked.problem(law, domains, 1)
    flat: Any = asked.tolerance or default_tolerance(losses.dtype)
    collapsed = Collapsed.of(points, logs, levels) if levels else None
    searched, within = collapsed[:2] if collapsed else (points, None)
    found = search_target(problem, searched, given, flat, steps, within)
    if collapsed:
        said = collapsed.summary(law, found.exponents, found.amplitudes)
    else:
        said = summary(law, points, problem.residual, found.exponents, found.amplitudes)
    if collapsed or not problem.needs_full:
        # More exact than the search's own, which adds up what little the amplitudes changed.
        found = found._replace(value=said.square / 2)
    fitted = _array_fit(law, found, said.points, membership, scale)
    return fitted, said.error, found.settled & ~bad & (said.points > 0)


def _computed_once(function: Callable[[], Any], always: Array) -> Any:
    """Call a function under a condition () bool that is True but unknown to the compiler.

    Without the condition every reader of the result would compute it again, logarithms included.
    """
    shapes = jax.eval_shape(function)
    zeros = functools.partial(jax.tree.map, lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.cond(always, function, zeros)


def _array_fit(law: Law, found: KernelFit, count: Array, own: Array, scale: Array) -> ArrayFit:
    exponents, amplitudes = law.canonical(found.exponents, found.amplitudes, own)
    nothing = jnp.zeros_like(found.value)
    return ArrayFit(
        Coefficients(exponents, amplitudes, own, scale),
        jnp.where(found.at_bound, int(Code.BOUNDARY), int(Code.CONVERGED)),
        2 * found.value,
        count,
        found.steps,
        jnp.ones(exponents.shape, bool),
        nothing + jnp.nan,
        nothing,
        found.value,
    )
