"""`bimix certainty`, `path`, `tradeoff`, `sensitivity` and `propose`: more about a decision."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named, waiting
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cli.fit_options import AUTO, LAWS_HELP, FitSettings, LawName, law_asked
from bimix_jax.cli.limits import SHARES, Limits
from bimix_jax.cli.optimize import show_mixture
from bimix_jax.cli.options import Budget, FitFile, Output, SweepOptions, Weight, weights_of
from bimix_jax.cli.show import (
    change,
    number,
    percent,
    probability,
    quantity,
    share,
    show_json,
    show_line,
    show_notes,
    show_table,
    span,
)
from bimix_jax.files import atomic_path
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.quantities import budget_text, counted
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty._spread import LEAST_UNITS, USUAL, units_needed
from bimix_jax.uncertainty.intervals import check_level
from bimix_jax.uncertainty.path import STEPS

RUNS_SHOWN = 5
GUARDED = {
    "allowed": ("allowed increase, %", percent),
    "increase": ("predicted, %", percent),
    "probability": ("probability to keep it", probability),
}
GUARDED_SCORES = {
    "allowed": ("allowed to be worse, % or points", percent),
    "increase": ("predicted to be", percent),
}
INFLUENCE = {
    "moved": ("moved", share),
    "domain": ("most of", number),
    "change": ("its change", change),
}


@dataclasses.dataclass(frozen=True)
class Resampling:
    """The number and kind of resamples, and the level of the intervals."""

    panel: ClassVar[str] = "How the runs are resampled"

    resamples: Annotated[int, typer.Option(help="Number of resamples.")] = 1000
    level: Annotated[float, typer.Option(parser=named.share, help="Level of the intervals.")] = 0.9
    guard_probability: Annotated[
        float | None,
        typer.Option(
            parser=named.share,
            help="Probability with which the mixture keeps each --guardrail, e.g. 0.9; default "
            "about a half where one binds.",
        ),
    ] = None
    resampling: Annotated[
        str, typer.Option(help="multinomial, weights or residuals; the first is calibrated.")
    ] = "multinomial"
    unit: Annotated[str, typer.Option(help="Unit that is drawn: mixture or run.")] = "mixture"
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0

    def draw(self, sweep: Sweep, fitted: bx.Fit) -> bx.Bootstrap:
        """Fit the law to resampled runs."""
        waiting.show(f"fitting {fitted.label} to {counted(self.resamples, 'resample')}")
        return bx.bootstrap(
            sweep,
            fitted,
            self.resamples,
            self.seed,
            resampling=self.resampling,  # type: ignore[arg-type]
            unit=self.unit,  # type: ignore[arg-type]
        )


@dataclasses.dataclass(frozen=True)
class LawsAsked:
    """The laws that recommend a mixture, and the decision that they are asked for."""

    law: Annotated[
        list[str] | None,
        typer.Option(
            help="The law; further ones are fitted beside it. Default auto, the best of a few at "
            f"held-out points. Known: {LAWS_HELP}"
        ),
    ] = None
    budget: Budget = None
    weight: Weight = None


def certainty(
    sweep: SweepOptions,
    draws: Resampling,
    settings: FitSettings,
    limits: Limits,
    output: Output,
    laws: LawsAsked,
) -> None:
    """Show the uncertainty of a recommended mixture, from fits to resampled runs.

    Example: `bimix certainty sweep.csv --law BiMix --budget 4e10 --plot sure.png`
    """
    check_level(draws.level)
    measured = sweep.read()
    asked, beside = limits.constraints_of(measured), limits.mixture_of(measured)
    weights = weights_of(laws.weight, measured)
    fits = [settings.fit(measured, law_asked(name)) for name in laws.law or [AUTO]]
    drawn = draws.draw(measured, fits[0])
    waiting.show(f"finding {counted(draws.resamples, 'optimum', 'optima')}")
    sure = bx.certainty(
        drawn,
        laws.budget,
        weights,
        level=draws.level,
        guard_probability=draws.guard_probability,
        reference=beside,
        constraints=asked,
    )
    others = None
    if len(fits) > 1:
        others = bx.between_laws(fits, laws.budget, weights, beside, asked)
    output.draw(lambda plots: plots.plot_certainty(sure, limits.name, others))
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
    if sure.indistinct.notna().all(axis=None):
        ends = span(sure.indistinct["low"], sure.indistinct["high"])
        show_table(
            pd.DataFrame({"from": ends}, best.mixture.index).rename_axis("domain"),
            f"Mixtures that it does not beat with probability {sure.level:g}",
            {},
            below="Each end with the other proportions as good as they can be.",
        )
    if len(sure.guardrails):
        some = are_scores(best.decision.fitted.metadata.described(sure.guardrails.index)).any()
        headings = GUARDED | (GUARDED_SCORES if some else {})
        show_table(sure.guardrails, "Guardrails, and how surely they are kept", headings)
    unit = "points" if best.decision.of_scores else "%"
    show_table(
        sure.influence.head(RUNS_SHOWN),
        f"Runs whose omission moves the mixture most (of {len(sure.influence)})",
        INFLUENCE | {"gain": (f"gain without, {unit}", percent)},
        below="Moved: the share of all tokens that change their domain.",
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


@dataclasses.dataclass(frozen=True)
class Budgets:
    """A range of budgets, at equal ratios."""

    least: Annotated[
        float | None,
        typer.Option("--from", help="Least budget; default the sweep's least."),
    ] = None
    largest: Annotated[
        float | None,
        typer.Option("--to", help="Largest budget; default twice the sweep's largest."),
    ] = None
    steps: Annotated[int, typer.Option(min=2, help="Number of budgets.")] = STEPS

    def within(self, fitted: bx.Fit) -> np.ndarray:
        """Return the budgets for a fit, (steps,).

        Raises:
            ValueError: if a budget is impossible, or the least one is not below the largest.
        """
        first, last = fitted.observed_budgets
        least = first if self.least is None else self.least
        largest = 2 * last if self.largest is None else self.largest
        fitted.check_budget(np.array((least, largest)))
        if least >= largest:
            raise ValueError(
                f"--from {quantity(least)} is not below --to {quantity(largest)} {fitted.unit}; "
                f"expected a range of budgets (the sweep has {quantity(first)} to "
                f"{quantity(last)})."
            )
        return np.geomspace(least, largest, self.steps)


def path(
    fit: FitFile, limits: Limits, output: Output, budgets: Budgets, weight: Weight = None
) -> None:
    """Find the best mixture at each of several budgets.

    Example: `bimix path fit.json --to 4e11 --plot path.png`
    """
    fitted = bx.load_fit(fit)
    found = bx.optimal_path(
        fitted,
        budgets.within(fitted),
        weights_of(weight, fitted),
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_path(found))
    if output.json:
        return show_json(found.document())
    show_path(found)
    return show_notes(found.notes)


POINTS_SHOWN = 9
"""Rows of a table of points along the budget or a front, which JSON and pictures hold in full."""


def show_path(found: bx.OptimalPath) -> None:
    """Print the best mixture and its loss at some budgets, the first and the last included."""
    table = found.mixtures.rename(index=quantity)
    mean = f"predicted {found.objective_text}"
    table[mean] = found.objective.to_numpy()
    rows = _spread(len(table))
    left_out = len(table) - len(rows)
    show_table(
        table.iloc[rows].rename_axis(found.unit),
        "Best mixture along the budget",
        {mean: (mean, number)},
        form=share,
        below=f"{counted(left_out, 'budget')} between these not shown." if left_out else "",
    )


def _spread(count: int) -> list[int]:
    """Return the numbers of at most POINTS_SHOWN rows, evenly spread, first and last included."""
    rows = np.linspace(0, count - 1, min(count, POINTS_SHOWN)).round().astype(int)
    return [int(row) for row in rows]


def tradeoff(
    fit: FitFile,
    first: Annotated[
        list[str], typer.Option(help="A target of the first group; may be given several times.")
    ],
    limits: Limits,
    output: Output,
    second: Annotated[
        list[str] | None, typer.Option(help="A target of the second group; default all others.")
    ] = None,
    budget: Budget = None,
) -> None:
    """Show the mixtures between two groups of targets: the gain of one, and the cost to the other.

    Example: `bimix tradeoff fit.json --first github --first stackexchange --plot front.png`
    """
    fitted = bx.load_fit(fit)
    found = bx.tradeoff(
        fitted,
        first,
        second or None,
        budget,
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_tradeoff(found))
    if output.json:
        return show_json(found.document())
    table = found.table().rename(index="{:.3f}".format)
    rows = _spread(len(table))
    groups = {"first": ", ".join(found.first), "second": ", ".join(found.second)}
    for name, targets in groups.items():
        show_line(f"The {name} group: {targets}.")
    what = {"nats": "losses", "points": "scores"}
    means = " and ".join(dict.fromkeys(what[unit] for unit in found.units))
    first_unit, second_unit = found.units
    title = f"Mean {means} of both groups at {budget_text(found.budget, found.unit)}"
    show_table(
        table.iloc[rows, :3].rename_axis("weight of the second"),
        title,
        {"first": (f"first, {first_unit}", number), "second": (f"second, {second_unit}", number)},
        below=f"Price: the {second_unit} that the second group loses per "
        f"{first_unit.removesuffix('s')} that the first one gains.",
    )
    mixtures = table.iloc[rows, 3:].rename_axis(index="weight of the second", columns="domain")
    show_table(mixtures, "Mixtures along the front", form=share)
    return show_notes(found.notes)


def sensitivity(
    fit: FitFile,
    limits: Limits,
    output: Output,
    mixture: Annotated[
        Path | None,
        typer.Option(
            help="Mixture to start from, JSON or a table of one row; default the recommended one."
        ),
    ] = None,
    budget: Budget = None,
    weight: Weight = None,
) -> None:
    """Show the effect of one more percentage point of each domain on every loss.

    Example: `bimix sensitivity fit.json --mixture now.json --budget 4e10 --plot moves.png`
    """
    fitted = bx.load_fit(fit)
    where = None if mixture is None else read_mixtures(mixture, fitted.domains)
    found = bx.sensitivity(
        fitted,
        where,
        budget,
        weights_of(weight, fitted),
        reference=limits.mixture_of(fitted),
        constraints=limits.constraints_of(fitted),
    )
    output.draw(lambda plots: plots.plot_sensitivity(found))
    if output.json:
        return show_json(found.document())
    scores = sum(sign > 0 for sign in found.better[:-1])
    kinds = {0: "loss, nats", len(found.losses): "score"}
    what = kinds.get(scores, "loss, nats, and score")
    title = f"Change of every {what}, per further point of a domain"
    table = found.table().rename_axis(columns=what.split(",")[0]).rename(columns=str)
    show_table(table, f"{title}, at {budget_text(found.budget, found.unit)}", form=change)
    return show_notes(found.notes)


@dataclasses.dataclass(frozen=True)
class NextRuns:
    """The number of runs to propose, where they may lie, and the decision that they serve."""

    runs: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of runs.")] = 4
    pool: Annotated[
        Path | None, typer.Option(help="Table of mixtures to choose from; default any mixture.")
    ] = None
    run_lower: Annotated[
        list[str] | None,
        typer.Option(
            metavar=SHARES,
            help="Least proportion of a domain in the proposed runs, without a pool; default that "
            "in the sweep.",
        ),
    ] = None
    run_upper: Annotated[
        list[str] | None,
        typer.Option(metavar=SHARES, help="Largest proportion of a domain in the proposed runs."),
    ] = None
    budget: Budget = None
    weight: Weight = None
    resamples: Annotated[
        int,
        typer.Option(
            min=0, help="Number of resamples behind the errors of the law; 0 leaves these out."
        ),
    ] = 200
    seed: Annotated[int, typer.Option(help="Seed of the mixtures that are drawn.")] = 0
    law: LawName = AUTO

    def proposal(self, fitted: bx.Fit, measured: Sweep, limits: Limits) -> bx.Proposal:
        """Propose the runs; the limits are those of the mixture that they serve to find."""
        return bx.propose_runs(
            fitted,
            measured,
            self.runs,
            self.budget,
            None if self.pool is None else read_mixtures(self.pool, fitted.domains),
            bounds=self._bounds(fitted) or None,
            bootstrap=self._resampled(fitted, measured),
            seed=self.seed,
            weights=weights_of(self.weight, fitted),
            constraints=limits.constraints_of(fitted),
            reference=limits.mixture_of(fitted),
        )

    def _resampled(self, fitted: bx.Fit, measured: Sweep) -> bx.Bootstrap | None:
        """Return the resamples; None where they can show no errors of the law."""
        few = len(np.unique(measured.mixture_group)) < LEAST_UNITS
        if few or not self.resamples or fitted.options.budget_power:
            return None
        waiting.show(f"fitting {fitted.label} to {counted(self.resamples, 'resample')}")
        return bx.bootstrap(measured, fitted, self.resamples, self.seed)

    def _bounds(self, fitted: bx.Fit) -> dict[str, tuple[float, float]]:
        """Return the ranges of the proposed runs; an end that is not given is that of the sweep."""
        given = {"--run-lower": self.run_lower, "--run-upper": self.run_upper}
        lower, upper = (
            named.values(option, each, fitted.domains, named.share_of)
            for option, each in given.items()
        )
        ends = zip(fitted.domains, *fitted.observed_proportions.tolist(), strict=True)
        seen = {domain: (least, most) for domain, least, most in ends}
        both = {name: seen.get(name, (0.0, 1.0)) for name in (lower | upper)}
        return {n: (lower.get(n, least), upper.get(n, most)) for n, (least, most) in both.items()}


def propose(
    sweep: SweepOptions,
    settings: FitSettings,
    limits: Limits,
    output: Output,
    asked: NextRuns,
    written: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the mixtures as CSV."), WRITTEN
    ] = None,
) -> None:
    """Propose the next runs, which reduce the expected regret of the mixture at a budget most.

    The limits are those of that mixture; the proposed runs keep --run-lower and
    --run-upper, or are from --pool.

    Example: `bimix propose sweep.csv -n 4 --budget 4e10 --law TransferBiMix -o next.csv`
    """
    measured = sweep.read()
    fitted = settings.fit(measured, law_asked(asked.law))
    found = asked.proposal(fitted, measured, limits)
    found = dataclasses.replace(found, notes=(*_for_intervals(measured), *found.notes))
    if written:
        with atomic_path(written) as beside:
            found.mixtures.to_csv(beside)
    output.draw(lambda plots: plots.plot_proposal(found))
    if output.json:
        return show_json(found.document())
    show_proposal(found)
    return show_notes(found.notes)


def _for_intervals(measured: Sweep) -> tuple[str, ...]:
    """Note on the number of mixtures that intervals need beyond those of the sweep."""
    lacking = units_needed(USUAL) - len(np.unique(measured.mixture_group))
    if lacking <= 0:
        return ()
    return (
        f"Intervals of {100 * USUAL:g} %, and probabilities of a gain, need {lacking} more "
        f"{'mixture' if lacking == 1 else 'mixtures'}.",
    )


def show_proposal(found: bx.Proposal) -> None:
    """Print the mixtures to run, and the expected regret after them."""
    at = f"{budget_text(found.budget, found.unit)}"
    title = f"Runs to do next, best first, for the decision at {at}"
    show_table(found.mixtures.rename_axis(columns="domain").T, title, form=share)
    again = [f"{run} repeats {first}" for run, first in found.first_of().items() if run != first]
    if again:
        show_line(f"With another seed: {', '.join(again)}.")
    regret = pd.DataFrame({"proposed": found.regret_left, "drawn at random": found.regret_random})
    title = f"Expected regret of the decision, {found.regret_unit}"
    below = f"Now it is {number(found.regret_now)} {found.regret_unit}."
    show_table(regret.rename_axis("after run"), title, form=number, below=below)
