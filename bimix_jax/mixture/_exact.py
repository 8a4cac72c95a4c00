"""Exact optima of sums of power laws in the own proportions: one scalar root per constraint.

The functions take arrays of NumPy, for one fit, or of JAX, for batches of fits and derivatives.
Those of NumPy may have bounds (…, domains) of several sets without groups, solved together.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.feasible import ROUNDING, FeasibleSet

# λ is at least the slope α K of the strongest, as shares are at most 1, so a domain whose slope is
# e^−140 of that gets at most e^−70 = 4e-31 with an exponent of 1: less than `NOTHING`, so that it
# is rounded to its floor, unless the ceilings of the others leave a remainder and λ falls.
VANISHING = 140.0
"""Log ratio by which a domain without a target is weaker than the strongest: it gets only the
remainder."""
NOTHING = 1e-25
"""Proportion beyond its floor below which such a domain is rounded to its floor."""
MAX_STEPS = 100
"""Largest number of steps of the search for a root; 60 halvings take a bracket of some hundreds to
rounding."""


def decreasing_root(
    function: Callable[[Any, Any], Any], arguments: Any, low: Any, high: Any
) -> Any:
    """Find x with function(x, arguments) = 0, where function(low) ≥ 0 ≥ function(high).

    `low` and `high` have the shape of x, and element k of the function depends on element k of x
    alone. A step that leaves the bracket, or is longer than half the last one, is replaced by
    bisection. Differentiable in `arguments` (a pytree) by the implicit function theorem: the last
    step is taken outside the loop.

    >>> import jax.numpy as jnp
    >>> print(decreasing_root(lambda x, a: a - x**3, 8.0, jnp.array(0.0), jnp.array(5.0)).round(4))
    2.0
    """
    if module_of(low) is np:
        return bracketed_roots(lambda x: function(x, arguments), low, high)
    fixed, low, high = jax.lax.stop_gradient((arguments, low, high))
    ones = jnp.ones_like(low)
    # A few roundings of x: Newton's steps then only jitter.
    resolution = 4 * jnp.finfo(low.dtype).eps

    def step(state: tuple) -> tuple:
        x, low, high, last, steps, _ = state
        value, slope = jax.jvp(lambda x: function(x, fixed), (x,), (ones,))
        low, high = jnp.where(value > 0, x, low), jnp.where(value > 0, high, x)
        newton = -value / slope
        # Newton alone may cycle or leave the bracket; halving steps bound the number of steps.
        inside = (x + newton >= low) & (x + newton <= high) & (jnp.abs(newton) <= 0.5 * last)
        change = jnp.where(inside, newton, (low + high) / 2 - x)
        change = jnp.where(value == 0, 0.0, change)
        # Negated, so that a nan counts as done and does not hold up a batch.
        done = jnp.all(~(jnp.abs(change) > resolution * (1 + jnp.abs(x))))
        return x + change, low, high, jnp.abs(change), steps + 1, done

    start = ((low + high) / 2, low, high, high - low, 0, jnp.array(False))
    x = jax.lax.while_loop(lambda s: (s[4] < MAX_STEPS) & ~s[5], step, start)[0]
    # One Newton step from the root with the arguments not stopped: its value is 0, and its
    # derivative is −(∂f/∂arguments)/(∂f/∂x), the implicit derivative.
    slope = jax.jvp(lambda x: function(x, fixed), (x,), (ones,))[1]
    value = function(x, arguments)
    # Where bounds hold everything the function is flat, and any x gives the same proportions.
    flat = ~(slope < 0)
    return x - jnp.where(flat, 0.0, value / jnp.where(flat, -1.0, jax.lax.stop_gradient(slope)))


def module_of(array: Any) -> Any:
    """NumPy for its arrays and numbers, else JAX's."""
    return np if isinstance(array, (np.ndarray, np.generic)) else jnp


@np.errstate(all="ignore")
def bracketed_roots(function: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Find x with function(x) = 0 between ends where it is ≥ 0 and ≤ 0, elementwise, in NumPy.

    Needs no derivatives. Where the ends do not enclose a root the result is the nearer one. Source:
    Chandrupatla, "A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear
    function without using derivatives", Advances in Engineering Software 28 (1997).

    >>> print(bracketed_roots(lambda x: 8.0 - x**3, np.zeros(1), np.full(1, 5.0)).round(9))
    [2.]
    """
    one, other = np.array(low, float), np.array(high, float)
    at_one, at_other = function(one), function(other)
    # Rounding may put a root that is an end just outside.
    outside = (at_one <= 0) | ~(at_other < 0)
    found = np.where(at_one <= 0, one, other)
    part = np.full(one.shape, 0.5)
    for _ in range(MAX_STEPS):
        x = np.where(outside, found, one + part * (other - one))
        value = function(x)
        same = np.sign(value) == np.sign(at_one)
        third, at_third = np.where(same, one, other), np.where(same, at_one, at_other)
        other, at_other = np.where(same, other, one), np.where(same, at_other, at_one)
        one, at_one = x, value
        found = np.where(outside | (np.abs(at_one) < np.abs(at_other)), one, other)
        # A few roundings of x, as a part of the bracket.
        least = 2 * np.finfo(float).eps * (1 + np.abs(found)) / np.abs(other - one)
        if np.all(outside | (value == 0) | ~(least < 0.5)):
            break
        # Inverse quadratic interpolation where it is safe, else bisection.
        place, height = (one - other) / (third - other), (at_one - at_other) / (at_third - at_other)
        safe = (height**2 < place) & ((1 - height) ** 2 < 1 - place)
        inverse = at_one / (at_other - at_one) * at_third / (at_other - at_third) + (
            third - one
        ) / (other - one) * at_one / (at_third - at_one) * at_other / (at_third - at_other)
        part = np.clip(np.where(safe, inverse, 0.5), least, 1 - least)
    return found


class PowerTerms(NamedTuple):
    """Terms K_j r_j^−α_j + κ r_j log(r_j / q_j) of an objective, (domains,) each."""

    log_slope: Array
    """log(α_j K_j)"""
    exponent: Array
    """α_j"""
    kl: Array | None
    """() κ, or None"""
    log_kl_to: Array | None
    """log q_j"""


def exact_proportions(
    scale: Any,
    exponent: Any,
    floors: Any,
    feasible: FeasibleSet,
    objective: Any = "mean",
) -> Any:
    """Minimise "mean", Σ_j K_j r_j^−α_j and the KL term, or "worst", max_j K_j r_j^−α_j.

    K = scale ≥ 0, α = exponent > 0 and floors (from guardrails) are all (domains,); groups must be
    disjoint. Where several mixtures have the least worst loss, the result is the one with the least
    sum. All is nan where the floors allow no mixture.
    """
    terms = power_terms(scale, exponent, feasible)
    if floors is not None:
        feasible = with_floors(feasible, floors)
    proportions = power_law_proportions(terms, feasible)
    # The losses fall in their own shares alone, so the least worst loss is a floor for each share;
    # above these floors the least sum decides.
    if objective == "worst":
        needed = _worst_floors(scale, exponent, feasible, proportions)
        proportions = power_law_proportions(terms, with_floors(feasible, needed))
    return proportions


def with_floors(feasible: FeasibleSet, floors: Array) -> FeasibleSet:
    """Raise the floors of the set; they are nan where no mixture keeps them."""
    xp = module_of(floors)
    lower = xp.maximum(feasible.lower, floors)
    excess = _excess(lower, feasible)
    # In single precision the sums themselves are only good to about 1e-6.
    tolerance = ROUNDING if lower.dtype == xp.float64 else 1e-5
    # An excess within the tolerance must not leave a floor above its ceiling.
    lower = xp.minimum(lower, feasible.upper)
    return dataclasses.replace(feasible, lower=xp.where(excess <= tolerance, lower, xp.nan))


def _excess(floors: Array, feasible: FeasibleSet) -> Array:
    """(…, 1) largest log ratio of a floor to its ceiling, of domains, groups, all; ≤ 0 if met."""
    xp = module_of(floors)
    # A group takes at least its least sum, whatever the floors of its domains. That the ceilings
    # leave a sum of 1 was checked when the set was made, and floors do not change it.
    total = _clipped_total(floors, feasible.least, xp.array(xp.inf), feasible.groups)
    ratios = [xp.log(total), _log_ratio(floors, feasible.upper)]
    if len(feasible.groups):
        ratios.append(_log_ratio(feasible.groups @ floors, feasible.most))
    return xp.max(xp.concatenate(ratios, axis=-1), axis=-1, keepdims=True)


def _log_ratio(values: Array, bounds: Array) -> Array:
    xp = module_of(values)
    some = values > 0
    ratio = xp.log(xp.where(some, values, 1.0)) - xp.log(xp.maximum(bounds, NOTHING))
    return xp.where(some, ratio, -xp.inf)


def _worst_floors(scale: Array, exponent: Array, feasible: FeasibleSet, inside: Array) -> Array:
    """(…, domains) floors that hold every K_j r_j^−α_j at the least level that all can keep.

    `inside` (…, domains) is a mixture of the set, whose worst loss bounds the level from above.
    """
    xp = module_of(scale)
    present = (scale > 0) & (exponent > 0)
    # Levels are logarithms of losses, in which the floors are exponentials of lines.
    log_scale = xp.log(xp.where(present, scale, 1.0))
    alpha = xp.where(present, exponent, 1.0)

    def floors(level: Array, arguments: tuple) -> Array:
        log_scale, alpha, _ = arguments
        # K r^−α ≤ e^level is r ≥ (K/e^level)^(1/α); capped at e, as a floor above 1 is infeasible
        # anyway, and e⁷⁰⁰ would overflow.
        log_floor = xp.minimum((log_scale - level) / alpha, 1.0)
        return xp.where(present, xp.exp(log_floor), 0.0)

    def excess(level: Array, arguments: tuple) -> Array:
        within = arguments[2]
        # Bounds that are met with equality at every level must not hold the level up.
        rounding = 32 * xp.finfo(level.dtype).eps
        return _excess(xp.maximum(within.lower, floors(level, arguments)), within) - rounding

    def worst(mixture: Array) -> Array:
        logs = log_scale - alpha * xp.log(xp.maximum(mixture, NOTHING))
        return xp.max(xp.where(present, logs, -xp.inf), axis=-1, keepdims=True)

    arguments = (log_scale, alpha, feasible)
    # No mixture has a lower worst loss than the ceilings themselves.
    level = decreasing_root(excess, arguments, worst(feasible.upper), worst(inside))
    return floors(level, arguments)


def power_terms(scale: Array, exponent: Array, feasible: FeasibleSet) -> PowerTerms:
    """Build the terms of K = scale ≥ 0 and α = exponent > 0, (domains,); nan without any K > 0."""
    xp = module_of(scale)
    present = (scale > 0) & (exponent > 0)
    safe_exponent = xp.where(present, exponent, 1.0)
    log_slope = xp.log(safe_exponent * xp.where(present, scale, 1.0))
    strongest = xp.max(xp.where(present, log_slope, -xp.inf))
    # Not differentiated: how much weaker the others are is our choice, not a coefficient.
    strongest = strongest if xp is np else jax.lax.stop_gradient(strongest)
    log_slope = xp.where(present, log_slope, strongest - VANISHING)
    defined = xp.any(present) & ~xp.any(xp.isnan(scale))
    log_slope = xp.where(defined, log_slope, xp.nan)
    if feasible.kl is None:
        return PowerTerms(log_slope, safe_exponent, None, None)
    # Where q = 0 the share is bounded by 0, so that any finite logarithm will do.
    least = xp.finfo(log_slope.dtype).tiny
    log_to = xp.log(xp.maximum(xp.asarray(feasible.kl_to, log_slope.dtype), least))
    return PowerTerms(log_slope, safe_exponent, xp.asarray(feasible.kl), log_to)


def power_law_proportions(terms: PowerTerms, feasible: FeasibleSet) -> Array:
    """Minimise Σ_j K_j r_j^−α_j + κ KL(r ‖ q) over a set with disjoint groups, (…, domains).

    Without a KL term r_j = (α_j K_j / λ)^{1/(1+α_j)} between its bounds, λ the root of Σ r_j = 1;
    with it r_j solves α_j K_j r_j^−(1+α_j) = λ + κ (log(r_j / q_j) + 1), by the Wright omega
    function. A group whose sum leaves its bounds gets a multiplier of its own. All is nan where
    no K is above 0 or one is nan. Differentiable in terms and bounds by the implicit function
    theorem.

    >>> from bimix_jax.mixture.feasible import simplex
    >>> two = simplex(2)
    >>> terms = power_terms(np.array([4.0, 1.0]), np.array([1.0, 1.0]), two)
    >>> print(power_law_proportions(terms, two).round(4))
    [0.6667 0.3333]
    """
    xp = module_of(terms.log_slope)
    dtype = terms.log_slope.dtype
    lower, upper = xp.asarray(feasible.lower, dtype), xp.asarray(feasible.upper, dtype)
    groups = xp.asarray(feasible.groups, dtype)
    least, most = xp.asarray(feasible.least, dtype), xp.asarray(feasible.most, dtype)
    arguments = (terms, lower, upper, least, most)
    # At the least multiplier every share is at its ceiling, so the total is at least 1. At the
    # largest no share exceeds its floor or an even part of the free mass, so it is at most 1.
    room = (1 - _clipped_total(lower, least, most, groups)) / lower.shape[-1]
    low, high = _brackets(terms, lower, upper, room)
    # In logarithms the total is nearly a line in a logarithmic multiplier, so few steps suffice.
    multiplier = decreasing_root(
        lambda x, a: xp.log(_clipped_total(_between(x, a[0], a[1], a[2]), a[3], a[4], groups)),
        arguments,
        xp.min(low, axis=-1, keepdims=True),
        xp.max(high, axis=-1, keepdims=True),
    )
    if len(groups):
        multiplier = _with_groups(multiplier, arguments, groups)
    proportions = _between(multiplier, terms, lower, upper)
    proportions = xp.where(proportions < NOTHING, lower, proportions)
    return xp.where(xp.any(xp.isnan(terms.log_slope)), xp.nan, proportions)


def _clipped_total(proportions: Array, least: Array, most: ArrayLike, groups: Array) -> Array:
    """Sum the proportions, (…, 1), with the sum of every group clipped to its bounds."""
    xp = module_of(proportions)
    if not len(groups):
        return xp.sum(proportions, axis=-1, keepdims=True)
    ungrouped = xp.sum(proportions * (1 - groups.sum(axis=0)))
    return (ungrouped + xp.sum(xp.clip(groups @ proportions, least, most)))[None]


def _with_groups(multiplier: Array, arguments: tuple, groups: Array) -> Array:
    """(domains,) multipliers, with one per group for groups that would leave their bounds."""
    xp = module_of(multiplier)
    terms, lower, upper, least, most = arguments
    sums = groups @ _between(multiplier, terms, lower, upper)
    wanted = xp.clip(sums, least, most)
    room = (wanted - groups @ lower) / len(lower)
    low, high = _brackets(terms, lower, upper, groups.T @ room)
    inside = groups > 0
    found = decreasing_root(
        lambda x, a: xp.log(groups @ _between(groups.T @ x, *a[0])) - xp.log(a[1]),
        ((terms, lower, upper), wanted),
        xp.min(xp.where(inside, low, xp.inf), axis=1),
        xp.max(xp.where(inside, high, -xp.inf), axis=1),
    )
    # Clipping is exact for sums inside their bounds, so inequality marks those that left.
    leaves = (sums != wanted).astype(lower.dtype)
    own = groups.T @ leaves
    # The root of a group that stays may not exist: masked before the product, as nan · 0 is nan.
    return multiplier * (1 - own) + groups.T @ (leaves * xp.where(leaves > 0, found, 0.0))


def _between(multiplier: Array, terms: PowerTerms, lower: Array, upper: Array) -> Array:
    xp = module_of(terms.log_slope)
    # Proportions above 1 are never used; cut first, at e^0.1, so that no derivative is 0 · ∞.
    return xp.clip(xp.exp(xp.minimum(_log_share(multiplier, terms), 0.1)), lower, upper)


def _log_share(multiplier: Array, terms: PowerTerms) -> Array:
    """log r_j where the slope of its term is the multiplier (its logarithm without a KL term)."""
    xp = module_of(terms.log_slope)
    if terms.kl is None or terms.log_kl_to is None:
        return (terms.log_slope - multiplier) / (1 + terms.exponent)
    # With u = log r the condition is log α K − (1 + α) u = log(λ + κ (u − log q + 1)). With S =
    # κ/(1 + α) its right side is log S + log((1 + α) u + level), level = (λ + κ (1 − log q))/S.
    # With v = shift − (1 + α) u, shift = log α K − log S, this is v = log(shift − v + level), so
    # that v + e^v = shift + level.
    strength = terms.kl / (1 + terms.exponent)
    shift = terms.log_slope - xp.log(strength)
    level = (multiplier + terms.kl * (1 - terms.log_kl_to)) / strength
    return (shift - _log_omega_of(shift + level)) / (1 + terms.exponent)


def _multiplier_at(share: Array, terms: PowerTerms) -> Array:
    """Invert `_log_share`, at proportions above 0."""
    xp = module_of(terms.log_slope)
    log_share = xp.log(share)
    steepness = terms.log_slope - (1 + terms.exponent) * log_share
    if terms.kl is None or terms.log_kl_to is None:
        return steepness
    return xp.exp(steepness) - terms.kl * (log_share - terms.log_kl_to + 1)


def _brackets(terms: PowerTerms, lower: Array, upper: Array, room: Array) -> tuple[Array, Array]:
    """(…, domains) multipliers that put each at its ceiling, and at its floor or below its room."""
    xp = module_of(terms.log_slope)
    # With a KL term the multiplier is no logarithm but grows as share^−(1+α): a share of 1e-28
    # would make a bracket too wide to be halved.
    tiny = NOTHING * 1e-3 if terms.kl is None else 1e-12
    high = _multiplier_at(xp.maximum(xp.maximum(lower, room), tiny), terms)
    return _multiplier_at(xp.clip(upper, tiny, 1.0), terms), high


@jax.custom_jvp
def _log_omega(x: Array) -> Array:
    """Solve v + e^v = x, the logarithm of the Wright omega function, by Newton's method."""
    # The limits for large and small x, whose error is at most 0.6 (at 0).
    start = jnp.where(x > 1, jnp.log(jnp.maximum(x, 1.0)), jnp.minimum(x, 0.0))

    def newton(_: int, v: Array) -> Array:
        power = jnp.exp(v)
        return v - (v + power - x) / (1 + power)

    # Newton converges quadratically from this start: 5 steps reach rounding for every x, 2 are to
    # spare, and a fixed count keeps the batch in step.
    return jax.lax.fori_loop(0, 7, newton, start)


def _log_omega_of(x: Any) -> Any:
    """Compute `_log_omega` in the arithmetic of its argument."""
    if module_of(x) is jnp:
        return _log_omega(x)
    from scipy.special import wrightomega  # takes longer to import than to find an optimum

    omega = wrightomega(x)
    # With ω = e^v both are v, without cancellation where they are used.
    return np.where(x > 0, np.log(np.where(x > 0, omega, 1.0)), x - omega)


@_log_omega.defjvp
def _log_omega_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    v = _log_omega(*primals)
    # (1 + e^v) dv = dx
    return v, tangents[0] / (1 + jnp.exp(v))


def powers_of_own(law: Law, coefficients: Coefficients, budget: ArrayLike) -> tuple[Array, Array]:
    """K and α (targets,) of targets whose loss is K·r_own^−α at a budget ()."""
    return jax.vmap(lambda c: law.power_of_own(c.exponents, c.amplitudes, budget / c.budget_scale))(
        coefficients
    )
