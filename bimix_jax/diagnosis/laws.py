"""Laws that a sweep can identify: those with every coefficient determined by its points."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.fitting.residual import predict
from bimix_jax.laws import LAWS, Law
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.xla.compilation import jit

NEGLIGIBLE = 1e-7
"""Share of the largest singular value of the scaled Jacobian below which others count as 0."""
UNEVEN = 0.7, 1.3
"""Factors that make starts uneven: even ones make some laws look degenerate that are not."""
MANY_MIXTURES, MANY_BUDGETS = 100, 10
"""Number of mixtures, or of budgets, in designs that search for the least number of the other."""
MOST_POINTS = 1000
"""Number of points beyond which a design adds no information; more are subsampled."""


def identifiable_laws(sweep: Sweep) -> pd.DataFrame:
    """Table with a row per law of the package.

    Columns: coefficients per target; determined, the number that the mixtures and budgets of the
    sweep determine for the worst target that the law can express; targets, the number determined
    completely; needs_mixtures and needs_budgets, the fewest that determine all coefficients of a
    target where there are many of the other (0 where none do); verdict. They follow from the rank
    of the law's Jacobian at the start of a fit, so they tell what no precision of the losses could
    mend, not how large the errors are.

    >>> from bimix_jax import datasets, read_sweep
    >>> table = identifiable_laws(read_sweep(datasets.proxy_sweep()).from_budget(573_440))
    >>> needs = table.loc["BiMix", ["needs_mixtures", "needs_budgets"]].astype(int)
    >>> needs.tolist(), table.loc["BiMix", "verdict"]
    ([2, 3], 'determined')
    """
    rows = {name: _row(law(), sweep) for name, law in LAWS.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("law")


def _row(law: Law, sweep: Sweep) -> dict[str, Any]:
    able = [t for t in range(len(sweep.targets)) if not law.needs_own or sweep.own_index()[t] >= 0]
    if not able:
        return {
            "coefficients": 0,
            "determined": 0,
            "targets": 0,
            "needs_mixtures": 0,
            "needs_budgets": 0,
            "verdict": "no target is a domain",
        }
    found = {_determined(law, sweep, target) for target in _unlike(sweep, able)}
    short = [(known, count) for known, count in found if known < count]
    known, count = min(short or found, key=lambda pair: pair[0] - pair[1])
    held = law.shrinkage(jnp.zeros(len(sweep.domains))) is not None
    verdict = "determined" if not short else "held by its shrinkage" if held else "undetermined"
    mixtures, budgets = _needs(law, sweep, able[0])
    return {
        "coefficients": count,
        "determined": known,
        "targets": len(able),
        "needs_mixtures": mixtures,
        "needs_budgets": budgets,
        "verdict": verdict,
    }


def _needs(law: Law, sweep: Sweep, target: int) -> tuple[int, int]:
    """Fewest mixtures, and fewest budgets, of designs that determine all coefficients."""
    own = _own(sweep, target)
    shares = np.random.default_rng(0).dirichlet(np.ones(len(own)), MANY_MIXTURES)
    times = np.geomspace(0.03, 1.0, MANY_BUDGETS)

    def determined(mixtures: int, budgets: int) -> bool:
        at = times[np.linspace(0, MANY_BUDGETS - 1, budgets).round().astype(int)]
        mixture = np.repeat(shares[:mixtures], budgets, axis=0)
        known, count = _rank(law, _filled(mixture), _filled(np.tile(at, mixtures)), own)
        return known == count

    return (
        _least(lambda n: determined(n, MANY_BUDGETS), MANY_MIXTURES),
        _least(lambda n: determined(MANY_MIXTURES, n), MANY_BUDGETS),
    )


def _least(holds: Callable[[int], bool], most: int) -> int:
    """Least number up to `most` from which on something holds; 0 for none."""
    least, enough = 1, most
    if not holds(most):
        return 0
    while least < enough:
        middle = (least + enough) // 2
        least, enough = (least, middle) if holds(middle) else (middle + 1, enough)
    return enough


def _filled(values: np.ndarray) -> np.ndarray:
    """Repeat to MOST_POINTS rows, so that a law compiles once."""
    return np.resize(values, (MOST_POINTS, *values.shape[1:]))


def _unlike(sweep: Sweep, targets: list[int]) -> list[int]:
    """Select one of the targets with the same own domain and the same measured points."""
    own, there = sweep.own_index(), np.isfinite(sweep.loss)
    kinds = {(int(own[t]), there[:, t].tobytes()): t for t in targets}
    return list(kinds.values())


def _determined(law: Law, sweep: Sweep, target: int) -> tuple[int, int]:
    """Number of coefficients that the points of a target determine, and number in all."""
    mixture, budget = _design(sweep, np.isfinite(sweep.loss[:, target]))
    return _rank(law, mixture, budget, _own(sweep, target))


def _own(sweep: Sweep, target: int) -> np.ndarray:
    return (np.arange(len(sweep.domains)) == sweep.own_index()[target]).astype(float)


def _rank(law: Law, mixture: np.ndarray, budget: np.ndarray, own: np.ndarray) -> tuple[int, int]:
    """Number of coefficients that the points determine, and number in all."""
    with jax.enable_x64(True):
        jacobian, count = map(np.asarray, _jacobian(law, mixture, budget, own))
    scale = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / np.where(scale > 0, scale, 1.0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    rank = int(np.sum(singular > NEGLIGIBLE * max(singular[0], 1e-300)))
    return min(rank, int(count)), int(count)


def _design(sweep: Sweep, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(MOST_POINTS, domains) and (MOST_POINTS,): distinct points, repeated where there are fewer.

    The shape is the same for all targets and sweeps with this number of domains, so that a law
    compiles once.
    """
    points = np.column_stack([sweep.mixture, sweep.budget / sweep.largest_budget])[measured]
    unlike = np.unique(points, axis=0)
    if len(unlike) > MOST_POINTS:
        unlike = np.random.default_rng(0).permutation(unlike)
    chosen = _filled(unlike)
    return chosen[:, :-1], chosen[:, -1]


@functools.partial(jit, static_argnums=0)
def _jacobian(law: Law, mixture: Array, budget: Array, own: Array) -> tuple[Array, Array]:
    """∂L/∂coefficients (points, coefficients) at a start, 0 where fixed; and the number free."""
    usable = jax.vmap(law.usable, in_axes=(0, None))(mixture, own)
    inside = jnp.where(usable[:, None], mixture, 1.0 / mixture.shape[1])
    features = jax.vmap(law.features, in_axes=(0, None, 0))(inside, own, budget)
    start = jnp.asarray(law.starts(mixture.shape[1]), mixture.dtype)[0]
    exponents = start * jnp.linspace(*UNEVEN, len(start))
    amplitudes = jnp.ones(len(law.amplitude_names), mixture.dtype)
    of_exponents, of_amplitudes = jax.jacfwd(
        lambda e, a: predict(law, e, a, features), argnums=(0, 1)
    )(exponents, amplitudes)
    fixed = law.fixed(own)
    free = jnp.where(fixed, 0.0, of_exponents)
    jacobian = jnp.concatenate([free, of_amplitudes], axis=1)
    there = usable & jnp.all(jnp.isfinite(jacobian), axis=1)  # r = 0 is a corner of some laws
    jacobian = jnp.where(there[:, None], jacobian, 0.0)
    count = jnp.sum(~fixed) + len(amplitudes) - law.gauges(own)
    return jacobian, count
