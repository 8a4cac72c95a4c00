"""`bimix compare`."""

import math
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli.fit_options import LAWS_HELP, HeldOut, Residual
from bimix_jax.cli.options import Output, SweepOptions
from bimix_jax.cli.show import change, number, percent, show_json, show_line, show_notes, show_table
from bimix_jax.judging.compare import JUDGED
from bimix_jax.sweeps.splits import KINDS


def _points(value: float) -> str:
    """Format a fraction in points, to 4 decimals as its difference."""
    return "–" if math.isnan(value) else f"{100 * value:.4f}" if value >= 5e-7 else "0"


COLUMNS = {
    "mre": ("mean error, %", percent),
    "mre_common": ("mean error of what all can use, %", percent),
    "scored": ("losses scored", number),
    "difference": ("more than the chosen law, points", lambda value: change(100 * value)),
    "se": ("± standard error", _points),
    "worst_target": ("worst target", number),
    "worst": ("its error, %", percent),
    "r2_mixtures": ("R² of mixtures", number),
    "spearman": ("rank correlation", number),
    "regret": ("regret, nats", number),
}
EXPLAINED = (
    "Regret: the mean loss of the held-out mixture that a law ranks first, above the best one "
    "there."
)


def compare(
    sweep: SweepOptions,
    held_out: HeldOut,
    output: Output,
    law: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Judge this law; several times. Default {', '.join(j.label for j in JUDGED)}. "
            f"Known: {LAWS_HELP}"
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(KINDS)}; several times. Default all the sweep allows."),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Number of draws of held-out mixtures.")] = 5,
    target: Annotated[
        list[str] | None, typer.Option(help="Judge on this target; several times. Default all.")
    ] = None,
    residual: Residual = "relative",
) -> None:
    """Show which law the sweep supports, and whether the evidence is sufficient.

    Shrinkage is chosen for each kind of split; `bimix evaluate` judges one law with other settings.

    Example: `bimix compare sweep.csv --select model_size=122000000 --plot laws.png`
    """
    measured = sweep.read()
    judged = bx.compare(
        measured,
        law or None,
        split or None,
        repeats=repeats,
        targets=target,
        residual=residual,  # type: ignore[arg-type]
        runs=held_out.runs,
        budgets=held_out.budgets,
        seed=held_out.seed,
        budget_power=held_out.budget_power,
    )
    output.draw(lambda plots: plots.plot_comparison(judged))
    tables = {kind: judged.table_of(kind) for kind in judged.kinds}
    if output.json:
        return show_json(
            {
                "verdict": judged.verdict(),
                "best": judged.called_in(judged.decisive, judged.best),
                "splits": tables,
                "noise": {"curves": judged.noise.curves, "replicates": judged.noise.replicates},
                "notes": judged.notes,
            }
        )
    show_line(f"{sweep.file}: {measured.summary()}")
    for kind, table in tables.items():
        same = ["mre_common", "scored"] if judged.on_common(kind) else []
        held = bx.plots.SPLIT_TITLES.get(kind, kind)
        show_table(table.drop(columns=same), f"Held out: {held}", COLUMNS)
    show_line(EXPLAINED)
    show_line("")
    show_line(judged.verdict())
    return show_notes(judged.notes)
