"""Damped Gauss-Newton within bounds, in scalars."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.lean.amplitudes import Scalars, apart, every, within
from bimix_jax.fitting.lean.terms import Terms
from bimix_jax.fitting.linear_algebra import solve_entries
from bimix_jax.fitting.solve import ROUNDING

DAMPING, DECREASE, INCREASE = 1e-3, 0.1, 8.0
"""As in `gauss_newton`."""
OPEN = 1000
"""Curvatures below this many roundings leave an exponent open, as in the plain loop."""

Bounds = tuple[Scalars, Scalars]
"""Lower and upper ones, of every parameter."""


class State(NamedTuple):
    """Where a search is."""

    params: Scalars
    """the best so far"""
    terms: Terms
    damping: Array
    steps: Array
    flat: Array
    """() bool: every free slope is"""


class Flatness(NamedTuple):
    """When a slope counts as flat: max|g_i|/(norm·√H_ii) ≤ tolerance, or rounding."""

    power: Array
    """() Σ of the squared targets"""
    points: int
    tolerance: float

    def holds(self, norm: Array, gradient: Array, hessian: Array, curvature: Array) -> Array:
        """Of one parameter."""
        epsilon = (16 + self.points**0.5) * jnp.finfo(norm.dtype).eps
        asked = self.tolerance * norm * jnp.sqrt(jnp.abs(hessian))
        return jnp.abs(gradient) <= asked + epsilon * jnp.sqrt(curvature * self.power)


def search(
    terms_at: Callable[[Scalars, Scalars], Terms], start: Scalars, amplitudes: Scalars,
    bounds: Bounds, flatness: Flatness, steps: ArrayLike, damping: float = DAMPING,
) -> State:  # fmt: skip
    """Damped Gauss-Newton within bounds until every free slope is flat, or for so many steps."""

    def step(state: State) -> State:
        tried = _step(state, bounds)
        better = _better(state, tried, terms_at(tried, state.terms.amplitudes))
        return better._replace(flat=_flat(better, bounds, flatness))

    first = [jnp.clip(x, a, b) for x, a, b in zip(start, *bounds, strict=True)]
    damped, count = jnp.full_like(flatness.power, damping), jnp.ones((), jnp.int32)
    begin = State(first, terms_at(first, amplitudes), damped, count, jnp.array(False))
    begin = begin._replace(flat=_flat(begin, bounds, flatness))
    return jax.lax.while_loop(lambda state: (state.steps < steps) & ~state.flat, step, begin)


def _held(state: State, bounds: Bounds) -> Scalars:
    """Which parameters a bound holds."""
    return [
        jnp.where(g > 0, x <= least, x >= most)
        for x, g, least, most in zip(state.params, state.terms.gradient, *bounds, strict=True)
    ]


def _flat(state: State, bounds: Bounds, flatness: Flatness) -> Array:
    """Whether every free slope is as flat as the plain search asks for."""
    norm, gradient, hessian, curvature = state.terms[:4]
    flat = [
        flatness.holds(norm, g, hessian[i][i], c)
        for i, (g, c) in enumerate(zip(gradient, curvature, strict=True))
    ]
    return every([h | f for h, f in zip(_held(state, bounds), flat, strict=True)])


def settled(state: State, bounds: Bounds) -> Array:
    """Whether the search ended well: flat, and no exponent is left open by the others."""
    terms, held = state.terms, _held(state, bounds)
    free = within([~h for h in held], terms.hessian)
    curvature = [jnp.where(h, 0.0, c) for h, c in zip(held, terms.curvature, strict=True)]
    known = [
        terms.hessian[i][i] > OPEN * jnp.finfo(c.dtype).eps * c
        for i, c in enumerate(terms.curvature)
    ]
    return every([state.flat, terms.sound, *known, apart(free, curvature, OPEN)])


def _step(state: State, bounds: Bounds) -> Scalars:
    """−(H + λ·diag H)⁻¹ g on what no bound holds, clipped to the bounds."""
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


def _better(state: State, tried: Scalars, terms: Terms) -> State:
    rounding = ROUNDING * jnp.finfo(terms.norm.dtype).eps
    # A wild step's squares may cancel to anything, so its own rounding counts against it.
    most = state.terms.norm**2 + 3 * rounding * state.terms.summed
    accepted = terms.norm**2 + rounding * terms.summed <= most
    params, terms = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), (tried, terms),
        (state.params, state.terms),
    )  # fmt: skip
    damping = state.damping * jnp.where(accepted, DECREASE, INCREASE)
    return State(params, terms, damping, state.steps + 1, state.flat)
