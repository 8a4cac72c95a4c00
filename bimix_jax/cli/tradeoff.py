"""`bimix tradeoff`."""

from typing import Annotated

import numpy as np
import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.show import show_json, show_notes, show_table

SHOWN = 9
"""Points of the front that the table shows."""


def tradeoff(
    fit: options.FitFile,
    first: Annotated[
        list[str], typer.Option(help="A target of the first group; may be given several times.")
    ],
    second: Annotated[
        list[str] | None, typer.Option(help="Likewise of the second; default all others.")
    ] = None,
    budget: options.Budget = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Show what one group of targets gains and the other pays, with the mixtures between.

    Example: `bimix tradeoff fit.json --first github --first stackexchange --plot front.png`
    """
    found = bx.tradeoff(bx.load_fit(fit), first, second or None, budget)
    if plot:
        bx.plots.save_figure(bx.plots.plot_tradeoff(found), plot)
    if json:
        return show_json(found.document())
    table = found.table().rename(index="{:.3f}".format)
    rows = np.linspace(0, len(table) - 1, SHOWN).round().astype(int)
    groups = f"{', '.join(found.first)} (first) against {', '.join(found.second)} (second)"
    show_table(table.iloc[rows], f"{groups} at {found.budget:g} {found.unit}, mean losses")
    return show_notes((*found.notes, "price: what a nat gained by the first costs the second."))
