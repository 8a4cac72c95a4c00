"""`bimix evaluate`."""

import numpy as np

import bimix_jax as bx
from bimix_jax.cli.fit_options import HeldOut, LawName, Residuals
from bimix_jax.cli.options import Output, SweepOptions
from bimix_jax.cli.show import number, percent, show_json, show_line, show_notes, show_table
from bimix_jax.fitting.budget_power import note_of_budget_power
from bimix_jax.judging.searches import fit_train_part
from bimix_jax.sweeps.splits import Split, judges_later, standard_splits
from bimix_jax.sweeps.sweep import CURVE, Sweep


def evaluate(
    sweep: SweepOptions,
    held_out: HeldOut,
    settings: Residuals,
    output: Output,
    law: LawName = "BiMix",
) -> None:
    """Show the law's errors on runs, and on budgets, that it was not fitted to.

    Example: `bimix evaluate sweep.csv --select model_size=122000000 --plot predicted.png`
    """
    measured = sweep.read()
    chosen = bx.law_named(law)
    notes, results = [*measured.notes], {}
    for name, split in _splits(measured, held_out, chosen.curve).items():
        if split is None:
            count = len(np.unique(measured.budget)) - 1
            left = "a single budget" if count == 1 else f"{count} budgets"
            notes.append(f"No error on {name}: what is left has {left}, a curve takes {CURVE}.")
            continue
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
