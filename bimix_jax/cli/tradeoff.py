"""`bimix tradeoff`."""

from typing import Annotated

import numpy as np
import typer

import bimix_jax as bx
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import Budget, FitFile, Output
from bimix_jax.cli.show import number, quantity, share, show_json, show_line, show_notes, show_table

SHOWN = 9
"""Points of the front that the table shows."""


def tradeoff(
    fit: FitFile,
    first: Annotated[
        list[str], typer.Option(help="A target of the first group; may be given several times.")
    ],
    limits: Limits,
    output: Output,
    second: Annotated[
        list[str] | None, typer.Option(help="Likewise of the second; default all others.")
    ] = None,
    budget: Budget = None,
) -> None:
    """Show the mixtures between two groups of targets: the gain of one, and the cost to the other.

    Example: `bimix tradeoff fit.json --first github --first stackexchange --plot front.png`
    """
    fitted = bx.load_fit(fit)
    found = bx.tradeoff(
        fitted,
        first,
        second or None,
        budget,
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_tradeoff(found))
    if output.json:
        return show_json(found.document())
    table = found.table().rename(index="{:.3f}".format)
    rows = np.linspace(0, len(table) - 1, SHOWN).round().astype(int)
    groups = {"first": ", ".join(found.first), "second": ", ".join(found.second)}
    for name, targets in groups.items():
        show_line(f"The {name} group: {targets}.")
    title = f"Mean losses of both groups at {quantity(found.budget)} {found.unit}"
    show_table(
        table.iloc[rows, :3].rename_axis("weight of the second"),
        title,
        {"first": ("first, nats", number), "second": ("second, nats", number)},
        below="Price: the nats that the second group loses per nat that the first one gains.",
    )
    mixtures = table.iloc[rows, 3:].rename_axis(index="weight of the second", columns="domain")
    show_table(mixtures, "Mixtures along the front", form=share)
    return show_notes(found.notes)
