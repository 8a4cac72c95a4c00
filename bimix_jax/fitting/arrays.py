"""The pure core: arrays of points in, arrays of coefficients out, under jit, vmap and grad."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.optimizers import gauss_newton
from bimix_jax.fitting.residual import (
    RESIDUALS,
    Points,
    Residual,
    Terms,
    full_terms,
    full_value,
    predict,
    projected_terms,
)
from bimix_jax.fitting.solve import Evaluation, Minimum, minimize
from bimix_jax.laws.law import Law

DEFAULT_OPTIMIZER = gauss_newton()


class Coefficients(NamedTuple):
    """Everything a law needs to predict one target; a leading axis makes it several."""

    exponents: Array
    """(exponents,)"""
    amplitudes: Array
    """(amplitudes,) of budgets divided by the budget scale"""
    own: Array
    """(domains,) 1 at the target's own domain, 0 elsewhere"""
    budget_scale: Array
    """() in the unit of the budgets"""


class ArrayFit(NamedTuple):
    """A fit as arrays; for several targets every entry has a leading axis (targets,)."""

    coefficients: Coefficients
    code: Array
    """() int, see `Code`"""
    sum_of_squares: Array
    """() Σ w ρ² (twice the Huber penalty where Huber is asked for)"""
    points: Array
    """() int, points used"""
    steps: Array
    """() int, evaluations of the objective from the best start"""
    identified: Array
    """(exponents,) bool: the data determine this exponent"""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is fitted and how: all that is static in a compilation."""

    law: Law
    domains: int
    targets: int = 1
    tied: tuple[str, ...] = ()
    residual: Residual = "relative"
    huber: float | None = None
    optimizer: optax.GradientTransformation = DEFAULT_OPTIMIZER
    tolerance: float | None = None
    max_steps: int | None = None

    def bounds(self, dtype: Any) -> tuple[Array, Array]:
        """Lower and upper bounds (exponents,) of one target."""
        lower, upper = np.asarray(self.law.bounds(self.domains), float).T
        return jnp.asarray(lower, dtype), jnp.asarray(upper, dtype)

    def ties(self) -> np.ndarray:
        """0/1 matrix (targets, exponents, unknowns) that copies unknowns into every target."""
        names = self.law.exponent_names
        shared = [name in self.tied for name in names]
        unknowns = sum(1 if s else self.targets for s in shared)
        matrix = np.zeros((self.targets, len(names), unknowns))
        position = 0
        for exponent, is_shared in enumerate(shared):
            for target in range(self.targets):
                matrix[target, exponent, position + (0 if is_shared else target)] = 1.0
            position += 1 if is_shared else self.targets
        return matrix

    def limits(self, dtype: Any) -> tuple[float, int]:
        """Tolerance on the scaled gradient and the most evaluations."""
        ours = self.optimizer is DEFAULT_OPTIMIZER
        tolerance = self.tolerance or (1e-7 if jnp.finfo(dtype).bits == 64 else 1e-4)
        return tolerance, self.max_steps or (100 if ours else 5000)

    @property
    def needs_full(self) -> bool:
        """Whether residuals are not linear in the amplitudes, so that projection only starts."""
        return self.residual == "log" or self.huber is not None


class Found(NamedTuple):
    """The solution of a `Problem`."""

    params: Array
    """(unknowns + targets·amplitudes,)"""
    values: Array
    """(targets,) objective of each target"""
    measure: Array
    steps: Array
    dead: Array
    """(unknowns,) bool: the objective does not depend on it"""
    singular: Array
    """(targets,) bool: amplitudes are not unique"""


def fit_arrays(
    law: Law,
    mixture: ArrayLike,
    budget: ArrayLike,
    loss: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    own: ArrayLike,
    budget_scale: ArrayLike | None = None,
    residual: Residual = "relative",
    huber: float | None = None,
    tied: tuple[str, ...] = (),
    optimizer: optax.GradientTransformation | None = None,
    starts: ArrayLike | None = None,
    max_steps: int | None = None,
    tolerance: float | None = None,
) -> ArrayFit:
    """Fit a law to one target, or to several at once; pure, so jit, vmap and grad apply.

    Args:
        law: which law; static under jit.
        mixture: (points, domains) proportions.
        budget: (points,) in any unit, > 0.
        loss: (points,) of one target or (points, targets); nan where it was not measured.
        weight: like `loss` or (points,); ≥ 0, default 1. Resampling is a matter of weights.
        own: the column of `mixture` that is the target's own domain, an int or (targets,) ints;
            −1 for a target that is no domain.
        budget_scale: () what budgets are divided by; default the largest. Give the same to fits
            whose amplitudes are to be compared.
        residual: "relative" (ŷ−y)/y, "log" ln ŷ − ln y, or "absolute" ŷ−y.
        huber: residuals beyond this count linearly; None for plain squares.
        tied: names of exponents that are one number for all targets.
        optimizer: any optax transformation; default damped Gauss-Newton.
        starts: (starts, exponents) to search from; default the law's own. The best end wins.
        max_steps: most evaluations from a start; default 100, or 5000 for an optimizer passed in.
        tolerance: on the scaled gradient; default 1e-7 in float64 and 1e-4 in float32.

    Returns:
        An `ArrayFit`; with a leading axis (targets,) when loss has two axes. Derivatives of its
        coefficients follow from the implicit function theorem at the solution; they are one-sided
        at active bounds and 0 for exponents that the data do not identify.

    Raises:
        ValueError: on an unknown residual or tied name, or shapes that do not fit together.

    >>> import numpy as np
    >>> from bimix_jax.laws import BiMix
    >>> share = np.array([0.2, 0.5, 0.8] * 4)
    >>> mixture = np.stack([share, 1 - share], axis=1)
    >>> budget = np.repeat([1.0, 2.0, 4.0, 8.0], 3)
    >>> loss = 2.0 * share**-0.1 * (0.5 * budget**-0.5 + 0.5)
    >>> with jax.enable_x64(True):
    ...     fitted = fit_arrays(BiMix(), mixture, budget, loss, own=0)
    >>> print(fitted.coefficients.exponents.round(6))
    [0.1 0.5]
    """
    mixture, budget, loss = jnp.asarray(mixture), jnp.asarray(budget), jnp.asarray(loss)
    single = loss.ndim == 1
    losses = loss[:, None] if single else loss
    _check_shapes(law, mixture, budget, losses, residual, tied)
    weights = jnp.ones_like(losses) if weight is None else _like(jnp.asarray(weight), losses)
    scale = jnp.max(budget) if budget_scale is None else jnp.asarray(budget_scale, budget.dtype)
    membership = jax.nn.one_hot(
        jnp.broadcast_to(jnp.asarray(own), (losses.shape[1],)), mixture.shape[1], dtype=losses.dtype
    )
    problem = Problem(
        law, mixture.shape[1], losses.shape[1] if tied else 1, tuple(tied), residual, huber,
        optimizer or DEFAULT_OPTIMIZER, tolerance, max_steps,
    )  # fmt: skip
    points, bad = jax.vmap(_points, in_axes=(None, None, None, 1, 1, 0))(
        law, mixture, budget / scale, losses, weights, membership
    )
    first = jnp.asarray(law.starts(problem.domains) if starts is None else starts, losses.dtype)
    fitted = _fit_all(problem, points, bad, first, membership, scale)
    return jax.tree.map(lambda leaf: leaf[0], fitted) if single else fitted


def _check_shapes(
    law: Law, mixture: Array, budget: Array, losses: Array, residual: str, tied: tuple[str, ...]
) -> None:
    if mixture.ndim != 2 or budget.shape != mixture.shape[:1] or losses.shape[:1] != budget.shape:
        raise ValueError(
            f"mixture {mixture.shape}, budget {budget.shape} and loss {losses.shape} do not fit "
            "together: expected (points, domains), (points,) and (points,) or (points, targets)."
        )
    if residual not in RESIDUALS:
        raise ValueError(f"residual is {residual!r}; expected one of {', '.join(RESIDUALS)}.")
    unknown = sorted(set(tied) - set(law.exponent_names))
    if unknown:
        raise ValueError(
            f"tied names {', '.join(unknown)}, but the exponents of {law.name} are "
            f"{', '.join(law.exponent_names)}."
        )


def _like(weight: Array, losses: Array) -> Array:
    return jnp.broadcast_to(weight if weight.ndim == 2 else weight[:, None], losses.shape)


def _points(
    law: Law, mixture: Array, budget: Array, loss: Array, weight: Array, own: Array
) -> tuple[Points, Array]:
    """The rows that count, with harmless values in the others, and whether any row is broken."""
    sound = jnp.isfinite(loss) & (loss > 0) & jnp.isfinite(budget) & (budget > 0) & (weight >= 0)
    asked = ~jnp.isnan(loss) & (weight != 0)
    keep = sound & asked & jax.vmap(law.usable, in_axes=(0, None))(mixture, own)
    harmless = 1.0 / mixture.shape[1]
    features = jax.vmap(law.features, in_axes=(0, None, 0))(
        jnp.where(keep[:, None], mixture, harmless), own, jnp.where(keep, budget, 1.0)
    )
    finite = jax.tree.map(lambda leaf: _masked(leaf, keep), features)
    return (
        Points(finite, jnp.where(keep, loss, 1.0), jnp.where(keep, weight, 0.0)),
        jnp.any(asked & ~sound),
    )


def _masked(leaf: Array, keep: Array) -> Array:
    return jnp.where(keep.reshape(keep.shape + (1,) * (leaf.ndim - 1)), leaf, 0.0)


def _fit_all(
    problem: Problem, points: Points, bad: Array, starts: Array, own: Array, scale: Array
) -> ArrayFit:
    """Solve the targets as one problem where exponents are tied, one by one where they are not."""
    if problem.tied:
        parts = _assemble(problem, _solve(problem, points, starts), starts.dtype)
    else:
        each = jax.tree.map(lambda leaf: leaf[:, None], points)
        solve = jax.vmap(lambda one: _assemble(problem, _solve(problem, one, starts), starts.dtype))
        parts = jax.tree.map(lambda leaf: leaf[:, 0], solve(each))
    count = jnp.sum(points.weight > 0, axis=1)
    code = jnp.where(bad | (count == 0), int(Code.BAD_DATA), parts.code)
    scales = jnp.broadcast_to(scale, count.shape)
    coefficients = Coefficients(parts.exponents, parts.amplitudes, own, scales)
    return ArrayFit(coefficients, code, 2 * parts.values, count, parts.steps, parts.identified)


class _Parts(NamedTuple):
    exponents: Array
    amplitudes: Array
    values: Array
    code: Array
    steps: Array
    identified: Array


def _assemble(problem: Problem, found: Found, dtype: Any) -> _Parts:
    """Coefficients and verdicts a target, each with a leading axis (targets,)."""
    lower, upper = problem.bounds(dtype)
    exponents, amplitudes = _unpack(problem, found.params)
    dead = _exponents(problem, found.dead.astype(dtype)) > 0
    at_bound = jnp.any(~dead & ((exponents <= lower) | (exponents >= upper)), axis=1)
    at_zero = jnp.any(amplitudes <= 0, axis=1)
    unidentified = found.singular | (jnp.any(dead, axis=1) & ~at_zero)
    verdicts = [
        (~jnp.isfinite(found.values), Code.NONFINITE),
        (unidentified, Code.UNIDENTIFIED),
        (~(found.measure <= problem.limits(dtype)[0]), Code.MAX_STEPS),
        (at_bound | at_zero, Code.BOUNDARY),
    ]
    code = jnp.full(found.values.shape, int(Code.CONVERGED))
    for condition, verdict in reversed(verdicts):
        code = jnp.where(condition, int(verdict), code)
    steps = jnp.broadcast_to(found.steps, code.shape)
    return _Parts(exponents, amplitudes, found.values, code, steps, ~dead)


def _unpack(problem: Problem, params: Array) -> tuple[Array, Array]:
    """Exponents (targets, exponents) and amplitudes (targets, amplitudes)."""
    count = problem.targets * len(problem.law.amplitude_names)
    return (
        _exponents(problem, params[:-count]),
        params[-count:].reshape(problem.targets, -1),
    )


def _exponents(problem: Problem, unknowns: Array) -> Array:
    if not problem.tied:
        return unknowns[None]
    return jnp.asarray(problem.ties(), unknowns.dtype) @ unknowns


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(problem: Problem, points: Points, starts: Array) -> Found:
    """The best end over starts (starts, exponents), of points with a leading axis (targets,)."""
    if problem.tied:
        ties = problem.ties()
        starts = jnp.einsum("tpu,sp->su", ties / ties.sum((0, 1)), starts)
    ends = jax.vmap(lambda start: _search(problem, points, start))(starts)
    total = jnp.sum(ends.values, axis=1)
    best = jnp.argmin(jnp.where(jnp.isfinite(total), total, jnp.inf))
    return jax.tree.map(lambda leaf: leaf[best], ends)


def _search(problem: Problem, points: Points, start: Array) -> Found:
    """From one start: the exponents by projection, then all together where that is needed."""
    lower, upper = _unknown_bounds(problem, start.dtype)
    first = _minimize(problem, lambda x: _projected(problem, points, x), start, lower, upper)
    terms, dead = first.evaluation.extra
    amplitudes = terms.projection.amplitudes.ravel()
    params = jnp.concatenate([first.params, amplitudes])
    steps, singular = first.steps, jnp.atleast_1d(terms.projection.singular)
    if not problem.needs_full:
        values, measure = jnp.atleast_1d(terms.value), first.evaluation.measure
        return Found(params, values, measure, steps, dead, singular)
    held = jnp.repeat(singular, len(problem.law.amplitude_names)) & (amplitudes <= 0)
    low = jnp.concatenate([jnp.where(dead, first.params, lower), jnp.zeros_like(amplitudes)])
    high = jnp.concatenate([jnp.where(dead, first.params, upper), jnp.where(held, 0.0, jnp.inf)])
    second = _minimize(problem, lambda x: _full(problem, points, x), params, low, high)
    values = jnp.atleast_1d(second.evaluation.extra[0].value)
    measure = second.evaluation.measure
    return Found(second.params, values, measure, steps + second.steps, dead, singular)


def _unknown_bounds(problem: Problem, dtype: Any) -> tuple[Array, Array]:
    lower, upper = problem.bounds(dtype)
    if not problem.tied:
        return lower, upper
    owner = problem.ties().sum(0).argmax(0)
    return lower[owner], upper[owner]


def _minimize(problem: Problem, terms_at: Any, start: Array, lower: Array, upper: Array) -> Minimum:
    tolerance, max_steps = problem.limits(start.dtype)

    def objective(params: Array) -> Evaluation:
        total, each = terms_at(params)
        return _within_bounds(total, each, params, lower, upper, tolerance)

    return minimize(objective, start, lower, upper, problem.optimizer, tolerance, max_steps)


def _within_bounds(
    total: Terms, each: Terms, params: Array, lower: Array, upper: Array, tolerance: float
) -> Evaluation:
    """Hold what bounds hold and what the data do not determine; measure the rest.

    The measure is max |g_i| / √(2·value·H_ii), the cosine between residual and slope; a gradient
    as small as rounding leaves it counts as 0.
    """
    epsilon = jnp.finfo(params.dtype).eps
    diagonal = jnp.diag(total.hessian)
    dead = ~(diagonal > 1000 * epsilon * total.curvature)
    outward = jnp.where(total.gradient > 0, params <= lower, params >= upper)
    held = dead | outward
    gradient = jnp.where(held, 0.0, total.gradient)
    identity = jnp.eye(len(params), dtype=params.dtype)
    hessian = jnp.where(held[:, None] | held, identity, total.hessian)
    rounding = 16 * epsilon * jnp.sqrt(total.curvature * total.power)
    scale = jnp.sqrt(2 * total.value * jnp.where(held, 1.0, diagonal)) + rounding / tolerance
    measure = jnp.max(jnp.where(held, 0.0, jnp.abs(gradient) / scale), initial=0.0)
    return Evaluation(total.value, gradient, hessian, measure, (each, dead))


def _projected(problem: Problem, points: Points, unknowns: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns, over all targets and of each."""
    law, residual = problem.law, problem.residual
    start: Residual = "relative" if residual == "log" else residual
    if not problem.tied:
        terms = projected_terms(law, _only(points), start, unknowns)
        return terms, terms
    each = jax.vmap(lambda p, x: projected_terms(law, p, start, x))(
        points, _exponents(problem, unknowns)
    )
    return _combined(each, jnp.asarray(problem.ties(), unknowns.dtype)), each


def _full(problem: Problem, points: Points, params: Array) -> tuple[Terms, Terms]:
    """Terms in the unknowns and the amplitudes, over all targets and of each."""
    law, residual, huber = problem.law, problem.residual, problem.huber
    if not problem.tied:
        terms = full_terms(law, _only(points), residual, huber, params)
        return terms, terms
    each = jax.vmap(lambda p, x: full_terms(law, p, residual, huber, x))(
        points, jnp.column_stack(_unpack(problem, params))
    )
    return _combined(each, jnp.asarray(_full_ties(problem), params.dtype)), each


def _full_ties(problem: Problem) -> np.ndarray:
    """`ties` with the amplitudes beside the exponents; amplitudes are never tied."""
    ties = problem.ties()
    targets, exponents, unknowns = ties.shape
    count = len(problem.law.amplitude_names)
    matrix = np.zeros((targets, exponents + count, unknowns + targets * count))
    matrix[:, :exponents, :unknowns] = ties
    for target in range(targets):
        first = unknowns + target * count
        matrix[target, exponents:, first : first + count] = np.eye(count)
    return matrix


def _only(points: Points) -> Points:
    return jax.tree.map(lambda leaf: leaf[0], points)


def _combined(each: Terms, ties: Array) -> Terms:
    """Terms of all targets in the unknowns they share."""
    return Terms(
        value=jnp.sum(each.value),
        gradient=jnp.einsum("tpu,tp->u", ties, each.gradient),
        hessian=jnp.einsum("tpu,tpq,tqv->uv", ties, each.hessian, ties),
        curvature=jnp.einsum("tpu,tp->u", ties, each.curvature),
        power=jnp.sum(each.power),
        projection=each.projection,
    )


@_solve.defjvp
def _solve_jvp(problem: Problem, primals: tuple, tangents: tuple) -> tuple[Found, Found]:
    """Implicit function theorem: one Newton step with the full Hessian on the free parameters."""
    points, starts = primals
    found = _solve(problem, points, starts)
    held = _held(problem, found)

    def gradient_at(data: Points) -> Array:
        return jax.grad(lambda x: jnp.sum(_values(problem, data, x)))(found.params)

    hessian = jax.hessian(lambda x: jnp.sum(_values(problem, points, x)))(found.params)
    mixed = jax.jvp(gradient_at, (points,), (tangents[0],))[1]
    change = -_masked_solve(hessian, mixed, held)
    values = jax.jvp(lambda data: _values(problem, data, found.params), (points,), (tangents[0],))
    still = jax.tree.map(_zero_tangent, found)
    return found, still._replace(params=change, values=values[1])


def _values(problem: Problem, points: Points, params: Array) -> Array:
    each = jnp.column_stack(_unpack(problem, params))
    return jax.vmap(lambda p, x: full_value(problem.law, p, problem.residual, problem.huber, x))(
        points, each
    )


def _held(problem: Problem, found: Found) -> Array:
    """(unknowns + amplitudes,) bool: at a bound, or not determined by the data."""
    lower, upper = _unknown_bounds(problem, found.params.dtype)
    unknowns = found.params[: len(lower)]
    amplitudes = found.params[len(lower) :]
    at_bound = found.dead | (unknowns <= lower) | (unknowns >= upper)
    return jnp.concatenate([at_bound, amplitudes <= 0])


def _masked_solve(hessian: Array, right: Array, held: Array) -> Array:
    """Solve on the free parameters, scaled to a unit diagonal; 0 on the held ones."""
    identity = jnp.eye(len(held), dtype=hessian.dtype)
    free = jnp.where(held[:, None] | held, identity, hessian)
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diag(free)))
    solution = jnp.linalg.solve(free * scale[:, None] * scale, jnp.where(held, 0.0, right) * scale)
    return jnp.where(held, 0.0, solution * scale)


def _zero_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def predict_losses(
    law: Law, coefficients: Coefficients, mixture: ArrayLike, budget: ArrayLike
) -> Array:
    """Losses (points, targets) of mixtures (points, domains) at budgets (points,), pure arrays.

    `coefficients` has a leading axis (targets,); a budget is in the unit of its scale. Infinite
    where the law is (BiMix at a proportion of 0).
    """
    mixture = jnp.asarray(mixture)
    budget = jnp.broadcast_to(jnp.asarray(budget, mixture.dtype), mixture.shape[:1])

    def one(target: Coefficients) -> Array:
        features = jax.vmap(law.features, in_axes=(0, None, 0))(
            mixture, target.own, budget / target.budget_scale
        )
        return predict(law, target.exponents, target.amplitudes, features)

    return jax.vmap(one)(coefficients).T
