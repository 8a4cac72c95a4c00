"""Pictures of what a decision costs: along the budget, between groups, and by the point."""

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

from bimix_jax.printable import picture_text, picture_texts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.mixture.path import OptimalPath
    from bimix_jax.mixture.sensitivity import Sensitivity
    from bimix_jax.mixture.tradeoff import Tradeoff

MARKED, BESIDE = "#c8553d", "0.45"
ODDS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98)
SHORT = EngFormatter(places=2, sep="\N{THIN SPACE}")
APART = 0.045
"""Least distance of labels at the end of lines, of the height of the axes."""


def domain_colors(domains: "pd.Index") -> dict[str, tuple]:
    """A color a domain, the same in every picture of these domains."""
    map_ = mpl.colormaps["tab10" if len(domains) <= 10 else "tab20"]
    return {str(domain): map_(i % map_.N) for i, domain in enumerate(domains)}


def plot_path(path: "OptimalPath") -> Figure:
    """Best proportion of every domain against the budget, with bands where there are resamples.

    Right of the line no run was measured.
    """
    figure = Figure(figsize=(8.2, 4.8), layout="constrained")
    axes = figure.subplots()
    budgets = path.mixtures.index.to_numpy()
    for domain, color in domain_colors(path.mixtures.columns).items():
        axes.plot(budgets, path.mixtures[domain], color=color, lw=1.8)
        if path.low is not None and path.high is not None:
            axes.fill_between(budgets, path.low[domain], path.high[domain], color=color, alpha=0.15,
                              lw=0)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(budgets[0], budgets[-1])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(EngFormatter(sep="\N{THIN SPACE}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if path.observed_budget < budgets[-1]:
        axes.axvspan(path.observed_budget, budgets[-1], color="0.95", lw=0, zorder=0)
        axes.annotate("beyond the sweep", (path.observed_budget, 1), (4, -12), fontsize=8,
                      color=BESIDE, xycoords=("data", "axes fraction"),
                      textcoords="offset points")  # fmt: skip
    _label_ends(axes, path.mixtures)
    axes.set_xlabel(f"budget ({picture_text(path.unit)})")
    axes.set_ylabel("proportion")
    bands = "" if path.low is None else f" ({100 * path.level:g} % intervals)"
    axes.set_title(f"Best mixture along the budget{bands}", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _label_ends(axes: "Axes", lines: "pd.DataFrame") -> None:
    """The name of every line at its right end, pushed apart where lines meet."""
    colors = domain_colors(lines.columns)
    ends = lines.iloc[-1].sort_values()
    bottom, top = axes.get_ylim()
    least = APART * (top - bottom)
    height = np.array(spread_out(ends.to_numpy(), least))
    for domain, y in zip(map(str, ends.index), height, strict=True):
        axes.annotate(f"{picture_text(domain)} {ends[domain]:.3f}", (1.015, y), fontsize=8.5,
                      color=colors[domain], va="center", annotation_clip=False,
                      xycoords=("axes fraction", "data"))  # fmt: skip


def spread_out(values: np.ndarray, least: float) -> list[float]:
    """Ascending values moved as little as is simple so that neighbours are `least` apart.

    >>> spread_out(np.array([1.0, 1.0, 5.0]), 1.0)
    [0.5, 1.5, 5.0]
    """
    groups: list[tuple[float, int]] = []
    for value in values:
        groups.append((float(value), 1))
        while len(groups) > 1:
            (low, n), (high, k) = groups[-2:]
            if high - low >= least * (n + k) / 2:
                break
            groups[-2:] = [((low * n + high * k) / (n + k), n + k)]
    return [mid + least * (i - (n - 1) / 2) for mid, n in groups for i in range(n)]


def plot_tradeoff(tradeoff: "Tradeoff") -> Figure:
    """The front between two groups on the left, the mixtures along it on the right."""
    figure = Figure(figsize=(11.0, 4.8), layout="constrained")
    losses, shares = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _front(losses, tradeoff)
    _mixtures_along(shares, tradeoff)
    figure.suptitle(
        "What one group of targets gains, the other pays, "
        f"at {SHORT(tradeoff.budget)} {picture_text(tradeoff.unit)}",
        fontsize=11,
    )
    return figure


def _front(axes: "Axes", tradeoff: "Tradeoff") -> None:
    front = tradeoff.front
    equal = front[front.index == tradeoff.even].iloc[0]
    axes.plot(front["first"], front["second"], "-", color="#1b6ca8", lw=2, zorder=2)
    marks = {"every target counts the same": equal, "uniform mixture": tradeoff.reference}
    for (label, at), color in zip(marks.items(), (MARKED, BESIDE), strict=True):
        axes.plot(at["first"], at["second"], "o", color=color, ms=8, label=label, zorder=3)
    prices = tradeoff.table()["price"].to_numpy()
    for row in (len(front) // 4, -1 - len(front) // 4):
        at = front.iloc[row]
        axes.plot(at["first"], at["second"], "o", color="#1b6ca8", ms=4)
        axes.annotate(f"a nat here costs {prices[row]:.2g} there", tuple(at), (7, 5), fontsize=8,
                      color=BESIDE, textcoords="offset points")  # fmt: skip
    axes.set_xlabel(f"mean loss of {_named(tradeoff.first)} (nats)")
    axes.set_ylabel(f"mean loss of {_named(tradeoff.second)} (nats)")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.margins(0.08)
    axes.spines[["top", "right"]].set_visible(False)


def _named(targets: tuple[str, ...]) -> str:
    shown = ", ".join(picture_texts(targets[:3]))
    return shown if len(targets) <= 3 else f"{shown} and {len(targets) - 3} more"


def _mixtures_along(axes: "Axes", tradeoff: "Tradeoff") -> None:
    weight = tradeoff.mixtures.index.to_numpy()
    odds = np.log(weight / (1 - weight))
    colors = domain_colors(tradeoff.mixtures.columns)
    axes.stackplot(odds, tradeoff.mixtures.to_numpy().T, colors=list(colors.values()), lw=0.4,
                   edgecolor="white")  # fmt: skip
    bounds = np.cumsum([0.0, *tradeoff.mixtures.iloc[-1]])
    middles = spread_out((bounds[1:] + bounds[:-1]) / 2, APART)
    for (domain, color), y in zip(colors.items(), middles, strict=True):
        axes.annotate(picture_text(domain), (1.015, y), fontsize=8.5, color=color, va="center",
                      xycoords="axes fraction", annotation_clip=False)  # fmt: skip
    axes.axvline(np.log(tradeoff.even / (1 - tradeoff.even)), color="white", lw=1.4, ls="--")
    ticks = [w for w in ODDS if weight[0] * 0.999 <= w <= weight[-1] * 1.001]
    axes.xaxis.set_major_locator(FixedLocator([np.log(w / (1 - w)) for w in ticks]))
    axes.set_xticklabels([f"{w:g}" for w in ticks])
    axes.set_xlim(odds[0], odds[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"weight of {_named(tradeoff.second)}")
    axes.set_ylabel("proportion")
    axes.spines[["top", "right"]].set_visible(False)


def plot_sensitivity(sensitivity: "Sensitivity") -> Figure:
    """What one more point of each domain (rows) does to every loss (columns), in % of it."""
    table = sensitivity.percent
    size = (1.9 + 0.72 * len(table.columns), 1.7 + 0.42 * len(table))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    values = table.to_numpy()
    # The own losses fall so much that, on a scale of theirs, all others would be white.
    finite = np.abs(values[np.isfinite(values)])
    limit = np.quantile(finite, 0.8) if len(finite) else 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and abs(value) > 0.6 * limit
        axes.text(column, row, f"{value:+.2f}" if np.isfinite(value) else "–", ha="center",
                  va="center", fontsize=8, color="white" if dark else "0.15")  # fmt: skip
    names = [f"{picture_text(d)}  {share:.3f}" for d, share in sensitivity.mixture.items()]
    axes.set_yticks(range(len(table)), names, fontsize=9)
    axes.set_xticks(range(len(table.columns)), picture_texts(table.columns), rotation=35, ha="left",
                    rotation_mode="anchor", fontsize=9)  # fmt: skip
    axes.xaxis.tick_top()
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("one more point of (its proportion now)", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, extend="both", aspect=25)
    bar.set_label("change of the loss, %", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure
