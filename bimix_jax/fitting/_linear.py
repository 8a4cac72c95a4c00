"""The basis of a law at measured points, and its derivatives by the exponents.

A law with exponents per domain has many derivatives, and most laws of this kind see the mixture
through one number z, `Law.log_worth`. Then the derivative of the loss at a point p by exponent k is

    D_pk + h_p · ∂z/∂θ_k,

where h_p is the derivative by z, ∂z/∂θ is the same for all points of one mixture, and D_pk is 0 for
an exponent per domain. The points of such a law lie on a grid (slots, mixtures): every slot has a
point of each mixture. The products of all derivatives need the sums of h² and h·D over the slots of
a mixture, then only sums over mixtures: with 11 budgets a tenth of the work. What depends on the
mixture alone is computed once for all slots, and loops over mixtures vectorise, which loops that
repeat a number for every point do not.

Arrays "of points" have the shape (points,), or (slots, mixtures) on a grid.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.laws.law import Law
from bimix_jax.xla.small_systems import UNROLLED, gram

Factors = Sequence[Array]
"""Factors, of points, of every column of a basis."""


class Linear(NamedTuple):
    """A basis at some exponents, and the derivatives of Σ factor·column by each exponent."""

    columns: list[Array]
    """of the basis, each of points"""
    slopes: Callable[[Factors], list[Array]]
    """the derivatives: a list of arrays of points, or of one with an axis of exponents before"""
    products: Callable[[Factors, list[Array]], Array]
    """inner products (columns, columns) of the derivatives and further columns, of points"""


def on_grid(arrays: Any, slots: int) -> Any:
    """Arrays (points, …), of which point p has mixture p mod mixtures, on a grid of some slots."""
    if slots <= 1:
        return arrays
    return jax.tree.map(lambda leaf: leaf.reshape(slots, -1, *leaf.shape[1:]), arrays)


def basis_columns(law: Law, exponents: Array, features: Any, slots: int = 1) -> list[Array]:
    """The law's basis at every point, a list; features of several slots are on a grid."""
    if slots > 1:
        worth = jax.vmap(law.log_worth, in_axes=(None, 0))(exponents, _of_mixtures(features))
        return _at_worth(law, features)(exponents, worth)
    return _columns(law.basis, _count(features), None)(exponents, features)


def combination(factors: Sequence[Array] | Array, columns: Sequence[Array]) -> Array:
    """Sum of factors times columns, of points."""
    return jnp.asarray(sum(a * c for a, c in zip(factors, columns, strict=True)))


def linearized(law: Law, exponents: Array, features: Any, slots: int = 1) -> Linear:
    """Differentiate the law's basis at every point.

    A few derivatives go forward, one by one. Many go backward where the law allows it.

    Args:
        law: the law; with several slots one that has a `log_worth`.
        exponents: (exponents,).
        features: the law's features, each of points.
        slots: of the grid of points, 1 for none.
    """
    few = len(exponents) <= UNROLLED // 2
    if few or not law.goes_backward or not _count(features):
        return _forward(law, exponents, features, few, slots)
    if slots > 1:
        return _through_worth(law, exponents, features)
    return _backward(law, exponents, features)


def _count(features: Any) -> int:
    return int(jax.tree.leaves(features)[0].shape[0])


def _of_mixtures(features: Any) -> Any:
    """Features (mixtures, …) of the points of the first slot."""
    return jax.tree.map(lambda leaf: leaf[0], features)


def _at_worth(law: Law, features: Any) -> Callable[[Array, Array], list[Array]]:
    """The basis (slots, mixtures) at exponents and worths (mixtures,)."""
    of_slot = jax.vmap(law.basis_at, in_axes=(None, 0, 0))
    of_all = jax.vmap(of_slot, in_axes=(None, None, 0))

    def columns(exponents: Array, worth: Array) -> list[Array]:
        return [v.astype(exponents.dtype) for v in of_all(exponents, worth, features)]

    return columns


def _columns(basis: Callable[..., Any], count: int, axis: int | None) -> Callable[..., Any]:
    """Compute a basis at every point, of exponents that may have an axis of points."""

    def columns(exponents: Array, features: Any) -> list[Array]:
        values = jax.vmap(basis, in_axes=(axis, 0))(exponents, features) if count else ()
        return [jnp.broadcast_to(v, (count,)).astype(exponents.dtype) for v in values]

    return columns


def _dense(columns: list[Array], slopes: Callable[[Factors], list[Array]]) -> Linear:
    return Linear(columns, slopes, lambda factors, others: gram([*slopes(factors), *others]))


def _forward(law: Law, exponents: Array, features: Any, few: bool, slots: int) -> Linear:
    directions = jnp.eye(len(exponents), dtype=exponents.dtype)

    def along(direction: Array) -> list[Array]:
        columns_at = functools.partial(basis_columns, law, features=features, slots=slots)
        return jax.jvp(columns_at, (exponents,), (direction,))[1]

    # Written out, many slopes would take longer to compile than to fit.
    each = [along(d) for d in directions] if few else [jax.vmap(along)(directions)]
    columns = basis_columns(law, exponents, features, slots)
    return _dense(columns, lambda factors: [combination(factors, slopes) for slopes in each])


def _backward(law: Law, exponents: Array, features: Any) -> Linear:
    """All derivatives in one pass: every point has a copy of the exponents, so that the gradient of
    a sum over points holds the derivatives of each."""
    count = _count(features)
    columns_at = _columns(law.basis, count, 0)
    copies = jnp.broadcast_to(exponents, (count, len(exponents)))
    columns, pull = jax.vjp(lambda x: columns_at(x, features), copies)
    return _dense(columns, lambda factors: [pull(list(factors))[0].T])


def _through_worth(law: Law, exponents: Array, features: Any) -> Linear:
    """The derivatives by z at every point of a grid, and those of z once per mixture."""
    named, first = len(law.exponent_names), _of_mixtures(features)
    mixtures = _count(first)
    copies = jnp.broadcast_to(exponents, (mixtures, len(exponents)))
    worth, pull = jax.vjp(lambda x: jax.vmap(law.log_worth)(x, first), copies)
    of_worth = pull(jnp.ones_like(worth))[0].T
    columns, along = jax.linearize(_at_worth(law, features), exponents[:named], worth)
    still, unmoved = jnp.zeros_like(worth), jnp.zeros(named, worth.dtype)
    directions = jnp.eye(named, dtype=worth.dtype)
    by_named = jax.vmap(along, in_axes=(0, None))(directions, still)
    by_z = along(unmoved, jnp.ones_like(worth))

    def parts(factors: Factors) -> tuple[Array, Array]:
        """D (named, slots, mixtures) and h."""
        return combination(factors, by_named), combination(factors, by_z)

    def slopes(factors: Factors) -> list[Array]:
        direct, by_worth = parts(factors)
        beside = jnp.zeros((len(exponents) - named, *by_worth.shape), by_worth.dtype)
        return [by_worth * of_worth[:, None] + jnp.concatenate([direct, beside])]

    def apart(sums: Array, axis: int) -> Array:
        """Put 0 between the named exponents and the other columns; a scatter would be a loop."""
        direct, others = jnp.split(sums, [named], axis)
        shape = [*sums.shape]
        shape[axis] = len(exponents) - named
        return jnp.concatenate([direct, jnp.zeros(shape, sums.dtype), others], axis)

    def products(factors: Factors, others: list[Array]) -> Array:
        direct, by_worth = parts(factors)
        squares = _over_slots(by_worth**2)
        crossed = [_over_slots(by_worth * direct)]
        crossed += [_over_slots(by_worth * column)[None] for column in others]
        # One product, as a narrow one alone takes as long as a wide one.
        both = of_worth @ jnp.concatenate([squares * of_worth, *crossed]).T
        by_worth_alone, beside = jnp.split(both, [len(exponents)], 1)
        beside = jnp.pad(apart(beside, 1), ((0, len(others)), (0, 0)))
        total = jnp.pad(by_worth_alone, (0, len(others)))
        return total + beside + beside.T + apart(apart(gram([*direct, *others]), 0), 1)

    return Linear(columns, slopes, products)


def _over_slots(values: Array) -> Array:
    """Sums (…, mixtures) over the slots of (…, slots, mixtures), half of them to the other half:
    XLA adds whole rows at a time so, and number by number in a sum."""
    slots = values.shape[-2]
    if slots == 1:
        return values[..., 0, :]
    half = slots // 2
    added = values[..., :half, :] + values[..., half : 2 * half, :]
    return _over_slots(added) + values[..., -1, :] if slots % 2 else _over_slots(added)
