"""`bimix sensitivity`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import named, options
from bimix_jax.cli.show import change, quantity, show_json, show_notes, show_table
from bimix_jax.mixture.files import read_mixtures


def sensitivity(
    fit: options.FitFile,
    mixture: Annotated[
        Path | None,
        typer.Option(help="Where: JSON or a table of one row; default the recommended mixture."),
    ] = None,
    budget: options.Budget = None,
    weight: options.Weight = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Show what one more percentage point of each domain does to every loss.

    Example: `bimix sensitivity fit.json --mixture now.json --budget 4e10 --plot moves.png`
    """
    fitted = bx.load_fit(fit)
    where = None if mixture is None else read_mixtures(mixture, fitted.domains)
    found = bx.sensitivity(
        fitted, where, budget, named.values("--weight", weight, fitted.targets) or None
    )
    if plot:
        bx.plots.save_figure(bx.plots.plot_sensitivity(found), plot)
    if json:
        return show_json(found.document())
    title = "Change of every loss, nats, per further point of a domain"
    table = found.table().rename_axis(columns="loss").rename(columns=str)
    show_table(table, f"{title}, at {quantity(found.budget)} {found.unit}", form=change)
    return show_notes(found.notes)
