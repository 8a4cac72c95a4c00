"""The lean search for batches: one target of a law with few exponents, in scalars.

The plain loop (`solve.py`) carries whatever an optimizer, a restraint or tied exponents may need.
Here is the one case that batches are made of: damped Gauss-Newton on projected squares, and, for
residuals that are not linear in the amplitudes, on all coefficients from there. Why it is apart:
XLA fuses scalars of a batch into a few loops, but makes a copy of every small matrix that is put
together, and passes over the points once for every sum that is not asked for together with others.

What is not plain sailing (collinear columns, exponents that the data leave open, a search that
takes long) is not judged here: `settled` is False, and the plain loop has to fit it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.linear_algebra import Entries, inner_products, solve_entries, sum_together
from bimix_jax.fitting.residual import (
    Points,
    Residual,
    basis_columns,
    needs_full,
    penalty,
    scale_of,
)
from bimix_jax.fitting.solve import ROUNDING
from bimix_jax.laws.law import Law

STEPS = 16
"""Most evaluations of a search; 6 are usual, the few fits that need more go to the plain loop."""
LOOSE = 1e-3
"""Tolerance of the projected search where it only starts the full one: steps after that would be
steps towards another optimum."""
DAMPING, DECREASE, INCREASE = 1e-3, 0.1, 8.0
"""As in `gauss_newton`."""
LARGEST = 4
"""Most exponents or amplitudes; with more, scalars take long to compile."""
OPEN = 1000
"""Curvatures below this many roundings leave an exponent open, as in the plain loop."""

Scalars = list[Array]


class LeanFit(NamedTuple):
    """Where the search ended, of one target."""

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
    """() bool: converged, and every exponent determined; if not, fit it by the plain loop"""


class _Terms(NamedTuple):
    """A sum of squares at some parameters."""

    value: Array
    gradient: Scalars
    hessian: Entries
    curvature: Scalars
    """diagonal of JᵀJ before the amplitudes took their part"""
    amplitudes: Scalars
    sound: Array
    """() bool: no column is in the span of the others"""


class _State(NamedTuple):
    params: Scalars
    """the best so far"""
    terms: _Terms
    damping: Array
    steps: Array


@functools.cache
def is_lean(law: Law, domains: int) -> bool:
    """Whether the search can fit a law: few exponents, none fixed, no restraint."""
    few = max(len(law.exponent_names), len(law.amplitude_names)) <= LARGEST
    own: Any = np.eye(domains)[0]
    free = type(law).fixed is Law.fixed and law.restraint(own) is None
    return few and free and not law.domain_exponent_names


def lean_fit(
    law: Law, points: Points, starts: Array, lower: Array, upper: Array,
    residual: Residual = "relative", huber: float | None = None, tolerance: float = 1e-7,
    steps: ArrayLike = STEPS,
) -> LeanFit:  # fmt: skip
    """Fit the points of one target, from the best of starts (starts, exponents) within bounds.

    `steps` () is the most evaluations of a search; where more give a result, that does not depend
    on it.
    """
    low, high, count = list(lower), list(upper), len(lower)
    data = _Scaled.of(points, residual)
    flatness = _Flatness(jnp.sum(data.target**2), len(data.target), tolerance)
    full_follows = needs_full(residual, huber)
    start = _best_start(law, data, starts)
    projected = functools.partial(_projected_terms, law, data)
    loose = flatness._replace(tolerance=LOOSE) if full_follows else flatness
    end = _search(projected, start, low, high, loose, steps)
    settled, taken = _settled(end, low, high, flatness), end.steps
    amplitudes = end.terms.amplitudes
    if full_follows:
        low, high = (
            low + [jnp.zeros_like(a) for a in amplitudes],
            high + [jnp.inf] * len(amplitudes),
        )
        full = functools.partial(_full_terms, law, points, residual, huber)
        end = _search(full, [*end.params, *amplitudes], low, high, flatness, steps)
        settled, taken = _settled(end, low, high, flatness), taken + end.steps
        amplitudes = end.params[count:]
    held = [(x <= a) | (x >= b) for x, a, b in zip(end.params, low, high, strict=True)]
    return LeanFit(
        jnp.stack(end.params[:count]), jnp.stack(amplitudes), end.terms.value, taken,
        _any([*held, *(a <= 0 for a in amplitudes)]), settled & jnp.isfinite(end.terms.value),
    )  # fmt: skip


def evaluation(
    law: Law, residual: Residual, huber: float | None, points: Points, params: Array
) -> Any:
    """What one evaluation computes, of the last stage; for counting its operations."""
    if needs_full(residual, huber):
        return _full_terms(law, points, residual, huber, list(params))
    return _projected_terms(law, _Scaled.of(points, residual), list(params))


class _Scaled(NamedTuple):
    """Points of one target whose residuals are root·(ŷ − y)."""

    features: Any
    root: Array
    target: Array
    """root·y"""

    @classmethod
    def of(cls, points: Points, residual: Residual) -> "_Scaled":
        linear: Residual = "relative" if residual == "log" else residual
        root = jnp.sqrt(points.weight) / scale_of(linear, points.loss)
        return cls(points.features, root, root * points.loss)


class _Flatness(NamedTuple):
    """When a slope counts as flat: max|g_i|/√(2·value·H_ii) ≤ tolerance, or rounding."""

    power: Array
    """() Σ of the squared targets"""
    points: int
    tolerance: float

    def holds(self, value: Array, gradient: Array, hessian: Array, curvature: Array) -> Array:
        """Of one parameter."""
        epsilon = (16 + self.points**0.5) * jnp.finfo(value.dtype).eps
        asked = self.tolerance * jnp.sqrt(2 * value * jnp.abs(hessian))
        return jnp.abs(gradient) <= asked + epsilon * jnp.sqrt(curvature * self.power)


def _best_start(law: Law, data: _Scaled, starts: Array) -> Scalars:
    """The start with the least projected squares, all looked at in one pass."""
    if len(starts) == 1:
        return list(starts[0])
    columns = [[data.root * c for c in basis_columns(law, x, data.features)] for x in starts]
    count = len(columns[0])
    pairs = [(i, j) for i in range(count) for j in range(i + 1)]
    terms = [c[i] * c[j] for c in columns for i, j in pairs]
    sums = list(sum_together(terms + [b * data.target for c in columns for b in c]))
    explained = []
    for k in range(len(columns)):
        entry = dict(zip(pairs, sums[k * len(pairs) :], strict=False))
        normal = [[entry[max(i, j), min(i, j)] for j in range(count)] for i in range(count)]
        moments = sums[len(columns) * len(pairs) + k * count :][:count]
        amplitudes = _amplitudes(normal, moments)
        explained.append(sum(a * m for a, m in zip(amplitudes, moments, strict=True)))
    best = jnp.argmax(jnp.nan_to_num(jnp.stack(explained), nan=-jnp.inf))
    return list(starts[best])


def _projected_terms(law: Law, data: _Scaled, exponents: Scalars) -> _Terms:
    """The formulas of `residual.projected_terms`, in scalars."""
    # Without the barrier every sum that needs the columns would compute their exponentials again.
    columns = jax.lax.optimization_barrier(_columns(law, data, jnp.stack(exponents)))
    products = inner_products([*columns, data.target])
    normal = [row[:-1] for row in products[:-1]]
    amplitudes = _amplitudes(normal, products[-1][:-1])
    slopes = _column_slopes(law, data, exponents, columns, amplitudes)
    rest = _weighted_sum(amplitudes, columns) - data.target
    return _eliminated(inner_products([*columns, *slopes, rest], normal), amplitudes)


def _columns(law: Law, data: _Scaled, x: Array) -> list[Array]:
    """The basis at exponents x, each (points,), scaled like the residuals."""
    return [data.root * c for c in basis_columns(law, x, data.features)]


def _column_slopes(
    law: Law, data: _Scaled, exponents: Scalars, columns: list[Array], amplitudes: Scalars
) -> list[Array]:
    """Derivatives of the scaled model in each exponent, each (points,)."""
    if not law.has_log_basis:
        return _slopes(lambda x: _weighted_sum(amplitudes, _columns(law, data, x)), exponents)[1]
    # As φ′ = φ·(log φ)′, the columns do for the slopes too.
    logs: Any = jax.vmap(law.log_basis, in_axes=(None, 0))
    slopes = _slopes(lambda x: logs(x, data.features), exponents)[1]
    return [
        _weighted_sum(amplitudes, [c * d for c, d in zip(columns, slope, strict=True)])
        for slope in slopes
    ]


def _weighted_sum(amplitudes: Scalars, columns: list[Array]) -> Array:
    terms = [a * c for a, c in zip(amplitudes, columns, strict=True)]
    return functools.reduce(jnp.add, terms)


def _full_terms(
    law: Law, points: Points, residual: Residual, huber: float | None, params: Scalars
) -> _Terms:
    """The formulas of `residual.full_terms`, in scalars."""
    count = len(law.amplitude_names)
    exponents, amplitudes = params[:-count], params[-count:]
    data = _Scaled(points.features, jnp.ones(()), points.loss)
    columns = jax.lax.optimization_barrier(_columns(law, data, jnp.stack(exponents)))
    slopes = [*_column_slopes(law, data, exponents, columns, amplitudes), *columns]
    predicted = _weighted_sum(amplitudes, columns)
    if residual == "log":
        rest, scale = jnp.log(predicted / points.loss), predicted
    else:
        scale = scale_of(residual, points.loss)
        rest = (predicted - points.loss) / scale
    pull, kept = points.weight * rest, points.weight
    if huber is not None:
        pull = points.weight * jnp.clip(rest, -huber, huber)
        # Newton's curvature, not that of reweighted squares, which takes many more steps.
        kept = jnp.where(jnp.abs(rest) <= huber, points.weight, 0.0)
    inverse = 1 / scale
    scaled = [slope * inverse for slope in slopes]
    size = range(len(slopes))
    pairs = [(i, j) for i in size for j in range(i + 1)]
    products = [kept * scaled[i] * scaled[j] for i, j in pairs]
    gradient = [pull * slope for slope in scaled]
    value, *sums = sum_together([points.weight * penalty(rest, huber), *gradient, *products])
    entry = dict(zip(pairs, sums[len(slopes) :], strict=True))
    return _Terms(
        value,
        sums[: len(slopes)],
        [[entry[max(i, j), min(i, j)] for j in size] for i in size],
        [entry[i, i] for i in size],
        amplitudes,
        jnp.array(True),
    )


def _slopes(model: Callable[[Array], Any], params: Scalars) -> tuple[Any, list[Any]]:
    """What a function gives, each (points,), and its derivatives in each parameter."""
    x = jnp.stack(params)
    # Constants of NumPy's, so that the compiler leaves out what is multiplied by 0.
    directions = np.eye(len(params), dtype=x.dtype)
    along = [jax.jvp(model, (x,), (direction,)) for direction in directions]
    return along[0][0], [slope for _, slope in along]


def _amplitudes(normal_matrix: Entries, moments: Scalars) -> Scalars:
    """Non-negative least squares, exact for two columns; for more, negative ones are dropped once.

    An amplitude wrongly dropped shows as a slope that is not flat, and is left to the plain loop.
    """
    solved = solve_entries(normal_matrix, moments)
    keep = [a > 0 for a in solved]
    size = range(len(moments))
    inside = _within(keep, normal_matrix)
    right = [jnp.where(k, m, 0.0) for k, m in zip(keep, moments, strict=True)]
    again = solve_entries(inside, right)
    whole = _all(keep)
    return [jnp.where(whole, solved[i], jnp.maximum(again[i], 0.0)) for i in size]


def _within(keep: Scalars, matrix: Entries) -> Entries:
    """The matrix where both are kept, the identity elsewhere."""
    size = range(len(keep))
    return [[jnp.where(keep[i] & keep[j], matrix[i][j], float(i == j)) for j in size] for i in size]


def _eliminated(products: Entries, amplitudes: Scalars) -> _Terms:
    """Take the free amplitudes out of the products of [basis, slopes, residual]."""
    basis = range(len(amplitudes))
    slopes = range(len(amplitudes), len(products) - 1)
    free = [a > 0 for a in amplitudes]
    normal = _within(free, [row[: len(amplitudes)] for row in products[: len(amplitudes)]])
    cross = {s: [jnp.where(free[i], products[i][s], 0.0) for i in basis] for s in slopes}
    taken = {s: solve_entries(normal, cross[s]) for s in slopes}

    def less(i: int, j: int) -> Array:
        return products[i][j] - sum(a * b for a, b in zip(cross[j], taken[i], strict=True))

    # A gradient in a dropped amplitude that points inwards means that it was dropped wrongly.
    right = [f | (products[-1][i] >= 0) for i, f in zip(basis, free, strict=True)]
    apart = _apart(normal, [n[i] for i, n in enumerate(normal)], 64)
    return _Terms(
        products[-1][-1] / 2,
        [products[s][-1] for s in slopes],
        [[less(max(i, j), min(i, j)) for j in slopes] for i in slopes],
        [products[s][s] for s in slopes],
        amplitudes,
        _all([*right, apart]),
    )


def _apart(matrix: Entries, scale: Scalars, roundings: int) -> Array:
    """() bool: every pivot of a matrix exceeds so many roundings of a scale."""
    size, least = range(len(matrix)), roundings * jnp.finfo(scale[0].dtype).eps
    rest = [list(row) for row in matrix]
    found = []
    for k in size:
        found.append(rest[k][k] > least * scale[k])
        for i in range(k + 1, len(matrix)):
            for j in range(k + 1, len(matrix)):
                rest[i][j] = rest[i][j] - rest[i][k] * rest[k][j] / rest[k][k]
    return _all(found)


def _search(
    terms_at: Callable[[Scalars], _Terms], start: Scalars, low: Scalars, high: Scalars,
    flatness: _Flatness, steps: ArrayLike,
) -> _State:  # fmt: skip
    """Damped Gauss-Newton within bounds until every free slope is flat, or for so many steps."""

    def step(state: _State) -> _State:
        tried = _step(state, low, high)
        return _better(state, tried, terms_at(tried))

    def unfinished(state: _State) -> Array:
        return (state.steps < steps) & ~_flat(state, low, high, flatness)

    first = [jnp.clip(x, a, b) for x, a, b in zip(start, low, high, strict=True)]
    damping = jnp.full_like(flatness.power, DAMPING)
    begin = _State(first, terms_at(first), damping, jnp.ones((), jnp.int32))
    return jax.lax.while_loop(unfinished, step, begin)


def _held(state: _State, low: Scalars, high: Scalars) -> Scalars:
    """Which parameters a bound holds."""
    return [
        jnp.where(g > 0, x <= least, x >= most)
        for x, g, least, most in zip(state.params, state.terms.gradient, low, high, strict=True)
    ]


def _flat(state: _State, low: Scalars, high: Scalars, flatness: _Flatness) -> Array:
    """Whether every free slope is as flat as the plain search asks for."""
    value, gradient, hessian, curvature = state.terms[:4]
    flat = [
        flatness.holds(value, g, hessian[i][i], c)
        for i, (g, c) in enumerate(zip(gradient, curvature, strict=True))
    ]
    return _all([h | f for h, f in zip(_held(state, low, high), flat, strict=True)])


def _settled(state: _State, low: Scalars, high: Scalars, flatness: _Flatness) -> Array:
    """Whether the search ended well: flat, and no exponent is left open by the others."""
    terms, held = state.terms, _held(state, low, high)
    free = _within([~h for h in held], terms.hessian)
    curvature = [jnp.where(h, 0.0, c) for h, c in zip(held, terms.curvature, strict=True)]
    known = [
        terms.hessian[i][i] > OPEN * jnp.finfo(c.dtype).eps * c
        for i, c in enumerate(terms.curvature)
    ]
    flat = _flat(state, low, high, flatness)
    return _all([flat, terms.sound, *known, _apart(free, curvature, OPEN)])


def _step(state: _State, low: Scalars, high: Scalars) -> Scalars:
    """−(H + λ·diag H)⁻¹ g on what no bound holds, clipped to the bounds."""
    free = [~held for held in _held(state, low, high)]
    gradient, hessian = state.terms.gradient, state.terms.hessian
    size = range(len(gradient))
    damped = [
        [hessian[i][j] * (1 + state.damping) if i == j else hessian[i][j] for j in size]
        for i in size
    ]
    right = [jnp.where(f, -g, 0.0) for f, g in zip(free, gradient, strict=True)]
    step = solve_entries(_within(free, damped), right)
    return [
        jnp.clip(x + jnp.where(jnp.isfinite(s), s, 0.0), least, most)
        for x, s, least, most in zip(state.params, step, low, high, strict=True)
    ]


def _better(state: _State, tried: Scalars, terms: _Terms) -> _State:
    slack = ROUNDING * jnp.finfo(terms.value.dtype).eps * jnp.abs(state.terms.value)
    accepted = terms.value <= state.terms.value + slack
    params, terms = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), (tried, terms),
        (state.params, state.terms),
    )  # fmt: skip
    damping = state.damping * jnp.where(accepted, DECREASE, INCREASE)
    return _State(params, terms, damping, state.steps + 1)


def _all(conditions: Scalars) -> Array:
    return functools.reduce(jnp.logical_and, conditions)


def _any(conditions: Scalars) -> Array:
    return functools.reduce(jnp.logical_or, conditions)
