"""Log losses of runs that share their budgets, summed by budget: one point a budget is searched.

Of a separable law log L = −θ₀·x + g(budget), where x depends on the mixture only, all runs have the
same g at a budget. So squared residuals are those of the mean run at every budget, and what the
runs' differences from it leave, which is a parabola in θ₀: exact for any weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bimix_jax.fitting.kernel.terms import Terms, norm_of
from bimix_jax.fitting.residual import Points, Summary, predict
from bimix_jax.laws.law import Law
from bimix_jax.xla.logarithm import log
from bimix_jax.xla.small_systems import sum_together


class Within(NamedTuple):
    """½·curvature·(θ₀ − centre)² + ½·least: what differences within budgets add to the squares."""

    curvature: Array
    centre: Array
    least: Array

    def added(self, terms: Terms, exponent: Array) -> Terms:
        """To the terms of the mean run, at θ₀ = exponent."""
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
    """the mean run, a point a budget"""
    within: Within
    weight: Array
    """(runs, levels)"""
    x: Array
    """(runs, levels) difference from the mean"""
    log_loss: Array
    """(runs, levels) difference from the mean"""

    @classmethod
    def of(cls, points: Points, log_loss: Array, levels: int) -> "Collapsed":
        """Points that go run after run, each at the same `levels` budgets in the same order.

        Those without a loss have no weight and any budget. The law's first feature is x.
        """
        weight, x, logs = (
            leaf.reshape(-1, levels) for leaf in (points.weight, points.features[0], log_loss)
        )
        # Sums that are not asked for together with others go to slower loops.
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
