"""`bimix propose`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import fit_options, named, options
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.files import atomic_path, check_apart
from bimix_jax.mixture.files import read_mixtures


def propose(
    sweep: options.SweepFile,
    runs: Annotated[int, typer.Option("-n", "--runs", min=1, help="How many runs.")] = 4,
    pool: Annotated[
        Path | None, typer.Option(help="Table of mixtures to choose from; default any.")
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(help="DOMAIN=LEAST:MOST, without a pool; default the range in the sweep."),
    ] = None,
    budget: options.Budget = None,
    weight: options.Weight = None,
    seed: Annotated[int, typer.Option(help="Of the mixtures that are drawn.")] = 0,
    losses: options.LossesFile = None,
    key: options.Key = None,
    budget_column: options.BudgetColumn = None,
    select: options.Select = None,
    run_column: options.RunColumn = None,
    mixture_prefix: options.MixturePrefix = None,
    loss_prefix: options.LossPrefix = None,
    from_budget: options.FromBudget = None,
    law: fit_options.LawName = "BiMix",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write the mixtures as CSV.", callback=options.writable
        ),
    ] = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Say which runs to do next, so that the mixture at a budget is decided with least regret.

    Example: `bimix propose sweep.csv -n 4 --budget 4e10 --law TransferBiMix -o next.csv`
    """
    check_apart([sweep, losses, pool], [output, plot])
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget,
    )  # fmt: skip
    fitted = bx.fit(measured, bx.law_named(law))
    choice = None if pool is None else read_mixtures(pool, fitted.domains)
    found = bx.propose_runs(
        fitted, measured, runs, budget, choice,
        bounds=named.values("--bound", bound, fitted.domains, named.ends) or None,
        weights=named.values("--weight", weight, fitted.targets) or None, seed=seed,
    )  # fmt: skip
    if output:
        with atomic_path(output) as beside:
            found.mixtures.to_csv(beside)
    if plot:
        bx.plots.save_figure(bx.plots.plot_proposal(found), plot)
    if json:
        return show_json(found.document())
    show_table(found.table(), f"Runs to do next, for the decision at {found.budget:g} {found.unit}")
    show_line(f"Expected regret now {found.regret_now:.2g} nats.")
    return show_notes(found.notes)
