"""Non-negative least squares, and the nearest point of a convex hull by it."""

import numpy as np

TOLERANCE = 1e-11


def nonnegative_least_squares(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find x ≥ 0 (columns,) with the least ‖matrix·x − target‖, by Lawson and Hanson's method.

    `matrix` (rows, columns), `target` (rows,). Source: Lawson and Hanson, "Solving Least Squares
    Problems" (1974), chapter 23.

    >>> print(nonnegative_least_squares(np.eye(2), np.array([1.0, -1.0])))
    [1. 0.]
    """
    count = matrix.shape[1]
    x, passive = np.zeros(count), np.zeros(count, bool)
    # Relative to the size of matrix and target, as rounding of the slopes is.
    scale = TOLERANCE * (1 + np.abs(matrix).max(initial=0.0)) * (1 + np.abs(target).max())
    for _ in range(10 * count):
        ascent = np.where(passive, -np.inf, matrix.T @ (target - matrix @ x))
        if count == 0 or ascent.max() <= scale:
            break
        passive[np.argmax(ascent)] = True
        x, passive = _keep_positive(matrix, target, x, passive)
    return x


def _keep_positive(
    matrix: np.ndarray, target: np.ndarray, x: np.ndarray, passive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solve for the passive columns, and drop those that would turn negative on the way."""
    while True:
        wanted = np.zeros_like(x)
        wanted[passive] = np.linalg.lstsq(matrix[:, passive], target, rcond=None)[0]
        wrong = passive & (wanted <= 0)
        if not wrong.any():
            return wanted, passive
        falling = wrong & (x > wanted)
        step = np.min(x[falling] / (x[falling] - wanted[falling])) if falling.any() else 0.0
        x = np.where(passive, x + step * (wanted - x), 0.0)
        passive = passive & ~(wrong & (x <= TOLERANCE))
        x = np.where(passive, x, 0.0)


def nearest_in_hull(point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Find the convex combination of mixtures (points, domains) nearest to a mixture (domains,).

    >>> print(nearest_in_hull(np.array([0.9, 0.1]), np.array([[0.7, 0.3], [0.2, 0.8]])).round(6))
    [0.7 0.3]
    """
    # The row that makes the weights sum to 1 weighs much more than the distance.
    heavy = 1e4
    matrix = np.vstack([points.T, np.full(len(points), heavy)])
    weights = nonnegative_least_squares(matrix, np.append(point, heavy))
    return points.T @ weights / weights.sum()
