"""`bimix fit` and `predict`, and `evaluate` and `compare`, which judge laws on held-out points."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import named, waiting
from bimix_jax.cli.app import WRITTEN
from bimix_jax.cli.fit_options import (
    LAWS_HELP,
    FitSettings,
    HeldOut,
    HeldOutSettings,
    Huber,
    LawName,
    Residual,
    law_asked,
)
from bimix_jax.cli.options import At, FitFile, Json, LossesTable, Output, SweepOptions
from bimix_jax.cli.scores import show_signal
from bimix_jax.cli.show import (
    change,
    number,
    percent,
    show_json,
    show_line,
    show_next,
    show_notes,
    show_table,
)
from bimix_jax.files import atomic_path
from bimix_jax.fitting.options import note_of_budget_power
from bimix_jax.judging._cost import Outlook
from bimix_jax.judging.automatic import AUTO, fit_train_part, missed
from bimix_jax.judging.compare import JUDGED
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.quantities import budget_text, counted
from bimix_jax.reading.targets import predicted_text
from bimix_jax.sweeps.splits import KINDS, SPLIT_TITLES, Split, judges_later, standard_splits
from bimix_jax.sweeps.sweep import CURVE, Sweep


def fit(
    sweep: SweepOptions,
    settings: FitSettings,
    output: Output,
    written: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Fit to write, JSON; without it the fit is shown alone.",
            show_default=False,
        ),
        WRITTEN,
    ] = None,
    law: LawName = AUTO,
) -> None:
    """Fit a law to a sweep, show the coefficients and write them.

    Example: `bimix fit sweep.csv --select model_size=122000000 -o fit.json --plot curves.png`
    """
    measured = sweep.read()
    fitted = settings.fit(measured, law_asked(law))
    if written is not None:
        fitted.save(written)
    output.draw(lambda plots: plots.plot_curves(fitted, measured))
    # Why this law, or how far it is from the data, stands above everything else.
    above = None if law_asked(law) == AUTO else missed(fitted, measured)
    notes = [*([above] if above else []), *fitted.notes, *fitted.messages()]
    if output.json:
        file = None if written is None else str(written)
        return show_json({"fit": fitted.table(), "notes": notes, "file": file})
    show_line(f"{sweep.file}: {measured.summary()}")
    if above or law_asked(law) == AUTO:
        show_line(notes.pop(0))
    show_fit(fitted, f"{fitted.label}, {settings.residual} residuals")
    for name in fitted.law.domain_exponent_names:
        shown = fitted.by_domain(name).rename_axis("target")
        show_table(shown, f"{name}: rows are targets, columns domains")
    show_notes(notes)
    files = [str(path) for path in (written, output.plot) if path]
    if files:
        show_line(f"Written: {', '.join(files)}")
    if written is None:
        return show_line("The fit is not kept; -o fit.json writes it.")
    # Of a single budget it is not known how losses change with it.
    single = np.ptp(measured.budget) == 0
    twice = () if single else ("--budget", f"{2 * measured.largest_budget:.4g}")
    return show_next("optimize", str(written), *twice)


def show_fit(fitted: bx.Fit, title: str) -> None:
    """Print the coefficients of every target, and the formula that they belong to."""
    columns = {"code": ("result", number), "error": ("mean error, %", percent)}
    formula = (fitted.law.__doc__ or "").partition("\n")[0]
    symbols = f" Here r is a proportion and s the budget in {fitted.unit}."
    below = formula + symbols if formula.startswith(("L_i = ", "score = ")) else ""
    table = fitted.table()
    if fitted.law.members:  # the coefficients of all members would fill pages
        table = table[["code", "points", "error"]]
        below = f"The centre of {', '.join(law.label for law in fitted.law.members)}."
    show_table(table, title, columns, below=below)


@dataclasses.dataclass(frozen=True)
class _Fitted(SweepOptions):
    """The sweep that was fitted, read with the options of its fit; predictions alone need none."""

    file: Annotated[
        Path | None,
        typer.Option(
            "--sweep", help="The sweep that was fitted: adds intervals for single new runs."
        ),
    ] = None  # type: ignore[assignment]

    def read_if_given(self) -> Sweep | None:
        """Return the sweep, or None without one; ValueError for its options alone."""
        if self.file is not None:
            return self.read()
        options = self.words()[1:]
        if options:
            raise ValueError(
                f"--sweep is missing; {options[0]} says how it is read. Give the table of runs "
                "that was fitted (--sweep FILE)."
            )
        return None


@dataclasses.dataclass(frozen=True)
class Intervals:
    """The intervals beside predictions."""

    level: Annotated[float, typer.Option(parser=named.share, help="Level of the intervals.")] = 0.9
    simultaneous: Annotated[
        bool,
        typer.Option(
            "--simultaneous",
            help="Intervals that hold a loss at all budgets of a run together, as a curve of "
            "checkpoints needs.",
        ),
    ] = False

    def of(
        self, fitted: bx.Fit, sweep: Sweep | None, mixtures: pd.DataFrame, budget: float | None
    ) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
        """Return the intervals and their notes; none without a sweep."""
        if sweep is None:
            return None, ()
        drawn = bx.bootstrap(sweep, fitted, RESAMPLES)
        ends = drawn.predict(mixtures, budget, self.level, simultaneous=self.simultaneous)
        at = float(fitted.check_budget(budget))
        return ends, (*drawn.notes, *drawn.notes_on_budget(at))


def predict(
    fit: FitFile,
    mixtures: Annotated[
        Path,
        typer.Argument(
            help="Table with a column per domain, or a JSON object of one mixture.",
            show_default=False,
        ),
    ],
    output: Json,
    intervals: Intervals,
    sweep: _Fitted,
    at: At,
    written: LossesTable = None,
) -> None:
    """Predict the losses and scores of untrained mixtures at a budget.

    Example: `bimix predict fit.json mixtures.csv --budget 4e10 --sweep sweep.csv`
    """
    fitted = at.fit_of(fit)
    given = read_mixtures(mixtures, fitted.domains)
    losses = pd.DataFrame(fitted.predict(given, at.budget))
    budget = float(fitted.check_budget(at.budget))
    ends, reasons = intervals.of(fitted, sweep.read_if_given(), given, at.budget)
    if written:
        with atomic_path(written) as beside:
            losses.to_csv(beside)
    notes = [
        *fitted.notes_on_budget(budget),
        *fitted.notes_on_mixtures(given.to_numpy()),
        *fitted.messages(),
        *reasons,
    ]
    if output.json:
        document = {"budget": budget, "unit": fitted.unit, "losses": losses}
        if ends is not None:
            document |= {"level": intervals.level, "simultaneous": intervals.simultaneous}
            document["intervals"] = _nested(ends)
        return show_json({**document, "notes": notes})
    shown = losses.rename_axis(columns="target")
    show_table(shown, f"{predicted_text(fitted.described)}, at {budget_text(budget, fitted.unit)}")
    if ends is not None:
        _show_ends(ends, intervals)
    return show_notes(notes)


RESAMPLES = 200
"""Number of resamples behind the intervals of predictions, of which only the spread counts."""
ENDS = {
    "low": ("low", number),
    "high": ("high", number),
    "noise": ("noise, ± %", percent),
    "law": ("error of the law, ± %", percent),
}


def _nested(ends: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Intervals by mixture: rows by target."""
    return {str(name): ends.loc[name] for name in ends.index.unique(0)}


def _show_ends(ends: pd.DataFrame, intervals: Intervals) -> None:
    """Print the intervals of every mixture and what they consist of."""
    kind = "simultaneous intervals" if intervals.simultaneous else "intervals"
    for name, table in _nested(ends).items():
        title = f"{100 * intervals.level:g} % {kind} for a new run of mixture {name}"
        show_table(table[list(ENDS)], title, ENDS)


def evaluate(
    sweep: SweepOptions,
    held_out: HeldOut,
    settings: HeldOutSettings,
    output: Output,
    law: LawName = AUTO,
    intervals: Annotated[
        bool,
        typer.Option(
            "--intervals",
            help="Show instead how often intervals and probabilities hold on five draws of "
            "held-out mixtures.",
        ),
    ] = False,
) -> None:
    """Show the law's errors on runs, and on budgets, that it was not fitted to.

    Example: `bimix evaluate sweep.csv --select model_size=122000000 --plot predicted.png`
    """
    measured = sweep.read()
    chosen = law_asked(law)
    if intervals:
        return _evaluate_intervals(measured, chosen, held_out, settings, output)
    notes, results = [*measured.notes], {}
    least = CURVE if isinstance(chosen, str) else chosen.curve
    for name, split in _splits(measured, held_out, least).items():
        if split is None:
            count = len(np.unique(measured.budget)) - 1
            left = "a single budget" if count == 1 else f"{count} budgets"
            notes.append(f"No error on {name}: what is left has {left}, a curve takes {CURVE}.")
            continue
        waiting.show(f"fitting {law} without {name}")
        fitted = fit_train_part(measured, split, chosen, held_out.budget_power, **settings.settings)
        results[name] = bx.evaluate(fitted, measured.take(split.test))
        said = (
            *note_of_budget_power(measured.take(split.train), fitted.options.budget_power),
            *results[name].notes,
            *fitted.messages(),
        )
        notes += [f"{name}: {note}" for note in said]
    output.draw(lambda plots: plots.plot_predicted(next(iter(results.values()))))
    if output.json:
        tables = {name: result.table() for name, result in results.items()}
        return show_json({**tables, "notes": notes})
    show_line(f"{sweep.file}: {measured.summary()}")
    for name, result in results.items():
        show_evaluation(result, f"Error on {name}")
    return show_notes(notes)


def _evaluate_intervals(
    measured: Sweep, law: bx.Law | str, held_out: HeldOut, settings: HeldOutSettings, output: Output
) -> None:
    """Show how often intervals and probabilities hold on held-out mixtures."""
    splits = standard_splits(measured, "mixtures", runs=held_out.runs, seed=held_out.seed)
    waiting.show(f"resampling without {counted(len(splits), 'draw')} of held-out mixtures")
    found = bx.calibration(measured, law, splits, **settings.settings)
    output.draw(lambda plots: plots.plot_calibration(found))
    if output.json:
        return show_json(
            {
                "coverage": found.coverage(),
                "reliability": found.reliability(),
                "calibration_error": found.calibration_error,
                "verdict": found.verdict(),
                "notes": [*measured.notes, *found.notes],
            }
        )
    held = f"{len(splits)} draws of {held_out.runs:g} of the mixtures"
    show_table(found.coverage(), f"Intervals of losses held out, {held}", COVERED)
    pairs = found.reliability().reset_index()
    show_table(
        pairs.set_index(pairs.pop("from").map(percent)),
        "Pairs of held-out runs, by the probability that one is better",
        CLAIMED,
    )
    show_line(found.verdict())
    return show_notes([*measured.notes, *found.notes])


COVERED = {
    "covered": ("inside, %", percent),
    "worst_target": ("worst target", number),
    "worst": ("its share, %", percent),
    "width": ("half the width, %", percent),
    "losses": ("losses", number),
}
CLAIMED = {
    "claimed": ("mean, %", percent),
    "right": ("right, %", percent),
    "pairs": ("pairs", number),
}


def _splits(measured: Sweep, asked: HeldOut, least: int) -> dict[str, Split | None]:
    """Return the held-out parts by name; None where the sweep has too few budgets for one."""
    runs, budgets, seed = asked.runs, asked.budgets, asked.seed
    (unseen,) = standard_splits(measured, "mixtures", 1, runs=runs, seed=seed)
    found: dict[str, Split | None] = {f"held-out mixtures ({runs:g} of them, seed {seed})": unseen}
    count = len(np.unique(measured.budget))
    if not judges_later(measured):
        return found if count == 1 else found | {f"held-out budgets (the later {budgets:g})": None}
    (later,) = standard_splits(measured, "budgets", budgets=budgets, least=min(least, count - 1))
    held = len(np.unique(measured.budget[later.test]))
    usual = later.test.sum() == (measured.budget >= measured.budget_cut(budgets)).sum()
    what = f"the later {budgets:g}" if usual else f"the last {held} of {count}"
    return found | {f"held-out budgets ({what})": later}


def show_evaluation(result: bx.Evaluation, title: str) -> None:
    """Print the errors of every target."""
    columns = {
        "mre": ("mean error, %", percent),
        "worst": ("worst error, %", percent),
        "r2": ("R²", number),
        "r2_mixtures": ("R² of mixtures", number),
        "spearman": ("rank correlation", number),
    }
    last = "R² of mixtures and the rank correlation are across mixtures at one budget, the last."
    show_table(result.table(), title, columns, below=last)


def _points(value: float) -> str:
    """Format a fraction in points, to 4 decimals as its difference."""
    return "–" if math.isnan(value) else f"{100 * value:.4f}" if value >= 5e-7 else "0"


COMPARED = {
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
    "splits": ("splits judged", number),
}
EXPLAINED = (
    "Regret: the mean {} of the held-out mixture that a law ranks first, less that of the best "
    "held-out mixture."
)
DISTANCE = "distance of scores to their maximum"


def _regret(of_scores: Sequence[bool]) -> tuple[dict[str, Any], str]:
    """Return the heading of the regret, and what it is, where some targets are scores."""
    if of_scores and all(of_scores):
        return {"regret": ("regret, points", percent)}, EXPLAINED.format(DISTANCE)
    if any(of_scores):
        return {"regret": ("regret", number)}, EXPLAINED.format(f"loss, or {DISTANCE},")
    return {}, EXPLAINED.format("loss")


@dataclasses.dataclass(frozen=True)
class Judging:
    """The laws to compare, the splits and targets to judge them on, and how they are fitted."""

    law: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Judge this law; several times. Default {', '.join(j.label for j in JUDGED)}. "
            f"Known: {LAWS_HELP}"
        ),
    ] = None
    split: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(KINDS)}; several times. Default all the sweep allows."),
    ] = None
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Number of draws of held-out mixtures. Default 5, or as many as hold out 90, "
            "but 2 at least.",
            show_default=False,
        ),
    ] = None
    target: Annotated[
        list[str] | None, typer.Option(help="Judge on this target; several times. Default all.")
    ] = None
    residual: Residual = "relative"
    huber: Huber = None
    shrinkage: Annotated[
        float | None,
        typer.Option(
            help="Strength at which further coefficients are drawn to the simpler law; default "
            "chosen for what each split holds out."
        ),
    ] = None
    race: Annotated[
        bool,
        typer.Option(help="Drop a law from further splits once it is clearly worse."),
    ] = True


def _tell(outlook: Outlook) -> None:
    """Show how far a comparison is; one that takes long says so first, in a pipe, too."""
    tell = waiting.announce if outlook.is_long and not outlook.done else waiting.show
    tell(f"bimix compare: {outlook}")


def compare(sweep: SweepOptions, held_out: HeldOut, output: Output, judging: Judging) -> None:
    """Show which law the sweep supports, and whether the evidence is sufficient.

    Example: `bimix compare sweep.csv --select model_size=122000000 --plot laws.png`
    """
    measured = sweep.read()
    judged = bx.compare(
        measured,
        [law_asked(name) for name in judging.law or ()] or None,
        judging.split or None,
        repeats=judging.repeats,
        targets=judging.target,
        residual=judging.residual,  # type: ignore[arg-type]
        huber=judging.huber,
        shrinkage=judging.shrinkage,
        race=judging.race,
        progress=_tell,
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
                "noise": dataclasses.asdict(judged.noise),
                "signal": measured.signal(),
                "notes": judged.notes,
            }
        )
    show_line(f"{sweep.file}: {measured.summary()}")
    heading, explained = _regret(judged.of_scores)
    for kind, table in tables.items():
        same = ["mre_common", "scored"] if judged.on_common(kind) else []
        same += [] if judged.dropped(kind).any() else ["splits"]
        held = SPLIT_TITLES.get(kind, kind)
        show_table(table.drop(columns=same), f"Held out: {held}", COMPARED | heading)
    show_line(explained)
    show_signal(measured)
    show_line("")
    show_line(judged.verdict())
    show_notes(judged.notes)
    power = ["--budget-power", f"{held_out.budget_power:g}"] if judged.decisive == "both" else []
    return show_next("fit", *sweep.words(), "--law", judged.best, *power, "-o", "fit.json")
