"""Cholesky factors in NumPy, by products so small that one thread computes each of them.

OpenBLAS gives a factorisation to all cores, whose threads wait for each other in loops: on a busy
machine one of 200 rows takes 20 ms instead of 0.3. It computes small products on one thread.
"""

from typing import Any

import numpy as np

BLOCK = 32
"""Columns that are factored at a time; OpenBLAS factors fewer than 64 on one thread."""
SMALL = 200_000
"""Multiplications of a product that OpenBLAS still computes on one thread, up to 262 144."""


class Factor:
    """Lower factor L of a positive definite matrix (n, n), M = L·Lᵀ.

    >>> print(Factor(np.array([[4.0, 2.0], [2.0, 3.0]])).solve(np.array([[8.0], [7.0]])).T)
    [[1.25 1.5 ]]
    """

    def __init__(self, matrix: np.ndarray) -> None:
        """Factor a matrix; raises numpy.linalg.LinAlgError where it is not positive definite."""
        self.size = len(matrix)
        self.lower = np.zeros_like(matrix)
        self.inverses: list[np.ndarray] = []
        for first in range(0, self.size, BLOCK):
            self._add(matrix, slice(first, min(first + BLOCK, self.size)))

    def _add(self, matrix: np.ndarray, block: slice) -> None:
        """Factor the next columns."""
        first, lower = block.start, self.lower
        # A copy, as NumPy would see a product of rows with themselves and call another routine.
        known = lower[block, :first].T.copy()
        below = matrix[first:, block] - product(lower[first:, :first], known)
        corner = np.linalg.cholesky(below[: block.stop - first])
        self.inverses.append(np.linalg.inv(corner))
        lower[block, block] = corner
        lower[block.stop :, block] = product(
            below[block.stop - first :], self.inverses[-1].T.copy()
        )

    def solve(self, sides: np.ndarray) -> np.ndarray:
        """Solve M·x = sides (n, sides)."""
        x, blocks = (
            np.array(sides, float),
            [slice(i, i + BLOCK) for i in range(0, self.size, BLOCK)],
        )
        for block, inverse in zip(blocks, self.inverses, strict=True):
            x[block] = inverse @ (x[block] - self.lower[block, : block.start] @ x[: block.start])
        for block, inverse in zip(reversed(blocks), reversed(self.inverses), strict=True):
            rest = self.lower[block.stop :, block].T @ x[block.stop :]
            x[block] = inverse.T @ (x[block] - rest)
        return x


def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Multiply matrices in strips of rows.

    >>> product(np.ones((2, 3)), np.ones((3, 1))).ravel().tolist()
    [3.0, 3.0]
    """
    if not one.size:
        return np.zeros((len(one), other.shape[1]))
    rows = max(1, SMALL // max(1, other.size))
    strips: Any = [one[i : i + rows] @ other for i in range(0, len(one), rows)]
    return strips[0] if len(strips) == 1 else np.concatenate(strips)
