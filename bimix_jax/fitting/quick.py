"""The lean search for batches: finds where the plain search will end, which then has little to do.

The plain loop (`solve.py`) carries whatever an optimizer, a restraint or tied exponents may need.
Here is the one case that batches are made of, damped Gauss-Newton on the projected squares of one
target, in scalars instead of small arrays: XLA fuses scalars of a batch into a few loops, but makes
a copy of every small matrix that is put together. Nothing is decided here. The plain search starts
where this one ended, evaluates that point and gives the verdict, or goes on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.linear_algebra import Entries, inner_products, solve_entries
from bimix_jax.fitting.residual import Points, Residual, basis_columns, predict, scale_of
from bimix_jax.fitting.solve import ROUNDING
from bimix_jax.laws.law import Law

STEPS = 12
"""Most evaluations here; 5 are usual, and the few fits that need more go on in the plain loop."""
DAMPING, DECREASE, INCREASE = 1e-3, 0.1, 8.0
"""As in `gauss_newton`."""
LARGEST = 4
"""Most exponents or amplitudes; with more, scalars take long to compile."""


class _Terms(NamedTuple):
    """The sum of squares at some exponents, in scalars."""

    value: Array
    gradient: list[Array]
    hessian: Entries
    noise: list[Array]
    """per exponent: the part of its gradient that may be rounding"""


class _State(NamedTuple):
    exponents: list[Array]
    """the best so far"""
    terms: _Terms
    damping: Array
    steps: Array


class QuickSearch(NamedTuple):
    """The search for the points of one target; `residual` is "relative" or "absolute"."""

    law: Law
    points: Points
    residual: Residual

    def values(self, starts: Array) -> Array:
        """(starts,) least projected squares, halved, at exponents (starts, exponents)."""
        values = jnp.stack([self._terms(list(start)).value for start in starts])
        return jnp.where(jnp.isfinite(values), values, jnp.inf)

    def run(self, start: Array, lower: Array, upper: Array, tolerance: float) -> Array:
        """Exponents (exponents,) near the least projected squares, from a start within bounds.

        Stops where the plain search would, max|g_i|/√(2·value·H_ii) ≤ tolerance, or after `STEPS`.
        """
        low, high = list(lower), list(upper)

        def step(state: _State) -> _State:
            tried = _step(state, low, high)
            return _better(state, tried, self._terms(tried))

        def unfinished(state: _State) -> Array:
            return (state.steps < STEPS) & ~_settled(state, low, high, tolerance)

        first = list(jnp.clip(start, lower, upper))
        damping = jnp.full((), DAMPING, start.dtype)
        begin = _State(first, self._terms(first), damping, jnp.ones((), jnp.int32))
        return jnp.stack(jax.lax.while_loop(unfinished, step, begin).exponents)

    def _terms(self, exponents: list[Array]) -> _Terms:
        """The formulas of `projected_terms`, in scalars."""
        law, points, x = self.law, self.points, jnp.stack(exponents)
        root = jnp.sqrt(points.weight) / scale_of(self.residual, points.loss)
        target = root * points.loss
        basis = [root * column for column in basis_columns(law, x, points.features)]
        products = inner_products([*basis, target])
        normal = [row[:-1] for row in products[:-1]]
        amplitudes = _amplitudes(normal, products[-1][:-1])

        def model(x: Array) -> Array:
            return root * predict(law, x, amplitudes, points.features)

        directions = jnp.eye(len(x), dtype=x.dtype)
        slopes = [jax.jvp(model, (x,), (direction,))[1] for direction in directions]
        products = inner_products([*basis, *slopes, model(x) - target], normal)
        power = jnp.sum(target * target)
        return _eliminated(products, amplitudes, power, len(target))


def _amplitudes(normal_matrix: Entries, moments: list[Array]) -> list[Array]:
    """Non-negative least squares, exact for two columns; for more, negative ones are dropped once.

    That is enough for a search whose end the plain one examines.
    """
    solved = solve_entries(normal_matrix, moments)
    return _without([a > 0 for a in solved], normal_matrix, moments)


def _without(keep: list[Array], matrix: Entries, right: list[Array]) -> list[Array]:
    """Solve on the columns that are kept, 0 on the others."""
    size = range(len(right))
    inside = [
        [jnp.where(keep[i] & keep[j], matrix[i][j], float(i == j)) for j in size] for i in size
    ]
    solution = solve_entries(
        inside, [jnp.where(k, r, 0.0) for k, r in zip(keep, right, strict=True)]
    )
    return [jnp.maximum(x, 0.0) for x in solution]


def _eliminated(products: Entries, amplitudes: list[Array], power: Array, points: int) -> _Terms:
    """Take the free amplitudes out of the products of [basis, slopes, residual]."""
    count = len(amplitudes)
    basis, slopes = range(count), range(count, len(products) - 1)
    free = [a > 0 for a in amplitudes]
    normal = [
        [jnp.where(free[i] & free[j], products[i][j], float(i == j)) for j in basis] for i in basis
    ]
    cross = {s: [jnp.where(free[i], products[i][s], 0.0) for i in basis] for s in slopes}
    taken = {s: solve_entries(normal, cross[s]) for s in slopes}
    epsilon = (16 + points**0.5) * jnp.finfo(power.dtype).eps

    def less(i: int, j: int) -> Array:
        return products[i][j] - sum(a * b for a, b in zip(cross[j], taken[i], strict=True))

    return _Terms(
        products[-1][-1] / 2,
        [products[s][-1] for s in slopes],
        [[less(max(i, j), min(i, j)) for j in slopes] for i in slopes],
        [epsilon * jnp.sqrt(products[s][s] * power) for s in slopes],
    )


def _held(state: _State, low: list[Array], high: list[Array]) -> list[Array]:
    """Which exponents a bound holds."""
    return [
        jnp.where(g > 0, x <= least, x >= most)
        for x, g, least, most in zip(state.exponents, state.terms.gradient, low, high, strict=True)
    ]


def _settled(state: _State, low: list[Array], high: list[Array], tolerance: float) -> Array:
    """Whether every free slope is as flat as the plain search asks for."""
    value, gradient, hessian, noise = state.terms
    flat = [
        held | (jnp.abs(g) <= tolerance * jnp.sqrt(2 * value * jnp.abs(h[i])) + n)
        for i, (held, g, h, n) in enumerate(
            zip(_held(state, low, high), gradient, hessian, noise, strict=True)
        )
    ]
    settled = flat[0]
    for other in flat[1:]:
        settled &= other
    return settled


def _step(state: _State, low: list[Array], high: list[Array]) -> list[Array]:
    """−(H + λ·diag H)⁻¹ g on what no bound holds, clipped to the bounds."""
    free = [~held for held in _held(state, low, high)]
    gradient, hessian = state.terms.gradient, state.terms.hessian
    size = range(len(gradient))
    damped = [
        [
            jnp.where(free[i] & free[j], hessian[i][j] * (1 + state.damping * (i == j)), i == j)
            for j in size
        ]
        for i in size
    ]
    step = solve_entries(
        damped, [jnp.where(f, -g, 0.0) for f, g in zip(free, gradient, strict=True)]
    )
    return [
        jnp.clip(x + jnp.where(jnp.isfinite(s), s, 0.0), least, most)
        for x, s, least, most in zip(state.exponents, step, low, high, strict=True)
    ]


def _better(state: _State, tried: list[Array], terms: _Terms) -> _State:
    slack = ROUNDING * jnp.finfo(terms.value.dtype).eps * jnp.abs(state.terms.value)
    accepted = terms.value <= state.terms.value + slack
    exponents, terms = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), (tried, terms),
        (state.exponents, state.terms),
    )  # fmt: skip
    damping = state.damping * jnp.where(accepted, DECREASE, INCREASE)
    return _State(exponents, terms, damping, state.steps + 1)
