"""`bimix compare`."""

from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import fit_options, options
from bimix_jax.cli.show import number, percent, show_json, show_line, show_notes, show_table
from bimix_jax.files import check_apart
from bimix_jax.fitting.emphasis import LATER
from bimix_jax.judging.compare import JUDGED
from bimix_jax.judging.splits import KINDS

COLUMNS = {
    "mre": ("mean error, %", percent),
    "mre_common": ("mean error of what all can use, %", percent),
    "scored": ("losses scored", number),
    "difference": ("more than the best, points", percent),
    "se": ("± standard error", percent),
    "worst_target": ("worst target", number),
    "worst": ("its error, %", percent),
    "r2_mixtures": ("R² of mixtures", number),
    "spearman": ("rank correlation", number),
    "regret": ("regret, nats", number),
}
EXPLAINED = (
    "The best is the law to trust. Regret: the mean loss of the held-out mixture that a law ranks "
    "first, above the best one there."
)


def compare(
    sweep: options.SweepFile,
    law: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Judge this law; several times. Default {', '.join(j.label for j in JUDGED)}."
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(KINDS)}; several times. Default all the sweep allows."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Draws of held-out mixtures.")] = 5,
    runs: Annotated[float, typer.Option(help="Share of the mixtures held out.")] = 0.3,
    budgets: Annotated[float, typer.Option(help="Share of the budgets held out, the later.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the first draw.")] = 0,
    target: Annotated[
        list[str] | None, typer.Option(help="Judge on this target; several times. Default all.")
    ] = None,
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
    loss: fit_options.Residual = "relative",
    emphasis: fit_options.Later = LATER,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Say which law this sweep supports, and whether it is enough to tell.

    Example: `bimix compare sweep.csv --select model_size=122000000 --plot laws.png`
    """
    check_apart([sweep, losses], [plot])
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget, meaning, endpoints_only,
    )  # fmt: skip
    judged = bx.compare(
        measured, law or None, split or None, repeats=repeats, runs=runs, budgets=budgets,
        seed=seed, targets=target, residual=loss, budget_power=emphasis,  # type: ignore[arg-type]
    )  # fmt: skip
    if plot:
        bx.plots.save_figure(bx.plots.plot_comparison(judged), plot)
    tables = {kind: judged.table_of(kind) for kind in judged.kinds}
    if json:
        return show_json({
            "verdict": judged.verdict(), "best": judged.called_in(judged.decisive, judged.best),
            "splits": tables,
            "noise": {"curves": judged.noise.curves, "replicates": judged.noise.replicates},
            "notes": judged.notes,
        })  # fmt: skip
    show_line(f"{sweep}: {measured.summary()}")
    for kind, table in tables.items():
        same = ["mre_common", "scored"] if judged.on_common(kind) else []
        held = bx.plots.SPLIT_TITLES.get(kind, kind)
        show_table(table.drop(columns=same), f"Held out: {held}", COLUMNS, below=EXPLAINED)
    show_line(judged.verdict())
    return show_notes(judged.notes)
