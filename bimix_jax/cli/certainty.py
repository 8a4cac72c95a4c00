"""`bimix certainty`."""

import dataclasses
from typing import Annotated, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.fit_options import FitSettings
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.optimize import show_mixture
from bimix_jax.cli.options import Budget, Output, SweepOptions, Weight, weights_of
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
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.intervals import check_level

SHOWN = 5
INFLUENCE = {
    "moved": ("moved", share),
    "domain": ("most of", number),
    "change": ("its change", change),
    "gain": ("gain without, %", percent),
}


@dataclasses.dataclass(frozen=True)
class Resampling:
    """The number and kind of resamples, and the level of the intervals."""

    panel: ClassVar[str] = "How the runs are resampled"

    resamples: Annotated[int, typer.Option(help="How often the runs are drawn anew.")] = 1000
    level: Annotated[
        float, typer.Option(parser=named.share, help="Share of the intervals that hold the truth.")
    ] = 0.9
    resampling: Annotated[
        str, typer.Option(help="multinomial, weights or residuals; the first is calibrated.")
    ] = "multinomial"
    unit: Annotated[str, typer.Option(help="What is drawn: mixture or run.")] = "mixture"
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0

    def draw(self, sweep: Sweep, fitted: bx.Fit) -> bx.Bootstrap:
        """Fit the law to resampled runs."""
        return bx.bootstrap(
            sweep,
            fitted,
            self.resamples,
            self.seed,
            resampling=self.resampling,  # type: ignore[arg-type]
            unit=self.unit,  # type: ignore[arg-type]
        )


def certainty(
    sweep: SweepOptions,
    draws: Resampling,
    settings: FitSettings,
    limits: Limits,
    output: Output,
    law: Annotated[
        list[str] | None,
        typer.Option(help="The law; further ones are fitted beside it. Default BiMix."),
    ] = None,
    budget: Budget = None,
    weight: Weight = None,
) -> None:
    """Show the uncertainty of a recommended mixture, from fits to resampled runs.

    Example: `bimix certainty sweep.csv --law BiMix --budget 4e10 --plot sure.png`
    """
    check_level(draws.level)
    measured = sweep.read()
    asked, beside = limits.constraints_of(measured), limits.mixture_of(measured)
    weights = weights_of(weight, measured)
    fits = [settings.fit(measured, bx.law_named(name)) for name in law or ["BiMix"]]
    drawn = draws.draw(measured, fits[0])
    sure = bx.certainty(
        drawn, budget, weights, reference=beside, level=draws.level, constraints=asked
    )
    others = None
    if len(fits) > 1:
        others = bx.between_laws(fits, budget, weights, beside, asked)
    output.draw(lambda plots: plots.plot_certainty(sure, limits.name))
    if output.json:
        by_law = {} if others is None else {"between_laws": others._asdict()}
        return show_json({**sure.document(), "coefficients": _plain(drawn, draws.level), **by_law})
    show_line(f"{sweep.file}: {measured.summary()}")
    _show(sure, others, limits.name)
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
        f"Runs without which it would move most (of {len(sure.influence)})",
        INFLUENCE,
        below="Moved: the share of all tokens that would change their domain.",
    )
    if others is not None:
        show_table(others.mixtures, "Optimal mixture by law", form=share)
        show_table(
            others.gains.rename_axis(columns="mixture of"),
            f"Gain over {reference}, %, of the mixture of the law in the heading",
            form=percent,
        )
    show_line(sure.verdict())
    show_notes(sure.notes())
