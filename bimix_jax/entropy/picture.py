"""The picture of entropies: the mixtures of all proxies, and whether they have settled."""

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from bimix_jax.printable import picture_text, picture_texts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from bimix_jax.entropy.domains import Entropies

COLORS = {"SE": "#c9c9c9", "CE": "#1b6ca8", "JE": "#7fb3d5", "VNE": "#c8553d"}
LABELLED = 12
"""domains up to which every curve gets a color of its own"""


def plot_entropies(entropies: "Entropies", temperature: float = 1.0) -> Figure:
    """Mixtures by proxy on the left; conditional entropy against tokens on the right, if known.

    A curve that is still rising at its end says that the proxy has not settled there.
    """
    settled = entropies.curve.empty
    height = 1.8 + 0.42 * len(entropies.sizes)
    size = (6.0 if settled else 11.5, max(height, 3.6))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, 1 if settled else 2, squeeze=False)[0]
    _bars(panels[0], entropies.mixtures(temperature=temperature))
    if not settled:
        _curves(panels[1], entropies)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
    return figure


def _bars(axes: "Axes", mixtures: "pd.DataFrame") -> None:
    width = 0.8 / len(mixtures.columns)
    for i, proxy in enumerate(map(str, mixtures)):
        places = [k - 0.4 + (i + 0.5) * width for k in range(len(mixtures))]
        axes.barh(places, mixtures[proxy], width * 0.9, color=COLORS[proxy], label=proxy)
    axes.set_yticks(range(len(mixtures)), picture_texts(mixtures.index))
    axes.invert_yaxis()
    axes.axvline(1 / len(mixtures), color="black", lw=0.8, ls=":", label="uniform")
    axes.set_xlabel("proportion")
    axes.set_title("Mixtures by proxy", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _curves(axes: "Axes", entropies: "Entropies") -> None:
    colors = mpl.colormaps["tab10" if len(entropies.sizes) <= 10 else "tab20"]
    for i, name in enumerate(entropies.sizes.index):
        mine = entropies.curve[entropies.curve["domain"] == name].sort_values("tokens")
        tokens = [*mine["tokens"], entropies.sizes.loc[name, "tokens"]]
        values = [*mine["CE"], entropies.estimates.loc[name, ("plug-in", "CE")]]
        axes.plot(tokens, values, "o-", ms=3.5, lw=1.4, color=colors(i), label=picture_text(name))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep="\N{THIN SPACE}"))
    axes.set_xlabel("tokens")
    axes.set_ylabel("conditional entropy, plug-in (nats)")
    axes.set_title("Has it settled?", fontsize=11)
    axes.legend(frameon=False, fontsize=8, ncols=-(-len(entropies.sizes) // LABELLED))
