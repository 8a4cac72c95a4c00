"""Residuals of one target: their value, gradient and Gauss-Newton curvature.

Two views of the same least squares. `projected_terms` sees the exponents only, the amplitudes
being the best ones for them; it needs residuals linear in the amplitudes (relative or absolute,
no Huber). `full_terms` sees exponents and amplitudes and takes any residual.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting._projection import Projection, best_amplitudes, eliminate
from bimix_jax.laws.law import Law
from bimix_jax.xla import arrow
from bimix_jax.xla.arrow import Symmetric
from bimix_jax.xla.small_systems import UNROLLED, gram, sum_together

Residual = Literal["relative", "log", "absolute"]
RESIDUALS: tuple[Residual, ...] = ("relative", "log", "absolute")


class Points(NamedTuple):
    """Measured points of one target; rows that do not count have weight 0 and harmless values."""

    features: Any
    """the law's features, each (points,)"""
    loss: Array
    """(points,) > 0"""
    weight: Array
    """(points,) ≥ 0"""


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


def predict(law: Law, exponents: Array, amplitudes: Array | list[Array], features: Any) -> Array:
    """Losses (points,) of one target from features, each (points,)."""
    columns = basis_columns(law, exponents, features)
    return sum(a * c for a, c in zip(amplitudes, columns, strict=True))


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
    predicted = predict(law, exponents, amplitudes, points.features)
    rest = (predicted - points.loss) / scale_of(residual, points.loss)
    total, count, square = sum_together(
        [counted * jnp.abs(predicted / points.loss - 1), counted, points.weight * rest**2]
    )
    return Summary(total / count, count.astype(int), square)


def basis_columns(law: Law, exponents: Array, features: Any) -> list[Array]:
    """The law's basis at every point: a list of (points,)."""
    count = jax.tree.leaves(features)[0].shape[0]
    values = jax.vmap(law.basis, in_axes=(None, 0))(exponents, features) if count else ()
    return [jnp.broadcast_to(v, (count,)) for v in values]


def scale_of(residual: Residual, loss: Array) -> Array:
    """Divisor of a difference of losses, (points,)."""
    return jnp.ones_like(loss) if residual == "absolute" else loss


def power_of(points: Points, residual: Residual) -> Array:
    """() Σ w (y/scale)², the reference for a sum of squared residuals."""
    return jnp.sum(points.weight * (points.loss / scale_of(residual, points.loss)) ** 2)


def projected_terms(law: Law, points: Points, residual: Residual, exponents: Array) -> Terms:
    """Terms in the exponents (exponents,) at their best amplitudes (variable projection).

    Source: Golub & Pereyra 1973; the curvature is Kaufman's, JᵀJ with the amplitudes eliminated.
    """
    # Σ w ((ŷ − y)/scale)² = ‖root·ŷ − root·y‖²: plain least squares in root·basis.
    root = jnp.sqrt(points.weight) / scale_of(residual, points.loss)
    target = root * points.loss
    basis = [root * c for c in basis_columns(law, exponents, points.features)]
    projection = _best_amplitudes(law, basis, target)

    amplitudes = projection.amplitudes
    slopes = [root * slope for slope in _slopes_of_loss(law, exponents, amplitudes, points)]
    predicted = predict(law, exponents, amplitudes, points.features)
    products = gram([*slopes, *basis, root * predicted - target])
    return _eliminated(products, len(slopes), projection, power_of(points, residual))


def _best_amplitudes(law: Law, basis: list[Array], target: Array) -> Projection:
    # The value is stationary in the amplitudes, so its derivative must not look at them.
    products = jax.lax.stop_gradient(gram([*basis, target]))
    return best_amplitudes(products[:-1, :-1], products[:-1, -1], law.is_signed)


def _slopes_of_loss(law: Law, exponents: Array, amplitudes: Array, points: Points) -> list[Array]:
    """Derivatives of the predicted losses by each exponent, a list of (points,)."""

    def of_point(x: Array, features: Any) -> Array:
        return _loss_at(law, x, amplitudes, features)

    return _slopes(law, of_point, exponents, points.features)


def _loss_at(law: Law, exponents: Array, amplitudes: Array, features: Any) -> Array:
    """() loss predicted at one point."""
    columns = law.basis(exponents, features)
    return jnp.asarray(sum(a * c for a, c in zip(amplitudes, columns, strict=True)))


def _slopes(
    law: Law, of_point: Callable[[Array, Any], Array], params: Array, data: Any
) -> list[Array]:
    """Derivatives by each of the params (params,) at every point, a list of (points,).

    A few go forward, one by one. Many go backward where the law allows it, all in one pass: every
    point has a copy of the params, so that the gradient of the sum holds the derivatives of each.
    """
    few = len(params) <= UNROLLED // 2
    if few or not law.goes_backward:
        directions = jnp.eye(len(params), dtype=params.dtype)

        def along(direction: Array) -> Array:
            each = jax.vmap(of_point, in_axes=(None, 0))
            return jax.jvp(lambda x: each(x, data), (params,), (direction,))[1]

        # Written out, many slopes would take longer to compile than to fit.
        return [along(d) for d in directions] if few else list(jax.vmap(along)(directions))
    count = jax.tree.leaves(data)[0].shape[0]
    # Loss k depends on column k of the copies alone, so the gradient of the sum has no cross terms.
    copies = jnp.broadcast_to(params[:, None], (len(params), count))
    total = jax.grad(lambda x: jnp.sum(jax.vmap(of_point, in_axes=(1, 0))(x, data)))
    return list(total(copies))


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
        curvature=jnp.diag(products[slopes, slopes]),
        power=power,
        projection=projection,
    )


def determined(law: Law, points: Points, exponents: Array, amplitudes: Array) -> Array:
    """(exponents,) bool: the relative residual depends on it beyond the amplitudes."""
    root = jnp.sqrt(points.weight) / points.loss
    basis = [root * c for c in basis_columns(law, exponents, points.features)]
    slopes = [root * slope for slope in _slopes_of_loss(law, exponents, amplitudes, points)]
    # All amplitudes count as free, so that what remains is not explained by any of them.
    everything = Projection(amplitudes, jnp.ones(len(basis), bool), jnp.array(False))
    terms = _eliminated(gram([*slopes, *basis, root]), len(slopes), everything, jnp.zeros(()))
    return arrow.diagonal(terms.hessian) > 1000 * jnp.finfo(root.dtype).eps * terms.curvature


def residuals(law: Law, points: Points, residual: Residual, params: Array) -> Array:
    """Unweighted residuals (points,) at params = exponents, then amplitudes."""
    exponents, amplitudes = split_parameters(law, params)
    loss = predict(law, exponents, amplitudes, points.features)
    return _residual(residual, loss, points.loss)


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


def full_terms(
    law: Law, points: Points, residual: Residual, huber: float | None, params: Array
) -> Terms:
    """Terms in exponents and amplitudes together; Huber by iteratively reweighted squares."""
    rest = residuals(law, points, residual, params)

    def of_point(x: Array, point: tuple[Any, Array]) -> Array:
        features, loss = point
        return _residual(residual, _loss_at(law, *split_parameters(law, x), features), loss)

    slopes = _slopes(law, of_point, params, (points.features, points.loss))
    # Huber's gradient is w·trust·ρ·J, so squares with weights w·trust have the same gradient.
    trust = 1.0 if huber is None else jnp.minimum(1.0, huber / jnp.maximum(jnp.abs(rest), huber))
    root = jnp.sqrt(points.weight * trust)
    products = gram([*(root * slope for slope in slopes), root * rest])
    everything = jnp.ones(len(law.amplitude_names), bool)
    return Terms(
        value=jnp.sum(points.weight * penalty(rest, huber)),
        gradient=products[:-1, -1],
        hessian=products[:-1, :-1],
        curvature=jnp.diag(products[:-1, :-1]),
        power=power_of(points, residual),
        projection=Projection(split_parameters(law, params)[1], everything, jnp.array(False)),
    )
