"""`bimix check`."""

import numpy as np
import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli.app import begin_computing
from bimix_jax.cli.options import Json, SweepOptions
from bimix_jax.cli.scores import show_signal
from bimix_jax.cli.show import (
    number,
    share,
    show_json,
    show_line,
    show_lines,
    show_next,
    show_notes,
    show_table,
)
from bimix_jax.diagnosis.diagnose import Severity
from bimix_jax.quantities import counted

LAWS = {
    "coefficients": ("coefficients per target", number),
    "determined": ("determined", number),
    "targets": ("targets expressed", number),
    "needs_mixtures": ("mixtures needed", number),
    "needs_budgets": ("budgets needed", number),
}


def check(sweep: SweepOptions, output: Json) -> None:
    """List the doubtful properties of a sweep, worst first, with advice.

    Exit code 0: notes only; 1: warnings; 2: errors that make a fit meaningless, or no sweep.

    Example: `bimix check sweep.parquet`
    """
    measured = sweep.read()
    begin_computing("check")
    found = bx.diagnose(measured)
    if output.json:
        show_json(
            {
                "summary": measured.summary(),
                "stated": measured.metadata.stated(),
                **found.document(),
                "signal": measured.signal(),
                "notes": measured.notes,
            }
        )
    else:
        show_line(f"{sweep.file}: {measured.summary()}")
        if measured.metadata.stated():
            show_line(f"Stated: {measured.metadata.shown()}")
        for seen in found.observations:
            show_lines(seen.severity.name.lower(), f"{seen.what}.", seen.advice)
        show_table(
            found.domains,
            "Proportions over the mixtures",
            {"zeros": ("mixtures without it", number)},
            share,
        )
        domains, condition = len(found.domains), f"{found.condition:.3g}"
        show_line(f"Rank {found.rank} of {domains} domains, condition number {condition}.")
        have = f"{counted(len(np.unique(measured.mixture_group)), 'mixture')} and "
        have += counted(len(np.unique(measured.budget)), "budget")
        same = [] if (found.laws["verdict"] != "determined").any() else ["verdict"]
        show_table(
            found.laws.drop(columns=["least_for", *same]),
            f"Laws that the points of this sweep determine; it has {have}",
            LAWS,
            below=f"{_worst_targets(found.laws)}Needed: the fewest mixtures where there are many "
            "budgets, and the fewest budgets with so many mixtures.",
        )
        show_signal(measured)
        show_notes(measured.notes, "Notes from reading")
        if found.severity < Severity.ERROR:
            show_next("compare", *sweep.words())
    raise typer.Exit(int(found.severity))


def _worst_targets(laws: pd.DataFrame) -> str:
    """Return a sentence that names the targets with the fewest determined coefficients."""
    names = [name for name in dict.fromkeys(laws["least_for"]) if name]
    return f"Determined: for the target with the fewest, {', '.join(names)}. " if names else ""
