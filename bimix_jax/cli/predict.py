"""`bimix predict`."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.show import quantity, show_json, show_notes, show_table
from bimix_jax.files import atomic_path, check_apart
from bimix_jax.mixture.files import read_mixtures


def predict(
    fit: options.FitFile,
    mixtures: Annotated[
        Path,
        typer.Argument(help="Table with a column a domain, or a JSON object of one mixture."),
    ],
    budget: options.Budget = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the losses as CSV.", callback=options.writable),
    ] = None,
    json: options.Json = False,
) -> None:
    """Predict the losses of mixtures nobody trained, at a budget.

    Example: `bimix predict fit.json mixtures.csv --budget 4e10`
    """
    check_apart([fit, mixtures], [output])
    fitted = bx.load_fit(fit)
    losses = pd.DataFrame(fitted.predict(read_mixtures(mixtures, fitted.domains), budget))
    at = float(fitted.check_budget(budget))
    if output:
        with atomic_path(output) as beside:
            losses.to_csv(beside)
    notes = [*fitted.notes_on_budget(at), *fitted.messages()]
    if json:
        return show_json({"budget": at, "unit": fitted.unit, "losses": losses, "notes": notes})
    shown = losses.rename_axis(columns="target")
    show_table(shown, f"Predicted losses, nats, at {quantity(at)} {fitted.unit}")
    return show_notes(notes)
