"""Residuals of one target: their value, gradient and Gauss-Newton curvature.

Two views of the same least squares. `projected_terms` sees the exponents only, the amplitudes
being the best ones for them; it needs residuals linear in the amplitudes (relative or absolute,
no Huber). `full_terms` sees exponents and amplitudes and takes any residual.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting._linear import basis_columns, combination, linearized
from bimix_jax.fitting._projection import Projection, best_amplitudes, eliminate
from bimix_jax.laws.law import Law
from bimix_jax.xla import arrow
from bimix_jax.xla.arrow import Symmetric
from bimix_jax.xla.small_systems import diagonal_of, gram, rows_of, sum_together

Residual = Literal["relative", "log", "absolute"]
RESIDUALS: tuple[Residual, ...] = ("relative", "log", "absolute")


class Points(NamedTuple):
    """Measured points of one target; rows that do not count have weight 0 and harmless values.

    Every array is of points: (points, …), or (slots, mixtures, …) on a grid.
    """

    features: Any
    """the law's features"""
    loss: Array
    """> 0"""
    weight: Array
    """≥ 0"""

    @property
    def slots(self) -> int:
        """Slots of the grid, 1 for none."""
        return self.loss.shape[0] if self.loss.ndim > 1 else 1


class Terms(NamedTuple):
    """A sum of squares at some parameters, before bounds apply."""

    value: Array
    """() ½ Σ w ρ², or its Huber form"""
    gradient: Array
    hessian: Symmetric
    """(parameters, parameters), an arrow for targets that share parameters"""
    curvature: Array
    """(parameters,) diagonal of JᵀJ before the amplitudes are eliminated"""
    power: Array
    """() Σ of the squared targets: rounding errors are relative to it"""
    projection: Projection


def needs_full(residual: Residual, huber: float | None) -> bool:
    """True where residuals are not linear in the amplitudes, so that projection only starts."""
    return residual == "log" or huber is not None


def predict(
    law: Law,
    exponents: Array,
    amplitudes: Array | list[Array],
    features: Any,
    slots: int = 1,
) -> Array:
    """Losses of one target at points, on a grid if there are several slots."""
    return law.total(amplitudes, basis_columns(law, exponents, features, slots))


def mean_relative_error(law: Law, points: Points, exponents: Array, amplitudes: Array) -> Array:
    """() mean |ŷ/y − 1| over the points whose weight is above 0, nan without any."""
    return summary(law, points, "relative", exponents, amplitudes).error


class Summary(NamedTuple):
    """Sums over the points of a fit, from one pass."""

    error: Array
    """() mean |ŷ/y − 1| over the points whose weight is above 0, nan without any"""
    points: Array
    """() number of those points"""
    square: Array
    """() Σ w ((ŷ − y)/scale)²"""


def summary(
    law: Law, points: Points, residual: Residual, exponents: Array, amplitudes: Array
) -> Summary:
    """Compute the sums at a fit's coefficients; residuals are absolute or relative."""
    counted = (points.weight > 0).astype(points.loss.dtype)
    predicted = predict(law, exponents, amplitudes, points.features, points.slots)
    rest = (predicted - points.loss) / scale_of(residual, points.loss)
    terms = [counted * jnp.abs(predicted / points.loss - 1), counted, points.weight * rest**2]
    total, count, square = sum_together(terms, tuple(range(counted.ndim)))
    return Summary(total / count, count.astype(int), square)


def scale_of(residual: Residual, loss: Array) -> Array:
    """Divisor of a difference of losses, of their shape."""
    return jnp.ones_like(loss) if residual == "absolute" else loss


def power_of(points: Points, residual: Residual) -> Array:
    """() Σ w (y/scale)², the reference for a sum of squared residuals."""
    return jnp.sum(points.weight * (points.loss / scale_of(residual, points.loss)) ** 2)


def projected_terms(law: Law, points: Points, residual: Residual, exponents: Array) -> Terms:
    """Terms in the exponents (exponents,) at their best amplitudes (variable projection).

    Source: Golub & Pereyra 1973; the curvature is Kaufman's, JᵀJ with the amplitudes eliminated.
    """
    linear = linearized(law, exponents, points.features, points.slots)
    root, basis, projection, rest = _projection(law, points, residual, linear.columns)
    factors = [root * amplitude for amplitude in projection.amplitudes]
    products = linear.products(factors, [*basis, rest])
    return _eliminated(products, len(exponents), projection, power_of(points, residual))


def projected_value(law: Law, points: Points, residual: Residual, exponents: Array) -> Array:
    """() the value of `projected_terms` alone, which takes a tenth of the time or less."""
    columns = basis_columns(law, exponents, points.features, points.slots)
    return jnp.sum(_projection(law, points, residual, columns)[-1] ** 2) / 2


def _projection(
    law: Law, points: Points, residual: Residual, columns: list[Array]
) -> tuple[Array, list[Array], Projection, Array]:
    """Root of the weights, the weighted basis, its best amplitudes, and the residuals."""
    # Σ w ((ŷ − y)/scale)² = ‖root·ŷ − root·y‖²: plain least squares in root·basis.
    root = jnp.sqrt(points.weight) / scale_of(residual, points.loss)
    target, basis = root * points.loss, [root * c for c in columns]
    # The value is stationary in the amplitudes, so its derivative must not look at them.
    known = jax.lax.stop_gradient(gram([*basis, target]))
    projection = best_amplitudes(known[:-1, :-1], known[:-1, -1], law.is_signed)
    return root, basis, projection, combination(projection.amplitudes, basis) - target


def _eliminated(products: Array, count: int, projection: Projection, power: Array) -> Terms:
    """Split the products of [slopes, basis, residual] and eliminate the free amplitudes."""
    slopes, basis = slice(0, count), slice(count, -1)
    taken, correction = eliminate(
        products[basis, basis], products[basis, slopes], products[basis, -1], projection.free
    )
    return Terms(
        value=products[-1, -1] / 2,
        gradient=products[slopes, -1] - correction,
        hessian=products[slopes, slopes] - taken,
        curvature=diagonal_of(products[slopes, slopes]),
        power=power,
        projection=projection,
    )


def determined(law: Law, points: Points, exponents: Array, amplitudes: Array) -> Array:
    """(named exponents,) bool: the relative residual depends on it beyond the amplitudes."""
    root = jnp.sqrt(points.weight) / points.loss
    named, others = jnp.split(exponents, [len(law.exponent_names)])

    def columns_at(named: Array) -> list[Array]:
        each = jnp.concatenate([named, others])
        return basis_columns(law, each, points.features, points.slots)

    columns, along = jax.linearize(columns_at, named)
    slopes = jax.vmap(lambda direction: combination(amplitudes, along(direction)))
    rows = rows_of(
        [root * slopes(jnp.eye(len(named), dtype=root.dtype)), *(root * c for c in columns), root]
    )
    # All amplitudes count as free, so that what remains is not explained by any of them.
    everything = Projection(amplitudes, jnp.ones(len(columns), bool), jnp.array(False))
    terms = _eliminated(rows @ rows.T, len(named), everything, jnp.zeros(()))
    return arrow.diagonal(terms.hessian) > 1000 * jnp.finfo(root.dtype).eps * terms.curvature


def residuals(law: Law, points: Points, residual: Residual, params: Array) -> Array:
    """Unweighted residuals of points at params = exponents, then amplitudes."""
    exponents, amplitudes = split_parameters(law, params)
    predicted = predict(law, exponents, amplitudes, points.features, points.slots)
    return _residual(residual, predicted, points.loss)


def _residual(residual: Residual, predicted: Array, measured: Array) -> Array:
    if residual == "log":
        return jnp.log(predicted) - jnp.log(measured)
    return (predicted - measured) / scale_of(residual, measured)


def split_parameters(law: Law, params: Array) -> tuple[Array, Array]:
    """Exponents and amplitudes of (exponents + amplitudes,) parameters."""
    count = len(law.amplitude_names)
    return params[:-count], params[-count:]


def penalty(rest: Array, huber: float | None) -> Array:
    """½ρ², or Huber's linear tails beyond |ρ| = huber, elementwise."""
    if huber is None:
        return rest**2 / 2
    size = jnp.abs(rest)
    return jnp.where(size <= huber, rest**2 / 2, huber * (size - huber / 2))


def full_value(
    law: Law, points: Points, residual: Residual, huber: float | None, params: Array
) -> Array:
    """() Σ w · penalty at params = exponents, then amplitudes; smooth in params and points."""
    return jnp.sum(points.weight * penalty(residuals(law, points, residual, params), huber))


def full_columns(
    law: Law, points: Points, residual: Residual, huber: float | None, params: Array
) -> tuple[list[Array], Array]:
    """Weighted derivatives by all params and residuals; Huber by iteratively reweighted squares.

    The first result is a list of the derivatives, then the residuals, as `rows_of` takes them; the
    second is each point's part of the value.
    """
    exponents, amplitudes = split_parameters(law, params)
    linear = linearized(law, exponents, points.features, points.slots)
    predicted = combination(amplitudes, linear.columns)
    rest = _residual(residual, predicted, points.loss)
    # Huber's gradient is w·trust·ρ·J, so squares with weights w·trust have the same gradient.
    trust = 1.0 if huber is None else jnp.minimum(1.0, huber / jnp.maximum(jnp.abs(rest), huber))
    root = jnp.sqrt(points.weight * trust)
    # Times the derivative of the residual by the prediction.
    scaled = root / (predicted if residual == "log" else scale_of(residual, points.loss))
    slopes = linear.slopes([scaled * amplitude for amplitude in amplitudes])
    every = [*slopes, *(scaled * c for c in linear.columns), root * rest]
    return every, points.weight * penalty(rest, huber)


def full_terms(
    law: Law, points: Points, residual: Residual, huber: float | None, params: Array
) -> Terms:
    """Terms in exponents and amplitudes together."""
    columns, penalties = full_columns(law, points, residual, huber, params)
    products = gram(columns)
    everything = jnp.ones(len(law.amplitude_names), bool)
    return Terms(
        value=jnp.sum(penalties),
        gradient=products[:-1, -1],
        hessian=products[:-1, :-1],
        curvature=diagonal_of(products[:-1, :-1]),
        power=power_of(points, residual),
        projection=Projection(split_parameters(law, params)[1], everything, jnp.array(False)),
    )
