"""Cells that are logged one by one, as rows."""

import numpy as np
import pandas as pd


def spread(
    group: np.ndarray, column: np.ndarray, value: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells as one row per group; repeated cells get rows after those, in the same order.

    Args:
        group: (cells,) int, which row a cell is of, none left out.
        column: (cells,) int below width.
        value: (cells,) float.
        width: number of columns.

    Returns:
        (rows,) the group of each row, and (rows, width) values, nan where there is none.

    >>> spread(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 0]), np.array([1.0, 2, 3, 4]), 2)
    (array([0, 1, 0]), array([[ 1.,  2.],
           [nan,  3.],
           [ 4., nan]]))
    """
    groups = int(group.max(initial=-1)) + 1
    cell = group * width + column
    layer = _times_before(cell)
    rows = groups * (int(layer.max(initial=0)) + 1)
    table = np.full((rows, width), np.nan)
    table.flat[layer * groups * width + cell] = value
    used = np.flatnonzero(~np.isnan(table).all(axis=1))
    return used % max(groups, 1), table[used]


def _times_before(cell: np.ndarray) -> np.ndarray:
    """Return (cells,) int: the number of earlier cells with the same value.

    >>> _times_before(np.array([3, 1, 3, 3]))
    array([0, 0, 1, 2])
    """
    if not len(cell) or np.bincount(cell).max() == 1:
        return np.zeros(len(cell), int)
    return pd.Series(cell).groupby(cell).cumcount().to_numpy()
