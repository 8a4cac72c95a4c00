"""The noise floor: errors of curves of single runs, and differences between replicates."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar, nnls

import bimix_jax as bx
from bimix_jax.judging import noise
from bimix_jax.judging.noise import LEAST_POINTS, noise_floor
from tests.fits import frame


def test_noise_of_curves_and_of_replicates():
    size, runs, budgets = 0.01, 40, 12
    rng, budget = np.random.default_rng(0), np.geomspace(1e8, 1e10, 12)
    curve = 1 + 0.5 * (budget / budget.max()) ** -0.3
    rows = pd.DataFrame({
        "run": np.repeat(np.arange(runs), budgets).astype(str), "tokens": np.tile(budget, runs),
        "r_a": np.repeat(rng.permutation(np.arange(runs) // 2) / runs + 0.1, budgets),
    })  # fmt: skip
    rows["r_b"] = 1 - rows["r_a"]
    noise = 1 + size * rng.standard_normal(len(rows))
    rows["loss_a"] = np.tile(curve, runs) * noise
    floor = noise_floor(bx.read_sweep(rows))
    expected = size * np.sqrt(2 / np.pi)
    assert floor.curves == pytest.approx(expected, rel=0.15)
    assert floor.replicates == pytest.approx(expected, rel=0.15)
    assert floor.least() == max(floor.curves, floor.replicates)


def best_curve(budget, loss):
    """Relative residuals of the best L = B s^−β + C, by least squares for every β."""

    def fitted(beta):
        features = np.column_stack([(budget / budget[0]) ** -beta, np.ones(len(budget))])
        amplitudes, left = nnls(features / loss[:, None], np.ones(len(loss)))
        return left, features @ amplitudes / loss - 1

    grid = np.geomspace(1e-3, 10, 200)
    at = int(np.argmin([fitted(beta)[0] for beta in grid]))
    ends = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    return fitted(minimize_scalar(lambda beta: fitted(beta)[0], bounds=ends, method="bounded").x)[1]


def test_curves_are_those_of_least_squares(monkeypatch):
    rng, rows = np.random.default_rng(0), frame(noise=0.02)
    losses = [name for name in rows if name.startswith("loss_")]
    # Runs of unlike lengths, losses that are missing, and one that rises, so that B is 0.
    rows[losses] = rows[losses].mask(rng.random(rows[losses].shape) < 0.1)
    rows = rows[rng.random(len(rows)) < 0.9].reset_index(drop=True)
    sweep = bx.read_sweep(rows)
    sweep.loss[sweep.run == sweep.runs[0]] = (
        3 + 0.1 * np.arange((sweep.run == sweep.runs[0]).sum())[:, None]
    )
    expected = []
    for run in sweep.runs:
        for target in range(len(sweep.targets)):
            here = (sweep.run == run) & np.isfinite(sweep.loss[:, target])
            count = here.sum()
            if count >= LEAST_POINTS:
                left = best_curve(sweep.budget[here], sweep.loss[here, target])
                expected.append(np.abs(left).mean() * np.sqrt(count / (count - 3)))
    assert len(expected) < len(sweep.runs) * len(sweep.targets)
    floor = noise_floor(sweep).curves
    assert floor == pytest.approx(np.mean(expected), rel=1e-6)
    monkeypatch.setattr(noise, "CELLS", 20)
    assert noise_floor(sweep).curves == pytest.approx(floor, rel=1e-12)
