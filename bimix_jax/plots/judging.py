"""Pictures of errors on held-out data: one law's points, and several laws."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bimix_jax.plots.style import (
    BESIDE,
    FAINT,
    GRADED,
    RECOMMENDED,
    SIZE,
    bare,
    headed,
    legend_below,
    log_bar,
    log_norm,
    names_on,
    panels_of,
    width_of,
)
from bimix_jax.printable import picture_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.judging.comparison import Comparison
    from bimix_jax.judging.evaluate import Evaluation

SPLIT_TITLES = {
    "mixtures": "unseen mixtures",
    "budgets": "later budgets",
    "both": "later budgets of unseen mixtures",
}


def plot_predicted(evaluation: "Evaluation") -> Figure:
    """Draw predicted against measured losses of held-out runs, one panel per target."""
    errors = evaluation.table()["mre"].to_dict()
    # A no-break space keeps a number and its sign on one line.
    hard = "\N{NO-BREAK SPACE}"
    titles = [f"{picture_text(t)} {100 * errors[t]:.2f}{hard}%" for t in evaluation.targets]
    figure, panels = panels_of(titles, "measured loss (nats)", "predicted loss (nats)", 2.9)
    norm = log_norm(evaluation.budget)
    for i, axes in enumerate(panels):
        measured, predicted = evaluation.measured[:, i], evaluation.predicted[:, i]
        usable = np.isfinite(measured)
        both = np.concatenate([measured[usable], predicted[usable]])
        ends = [both.min(), both.max()] if len(both) else [0, 1]
        axes.plot(ends, ends, "-", color=BESIDE, lw=1)
        colors = GRADED(norm(evaluation.budget[usable]))
        axes.scatter(measured[usable], predicted[usable], s=12, c=colors)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    log_bar(figure, norm, "budget")
    headed(figure, "Held-out points: predicted against measured, with mean relative error")
    return figure


def plot_comparison(comparison: "Comparison") -> Figure:
    """Draw the mean error of every law on held-out data, one panel per kind of split.

    The line at a dot is twice the standard error of the paired difference to the chosen law, which
    is blue; the band is the noise. Hollow laws are excluded, because the runs do not identify their
    coefficients.
    """
    kinds = list(dict.fromkeys(comparison.kinds))
    wide = max(3.6 * len(kinds), 5.0) + width_of(comparison.laws) + 0.4
    size = (wide, 0.4 * len(comparison.laws) + 2.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    noise = 100 * comparison.noise.least()
    hollow = False
    for axes, kind in zip(panels, kinds, strict=True):
        trusted = comparison.laws.index(comparison.best_of(kind))
        open_ones = comparison.passed_over(kind)
        hollow |= bool(open_ones.any())
        _error_dots(axes, comparison.table_of(kind), trusted, open_ones, noise)
        axes.set_title(SPLIT_TITLES.get(kind, kind), fontsize=10)
    _explain(figure, panels[0], bool(np.isfinite(noise)), hollow)
    where = SPLIT_TITLES.get(comparison.decisive, comparison.decisive)
    headed(figure, f"{picture_text(comparison.best)} is the law to trust ({where})")
    return figure


def _explain(figure: Figure, axes: "Axes", noise: bool, hollow: bool) -> None:
    dot = {"marker": "o", "ls": "-", "ms": 6, "lw": 1.6}
    handles: dict[str, Artist] = {
        "law to trust": Line2D([], [], color=RECOMMENDED, **dot),  # type: ignore[arg-type]
        "another law; line: ± 2 standard errors of the difference": Line2D(
            [],
            [],
            color=FAINT,
            **dot,  # type: ignore[arg-type]
        ),
    }
    if hollow:
        handles["excluded: its coefficients are not identified"] = Line2D(
            [],
            [],
            color=FAINT,
            mfc="white",
            **dot,  # type: ignore[arg-type]
        )
    if noise:
        handles["noise of the runs"] = Patch(color="0.9")
    legend_below(figure, handles)


def _error_dots(
    axes: "Axes", table: "pd.DataFrame", trusted: int, hollow: np.ndarray, noise: float
) -> None:
    position = np.arange(len(table))[::-1]
    error, spread = 100 * table["mre"].to_numpy(), 200 * table["se"].fillna(0.0).to_numpy()
    colors = [RECOMMENDED if i == trusted else FAINT for i in range(len(table))]
    if np.isfinite(noise):
        axes.axvspan(0, noise, color="0.9", lw=0)
    axes.hlines(position, error - spread, error + spread, color=colors, lw=1.6)
    faces = ["w" if open_ else color for open_, color in zip(hollow, colors, strict=True)]
    axes.scatter(error, position, s=42, c=faces, edgecolors=colors, zorder=3)
    for x, y, width in zip(error, position, spread, strict=True):
        if np.isfinite(x):
            axes.annotate(
                f"{x:.2f}",
                (x + width, y),
                (5, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
            )
    names_on(axes, table.index[::-1])
    ends = (error + spread)[np.isfinite(error + spread)]
    axes.set_xlim(0, 1.25 * max(ends.max(initial=0.0), 1e-3))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("mean relative error, %", fontsize=SIZE)
    bare(axes)
