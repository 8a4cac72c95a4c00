"""A picture of how sure a recommended mixture is."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from bimix_jax.printable import picture_text, picture_texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bimix_jax.uncertainty.certainty import Certainty

RECOMMENDED, BESIDE, WORSE, INK = "#1b6ca8", "#c9c9c9", "#c8553d", "0.25"
BINS = 41


def plot_certainty(sure: "Certainty", reference: str = "reference") -> Figure:
    """The recommended mixture with intervals, and how the gain over the reference is spread.

    Args:
        sure: from `certainty`.
        reference: how the reference is called.
    """
    height = 0.42 * len(sure.optimum.mixture) + 2.1
    figure = Figure(figsize=(10.5, max(height, 3.6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    _proportions(left, sure, reference)
    _gain(right, sure, reference)
    law = picture_text(sure.bootstrap.fitted.label)
    budget = f"{EngFormatter()(sure.optimum.budget)} {picture_text(sure.optimum.unit)}"
    figure.suptitle(f"{law}: the mixture for {budget}, and how sure it is")
    return figure


def _proportions(axes: "Axes", sure: "Certainty", reference: str) -> None:
    order = sure.optimum.mixture.sort_values().index
    mixture, beside = sure.optimum.mixture[order], sure.optimum.reference[order]
    ends = sure.ends.loc[order]
    position = np.arange(len(order))
    axes.barh(position, mixture, 0.62, color=RECOMMENDED, alpha=0.85, label="recommended")
    axes.plot(beside, position, "|", ms=17, mew=2.2, color="0.55", label=picture_text(reference))
    label = f"{100 * sure.level:.0f} % interval"
    axes.hlines(position, ends["low"], ends["high"], color=INK, lw=2, label=label)
    for end in ("low", "high"):
        axes.plot(ends[end], position, "|", ms=8, mew=1.6, color=INK)
    axes.set_yticks(position, picture_texts(order))
    axes.set_xlim(0, 1.06 * float(np.nanmax([ends["high"].max(), mixture.max(), beside.max()])))
    axes.set_xlabel("proportion")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _gain(axes: "Axes", sure: "Certainty", reference: str) -> None:
    low, high = 100 * np.array(sure.gain_interval())
    values = 100 * sure.possible_gains
    values = values[np.isfinite(values)]
    # A few wild resamples must not squeeze the rest into one bar.
    inside = np.quantile(values, [0.005, 0.995])
    edges = np.linspace(min(inside[0], 0.0), max(inside[1], 0.0), BINS)
    counts, edges = np.histogram(values, edges)
    middle = (edges[:-1] + edges[1:]) / 2
    colors = np.where(middle > 0, RECOMMENDED, WORSE)
    axes.bar(middle, counts, np.diff(edges), color=colors, alpha=0.85)
    axes.axvline(0, color="0.3", lw=1)
    top = 1.12 * max(counts.max(), 1)
    if np.isfinite(low):
        axes.hlines(top, low, high, color=INK, lw=2)
        axes.plot([low, high], [top, top], "|", ms=9, mew=1.6, color=INK)
    axes.plot(100 * sure.gain, top, "o", ms=5, color=INK)
    axes.set_ylim(0, 1.1 * top)
    axes.set_yticks([])
    axes.set_xlabel(f"gain in mean loss over {picture_text(reference)}, %")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_title(_caption(sure, low, high), fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _caption(sure: "Certainty", low: float, high: float) -> str:
    if not np.isfinite(low):
        return "too few mixtures to say how sure"
    return (
        f"{100 * sure.gain:.2f} % ({low:.2f} to {high:.2f}), better with probability "
        f"{sure.shown_probability()}"
    )
