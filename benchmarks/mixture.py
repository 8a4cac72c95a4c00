"""Exact optimum against the gradient one and SciPy's SLSQP, on random BiMix laws.

python -m benchmarks.mixture
"""

import functools
import time

import jax
import numpy as np
import pandas as pd
from scipy.optimize import minimize

from benchmarks.report import report
from bimix_jax import BiMix, Coefficients, optimal_proportions

LAWS_A_SIZE = 200
SLSQP_SAMPLE = 20


def random_laws(domains: int, count: int, seed: int) -> Coefficients:
    """`count` fits of `domains` targets with coefficients over the range that real sweeps show."""
    rng = np.random.default_rng(seed)
    shape = (count, domains)
    return Coefficients(
        exponents=np.stack([rng.uniform(0.005, 1.0, shape), rng.uniform(0.05, 1.5, shape)], -1),
        amplitudes=rng.uniform(0.02, 4.0, (*shape, 2)),
        own=np.broadcast_to(np.eye(domains), (*shape, domains)),
        budget_scale=np.ones(shape),
    )


def main() -> None:
    """Measure and report."""
    with jax.enable_x64(True):
        rows = [measure(domains) for domains in (2, 5, 10, 20, 50)]
    table = pd.DataFrame(rows).set_index("domains")
    report("mixture", table, "Optimal mixtures of random BiMix laws", laws=LAWS_A_SIZE)


def measure(domains: int) -> dict[str, float]:
    """Largest disagreement in a proportion, and rates, for laws of one size."""
    laws = random_laws(domains, LAWS_A_SIZE, seed=domains)
    exact, exact_rate = timed("exact", laws)
    gradient, gradient_rate = timed("gradient", laws)
    started = time.perf_counter()
    theirs = np.stack([slsqp(one(laws, i)) for i in range(SLSQP_SAMPLE)])
    slsqp_rate = SLSQP_SAMPLE / (time.perf_counter() - started)
    return {
        "domains": domains,
        "gradient − exact": float(np.abs(gradient - exact).max()),
        "SLSQP − exact": float(np.abs(theirs - exact[:SLSQP_SAMPLE]).max()),
        "exact/s": exact_rate,
        "gradient/s": gradient_rate,
        "SLSQP/s": slsqp_rate,
    }


def timed(method: str, laws: Coefficients) -> tuple[np.ndarray, float]:
    """Compute all mixtures by one method, and mixtures per second without compile time."""
    solve = jax.jit(
        jax.vmap(lambda c: optimal_proportions(BiMix(), c, 2.0, method=method))  # type: ignore[arg-type]
    )
    found = np.asarray(solve(laws))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(solve(laws))
        seconds.append(time.perf_counter() - started)
    return found, len(found) / float(np.median(seconds))


def one(laws: Coefficients, index: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, α) of one law at budget 2."""
    exponents, amplitudes = np.asarray(laws.exponents)[index], np.asarray(laws.amplitudes)[index]
    return amplitudes[:, 0] * 2.0 ** -exponents[:, 1] + amplitudes[:, 1], exponents[:, 0]


def slsqp(law: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Solve the same problem by SciPy."""
    scale, alpha = law
    count = len(scale)
    return minimize(
        functools.partial(_total, scale, alpha), np.full(count, 1 / count), method="SLSQP",
        jac=lambda r: -scale * alpha * r ** (-alpha - 1), bounds=[(1e-7, 1)] * count,
        constraints={"type": "eq", "fun": lambda r: r.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 1000},
    ).x  # fmt: skip


def _total(scale: np.ndarray, alpha: np.ndarray, mixture: np.ndarray) -> float:
    return float(np.sum(scale * mixture**-alpha))


if __name__ == "__main__":
    main()
