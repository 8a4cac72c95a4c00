"""`bimix sensitivity`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import Budget, FitFile, Output, Weight, weights_of
from bimix_jax.cli.show import change, quantity, show_json, show_notes, show_table
from bimix_jax.mixture.files import read_mixtures


def sensitivity(
    fit: FitFile,
    limits: Limits,
    output: Output,
    mixture: Annotated[
        Path | None,
        typer.Option(help="Where: JSON or a table of one row; default the recommended mixture."),
    ] = None,
    budget: Budget = None,
    weight: Weight = None,
) -> None:
    """Show the effect of one more percentage point of each domain on every loss.

    Example: `bimix sensitivity fit.json --mixture now.json --budget 4e10 --plot moves.png`
    """
    fitted = bx.load_fit(fit)
    where = None if mixture is None else read_mixtures(mixture, fitted.domains)
    found = bx.sensitivity(
        fitted,
        where,
        budget,
        weights_of(weight, fitted),
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_sensitivity(found))
    if output.json:
        return show_json(found.document())
    title = "Change of every loss, nats, per further point of a domain"
    table = found.table().rename_axis(columns="loss").rename(columns=str)
    show_table(table, f"{title}, at {quantity(found.budget)} {found.unit}", form=change)
    return show_notes(found.notes)
