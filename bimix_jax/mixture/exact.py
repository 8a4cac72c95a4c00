"""The exact optimum of a sum of power laws in the own proportions: one scalar root."""

import jax
import jax.numpy as jnp
from jax import Array

NEWTON_STEPS = 40


def power_law_proportions(scale: Array, exponent: Array) -> Array:
    """Minimise Σ_j K_j r_j^−α_j on the simplex, K = scale ≥ 0 and α = exponent > 0, (domains,).

    r_j = (α_j K_j / λ)^{1/(1+α_j)} with λ the root of Σ r_j = 1, found by Newton's method in
    log λ on log Σ r_j, which is convex and decreasing: from a point left of the root no step
    overshoots. A domain with K = 0 gets nothing; where all have, or any K is nan, all is nan.
    Differentiable in both arguments: the last step is taken outside the loop, which is the
    implicit function theorem.

    >>> import jax.numpy as jnp
    >>> print(power_law_proportions(jnp.array([4.0, 1.0]), jnp.array([1.0, 1.0])).round(4))
    [0.6667 0.3333]
    """
    present = (scale > 0) & (exponent > 0)
    safe_scale = jnp.where(present, scale, 1.0)
    safe_exponent = jnp.where(present, exponent, 1.0)
    log_slope = jnp.log(safe_exponent * safe_scale)

    def log_proportions(log_multiplier: Array, log_slope: Array, exponent: Array) -> Array:
        return jnp.where(present, (log_slope - log_multiplier) / (1 + exponent), -jnp.inf)

    def newton(log_multiplier: Array, log_slope: Array, exponent: Array) -> Array:
        logs = log_proportions(log_multiplier, log_slope, exponent)
        shares = jax.lax.stop_gradient(jax.nn.softmax(logs))
        slope = jnp.sum(jnp.where(present, shares / (1 + jax.lax.stop_gradient(exponent)), 0.0))
        return log_multiplier + jax.nn.logsumexp(logs) / slope

    fixed = jax.lax.stop_gradient((log_slope, safe_exponent))
    start = jnp.max(jnp.where(present, fixed[0], -jnp.inf))
    root = jax.lax.fori_loop(0, NEWTON_STEPS, lambda _, x: newton(x, *fixed), start)
    root = newton(root, log_slope, safe_exponent)
    proportions = jnp.exp(log_proportions(root, log_slope, safe_exponent))
    defined = jnp.any(present) & ~jnp.any(jnp.isnan(scale))
    return jnp.where(defined, jnp.where(present, proportions, 0.0), jnp.nan)
