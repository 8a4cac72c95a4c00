"""Pictures of comparisons and entropies."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bimix_jax.plots._style import (
    BESIDE,
    FAINT,
    GRADED,
    RECOMMENDED,
    SIZE,
    WORSE,
    bare,
    handles_of,
    headed,
    height_of,
    label_ends,
    legend_below,
    log_axis,
    log_bar,
    log_norm,
    name_colors,
    names_on,
    panels_of,
    width_of,
)
from bimix_jax.printable import picture_text
from bimix_jax.reading.targets import are_scores, as_measured, value_text
from bimix_jax.sweeps.splits import SPLIT_TITLES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.entropy.domains import Entropies
    from bimix_jax.judging.comparison import Comparison
    from bimix_jax.judging.evaluate import Evaluation


def plot_predicted(evaluation: "Evaluation") -> Figure:
    """Draw predicted against measured losses of held-out runs, one panel per target."""
    errors = evaluation.table()["mre"].to_dict()
    described = evaluation.metadata.described(evaluation.targets)
    # A no-break space keeps a number and its sign on one line.
    units = {True: "\N{NO-BREAK SPACE}points", False: "\N{NO-BREAK SPACE}%"}
    titles = [
        f"{picture_text(t.name)} {100 * errors[t.name]:.2f}{units[t.is_score]}" for t in described
    ]
    what = value_text(described)
    figure, panels = panels_of(titles, f"measured {what}", f"predicted {what}", 2.9)
    every = as_measured(evaluation.measured, described)
    each = as_measured(evaluation.predicted, described)
    norm = log_norm(evaluation.budget)
    for i, axes in enumerate(panels):
        measured, predicted = every[:, i], each[:, i]
        usable = np.isfinite(measured)
        both = np.concatenate([measured[usable], predicted[usable]])
        ends = [both.min(), both.max()] if len(both) else [0, 1]
        axes.plot(ends, ends, "-", color=BESIDE, lw=1)
        colors = GRADED(norm(evaluation.budget[usable]))
        axes.scatter(measured[usable], predicted[usable], s=12, c=colors)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    log_bar(figure, norm, "budget", evaluation.budget)
    error = "mean error" if are_scores(described).any() else "mean relative error"
    headed(figure, f"Held-out points: predicted against measured, with {error}")
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
        open_ones = comparison.excluded(kind)
        hollow |= bool(open_ones.any())
        _error_dots(axes, comparison.table_of(kind), trusted, open_ones, noise)
        axes.set_title(SPLIT_TITLES.get(kind, kind), fontsize=10)
    _explain(figure, panels[0], bool(np.isfinite(noise)), hollow)
    where = SPLIT_TITLES.get(comparison.decisive, comparison.decisive)
    headed(figure, f"Recommended law: {picture_text(comparison.best)} (for {where})")
    return figure


def _explain(figure: Figure, axes: "Axes", noise: bool, hollow: bool) -> None:
    dot = {"marker": "o", "ls": "-", "ms": 6, "lw": 1.6}
    handles: dict[str, Artist] = {
        "recommended law": Line2D([], [], color=RECOMMENDED, **dot),  # type: ignore[arg-type]
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
    splits = table["splits"]
    for x, y, width, count in zip(error, position, spread, splits, strict=True):
        if np.isfinite(x):
            of = "" if count == splits.max() else f" ({count} of {splits.max()} splits)"
            axes.annotate(
                f"{x:.2f}{of}",
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


PROXY_COLORS = {"SE": BESIDE, "CE": RECOMMENDED, "JE": "#7fb3d5", "VNE": WORSE}


def plot_entropies(entropies: "Entropies", temperature: float = 1.0) -> Figure:
    """Draw mixtures by proxy on the left; conditional entropy against tokens on the right, if
    known.

    A curve that still rises at its end shows a proxy that has not converged.
    """
    domains = [str(name) for name in entropies.sizes.index]
    only = entropies.curve.empty
    inches = max(2.6, 0.42 * len(domains), height_of(len(domains)))
    wide = 5.0 + width_of(domains) + (0 if only else 5.0 + width_of(domains))
    figure = Figure(figsize=(wide, inches + 1.6), layout="constrained")
    panels = figure.subplots(1, 1 if only else 2, squeeze=False)[0]
    _bars(panels[0], entropies.mixtures(temperature=temperature))
    legend_below(figure, handles_of(panels[0]))
    if not only:
        _curves(panels[1], entropies, domains, inches)
    return figure


def _bars(axes: "Axes", mixtures: "pd.DataFrame") -> None:
    width = 0.8 / len(mixtures.columns)
    for i, proxy in enumerate(map(str, mixtures)):
        places = [k - 0.4 + (i + 0.5) * width for k in range(len(mixtures))]
        color = PROXY_COLORS[proxy]
        axes.barh(places, mixtures[proxy], width * 0.9, color=color, label=proxy)
    names_on(axes, list(mixtures.index))
    axes.invert_yaxis()
    axes.axvline(1 / len(mixtures), color="black", lw=0.8, ls=":", label="uniform")
    axes.set_xlabel("proportion", fontsize=SIZE)
    axes.set_title("Mixture by proxy", fontsize=11)
    bare(axes)


def _curves(axes: "Axes", entropies: "Entropies", domains: list[str], inches: float) -> None:
    colors, ends, sizes = name_colors(domains), {}, []
    for name, color in colors.items():
        mine = entropies.curve[entropies.curve["domain"].astype(str) == name].sort_values("tokens")
        last = entropies.sizes.index.astype(str) == name
        tokens = [*mine["tokens"], entropies.sizes.loc[last, "tokens"].iloc[0]]
        values = [*mine["CE"], entropies.estimates.loc[last, ("plug-in", "CE")].iloc[0]]
        axes.plot(tokens, values, "o-", ms=3.5, lw=1.4, color=color)
        ends[name] = tokens[-1], float(values[-1])
        sizes += tokens
    log_axis(axes, np.array(sizes), 4.0)
    label_ends(axes, ends, colors, inches)
    axes.set_xlabel("tokens", fontsize=SIZE)
    axes.set_ylabel("conditional entropy, plug-in (nats)", fontsize=SIZE)
    axes.set_title("Conditional entropy against tokens", fontsize=11)
    bare(axes)
