"""Mixtures that cannot be told from the best one, and the cost of not knowing which is best."""

import numpy as np
from scipy.special import gammaln

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture.decision import Decision
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.uncertainty._differences import Differences, better
from bimix_jax.uncertainty._spread import LEAST_UNITS
from bimix_jax.uncertainty.bootstrap import Bootstrap

TOLERANCES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Relative excesses over the best objective at which mixtures are compared with the best one."""
DRAWS = 4096
"""Number of draws of the errors of a law, whose mean is then known to about 2 %."""


def check_same_law(bootstrap: Bootstrap, fitted: Fit) -> None:
    """Check that resamples are of the law and the names of a fit.

    Raises:
        ValueError: if they are of others.
    """
    theirs = bootstrap.fitted
    if (theirs.law, theirs.domains, theirs.targets) != (fitted.law, fitted.domains, fitted.targets):
        raise ValueError(
            f"bootstrap: of {theirs.law.label} on {', '.join(theirs.targets)}; expected "
            f"{fitted.law.label} on {', '.join(fitted.targets)}, as fitted."
        )


def indistinct_range(
    bootstrap: Bootstrap, best: Optimum, errors: Differences, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Range of each share (domains,), low and high, among mixtures that cannot be told from the
    best one: it is better than them with less than the probability `level`.

    If the probabilities are right, the range holds the shares of the truly best mixture with that
    probability, because the recommended one is better than that with a probability of 1 or 0.
    Nan where there is no probability.
    """
    candidates = _nearly_best(best)
    recommended = np.broadcast_to(candidates[0], candidates.shape)
    above = better(bootstrap, best.decision, recommended, candidates, errors)
    same = candidates[~(above >= level)]
    known = np.isfinite(above[1:]).any()
    low, high = (np.where(known, end(same, axis=0), np.nan) for end in (np.min, np.max))
    return low, high


def law_regret(decision: Decision, errors: Differences) -> float:
    """Expected excess () of the objective of the recommended mixture, from errors of the law alone.

    The law is as in the fit, and its errors at mixtures near the best one are drawn from a normal
    distribution in which those of two mixtures differ as `Differences.variance` says. The regret is
    the mean excess over the best of these mixtures. Nan with fewer than four mixtures, of which
    even this mean says nothing.
    """
    units = int(errors.spread.units[0])
    if units < LEAST_UNITS:
        return float("nan")
    candidates = _nearly_best(Optimum.of(decision))
    objective = decision.objectives(decision.fitted.predict_points(candidates, decision.budget))
    known = np.isfinite(objective)
    candidates, objective = candidates[known], objective[known]
    apart = np.abs(candidates[:, None] - candidates).sum(axis=2) / 2
    # Variances are in proportion to distances, which are the sums of those of single shares, so
    # that a matrix of covariances exists.
    (each,) = _of_few(units) ** 2 * errors.variance(np.zeros(1), np.ones(1))
    covariance = each / 2 * (apart[:1] + apart[:1].T - apart)
    values, vectors = np.linalg.eigh(covariance)
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(values)))
    drawn = normal @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    gained = drawn - errors.slope * (objective / objective[0] - 1)
    return float(objective[0] * np.mean(np.maximum(gained.max(axis=1), 0.0)))


def _of_few(units: int) -> float:
    """Expected standard deviation of normal errors over that of `units` of them.

    The mean of its posterior, √(ν/2)·Γ((ν − 1)/2)/Γ(ν/2) with ν = units − 1, if the prior is flat
    in its logarithm (Gelman et al., "Bayesian Data Analysis", 2013, section 3.2).

    >>> [round(_of_few(units), 2) for units in (4, 8, 40)]
    [1.38, 1.13, 1.02]
    """
    half = (units - 1) / 2
    return float(np.sqrt(half) * np.exp(gammaln(half - 0.5) - gammaln(half)))


def _nearly_best(best: Optimum) -> np.ndarray:
    """(mixtures, domains) the best mixture, then those of the least and largest share of each
    domain at every tolerance."""
    candidates = np.concatenate([best.mixture.to_numpy()[None], best.within(TOLERANCES)])
    return candidates[np.isfinite(candidates).all(axis=1)]
