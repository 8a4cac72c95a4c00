"""`bimix predict`."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli.options import Budget, FitFile, Json, LossesTable
from bimix_jax.cli.show import quantity, show_json, show_notes, show_table
from bimix_jax.files import atomic_path
from bimix_jax.mixture.files import read_mixtures


def predict(
    fit: FitFile,
    mixtures: Annotated[
        Path,
        typer.Argument(
            help="Table with a column per domain, or a JSON object of one mixture.",
            show_default=False,
        ),
    ],
    output: Json,
    budget: Budget = None,
    written: LossesTable = None,
) -> None:
    """Predict the losses of untrained mixtures at a budget.

    Example: `bimix predict fit.json mixtures.csv --budget 4e10`
    """
    fitted = bx.load_fit(fit)
    losses = pd.DataFrame(fitted.predict(read_mixtures(mixtures, fitted.domains), budget))
    at = float(fitted.check_budget(budget))
    if written:
        with atomic_path(written) as beside:
            losses.to_csv(beside)
    notes = [*fitted.notes_on_budget(at), *fitted.messages()]
    if output.json:
        return show_json({"budget": at, "unit": fitted.unit, "losses": losses, "notes": notes})
    shown = losses.rename_axis(columns="target")
    show_table(shown, f"Predicted losses, nats, at {quantity(at)} {fitted.unit}")
    return show_notes(notes)
