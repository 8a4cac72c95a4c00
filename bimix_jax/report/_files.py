"""Files of a report: its document, the mixture, the recipes, and the plan that makes it again."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bimix_jax import __version__
from bimix_jax.files import write_atomically
from bimix_jax.fitting.fitted import Fit
from bimix_jax.judging.comparison import Comparison
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.printable import json_text, plain
from bimix_jax.recipe.recipe import Recipe
from bimix_jax.report._recipe import recipe_of
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.calibration import Calibration

if TYPE_CHECKING:
    from bimix_jax.report.report import Report

KEPT = "stages"
"""Folder, in that of a report, of the results of stages that are kept."""
ENDINGS = {"json": ".json", "hf": ".json", "streaming": ".yaml", "olmix": ".yaml"}
"""Form of a recipe → ending of its file, else .txt."""


def document_of(report: "Report") -> dict[str, Any]:
    """Everything that a report holds, as JSON types."""
    further = {
        "calibration": _calibration(report.calibration),
        "path": report.path and report.path.document(),
        "sensitivity": report.sensitivity and dataclasses.asdict(report.sensitivity),
        "baselines": _by_part(report.baselines),
        "next_runs": report.next_runs and report.next_runs.document(),
    }
    document = {
        "kind": "bimix_jax decision",
        "version": __version__,
        "made": report.made,
        "recommendation": report.sentence(),
        "missing": report.missing,
        "plan": report.plan.to_dict(),
        "sweep": _sweep(report.sweep),
        "check": report.diagnosis.document(),
        "laws": report.comparison and _laws(report.comparison),
        "fit": report.fitted and _fit(report.fitted),
        "decision": report.certainty and report.certainty.document(),
        **further,
    }
    found: dict[str, Any] = plain(document)
    return found


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "summary": sweep.summary(),
        "digest": sweep.digest(),
        "runs": sweep.runs,
        "domains": sweep.domains,
        "targets": sweep.targets,
        "unit": sweep.unit,
        "budgets": sorted(set(sweep.budget.tolist())),
        "mixtures": sweep.mixtures,
        "metadata": sweep.metadata.stated(),
        "notes": sweep.notes,
    }


def _laws(compared: Comparison) -> dict[str, Any]:
    return {
        "best": compared.best,
        "verdict": compared.verdict(),
        "splits": {kind: compared.table_of(kind) for kind in compared.kinds},
        "noise": dataclasses.asdict(compared.noise),
        "notes": compared.notes,
    }


def _fit(fitted: Fit) -> dict[str, Any]:
    return {
        "law": fitted.label,
        "options": dataclasses.asdict(fitted.options),
        "table": fitted.table(),
        "notes": [*fitted.notes, *fitted.messages()],
    }


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "verdict": found.verdict(),
        "coverage": found.coverage(),
        "reliability": found.reliability(),
        "calibration_error": found.calibration_error,
    }


def _by_part(baselines: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Baselines as {mixture: {part: {name: value}}}."""
    return {
        str(name): {part: row[part] for part in baselines.columns.unique(0)}
        for name, row in baselines.iterrows()
    }


def write_files(report: "Report", folder: Path, command: str) -> list[Path]:
    """Write all files, see `Report.save`."""
    # It imports pictures, which nothing else of a report needs.
    from bimix_jax.report._page import page

    # Before anything is written: a form may need paths that are not there.
    recipes = {} if report.optimum is None else _recipes(report, report.optimum, command)
    stages = folder / KEPT
    # Only where the decision kept its stages, too: who did not ask for them gets no such folder.
    html = page(report, command, stages if stages.is_dir() else None)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in {
        "index.html": html,
        "decision.json": json_text(report.to_dict(), 1) + "\n",
        "plan.toml": report.plan.to_toml(folder),
    }.items():
        write_atomically(folder / name, text)
        written.append(folder / name)
    if report.fitted is not None:
        report.fitted.save(folder / "fit.json")
        written.append(folder / "fit.json")
    if report.next_runs is not None:
        runs = report.next_runs.mixtures.rename_axis("run").add_prefix("r_")
        write_atomically(folder / "next_runs.csv", runs.to_csv())
        written.append(folder / "next_runs.csv")
    return [*written, *_write_mixture(report, folder, recipes)]


def _recipes(report: "Report", best: Optimum, command: str) -> dict[str, tuple[Recipe, Any]]:
    """The recipe and its paths, by form; none where the tokens of documents are not known."""
    plan = report.plan
    recipe, paths = recipe_of(plan, best, command)
    if recipe is None:
        return {}
    for form in plan.emit:
        recipe.emit(form, paths)
    return dict.fromkeys(plan.emit, (recipe, paths))


def _write_mixture(
    report: "Report", folder: Path, recipes: dict[str, tuple[Recipe, Any]]
) -> Iterator[Path]:
    """Write the table of mixtures and the recipes."""
    if report.optimum is None:
        return
    table = report.baselines["share"].T.rename_axis("domain")
    for recipe, _ in list(recipes.values())[:1]:
        columns = [name for name in ("tokens", "available", "epochs") if name in recipe.table()]
        table = table.join(recipe.table()[columns])
    write_atomically(folder / "mixture.csv", table.to_csv())
    yield folder / "mixture.csv"
    for form, (recipe, paths) in recipes.items():
        name = "recipe" if form == "json" else form
        yield from recipe.save(folder / f"{name}{ENDINGS.get(form, '.txt')}", form, paths)
