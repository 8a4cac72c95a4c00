"""`bimix evaluate`."""

from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import fit_options, options
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.fitting.emphasis import LATER, about_emphasis
from bimix_jax.sweep import Sweep


def evaluate(
    sweep: options.SweepFile,
    runs: Annotated[float, typer.Option(help="Share of the mixtures held out.")] = 0.3,
    budgets: Annotated[float, typer.Option(help="Share of the budgets held out, the later.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Which mixtures are held out.")] = 0,
    losses: options.LossesFile = None,
    key: options.Key = None,
    budget_column: options.BudgetColumn = None,
    select: options.Select = None,
    run_column: options.RunColumn = None,
    mixture_prefix: options.MixturePrefix = None,
    loss_prefix: options.LossPrefix = None,
    from_budget: options.FromBudget = None,
    meaning: options.Stated = None,
    endpoints_only: options.EndpointsOnly = False,
    law: fit_options.LawName = "BiMix",
    loss: fit_options.Residual = "relative",
    huber: fit_options.Huber = None,
    tied: fit_options.Tied = None,
    emphasis: fit_options.Later = LATER,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Say how good the law is on runs, and on budgets, it has not seen.

    Example: `bimix evaluate sweep.csv --select model_size=122000000 --plot predicted.png`
    """
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget, meaning, endpoints_only,
    )  # fmt: skip
    notes = [*measured.notes]
    results = {}
    for name, (train, test) in _splits(measured, runs, budgets, seed).items():
        if train.budget.min() == train.budget.max() < test.budget.max():
            notes.append(f"No error on {name}: what is left has a single budget.")
            continue
        power = emphasis if test.budget.min() > train.budget.max() else 0.0
        fitted = bx.fit(
            train, bx.law_named(law), loss=loss, huber=huber, tied=tied or (), emphasis=power,  # type: ignore[arg-type]
        )  # fmt: skip
        results[name] = bx.evaluate(fitted, test)
        said = (*about_emphasis(train, power), *results[name].notes, *fitted.messages())
        notes += [f"{name}: {note}" for note in said]
    if plot:
        bx.plots.save_figure(bx.plots.plot_predicted(next(iter(results.values()))), plot)
    if json:
        tables = {name: result.table() for name, result in results.items()}
        return show_json({**tables, "notes": notes})
    show_line(f"{sweep}: {measured.summary()}")
    for name, result in results.items():
        show_table(result.table(), f"Error on {name}")
    return show_notes(notes)


def _splits(
    measured: Sweep, runs: float, budgets: float, seed: int
) -> dict[str, tuple[Sweep, Sweep]]:
    splits = {f"held-out mixtures ({runs:g} of them, seed {seed})": measured.split_runs(runs, seed)}
    if measured.budget.min() < measured.budget.max():
        splits[f"held-out budgets (the later {budgets:g})"] = measured.split_budgets(budgets)
    return splits
