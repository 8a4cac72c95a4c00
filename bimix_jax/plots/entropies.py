"""Picture of entropies: the mixtures of all proxies, and convergence with tokens."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from bimix_jax.plots.style import (
    BESIDE,
    RECOMMENDED,
    SIZE,
    WORSE,
    bare,
    handles_of,
    height_of,
    label_ends,
    legend_below,
    log_axis,
    name_colors,
    names_on,
    width_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.entropy.domains import Entropies

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
    axes.set_title("Has it settled?", fontsize=11)
    bare(axes)
