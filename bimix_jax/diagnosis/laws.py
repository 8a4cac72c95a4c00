"""Which laws a sweep can identify: whether its points determine every coefficient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.compilation import jit
from bimix_jax.fitting.residual import predict
from bimix_jax.laws import LAWS, Law
from bimix_jax.sweep import Sweep

NEGLIGIBLE = 1e-7
"""Singular values of the scaled Jacobian below this share of the largest count as 0."""
UNEVEN = 0.7, 1.3
"""Starts are even between domains, where some laws look degenerate that are not."""
MOST_POINTS = 1000
"""Points beyond which a design shows nothing more; then they are drawn from it."""


def identifiable_laws(sweep: Sweep) -> pd.DataFrame:
    """One row a law of the package.

    Columns: coefficients that a target has; determined, how many of them the mixtures and budgets
    of the sweep determine for the worst target that the law can express; targets, how many are
    determined wholly; verdict. From the rank of the law's Jacobian where a fit starts, so it says
    what no precision of the losses could mend, not how large the errors are.

    >>> from bimix_jax import datasets, read_sweep
    >>> table = identifiable_laws(read_sweep(datasets.proxy_sweep()).from_budget(573_440))
    >>> table.loc["BiMix", "verdict"]
    'determined'
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
            "verdict": "no target is a domain",
        }
    found = {_determined(law, sweep, target) for target in _unlike(sweep, able)}
    short = [(known, count) for known, count in found if known < count]
    known, count = min(short or found, key=lambda pair: pair[0] - pair[1])
    held = law.restraint(jnp.zeros(len(sweep.domains))) is not None
    verdict = "determined" if not short else "held by its restraint" if held else "undetermined"
    return {"coefficients": count, "determined": known, "targets": len(able), "verdict": verdict}


def _unlike(sweep: Sweep, targets: list[int]) -> list[int]:
    """One of the targets that have the same own domain and were measured at the same points."""
    own, there = sweep.own_index(), np.isfinite(sweep.loss)
    kinds = {(int(own[t]), there[:, t].tobytes()): t for t in targets}
    return list(kinds.values())


def _determined(law: Law, sweep: Sweep, target: int) -> tuple[int, int]:
    """How many coefficients the points of a target determine, and how many there are."""
    column = int(sweep.own_index()[target])
    own = (np.arange(len(sweep.domains)) == column).astype(float)
    mixture, budget = _design(sweep, np.isfinite(sweep.loss[:, target]))
    with jax.enable_x64(True):
        jacobian, count = map(np.asarray, _jacobian(law, mixture, budget, own))
    scale = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / np.where(scale > 0, scale, 1.0)
    singular = np.linalg.svd(scaled, compute_uv=False)
    rank = int(np.sum(singular > NEGLIGIBLE * max(singular[0], 1e-300)))
    return min(rank, int(count)), int(count)


def _design(sweep: Sweep, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(MOST_POINTS, domains) and (MOST_POINTS,): unlike points, repeated where there are fewer.

    One shape for all targets and sweeps of so many domains, so that a law compiles once.
    """
    points = np.column_stack([sweep.mixture, sweep.budget / sweep.largest_budget])[measured]
    unlike = np.unique(points, axis=0)
    if len(unlike) > MOST_POINTS:
        unlike = np.random.default_rng(0).permutation(unlike)
    chosen = np.resize(unlike, (MOST_POINTS, unlike.shape[1]))
    return chosen[:, :-1], chosen[:, -1]


@functools.partial(jit, static_argnums=0)
def _jacobian(law: Law, mixture: Array, budget: Array, own: Array) -> tuple[Array, Array]:
    """∂L/∂coefficients (points, coefficients) at a start, 0 where fixed, and how many are free."""
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
