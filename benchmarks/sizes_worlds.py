"""Sweeps and fits of any size, from laws with known coefficients, for `benchmarks.sizes`."""

import numpy as np
import pandas as pd

import bimix_jax as bx
from bimix_jax.fitting.coefficients import Coefficients

BUDGETS = (1e9, 1e10)
"""Least and largest budget of the sweeps, tokens."""
NOISE = 0.003
"""Standard deviation of the relative error of a loss."""
OTHERS = 0.15
"""Share of the other domains that a target learns from."""


def names(domains: int) -> list[str]:
    """Names of so many domains, which are the targets, too."""
    return [f"d{i:03d}" for i in range(domains)]


def mixtures(domains: int, runs: int, seed: int = 0) -> np.ndarray:
    """(runs, domains) shares of which none is 0, around a corpus of unequal domains."""
    rng = np.random.default_rng(seed)
    corpus = rng.dirichlet(np.full(domains, 2.0))
    shares = np.maximum(rng.dirichlet(corpus * domains * 0.7 + 0.05, size=runs), 1e-4)
    return shares / shares.sum(axis=1, keepdims=True)


def coefficients(law: bx.Law, domains: int, seed: int = 0) -> Coefficients:
    """Coefficients of so many targets over the range that real sweeps show."""
    rng = np.random.default_rng(seed)
    ranges = {"alpha": (0.03, 0.3), "beta": (0.2, 0.4), "substitution": (0.3, 0.95)}
    named = [rng.uniform(*ranges[name], domains) for name in law.exponent_names]
    exponents = np.stack(named, axis=1)
    if law.domain_exponent_names:
        shape = (domains, domains)
        worth = np.where(rng.random(shape) < OTHERS, rng.uniform(0, 0.5, shape), 0.0)
        np.fill_diagonal(worth, 1.0)
        exponents = np.concatenate([exponents, worth], axis=1)
    level = rng.uniform(1.5, 3.0, domains)
    amplitudes = np.stack([0.3 * level, rng.uniform(0.6, 1.0, domains) * level], axis=1)
    return Coefficients(exponents, amplitudes, np.eye(domains), np.full(domains, BUDGETS[1]))


def fitted(law: bx.Law, domains: int, runs: int, seed: int = 0) -> bx.Fit:
    """A fit that no search had to find."""
    shares, known = mixtures(domains, runs, seed), coefficients(law, domains, seed)
    every = np.ones(domains)
    return bx.Fit(
        coefficients=known,
        code=np.zeros(domains, int),
        identified=np.ones(known.exponents.shape, bool),
        points=np.full(domains, runs),
        sum_of_squares=every * runs * NOISE**2,
        error=every * NOISE,
        observed_proportions=np.stack([shares.min(axis=0), shares.max(axis=0)]),
        observed_budgets=np.array(BUDGETS),
        shrinkage=0 * every,
        agreement=every,
        law=law,
        domains=tuple(names(domains)),
        targets=tuple(names(domains)),
        unit="tokens",
        observed_mixtures=shares,
    )


def sweep(
    domains: int,
    runs: int,
    budgets: int,
    targets: int = 0,
    seed: int = 0,
    known: Coefficients | None = None,
) -> bx.Sweep:
    """A sweep of runs, each measured at some budgets, in which TransferBiMix is true.

    Targets are the domains, or so many others that resemble them. `known` are coefficients instead
    of those of the seed.
    """
    shares = np.repeat(mixtures(domains, runs, seed), budgets, axis=0)
    budget = np.tile(np.geomspace(*BUDGETS, budgets), runs)
    known = coefficients(bx.TransferBiMix(), domains, seed) if known is None else known
    like = np.arange(targets or domains) % domains
    exponents, amplitudes = known.exponents[like], known.amplitudes[like]
    alpha, beta = exponents[:, :2].T
    worth = shares @ exponents[:, 2:].T
    by_budget = amplitudes[:, 0] * (budget[:, None] / BUDGETS[1]) ** -beta
    loss = (worth / worth.mean(axis=0)) ** -alpha * (by_budget + amplitudes[:, 1])
    loss *= 1 + NOISE * np.random.default_rng(seed + 1).standard_normal(loss.shape)
    measured = [f"t{i:04d}" for i in range(targets)] or names(domains)
    columns = [*(f"r_{d}" for d in names(domains)), *(f"loss_{t}" for t in measured)]
    table = pd.DataFrame(np.concatenate([shares, loss], axis=1), columns=columns)
    return bx.read_sweep(table.assign(tokens=budget, run=np.repeat(np.arange(runs), budgets)))
