"""The oracle: all parameters of a law together by SciPy's trust-region least squares."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

from bimix_jax import Law
from bimix_jax.fitting.residual import predict, split_parameters
from bimix_jax.sweeps.sweep import Sweep


def best_of_starts(
    law: Law, sweep: Sweep, target: str, starts: int = 20, seed: int = 0
) -> tuple[float, np.ndarray]:
    """Least Σ((ŷ−y)/y)² of one target over random starts, and its exponents and amplitudes.

    Starts are drawn around the law's own, and those that are not finite left out; without any that
    is, the sum is infinite and the parameters nan. Budgets are divided by the sweep's largest.
    """
    mixture, own, budget, loss = points_of(law, sweep, target)
    features = features_of(law, mixture, own, budget / sweep.largest_budget)
    fixed = np.asarray(law.fixed(jnp.asarray(own)))
    rng, count = np.random.default_rng(seed), len(law.amplitude_names)
    bounds = np.array([*law.bounds(len(own)), *[(0.0, np.inf)] * count])
    least = np.asarray(law.least(jnp.asarray(own)))
    bounds[: len(least), 0] = np.maximum(bounds[: len(least), 0], least)
    middle = np.asarray(law.starts(len(own)), float)
    ends = []
    for _ in range(starts):
        exponents = middle[rng.integers(len(middle))] * rng.lognormal(0, 0.7, middle.shape[1])
        start = np.concatenate([exponents, rng.uniform(0.1, 4.0, count)])
        free = np.flatnonzero(np.append(~fixed, np.ones(count, bool)))
        residual, jacobian = _of_free(law, features, loss, start, free)
        first = np.clip(start[free], *bounds[free].T)
        # SciPy refuses them: a power of another domain's share where that is 0, for example.
        if not np.all(np.isfinite(residual(first))):
            continue
        ends.append(
            least_squares(
                residual, first, jacobian, bounds=bounds[free].T, x_scale="jac", xtol=1e-13,
                ftol=1e-13, gtol=1e-13, max_nfev=400,
            )
        )  # fmt: skip
    if not ends:
        return np.inf, np.full(len(start), np.nan)
    best = min(ends, key=lambda end: end.cost)
    start[free] = best.x
    return 2 * best.cost, start


def points_of(law: Law, sweep: Sweep, target: str) -> tuple[np.ndarray, ...]:
    """Mixture, own, budget and loss of the points that a law can use for a target."""
    own = np.array([float(d == target) for d in sweep.domains])
    loss = sweep.loss[:, sweep.targets.index(target)]
    usable = jax.vmap(law.usable, in_axes=(0, None))(sweep.mixture, own)
    keep = np.isfinite(loss) & np.asarray(usable)
    return sweep.mixture[keep], own, sweep.budget[keep], loss[keep]


def losses(law: Law, params: np.ndarray, features: tuple) -> np.ndarray:
    """Losses (points,) of parameters as `best_of_starts` returns them."""
    return np.asarray(_losses(law, params, features))


def features_of(law: Law, mixture: np.ndarray, own: np.ndarray, budget: np.ndarray) -> tuple:
    """The law's features of points; budgets in the training sweep's largest."""
    return jax.vmap(law.features, in_axes=(0, None, 0))(mixture, jnp.asarray(own), budget)


@functools.partial(jax.jit, static_argnums=0)
def _losses(law: Law, params: jax.Array, features: tuple) -> jax.Array:
    return predict(law, *split_parameters(law, params), features)


_slopes = jax.jit(jax.jacfwd(_losses, argnums=1), static_argnums=0)


def _of_free(
    law: Law, features: tuple, loss: np.ndarray, start: np.ndarray, free: np.ndarray
) -> tuple[Callable, Callable]:
    def params(x: np.ndarray) -> np.ndarray:
        whole = start.copy()
        whole[free] = x
        return whole

    return (
        lambda x: np.asarray(_losses(law, params(x), features)) / loss - 1,
        lambda x: np.asarray(_slopes(law, params(x), features))[:, free] / loss[:, None],
    )
