"""Pictures of a recommended mixture beside the mixtures that people train without a law."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bimix_jax.plots._style import (
    FAINT,
    INK,
    RECOMMENDED,
    SIZE,
    WORSE,
    bare,
    handles_of,
    legend_below,
    name_colors,
    names_on,
    whiskers,
    wrapped,
)
from bimix_jax.printable import picture_text, picture_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.reading.targets import Target

MARKS = "Dosv^P*X"
"""Marks of the mixtures beside the recommended one."""
TALL = 0.36
"""Height of a row, in inches."""
NAMED = 1.8
"""Width of the names of rows, in inches; longer ones take several lines."""
WIDE = 7.2
"""Width of a figure, in inches."""


def plot_baselines(
    shares: "pd.DataFrame",
    ends: "pd.DataFrame | None" = None,
    observed: "pd.DataFrame | None" = None,
    epochs: "pd.Series | None" = None,
) -> Figure:
    """Draw mixtures beside each other: bars of the first one, and marks of the others.

    Args:
        shares: (mixtures, domains) proportions, the recommended mixture first.
        ends: low and high of the recommended proportions, by domain.
        observed: min and max of the proportions in the sweep, by domain.
        epochs: times that each token is seen with the recommended mixture, by domain.
    """
    order = shares.iloc[0].sort_values(kind="stable").index
    figure = Figure(figsize=(WIDE, TALL * len(order) + 1.5), layout="constrained")
    axes, position = figure.subplots(), np.arange(len(order))
    if observed is not None:
        seen = observed.loc[order]
        axes.hlines(
            position - 0.38, seen["min"], seen["max"], color=FAINT, lw=1.2, label="in the sweep"
        )
    _rows(axes, shares[order], _marks(shares.index))
    if ends is not None:
        low, high = (ends.loc[order, end] for end in ("low", "high"))
        whiskers(axes, position, low, high, "interval")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.3g} %"))
    axes.set_xlabel("share of the tokens", fontsize=SIZE)
    if epochs is not None:
        _epochs(axes, epochs[order])
    legend_below(figure, handles_of(axes))
    return figure


def plot_costs(losses: "pd.DataFrame", described: "Sequence[Target]" = ()) -> Figure:
    """Draw how much worse every target is predicted to be than with the second mixture.

    Args:
        losses: (mixtures, targets), the recommended mixture first, the reference second.
        described: descriptions of the targets; default all are losses. Of losses the relative
            increase is drawn, of scores the points that they lose.
    """
    change = losses / losses.iloc[1] - 1
    for target in (target for target in described if target.is_score):
        distance = target.distance(losses[target.name])
        change[target.name] = target.points(distance - distance.iloc[1]) / 100
    order = change.iloc[0].sort_values(ascending=False, kind="stable").index
    figure = Figure(figsize=(WIDE, TALL * len(order) + 1.5), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, lw=0.8)
    others = change[order].drop(change.index[1])
    _rows(axes, others, _marks(change.index), others.iloc[0] > 0)
    axes.margins(x=0.08)
    some = any(target.is_score for target in described)
    sign = "" if some else " %"
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{100 * x:+.3g}{sign}" if x else "0")
    )
    name = picture_text(change.index[1])
    worse = f"worse than {name}, points of a score or % of a loss"
    loss = f"change of the predicted loss against {name}"
    axes.set_xlabel(worse if some else loss, fontsize=SIZE)
    legend_below(figure, handles_of(axes))
    return figure


def _marks(names: "pd.Index") -> dict[str, dict[str, str]]:
    """Return the mark of each mixture after the first, the same in every picture of the names."""
    others = [str(name) for name in names[1:]]
    pairs = zip(others, itertools.cycle(MARKS), name_colors(others).values())
    return {name: {"marker": mark, "mec": color} for name, mark, color in pairs}


def _rows(
    axes: "Axes",
    table: "pd.DataFrame",
    marks: "dict[str, dict[str, str]]",
    worse: "pd.Series | None" = None,
) -> None:
    """Draw the first row of a table as bars, and the others as marks, by column."""
    position = np.arange(table.shape[1])
    colors = RECOMMENDED if worse is None else list(np.where(worse, WORSE, RECOMMENDED))
    name, *others = map(str, table.index)
    axes.barh(position, table.iloc[0], 0.55, color=colors, alpha=0.85)
    # Labelled apart, as the first bar may be one of a loss that grows.
    axes.barh(position[:1], [0.0], color=RECOMMENDED, alpha=0.85, label=picture_text(name))
    for number, other in enumerate(others, start=1):
        finite = table.iloc[number].where(np.isfinite(table.iloc[number]))
        style: Any = {"ls": "", "ms": 5.5, "mfc": "w", "mew": 1.4, **marks[other]}
        axes.plot(finite, position, label=picture_text(other), **style)
    names = [wrapped(text, NAMED) for text in picture_texts(table.columns)]
    names_on(axes, table.columns)
    axes.set_yticks(position, names, fontsize=SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    bare(axes, "left")


def _epochs(axes: "Axes", epochs: "pd.Series") -> None:
    """Write the epochs at the right of every row."""
    for row, count in enumerate(epochs):
        text = f"{count:.2f}" if np.isfinite(count) else "–"
        axes.annotate(
            text,
            (1.02, row),
            fontsize=8,
            va="center",
            xycoords=("axes fraction", "data"),
            annotation_clip=False,
        )
    axes.annotate(
        "epochs",
        (1.02, len(epochs) - 0.35),
        fontsize=8,
        va="bottom",
        color=FAINT,
        xycoords=("axes fraction", "data"),
        annotation_clip=False,
    )
