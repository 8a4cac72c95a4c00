"""The same least squares by other libraries, for comparison of rates."""

import functools
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import curve_fit, least_squares

START = (0.1, 0.5, 1.0, 1.0)
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
"""log shares, log budgets and losses, each (fits, points)"""
Peer = Callable[[Sample, str, float | None], np.ndarray | None]
"""Sums of squares (fits,), inf where a fit failed; None where the library lacks the case."""


def bimix(x: Any, log_share: Any, log_budget: Any, exp: Callable = np.exp) -> Any:
    """Losses by the law in its four identifiable parameters."""
    alpha, beta, reducible, floor = x
    return exp(-alpha * log_share) * (reducible * exp(-beta * log_budget) + floor)


def with_curve_fit(sample: Sample, loss: str, huber: float | None) -> np.ndarray | None:
    """SciPy's `curve_fit` (MINPACK's Levenberg-Marquardt), relative or log residuals."""
    if huber is not None:
        return None
    return np.array([_curve_fit(*fit, loss) for fit in zip(*sample, strict=True)])


def _curve_fit(r: np.ndarray, s: np.ndarray, y: np.ndarray, loss: str) -> float:
    log = loss == "log"

    def model(points: Any, *x: float) -> np.ndarray:
        losses = bimix(x, *points)
        return np.log(np.maximum(losses, 1e-300)) if log else losses

    target, sigma = (np.log(y), None) if log else (y, y)
    try:
        x, _ = curve_fit(model, (r, s), target, p0=START, sigma=sigma, maxfev=5000)
    except RuntimeError:
        return np.inf
    return float(np.sum(((model((r, s), *x) - target) / (1 if log else y)) ** 2))


def with_least_squares(sample: Sample, loss: str, huber: float | None) -> np.ndarray | None:
    """SciPy's `least_squares` with its Huber loss, relative residuals."""
    if huber is None or loss != "relative":
        return None
    return np.array([_least_squares(*fit, huber) for fit in zip(*sample, strict=True)])


def _least_squares(r: np.ndarray, s: np.ndarray, y: np.ndarray, huber: float) -> float:
    bounds = ([1e-9, 1e-3, 0, 0], [5, 10, np.inf, np.inf])
    found = least_squares(
        lambda x: bimix(x, r, s) / y - 1, START, loss="huber", f_scale=huber, bounds=bounds,
        ftol=1e-12, xtol=1e-12, gtol=1e-10,
    )  # fmt: skip
    return float(2 * found.cost) if found.success else np.inf


def with_optimistix(sample: Sample, loss: str, huber: float | None) -> np.ndarray | None:
    """optimistix' Levenberg-Marquardt under vmap, all fits of the sample in one call."""
    if huber is not None or loss != "relative" or not importlib.util.find_spec("optimistix"):
        return None
    with jax.enable_x64(True):
        return np.asarray(_vmapped()(*sample))


@functools.cache
def _vmapped() -> Callable:
    import optimistix

    def residuals(x: Any, data: Any) -> Any:
        r, s, y = data
        return bimix(x, r, s, jnp.exp) / y - 1

    def one(*data: Any) -> Any:
        solver = optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-10)
        found = optimistix.least_squares(
            residuals, solver, jnp.asarray(START), data, max_steps=200, throw=False
        )
        return jnp.sum(residuals(found.value, data) ** 2)

    return jax.jit(jax.vmap(one))


PEERS: dict[str, Peer] = {
    "SciPy curve_fit": with_curve_fit,
    "SciPy least_squares, Huber": with_least_squares,
    "optimistix, vmap": with_optimistix,
}


def timed(
    peer: Peer, sample: Sample, loss: str, huber: float | None
) -> tuple[float, np.ndarray] | None:
    """Fits per second after a first call that compiles, median of three, and sums of squares."""
    sums = peer(sample, loss, huber)
    if sums is None:
        return None
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        peer(sample, loss, huber)
        seconds.append(time.perf_counter() - started)
    return len(sums) / float(np.median(seconds)), sums
