"""Picture of a calibration: coverage of intervals, and reliability of probabilities."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bimix_jax.plots._style import (
    BESIDE,
    FAINT,
    RECOMMENDED,
    SIZE,
    bare,
    handles_of,
    headed,
    legend_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bimix_jax.uncertainty.calibration import Calibration

LARGEST = 160.0
"""Area of the dot of the bin with most pairs, points squared."""


def plot_calibration(found: "Calibration") -> Figure:
    """Draw how often intervals hold by level, and how often claims about pairs are right.

    Thin lines are the targets. The area of a dot is the number of its pairs. On the diagonal an
    interval, or a probability, is right as often as it says.
    """
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _covered(left, found)
    _reliable(right, found)
    for axes in (left, right):
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(labelsize=SIZE)
        bare(axes)
    legend_below(figure, handles_of(left))
    headed(figure, "Intervals and probabilities on runs held out of the fit")
    return figure


def _covered(axes: "Axes", found: "Calibration") -> None:
    table, levels = found.coverage(), np.array(found.levels)
    inside = found.inside
    axes.plot([0, 1], [0, 1], "-", color=BESIDE, lw=1, label="as often as stated")
    for number in range(len(found.targets)):
        each = inside[:, :, number]
        known = np.isfinite(each).any(axis=1)
        share = np.nanmean(each[known], axis=1)
        axes.plot(levels[known], share, "-", color=FAINT, lw=1, label="one target")
    covered = table["covered"]
    axes.plot(levels, covered, "o-", color=RECOMMENDED, ms=6, lw=1.8, label="all targets")
    axes.set_xlabel("level of the interval", fontsize=SIZE)
    axes.set_ylabel("held-out values inside", fontsize=SIZE)
    axes.set_xlim(0.4, 1.0)
    axes.set_ylim(min(0.4, np.nanmin([*covered, 0.4])) - 0.02, 1.02)
    width = 100 * float(table["width"].iloc[-1])
    # No width where there are too few mixtures for an interval.
    what = "too few mixtures" if np.isnan(width) else f"± {width:.2f} % at {100 * levels[-1]:g} %"
    axes.set_title(f"intervals, {what}", fontsize=SIZE)


def _reliable(axes: "Axes", found: "Calibration") -> None:
    table = found.reliability()
    axes.plot([0.5, 1], [0.5, 1], "-", color=BESIDE, lw=1)
    if len(table):
        area = LARGEST * table["pairs"] / table["pairs"].max()
        axes.scatter(table["claimed"], table["right"], s=area + 8, color=RECOMMENDED)
    axes.set_xlabel("probability that one run is better", fontsize=SIZE)
    axes.set_ylabel("how often it is", fontsize=SIZE)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(min(0.45, *table["right"], 1.0) - 0.03, 1.04)
    axes.set_title(f"{int(table['pairs'].sum())} pairs of held-out runs", fontsize=SIZE)
