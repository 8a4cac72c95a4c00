"""The last steps of fits of several parts: links to scores, and sums of squares."""

import numpy as np

from bimix_jax.fitting._links import fitted_links, through_links
from bimix_jax.fitting.arrays import ArrayFit
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask


def linked(
    task: FitTask, losses: ArrayFit, predicted: np.ndarray, factor: np.ndarray
) -> tuple[ArrayFit, np.ndarray]:
    """Fit the links of a law `ThroughLosses` beside fits of its losses (fits, losses, …).

    Args:
        task: what is fitted.
        losses: the fits of all losses.
        predicted: (fits, losses, points) their predictions.
        factor: (fits, points) of the weights.

    Returns:
        The fits of the whole law and their predictions (fits, targets, points).
    """
    links = fitted_links(task, factor)
    every = np.arange(predicted.shape[1])
    found = links.distances(predicted)
    return with_squares(task, through_links(task, losses, every, links), found, factor), found


def with_squares(
    task: FitTask, fit: ArrayFit, predicted: np.ndarray, factor: np.ndarray
) -> ArrayFit:
    """Fill in the sums of squares of predictions (fits, targets, points), as fits have them.

    `factor` (fits, points) is that of the weights of each fit.
    """
    weight = factor[:, None] * task.weight.T
    residual = _residual(task.options, predicted, task.loss.T)
    squares = np.where((weight > 0) & np.isfinite(residual), weight * residual, 0.0).sum(axis=-1)
    return fit._replace(sum_of_squares=squares, objective=squares / 2)


def _residual(options: FitOptions, predicted: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """ρ², or twice the Huber penalty of ρ, of predictions (…, points)."""
    with np.errstate(invalid="ignore"):
        rest = {
            "relative": lambda: predicted / loss - 1,
            "log": lambda: np.log(predicted / loss),
            "absolute": lambda: predicted - loss,
        }[options.residual]()
    size, most = np.abs(rest), np.inf if options.huber is None else options.huber
    return np.where(size <= most, size**2, 2 * most * size - most**2 if most < np.inf else 0.0)
