"""`bimix propose`."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.command import WRITTEN
from bimix_jax.cli.fit_options import FitSettings, LawName
from bimix_jax.cli.options import Budget, Output, SweepOptions, Weight, weights_of
from bimix_jax.cli.show import (
    number,
    quantity,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.files import atomic_path
from bimix_jax.mixture.files import read_mixtures


def propose(
    sweep: SweepOptions,
    settings: FitSettings,
    output: Output,
    runs: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of runs.")] = 4,
    pool: Annotated[
        Path | None, typer.Option(help="Table of mixtures to choose from; default any mixture.")
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DOMAIN=LEAST:MOST",
            help="Range of a proportion in the proposed runs, without a pool; default that in the "
            "sweep. The decision that the runs serve takes no limits.",
        ),
    ] = None,
    budget: Budget = None,
    weight: Weight = None,
    seed: Annotated[int, typer.Option(help="Seed of the mixtures that are drawn.")] = 0,
    law: LawName = "BiMix",
    written: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the mixtures as CSV."), WRITTEN
    ] = None,
) -> None:
    """Propose the next runs, which reduce the expected regret of the mixture at a budget most.

    Example: `bimix propose sweep.csv -n 4 --budget 4e10 --law TransferBiMix -o next.csv`
    """
    measured = sweep.read()
    fitted = settings.fit(measured, bx.law_named(law))
    choice = None if pool is None else read_mixtures(pool, fitted.domains)
    found = bx.propose_runs(
        fitted,
        measured,
        runs,
        budget,
        choice,
        bounds=named.values("--bound", bound, fitted.domains, named.ends) or None,
        weights=weights_of(weight, fitted),
        seed=seed,
    )
    if written:
        with atomic_path(written) as beside:
            found.mixtures.to_csv(beside)
    output.draw(lambda plots: plots.plot_proposal(found))
    if output.json:
        return show_json(found.document())
    show_proposal(found)
    return show_notes(found.notes)


def show_proposal(found: bx.Proposal) -> None:
    """Print the mixtures to run, and the expected regret after them."""
    at = f"{quantity(found.budget)} {found.unit}"
    title = f"Runs to do next, best first, for the decision at {at}"
    show_table(found.mixtures.rename_axis(columns="domain").T, title, form=share)
    again = [f"{run} repeats {first}" for run, first in found.first_of().items() if run != first]
    if again:
        show_line(f"With another seed: {', '.join(again)}.")
    regret = pd.DataFrame({"proposed": found.regret_left, "drawn at random": found.regret_random})
    title = "Expected regret of the decision, nats"
    below = f"Now it is {number(found.regret_now)} nats."
    show_table(regret.rename_axis("after run"), title, form=number, below=below)
