"""`bimix certainty`."""

from pathlib import Path
from typing import Annotated

import typer

import bimix_jax as bx
from bimix_jax.cli import fit_options, named, options
from bimix_jax.cli.optimize import show_mixture
from bimix_jax.cli.show import (
    change,
    number,
    percent,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
)
from bimix_jax.files import check_apart
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.uncertainty.intervals import check_level

SHOWN = 5
INFLUENCE = {
    "moved": ("moved", share),
    "domain": ("most of", number),
    "change": ("its change", change),
    "gain": ("gain without, %", percent),
}


def certainty(
    sweep: options.SweepFile,
    law: Annotated[
        list[str] | None,
        typer.Option(help="The law; further ones are fitted beside it. Default BiMix."),
    ] = None,
    budget: options.Budget = None,
    resamples: Annotated[int, typer.Option(help="How often the runs are drawn anew.")] = 1000,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    resampling: Annotated[
        str, typer.Option(help="multinomial, weights or residuals; the first is calibrated.")
    ] = "multinomial",
    unit: Annotated[str, typer.Option(help="What is drawn: mixture or run.")] = "mixture",
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="TARGET=WEIGHT; targets not named count 0. Default: all count 1."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Mixture to compare with, JSON or a table of one row.")
    ] = None,
    constraints: Annotated[
        Path | None, typer.Option(help="TOML or JSON, as `bimix optimize` takes it.")
    ] = None,
    losses: options.LossesFile = None,
    key: options.Key = None,
    budget_column: options.BudgetColumn = None,
    select: options.Select = None,
    run_column: options.RunColumn = None,
    mixture_prefix: options.MixturePrefix = None,
    loss_prefix: options.LossPrefix = None,
    from_budget: options.FromBudget = None,
    loss: fit_options.Residual = "relative",
    huber: fit_options.Huber = None,
    tied: fit_options.Tied = None,
    emphasis: fit_options.Emphasis = 0.0,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Say how sure a recommended mixture is, by fitting resampled runs.

    Example: `bimix certainty sweep.csv --law BiMix --budget 4e10 --plot sure.png`
    """
    check_apart([sweep, losses, reference, constraints], [plot])
    check_level(level)
    asked = None if constraints is None else bx.read_constraints(constraints)
    measured = options.load_sweep(
        sweep, losses, key, budget_column, select, run_column, mixture_prefix, loss_prefix,
        from_budget,
    )  # fmt: skip
    laws = [bx.law_named(name) for name in law or ["BiMix"]]
    fits = [
        bx.fit(measured, each, residual=loss, huber=huber, tied=tied or (), budget_power=emphasis)  # type: ignore[arg-type]
        for each in laws
    ]
    weights = named.values("--weight", weight, measured.targets) or None
    beside = None if reference is None else read_mixtures(reference, measured.domains)
    drawn = bx.bootstrap(
        measured, fits[0], resamples, seed, resampling=resampling, unit=unit,  # type: ignore[arg-type]
    )  # fmt: skip
    sure = bx.certainty(drawn, budget, weights, reference=beside, level=level, constraints=asked)
    others = None
    if len(fits) > 1:
        others = bx.between_laws(fits, budget, weights, beside, asked)
    name = "uniform" if reference is None else reference.stem
    if plot:
        bx.plots.save_figure(bx.plots.plot_certainty(sure, name), plot)
    if json:
        by_law = {} if others is None else {"between_laws": others._asdict()}
        return show_json({**sure.document(), "coefficients": _plain(drawn, level), **by_law})
    show_line(f"{sweep}: {measured.summary()}")
    _show(sure, others, name)
    return None


def _plain(drawn: bx.Bootstrap, level: float) -> dict[str, object]:
    table = drawn.table(level)
    return {target: table.loc[target] for target in drawn.fitted.targets}


def _show(sure: bx.Certainty, others: bx.BetweenLaws | None, reference: str) -> None:
    best, law = sure.optimum, sure.bootstrap.fitted.label
    show_line(f"{law}, with {100 * sure.level:g} % intervals:")
    show_mixture(best, reference)
    show_table(
        sure.influence.head(SHOWN),
        f"Runs without which it would move most (of {len(sure.influence)})", INFLUENCE,
        below="Moved: the share of all tokens that would change their domain.",
    )  # fmt: skip
    if others is not None:
        show_table(others.mixtures, "Optimal mixture by law", form=share)
        show_table(
            others.gains.rename_axis(columns="mixture of"),
            f"Gain over {reference}, %, of the mixture of the law in the heading", form=percent,
        )  # fmt: skip
    show_line(sure.verdict())
    show_notes(sure.notes())
