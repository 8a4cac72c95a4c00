"""`bimix evaluate`."""

from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
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
    loss: options.Residual = "relative",
    huber: options.Huber = None,
    tied: options.Tied = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Say how good the law is on runs, and on budgets, it has not seen.

    Example: `bimix evaluate sweep.csv --select model_size=122000000 --plot predicted.png`
    """
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget,
    )  # fmt: skip
    splits = {f"held-out mixtures ({runs:g} of them, seed {seed})": measured.split_runs(runs, seed)}
    if measured.budget.min() < measured.budget.max():
        splits[f"held-out budgets (the later {budgets:g})"] = measured.split_budgets(budgets)

    def judge(parts: tuple[Sweep, Sweep]) -> bx.Evaluation:
        fitted = bx.fit(parts[0], loss=loss, huber=huber, tied=tied or ())  # type: ignore[arg-type]
        return bx.evaluate(fitted, parts[1])

    results = {name: judge(parts) for name, parts in splits.items()}
    if plot:
        bx.plots.save_figure(bx.plots.plot_predicted(next(iter(results.values()))), plot)
    if json:
        tables = {name: result.table() for name, result in results.items()}
        return show_json({**tables, "notes": measured.notes})
    show_line(f"{sweep}: {measured.summary()}")
    for name, result in results.items():
        show_table(result.table(), f"Error on {name}")
    return show_notes([*measured.notes, *(n for r in results.values() for n in r.notes)])
