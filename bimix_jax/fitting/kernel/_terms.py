"""ScalarTerms of the objective of single targets in scalars."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting._linear import basis_columns
from bimix_jax.fitting.kernel._dependence import dependences
from bimix_jax.fitting.problem import Problem
from bimix_jax.fitting.residual import (
    Points,
    Residual,
    Summary,
    penalty,
    predict,
    scale_of,
)
from bimix_jax.laws.law import Law
from bimix_jax.xla.logarithm import log
from bimix_jax.xla.small_systems import Entries, inner_products, solve_entries, sum_together

Scalars = list[Array]


def nonnegative(normal_matrix: Entries, moments: Scalars) -> Scalars:
    """Amplitudes of least squares, none below 0."""
    slopes = [-m for m in moments]
    return change_from(normal_matrix, slopes, [jnp.zeros_like(m) for m in moments])


def change_from(normal_matrix: Entries, slopes: Scalars, near: Scalars) -> Scalars:
    """Change from amplitudes `near` to non-negative least squares, exact for two columns.

    For more, the most negative one is dropped repeatedly; one dropped wrongly has a slope that is
    not flat, and is left to the plain loop.
    """
    # Solving for the change instead of the amplitudes keeps digits where `near` is close.
    change = [-s for s in solve_entries(normal_matrix, slopes)]
    size = range(len(near))
    found = [n + c for n, c in zip(near, change, strict=True)]
    moments = [sum(normal_matrix[i][j] * near[j] for j in size) - slopes[i] for i in size]
    whole, keep = every([a > 0 for a in found]), [jnp.array(True)] * len(near)
    for _ in size[1:]:
        least = jnp.minimum(functools.reduce(jnp.minimum, found), 0.0)
        keep = [k & (a > least) for k, a in zip(keep, found, strict=True)]
        right = [jnp.where(k, m, 0.0) for k, m in zip(keep, moments, strict=True)]
        found = solve_entries(within(keep, normal_matrix), right)
    return [
        jnp.where(whole, c, jnp.maximum(a, 0.0) - n)
        for c, a, n in zip(change, found, near, strict=True)
    ]


def within(keep: Scalars, matrix: Entries) -> Entries:
    """The matrix where both are in `keep`, the identity elsewhere."""
    size = range(len(keep))
    return [[jnp.where(keep[i] & keep[j], matrix[i][j], float(i == j)) for j in size] for i in size]


def apart(matrix: Entries, scale: Scalars, roundings: ArrayLike) -> Array:
    """() bool: every pivot of a matrix exceeds this many roundings of a scale."""
    size, least = range(len(matrix)), roundings * jnp.finfo(scale[0].dtype).eps
    rest = [list(row) for row in matrix]
    found = []
    for k in size:
        found.append(rest[k][k] > least * scale[k])
        for i in range(k + 1, len(matrix)):
            for j in range(k + 1, len(matrix)):
                rest[i][j] = rest[i][j] - rest[i][k] * rest[k][j] / rest[k][k]
    return every(found)


def every(conditions: Scalars) -> Array:
    """() bool: all conditions hold."""
    return functools.reduce(jnp.logical_and, conditions)


def any_of(conditions: Scalars) -> Array:
    """() bool: some condition holds."""
    return functools.reduce(jnp.logical_or, conditions)


class ScalarTerms(NamedTuple):
    """A sum of squares at some parameters."""

    norm: Array
    """√(Σ w ρ²), or of its Huber form"""
    gradient: Scalars
    hessian: Entries
    curvature: Scalars
    """diagonal of JᵀJ before the amplitudes are eliminated"""
    amplitudes: Scalars
    following: list[Scalars]
    """derivative of each amplitude by each exponent; empty where amplitudes are unknowns as well"""
    summed: Array
    """squares summed for the value, which set its rounding"""
    sound: Array
    """() bool: no column is in the span of the others"""


class Scaled(NamedTuple):
    """Points of one target whose residuals are root·(ŷ − y)."""

    features: Any
    root: Array
    target: Array
    """root·y"""

    @classmethod
    def of(cls, points: Points, residual: Residual) -> "Scaled":
        """Scale by the weights; logarithmic residuals start as relative ones."""
        # To first order ln ŷ − ln y is the relative residual.
        linear: Residual = "relative" if residual == "log" else residual
        root = jnp.sqrt(points.weight) / scale_of(linear, points.loss)
        return cls(points.features, root, root * points.loss)

    @classmethod
    def without_weights(cls, points: Points, residual: Residual) -> "Scaled":
        """Scale as if every weight were 1."""
        return cls.of(points._replace(weight=jnp.ones_like(points.weight)), residual)

    def astype(self, dtype: Any) -> "Scaled":
        """Convert to another floating type."""

        def cast(leaf: Array) -> Array:
            return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return jax.tree.map(cast, self)


def best_start(law: Law, data: Scaled, starts: Array) -> tuple[Scalars, Scalars, Array]:
    """Find the start with the least projected squares in one pass, and its amplitudes.

    The third result is () Σ of the squared targets, from the same pass.
    """
    columns = [_columns(law, data, x) for x in starts]
    count = len(columns[0])
    pairs = [(i, j) for i in range(count) for j in range(i + 1)]
    terms = [c[i] * c[j] for c in columns for i, j in pairs]
    moments = [b * data.target for c in columns for b in c]
    *sums, power = sum_together([*terms, *moments, data.target**2])
    explained, amplitudes = [], []
    for k in range(len(columns)):
        entry = dict(zip(pairs, sums[k * len(pairs) :], strict=False))
        normal = [[entry[max(i, j), min(i, j)] for j in range(count)] for i in range(count)]
        moments = sums[len(columns) * len(pairs) + k * count :][:count]
        amplitudes.append(nonnegative(normal, moments))
        # At the best amplitudes c the squares are ‖y‖² − c·moments, so the largest wins.
        explained.append(weighted_sum(amplitudes[-1], moments))
    best = jnp.argmax(jnp.nan_to_num(jnp.stack(explained), nan=-jnp.inf))
    return list(starts[best]), list(jnp.stack([jnp.stack(a) for a in amplitudes])[best]), power


def projected_terms(law: Law, data: Scaled, exponents: Scalars, near: Scalars) -> ScalarTerms:
    """Compute `residual.projected_terms` in scalars and one pass over the points.

    The slopes of the model are sums of the slopes of its columns, and so are their products; the
    residual is that at amplitudes `near` the best ones, and their difference is added afterwards.
    The sums are therefore as small as the residual, and no digits are lost.
    """
    columns = _columns(law, data, jnp.stack(exponents))
    slopes = _column_slopes(law, data, exponents, columns)
    rest = weighted_sum(near, columns) - data.target
    size = range(len(columns))
    # Products with a slope that is 0 everywhere would be summed all the same.
    kept = [(j, k) for j in range(len(slopes)) for k in size if j in _dependences(law, data)[k]]
    products = inner_products([*columns, *(slopes[j][k] for j, k in kept), rest])
    normal, last = [row[: len(columns)] for row in products[: len(columns)]], len(products) - 1
    change = change_from(normal, products[last][: len(columns)], near)
    amplitudes = [n + c for n, c in zip(near, change, strict=True)]
    one = jnp.ones_like(change[0])
    parts: list[_Part] = [{i: one} for i in size]
    for j in range(len(slopes)):
        parts.append({len(columns) + at: amplitudes[k] for at, (i, k) in enumerate(kept) if i == j})
    # residual at the best amplitudes = residual at `near` + Σ change·column.
    parts.append({**dict(enumerate(change)), last: one})
    return eliminated(_products_of(parts, products), amplitudes, products[last][last])


def _dependences(law: Law, data: Scaled) -> list[frozenset[int]]:
    """Exponents that every column depends on."""
    point = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), data.features)
    return dependences(lambda x: law.basis(x, point), np.zeros(len(law.exponent_names)))


_Part = dict[int, Array]
"""Sum of columns: the factor of each."""


def _products_of(parts: list[_Part], products: Entries) -> Entries:
    """Inner products of sums of columns, from those of the columns."""

    def product(left: _Part, right: _Part) -> Array:
        terms = [a * b * products[i][j] for i, a in left.items() for j, b in right.items()]
        # Nothing is the sum where no column depends on an exponent.
        return functools.reduce(jnp.add, terms or [jnp.zeros_like(products[0][0])])

    return [[product(left, right) for right in parts] for left in parts]


def eliminated(products: Entries, amplitudes: Scalars, summed: Array) -> ScalarTerms:
    """Eliminate the free amplitudes from the products of [basis, slopes, residual]."""
    basis = range(len(amplitudes))
    slopes = range(len(amplitudes), len(products) - 1)
    free = [a > 0 for a in amplitudes]
    normal = within(free, [row[: len(amplitudes)] for row in products[: len(amplitudes)]])
    cross = {s: [jnp.where(free[i], products[i][s], 0.0) for i in basis] for s in slopes}
    taken = {s: solve_entries(normal, cross[s]) for s in slopes}

    def less(i: int, j: int) -> Array:
        return products[i][j] - sum(a * b for a, b in zip(cross[j], taken[i], strict=True))

    # A gradient in a dropped amplitude that points inwards means that it was dropped wrongly.
    right = [f | (products[-1][i] >= 0) for i, f in zip(basis, free, strict=True)]
    distinct = apart(normal, [n[i] for i, n in enumerate(normal)], 64)
    return ScalarTerms(
        norm_of(products[-1][-1]),
        [products[s][-1] for s in slopes],
        [[less(max(i, j), min(i, j)) for j in slopes] for i in slopes],
        [products[s][s] for s in slopes],
        amplitudes,
        [[-taken[s][i] for s in slopes] for i in basis],
        summed,
        every([*right, distinct]),
    )


def full_terms(
    problem: Problem, data: Scaled, weight: Array, params: Scalars, near: Scalars
) -> ScalarTerms:
    """Compute `residual.full_terms` in scalars; `data` are scaled without weights."""
    law, residual, huber = problem.law, problem.residual, problem.huber
    count = len(law.amplitude_names)
    exponents, amplitudes = params[:-count], params[-count:]
    columns = _columns(law, data, jnp.stack(exponents))
    along = _column_slopes(law, data, exponents, columns)
    slopes = [*(weighted_sum(amplitudes, part) for part in along), *columns]
    predicted = weighted_sum(amplitudes, columns)
    if residual == "log":
        # Losses are scaled to 1.
        rest, inverse = log(predicted), 1 / predicted
        slopes = [slope * inverse for slope in slopes]
    else:
        rest = predicted - data.target
    pull, kept = weight * rest, weight
    if huber is not None:
        pull = weight * jnp.clip(rest, -huber, huber)
        # Newton's curvature, not that of reweighted squares, which takes many more steps.
        kept = jnp.where(jnp.abs(rest) <= huber, weight, 0.0)
    size = range(len(slopes))
    pairs = [(i, j) for i in size for j in range(i + 1)]
    products = [kept * slopes[i] * slopes[j] for i, j in pairs]
    gradient = [pull * slope for slope in slopes]
    value, *sums = sum_together([weight * penalty(rest, huber), *gradient, *products])
    entry = dict(zip(pairs, sums[len(slopes) :], strict=True))
    return ScalarTerms(
        norm_of(2 * value),
        sums[: len(slopes)],
        [[entry[max(i, j), min(i, j)] for j in size] for i in size],
        [entry[i, i] for i in size],
        amplitudes,
        [],
        value,
        jnp.array(True),
    )


def norm_of(square: Array) -> Array:
    """The root of a sum of squares, 0 where rounding made that negative."""
    # A root is not computed again by everything that needs it, as a sum of products would be.
    return jnp.sqrt(jnp.maximum(square, 0.0))


def _columns(law: Law, data: Scaled, x: Array) -> list[Array]:
    """The basis at exponents x, each (points,), scaled like the residuals."""
    return [data.root * c for c in basis_columns(law, x, data.features)]


def _column_slopes(
    law: Law, data: Scaled, exponents: Scalars, columns: list[Array]
) -> list[list[Array]]:
    """Derivatives of the columns in each exponent, each (points,)."""
    if not law.has_log_basis:
        return _slopes(lambda x: _columns(law, data, x), exponents)
    # As φ′ = φ·(log φ)′, the columns do for the slopes too.
    logs: Any = jax.vmap(law.log_basis, in_axes=(None, 0))
    slopes = _slopes(lambda x: logs(x, data.features), exponents)
    return [[c * d for c, d in zip(columns, slope, strict=True)] for slope in slopes]


def weighted_sum(amplitudes: Scalars, columns: list[Array]) -> Array:
    """Σ amplitude·column."""
    terms = [a * c for a, c in zip(amplitudes, columns, strict=True)]
    return functools.reduce(jnp.add, terms)


def _slopes(model: Callable[[Array], Any], params: Scalars) -> list[Any]:
    """Derivatives of the values of a function, each (points,), by each parameter."""
    x = jnp.stack(params)
    # Constants of NumPy's, so that the compiler leaves out what is multiplied by 0.
    directions = np.eye(len(params), dtype=x.dtype)
    return [jax.jvp(model, (x,), (direction,))[1] for direction in directions]


class Within(NamedTuple):
    """½·curvature·(θ₀ − centre)² + ½·least: squares within budgets beside those of the mean run."""

    curvature: Array
    centre: Array
    least: Array

    def added(self, terms: ScalarTerms, exponent: Array) -> ScalarTerms:
        """Add them to the terms of the mean run, at θ₀ = exponent."""
        away = exponent - self.centre
        square = self.curvature * away**2 + self.least
        first, *others = terms.hessian
        return terms._replace(
            norm=norm_of(terms.norm**2 + square),
            gradient=[terms.gradient[0] + self.curvature * away, *terms.gradient[1:]],
            hessian=[[first[0] + self.curvature, *first[1:]], *others],
            curvature=[terms.curvature[0] + self.curvature, *terms.curvature[1:]],
            summed=terms.summed + square,
        )


class Collapsed(NamedTuple):
    """Points of one target at common budgets."""

    mean: Points
    """the mean run, with a point per budget"""
    within: Within
    weight: Array
    """(runs, levels)"""
    x: Array
    """(runs, levels) difference from the mean"""
    log_loss: Array
    """(runs, levels) difference from the mean"""

    @classmethod
    def of(cls, points: Points, log_loss: Array, levels: int) -> "Collapsed":
        """Collapse points ordered by run, each run at the same `levels` budgets in the same order.

        Points without a loss have no weight and any budget. The law's first feature is x.
        """
        weight, x, logs = (
            leaf.reshape(-1, levels) for leaf in (points.weight, points.features[0], log_loss)
        )
        # Sums that are not requested together with others go to slower loops.
        total, *sums = sum_together([weight, weight * x, weight * logs])
        mean_x, mean_log = (part / jnp.where(total > 0, total, 1.0) for part in sums)
        dx, dlog = x - mean_x, logs - mean_log
        of_level = sum_together([weight * dx * dx, weight * dx * dlog, weight * dlog * dlog])
        curvature, cross, spread = sum_together(list(of_level))
        centre = -cross / jnp.where(curvature > 0, curvature, 1.0)
        least = jnp.maximum(spread + centre * cross, 0.0)
        others = jax.tree.map(lambda leaf: leaf[:levels], points.features[1:])
        mean = Points((mean_x, *others), jnp.exp(mean_log), total)
        return cls(mean, Within(curvature, centre, least), weight, dx, dlog)

    def summary(self, law: Law, exponents: Array, amplitudes: Array) -> Summary:
        """The sums at a fit's coefficients, of log residuals."""
        predicted = predict(law, exponents, amplitudes, self.mean.features)
        rest = log(predicted / self.mean.loss) - exponents[0] * self.x - self.log_loss
        counted = (self.weight > 0).astype(rest.dtype)
        of_level = sum_together(
            [counted * jnp.abs(jnp.exp(rest) - 1), counted, self.weight * rest**2]
        )
        total, count, square = sum_together(list(of_level))
        return Summary(total / count, count.astype(int), square)
