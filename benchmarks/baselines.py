"""Baselines without a law: regressions from mixture and budget to the loss of one target."""

from typing import Any

import numpy as np

from bimix_jax.sweeps.sweep import Sweep


def baseline_predictions(sweep: Sweep, train: np.ndarray, target: str) -> dict[str, np.ndarray]:
    """Losses (points,) of one target by method, fitted to the points of `train` (points,) bool.

    No mixture (the mean at each budget), linear regression of the log loss on proportions and log
    budget, and LightGBM as RegMix uses it, where it is installed.
    """
    loss = sweep.loss[:, sweep.targets.index(target)]
    rows = np.flatnonzero(train & np.isfinite(loss))
    features = np.column_stack([sweep.mixture, np.log(sweep.budget)])
    found = {"linear": np.exp(_linear(features[rows], np.log(loss[rows]), features))}
    boosted = _lightgbm(features[rows], loss[rows], features)
    return found | ({} if boosted is None else {"LightGBM": boosted})


def _linear(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    coefficients = np.linalg.lstsq(x, y, rcond=None)[0]
    return at @ coefficients


def _lightgbm(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray | None:
    """Predict by the settings of RegMix's published script, without early stopping."""
    try:
        import lightgbm
    except ImportError:
        return None
    settings: dict[str, Any] = {
        "objective": "regression", "metric": "l2", "seed": 42, "num_leaves": 31,
        "learning_rate": 0.01, "verbosity": -1, "num_threads": 2,
    }  # fmt: skip
    model = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=1000)
    return np.asarray(model.predict(at))
