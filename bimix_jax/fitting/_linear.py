"""The basis of a law at measured points, and its derivatives by the exponents.

A law with exponents per domain has many derivatives, and most laws of this kind see the mixture
through one number z, `Law.log_worth`. Then the derivative of the loss at a point p by exponent k is

    D_pk + h_p · ∂z/∂θ_k,

where h_p is the derivative by z, ∂z/∂θ is the same for all points of one mixture, and D_pk is 0 for
an exponent per domain. Of points (mixtures × slots) the products of all derivatives need the sums
of h² and h·D over the slots of a mixture, then only sums over mixtures: with 11 budgets a tenth of
the work.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.laws.law import Law
from bimix_jax.xla.small_systems import UNROLLED, gram

Factors = Sequence[Array]
"""Factors (points,) of every column of a basis."""


class Linear(NamedTuple):
    """A basis at some exponents, and the derivatives of Σ factor·column by each exponent."""

    columns: list[Array]
    """of the basis, each (points,)"""
    slopes: Callable[[Factors], list[Array]]
    """the derivatives: a list of (points,), or of one array (exponents, points)"""
    products: Callable[[Factors, list[Array]], Array]
    """inner products (columns, columns) of the derivatives and further columns (points,)"""


def basis_columns(law: Law, exponents: Array, features: Any) -> list[Array]:
    """The law's basis at every point: a list of (points,)."""
    return _columns(law.basis, _count(features), None)(exponents, features)


def combination(factors: Sequence[Array] | Array, columns: Sequence[Array]) -> Array:
    """(points,) sum of factors times columns."""
    return jnp.asarray(sum(a * c for a, c in zip(factors, columns, strict=True)))


def linearized(law: Law, exponents: Array, features: Any, slots: int = 1) -> Linear:
    """Differentiate the law's basis at every point.

    A few derivatives go forward, one by one. Many go backward where the law allows it.

    Args:
        law: the law.
        exponents: (exponents,).
        features: the law's features, each (points,).
        slots: every so many points in turn share a mixture.
    """
    few = len(exponents) <= UNROLLED // 2
    if few or not law.goes_backward or not _count(features):
        return _forward(law, exponents, features, few)
    if slots > 1 and law.has_log_worth:
        return _through_worth(law, exponents, features, slots)
    return _backward(law, exponents, features)


def _count(features: Any) -> int:
    return int(jax.tree.leaves(features)[0].shape[0])


def _columns(basis: Callable[..., Any], count: int, axis: int | None) -> Callable[..., Any]:
    """Compute a basis at every point, of exponents that may have an axis of points."""

    def columns(exponents: Array, features: Any) -> list[Array]:
        values = jax.vmap(basis, in_axes=(axis, 0))(exponents, features) if count else ()
        return [jnp.broadcast_to(v, (count,)).astype(exponents.dtype) for v in values]

    return columns


def _dense(columns: list[Array], slopes: Callable[[Factors], list[Array]]) -> Linear:
    return Linear(columns, slopes, lambda factors, others: gram([*slopes(factors), *others]))


def _forward(law: Law, exponents: Array, features: Any, few: bool) -> Linear:
    directions = jnp.eye(len(exponents), dtype=exponents.dtype)

    def along(direction: Array) -> list[Array]:
        return jax.jvp(lambda x: basis_columns(law, x, features), (exponents,), (direction,))[1]

    # Written out, many slopes would take longer to compile than to fit.
    each = [along(d) for d in directions] if few else [jax.vmap(along)(directions)]
    columns = basis_columns(law, exponents, features)
    return _dense(columns, lambda factors: [combination(factors, slopes) for slopes in each])


def _backward(law: Law, exponents: Array, features: Any) -> Linear:
    """All derivatives in one pass: every point has a copy of the exponents, so that the gradient of
    a sum over points holds the derivatives of each."""
    count = _count(features)
    columns_at = _columns(law.basis, count, 0)
    copies = jnp.broadcast_to(exponents, (count, len(exponents)))
    columns, pull = jax.vjp(lambda x: columns_at(x, features), copies)
    return _dense(columns, lambda factors: [pull(list(factors))[0].T])


def _through_worth(law: Law, exponents: Array, features: Any, slots: int) -> Linear:
    """The derivatives by z at every point, and those of z once per mixture."""
    count, named = _count(features), len(law.exponent_names)
    mixtures = count // slots
    copies = jnp.broadcast_to(exponents, (mixtures, len(exponents)))
    first = jax.tree.map(lambda leaf: leaf[::slots], features)
    worth, pull = jax.vjp(lambda x: jax.vmap(law.log_worth)(x, first), copies)
    of_worth = pull(jnp.ones_like(worth))[0].T

    def at_worth(params: Array, features: Any) -> Any:
        return law.basis_at(params[:-1], params[-1], features)

    columns_at = _columns(at_worth, count, 0)
    each = jnp.broadcast_to(exponents[:named], (count, named))
    params = jnp.column_stack([each, jnp.repeat(worth, slots, total_repeat_length=count)])
    columns, pull_point = jax.vjp(lambda x: columns_at(x, features), params)

    def parts(factors: Factors) -> tuple[Array, Array]:
        """D (named, points) and h (points,)."""
        found = pull_point(list(factors))[0].T
        return found[:-1], found[-1]

    def slopes(factors: Factors) -> list[Array]:
        direct, by_worth = parts(factors)
        every = by_worth * jnp.repeat(of_worth, slots, axis=1, total_repeat_length=count)
        return [every.at[:named].add(direct)]

    def products(factors: Factors, others: list[Array]) -> Array:
        direct, by_worth = parts(factors)
        rest = jnp.concatenate([direct, *(other[None] for other in others)])
        squares = jnp.sum((by_worth**2).reshape(mixtures, slots), axis=1)
        crossed = jnp.sum((by_worth * rest).reshape(len(rest), mixtures, slots), axis=2)
        beside = of_worth @ crossed.T
        place = np.r_[:named, len(exponents) : len(exponents) + len(others)]
        total = jnp.pad((squares * of_worth) @ of_worth.T, (0, len(others)))
        total = total.at[: len(exponents), place].add(beside)
        total = total.at[place, : len(exponents)].add(beside.T)
        return total.at[np.ix_(place, place)].add(rest @ rest.T)

    return Linear(columns, slopes, products)
