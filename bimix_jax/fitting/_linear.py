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


def basis_columns(law: Law, exponents: Array, features: Any, slots: int = 1) -> list[Array]:
    """The law's basis at every point: a list of (points,); every `slots` points share a mixture."""
    count = _count(features)
    if slots == 1 or not law.has_log_worth:
        return _columns(law.basis, count, None)(exponents, features)
    worth = jax.vmap(law.log_worth, in_axes=(None, 0))(exponents, _of_mixtures(features, slots))
    each = _of_points(worth, slots), features
    return _columns(lambda x, seen: law.basis_at(x, *seen), count, None)(exponents, each)


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


def _of_mixtures(features: Any, slots: int) -> Any:
    """Features of the first point of every mixture."""
    return jax.tree.map(lambda leaf: leaf[::slots], features)


def _of_points(of_mixture: Array, slots: int) -> Array:
    """(…, points) from (…, mixtures)."""
    return jnp.repeat(of_mixture, slots, axis=-1)


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
    first = _of_mixtures(features, slots)
    worth, pull = jax.vjp(lambda x: jax.vmap(law.log_worth)(x, first), copies)
    of_worth = pull(jnp.ones_like(worth))[0].T

    def at_worth(params: Array, features: Any) -> Any:
        return law.basis_at(params[:-1], params[-1], features)

    columns_at = _columns(at_worth, count, 0)
    each = jnp.broadcast_to(exponents[:named], (count, named))
    params = jnp.column_stack([each, _of_points(worth, slots)])
    columns, pull_point = jax.vjp(lambda x: columns_at(x, features), params)

    def parts(factors: Factors) -> tuple[Array, Array]:
        """D (named, points) and h (points,)."""
        found = pull_point(list(factors))[0].T
        return found[:-1], found[-1]

    def slopes(factors: Factors) -> list[Array]:
        direct, by_worth = parts(factors)
        every = by_worth * _of_points(of_worth, slots)
        return [every + jnp.pad(direct, ((0, len(exponents) - named), (0, 0)))]

    def apart(sums: Array, axis: int) -> Array:
        """Put 0 between the named exponents and the other columns; a scatter would be a loop."""
        direct, others = jnp.split(sums, [named], axis)
        shape = [*sums.shape]
        shape[axis] = len(exponents) - named
        return jnp.concatenate([direct, jnp.zeros(shape, sums.dtype), others], axis)

    def products(factors: Factors, others: list[Array]) -> Array:
        direct, by_worth = parts(factors)
        rest = jnp.concatenate([direct, *(other[None] for other in others)])
        squares = jnp.sum((by_worth**2).reshape(mixtures, slots), axis=1)
        crossed = jnp.sum((by_worth * rest).reshape(len(rest), mixtures, slots), axis=2)
        # One product, as a narrow one alone takes as long as a wide one.
        both = of_worth @ jnp.concatenate([squares * of_worth, crossed]).T
        by_worth_alone, beside = jnp.split(both, [len(exponents)], 1)
        beside = jnp.pad(apart(beside, 1), ((0, len(others)), (0, 0)))
        total = jnp.pad(by_worth_alone, (0, len(others)))
        return total + beside + beside.T + apart(apart(rest @ rest.T, 0), 1)

    return Linear(columns, slopes, products)
