"""Damped Gauss-Newton within bounds, in scalars."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.kernel._terms import (
    Scalars,
    ScalarTerms,
    apart,
    every,
    norm_of,
    weighted_sum,
    within,
)
from bimix_jax.fitting.search import ROUNDING
from bimix_jax.xla.small_systems import solve_entries

DAMPING, DECREASE, INCREASE = 1e-3, 0.1, 8.0
"""Damping at the start, and its factors after a step that lowers the value and after another."""
LEFT = 0.1
"""Least part of a slope that a step is assumed to leave."""
CLEAR = 1e-6
"""Least part of a curvature beside the other parameters for a step to be trusted."""
OPEN = 1000
"""Number of roundings below which a curvature leaves an exponent open, as in the plain loop."""

Bounds = tuple[Scalars, Scalars]
"""Lower and upper bounds of every parameter."""


class State(NamedTuple):
    """State of a search."""

    params: Scalars
    """the best parameters so far"""
    terms: ScalarTerms
    damping: Array
    steps: Array
    slope: Array
    """the largest free |g_i|/√H_ii"""
    flat: Array
    """() bool: True where every free slope is flat"""


class Flatness(NamedTuple):
    """Test of a flat slope: |g_i|/(norm·√H_ii) ≤ tolerance, or rounding."""

    power: Array
    """() Σ of the squared targets"""
    points: int
    tolerance: float
    ahead: bool
    """True where one more step follows, which need not be evaluated"""

    def holds(self, terms: ScalarTerms, i: int, left: Array) -> Array:
        """() bool: the slope of one parameter is flat, if a step leaves the part `left` of it."""
        # A step that follows without an evaluation may leave only a part of the slope.
        left = left if self.ahead else jnp.ones_like(left)
        epsilon = (16 + self.points**0.5) * jnp.finfo(left.dtype).eps
        asked = self.tolerance * terms.norm * jnp.sqrt(jnp.abs(terms.hessian[i][i]))
        rounding = epsilon * jnp.sqrt(terms.curvature[i] * self.power)
        return left * jnp.abs(terms.gradient[i]) <= asked + rounding


def search(
    terms_at: Callable[[Scalars, Scalars], ScalarTerms],
    start: Scalars,
    amplitudes: Scalars,
    bounds: Bounds,
    flatness: Flatness,
    steps: ArrayLike,
    damping: float = DAMPING,
    slope: ArrayLike = 0.0,
) -> State:
    """Run damped Gauss-Newton within bounds until every free slope is flat, or for `steps`.

    `slope` is that of a search which this one goes on from.
    """

    def step(state: State) -> State:
        tried = _step(state, bounds)
        better = _better(state, tried, terms_at(tried, state.terms.amplitudes))
        return _judged(better, bounds, flatness)

    # The search keeps to the bounds, so it has to start within them.
    first = [jnp.clip(x, a, b) for x, a, b in zip(start, *bounds, strict=True)]
    damped, count = jnp.full_like(flatness.power, damping), jnp.ones((), jnp.int32)
    before = jnp.full_like(damped, slope)
    begin = State(first, terms_at(first, amplitudes), damped, count, before, jnp.array(False))
    begin = _judged(begin, bounds, flatness)
    return jax.lax.while_loop(lambda state: (state.steps < steps) & ~state.flat, step, begin)


def _held(state: State, bounds: Bounds) -> Scalars:
    """Flags of the parameters that a bound holds."""
    return [
        jnp.where(g > 0, x <= least, x >= most)
        for x, g, least, most in zip(state.params, state.terms.gradient, *bounds, strict=True)
    ]


def _judged(state: State, bounds: Bounds, flatness: Flatness) -> State:
    """Add the slope to a state, and whether every free one is flat."""
    terms, held, before = state.terms, _held(state, bounds), state.slope
    steep = [_steepness(g, terms.hessian[i][i]) for i, g in enumerate(terms.gradient)]
    free = [jnp.where(h, 0.0, s) for h, s in zip(held, steep, strict=True)]
    slope = functools.reduce(jnp.maximum, free)
    # Steps of Gauss-Newton leave about the same part of a slope each, near the end, but not along
    # a valley, where a small slope may be far from it.
    steady = (slope < before) & _determined(terms, held, CLEAR / jnp.finfo(slope.dtype).eps)
    left = jnp.where(steady, jnp.maximum(slope / before, LEFT), 1.0)
    flat = [h | flatness.holds(terms, i, left) for i, h in enumerate(held)]
    return state._replace(slope=slope, flat=every(flat))


def _steepness(gradient: Array, hessian: Array) -> Array:
    return jnp.abs(gradient) / jnp.sqrt(jnp.maximum(hessian, jnp.finfo(hessian.dtype).tiny))


def ahead(state: State, bounds: Bounds) -> tuple[Scalars, Scalars, Array]:
    """Take one more step without an evaluation: parameters, amplitudes and norm.

    The norm follows from the parabola of the sum of squares; so a step that bounds would shorten is
    not taken.
    """
    terms, further, held = state.terms, _step(state, bounds), _held(state, bounds)
    change = [new - old for new, old in zip(further, state.params, strict=True)]
    amplitudes = further[-len(terms.amplitudes) :]
    if terms.following:
        # To first order, amplitudes that were eliminated follow the exponents.
        moved = [weighted_sum(change, slopes) for slopes in terms.following]
        amplitudes = [a + m for a, m in zip(terms.amplitudes, moved, strict=True)]
    whole = every(
        [h | ((x > a) & (x < b)) for h, x, a, b in zip(held, further, *bounds, strict=True)]
    )
    whole &= every(
        [(new >= 0) | (old <= 0) for new, old in zip(amplitudes, terms.amplitudes, strict=True)]
    )
    # A full Newton step lowers ½‖ρ‖² by −½·g·step, so ‖ρ‖² changes by g·step.
    norm = norm_of(terms.norm**2 + weighted_sum(change, terms.gradient))
    return jax.tree.map(
        lambda new, old: jnp.where(whole, new, old),
        (further, amplitudes, norm),
        (state.params, terms.amplitudes, terms.norm),
    )


def settled(state: State, bounds: Bounds) -> Array:
    """() bool: the search is flat, and the other parameters leave no exponent open."""
    terms, held = state.terms, _held(state, bounds)
    known = [
        terms.hessian[i][i] > OPEN * jnp.finfo(c.dtype).eps * c
        for i, c in enumerate(terms.curvature)
    ]
    return every([state.flat, terms.sound, *known, _determined(terms, held, OPEN)])


def _determined(terms: ScalarTerms, held: Scalars, roundings: ArrayLike) -> Array:
    """() bool: every free curvature, beside the others, exceeds its roundings."""
    curvature = [jnp.where(h, 0.0, c) for h, c in zip(held, terms.curvature, strict=True)]
    return apart(within([~h for h in held], terms.hessian), curvature, roundings)


def _step(state: State, bounds: Bounds) -> Scalars:
    """−(H + λ·diag H)⁻¹ g on the parameters that no bound holds, clipped to the bounds."""
    free = [~held for held in _held(state, bounds)]
    gradient, hessian = state.terms.gradient, state.terms.hessian
    size = range(len(gradient))
    damped = [
        [hessian[i][j] * (1 + state.damping) if i == j else hessian[i][j] for j in size]
        for i in size
    ]
    right = [jnp.where(f, -g, 0.0) for f, g in zip(free, gradient, strict=True)]
    step = solve_entries(within(free, damped), right)
    return [
        jnp.clip(x + jnp.where(jnp.isfinite(s), s, 0.0), least, most)
        for x, s, least, most in zip(state.params, step, *bounds, strict=True)
    ]


def _better(state: State, tried: Scalars, terms: ScalarTerms) -> State:
    rounding = ROUNDING * jnp.finfo(terms.norm.dtype).eps
    # A wild step's squares may cancel to anything, so its own rounding counts against it.
    most = state.terms.norm**2 + 3 * rounding * state.terms.summed
    accepted = terms.norm**2 + rounding * terms.summed <= most
    params, terms = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old),
        (tried, terms),
        (state.params, state.terms),
    )
    damping = state.damping * jnp.where(accepted, DECREASE, INCREASE)
    return State(params, terms, damping, state.steps + 1, state.slope, state.flat)
