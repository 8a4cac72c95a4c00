"""Sweeps, and a law of one's own, that the tests of fits, optima, pictures and commands share."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd

import bimix_jax as bx
from tests.conftest import synthetic_points

DOMAINS = ("web", "code", "books")
RUNS, BUDGETS = 12, 8


def frame(**options):
    """A wide table of a world where BiMix is true: 12 runs of 3 domains at 8 budgets."""
    mixture, budget, loss, _ = synthetic_points(runs=RUNS, budgets=BUDGETS, **options)
    columns = {"run": np.repeat([f"run{i:02}" for i in range(RUNS)], BUDGETS), "tokens": budget}
    columns |= {f"r_{d}": mixture[:, i] for i, d in enumerate(DOMAINS)}
    columns |= {f"loss_{d}": loss[:, i] for i, d in enumerate(DOMAINS)}
    return pd.DataFrame(columns)


def truth():
    """Exponents and amplitudes of that world, one row a domain."""
    return synthetic_points(runs=RUNS, budgets=BUDGETS)[3]


def last_budget(table):
    """The rows at the largest budget only."""
    return table[table["tokens"] == table["tokens"].max()]


def without_web(table, runs=(0, 1)):
    """The same with no web at all in the mixtures of some runs."""
    gone = table["run"].isin([f"run{i:02}" for i in runs])
    mixed = table.assign(r_web=table["r_web"].where(~gone, 0.0))
    columns = [f"r_{d}" for d in DOMAINS]
    mixed[columns] = mixed[columns].div(mixed[columns].sum(axis=1), axis=0)
    return mixed


def web_failed(table):
    """Losses on web measured only where no web was trained on, so that its fit has no point."""
    mixed = without_web(table)
    return mixed.assign(loss_web=mixed["loss_web"].where(mixed["r_web"] == 0))


@dataclasses.dataclass(frozen=True)
class Geometric(bx.Law):
    """L = gain·Π_j r_j^(−γ·share_j) + floor: for any target, and best at r_j ∝ share_j."""

    shares: tuple[float, ...] = (0.5, 0.3, 0.2)

    name = "Geometric"
    exponent_names = ("gamma",)
    amplitude_names = ("gain", "floor")

    def bounds(self, domains):
        return [(1e-3, 5.0)]

    def starts(self, domains):
        return [[0.1], [1.0]]

    def features(self, mixture, own, budget):
        return jnp.asarray(self.shares) @ jnp.log(mixture)

    def basis(self, exponents, features):
        return jnp.exp(-exponents[0] * features), 1.0

    def usable(self, mixture, own):
        return jnp.all(mixture > 0)


def geometric_sweep():
    """Two targets, one of them no train domain, of a world where Geometric is true."""
    table = frame().drop(columns=["loss_code", "loss_books"])
    log_q = np.log(table[[f"r_{d}" for d in DOMAINS]]) @ np.array(Geometric().shares)
    losses = {"loss_web": np.exp(-0.3 * log_q) + 1.0, "loss_exam": 2 * np.exp(-0.7 * log_q) + 0.5}
    return bx.read_sweep(table.assign(**losses))
