"""Data of the page's explorer: the fitted law in JavaScript, coefficients, and what was run."""

import base64
import json
import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array
from markupsafe import Markup

from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.fitting.fitted import FAR, NOTICED, Fit, has_values
from bimix_jax.mixture.optimum import Optimum
from bimix_jax.printable import PLAIN, WORDS, plain
from bimix_jax.quantities import budget_text
from bimix_jax.reading.targets import are_scores
from bimix_jax.recipe.available import TOKENS, Where
from bimix_jax.recipe.forms import STOPPING
from bimix_jax.recipe.recipe import DIGITS, EXAMPLES, SEED, Recipe
from bimix_jax.report._assets import asset
from bimix_jax.report._javascript import NotCoveredError, javascript
from bimix_jax.report._kept import Kept, key_of
from bimix_jax.report._recipe import recipe_of
from bimix_jax.report.plan import Plan
from bimix_jax.uncertainty.bootstrap import VARIANCE, Bootstrap
from bimix_jax.uncertainty.certainty import Certainty

if TYPE_CHECKING:
    from bimix_jax.report.report import Report

Paths = dict[str, Where] | None
SCRIPTS = ("numbers.js", "forms.js", "law.js", "explorer.js")
"""Files of the page's script, in the order in which they use each other."""
FORMS = {"megatron": "Megatron-LM", "hf": "Hugging Face", "olmix": "olmix", "json": "JSON"}
NEED_PATHS = ("megatron", "hf")

MOST_NUMBERS = 150_000
"""Most coefficients of resamples on a page, 1.6 MB of it."""
MOST_SPREADS = 12
"""Most budgets at which the spread of the errors is given."""


def law_in_javascript(fitted: Fit) -> str:
    """Return the fitted law as a function in JavaScript; raises as `javascript`.

    It has the arguments (exponents, amplitudes, own, scale, mixture, budget) of one target, and
    returns its loss, infinite where the law is undefined.
    """
    law, coefficients = fitted.law, fitted.coefficients

    def loss(
        exponents: Array, amplitudes: Array, own: Array, scale: Array, mixture: Array, budget: Array
    ) -> Array:
        one = Coefficients(exponents[None], amplitudes[None], own[None], scale[None])
        found = predict_losses(law, one, mixture[None], budget)[0, 0]
        known = has_values(law, one, mixture[None])[0, 0]
        return jnp.where(known | jnp.isnan(found), found, jnp.inf)

    return javascript(
        loss,
        exponents=np.shape(coefficients.exponents)[1:],
        amplitudes=np.shape(coefficients.amplitudes)[1:],
        own=np.shape(coefficients.own)[1:],
        scale=(),
        mixture=np.shape(coefficients.own)[1:],
        budget=(),
    )


def explorer_of(report: "Report", kept: Kept) -> tuple[dict[str, Any] | None, str]:
    """Return what the explorer's template needs; or None, and why there is no explorer.

    The law in JavaScript is one of the results that are `kept`.
    """
    sure = report.certainty
    if sure is None:
        return None, ""
    best, fitted = sure.optimum, sure.bootstrap.fitted
    if are_scores(fitted.described).any():
        return None, "There is no explorer for scores: it shows losses only."
    try:
        law = kept.get("law", key_of(fitted), lambda: law_in_javascript(fitted), str, str)
    except NotCoveredError as error:
        return None, f"There is no explorer for {fitted.label}: {error}."
    starts = {str(name): row for name, row in report.baselines["share"].iterrows()}
    recipe, paths, missing = _copied(report.plan, best)
    data = _data(sure, starts) | {"recipe": recipe and _numbers_of(best, recipe, paths)}
    # An opening bracket in a name must not end the element.
    text = json.dumps(plain(data)).replace("<", "\\u003c")
    parts = ['"use strict";', "(() => {", f"const lossOf = {law};", *map(asset, SCRIPTS), "})();"]
    view = {
        "data": Markup(text),
        "script": Markup("\n".join(parts)),
        "starts": list(starts),
        "reference": list(starts)[1],
        "targets": data["targets"],
        "level": f"{100 * sure.level:g} %",
        "compared": data["differences"] is not None,
        "at": budget_text(best.budget, best.unit),
        "objective": "Mean loss" if data["objective"] == "mean" else "Objective",
        "forms": _forms(recipe, paths),
        "missing_forms": missing,
        "epochs": recipe is not None and recipe.epochs is not None,
    }
    return view | _sliders(best), ""


def _forms(recipe: Recipe | None, paths: Paths) -> list[tuple[str, str]]:
    """Return the forms that can be made, with their names."""
    if recipe is None:
        return []
    return [(form, name) for form, name in FORMS.items() if paths or form not in NEED_PATHS]


def _sliders(best: Optimum) -> dict[str, Any]:
    """Return the ends of the sliders, and the marks on them as fractions of these."""
    observed, shares = best.observed, best.mixture
    most = min(1.0, 1.25 * max(float(observed["max"].max()), float(shares.max())))
    rows = zip(shares.index, shares, observed["min"], observed["max"], strict=True)
    domains = [
        {
            "name": name,
            "low": f"{low / most:.4f}",
            "above": f"{max(1 - high / most, 0):.4f}",
            "best": f"{share / most:.4f}",
            "share": repr(share),
            "percent": f"{100 * share:.1f}",
        }
        for name, share, low, high in rows
    ]
    least, largest = map(float, best.decision.fitted.observed_budgets)
    ends = (least / 2, 2 * max(2 * largest, best.budget))
    logs = {
        name: repr(math.log(at))
        for name, at in zip(("low", "high", "at"), (*ends, best.budget), strict=True)
    }
    return {
        "domains": domains,
        "most": repr(most),
        "budgets": logs if least < largest else None,
    }


def _copied(plan: Plan, best: Optimum) -> tuple[Recipe | None, Paths, str]:
    """Return the recipe of the recommendation, paths by domain, and what copies cannot be made."""
    if best.decision.fitted.metadata.share_unit not in (None, TOKENS):
        return None, None, "Copies as files need shares of tokens."
    made, paths = recipe_of(plan, best, "the explorer of a page by bimix_jax")
    if paths is None:
        return made, None, "Megatron-LM and Hugging Face need the plan to name paths."
    if any(isinstance(where, dict) for where in paths.values()):
        return made, None, "Megatron-LM, Hugging Face and olmix take paths, not streams."
    return made, paths, ""


def _data(sure: Certainty, starts: dict[str, pd.Series]) -> dict[str, Any]:
    """Collect the numbers that the script predicts with; `starts` are mixtures of buttons."""
    best, drawn = sure.optimum, sure.bootstrap
    fitted = drawn.fitted
    return {
        "domains": list(fitted.domains),
        "targets": list(fitted.targets),
        "unit": fitted.unit,
        "mixture": best.mixture.tolist(),
        "reference": best.reference.tolist(),
        "budget": best.budget,
        "weights": best.weights.tolist(),
        "objective": best.objective_name,
        "starts": [mixture.tolist() for mixture in starts.values()],
        "fit": _coefficients(drawn),
        "spreads": _spreads(drawn, sure.level),
        "differences": _differences(sure),
        "observed": {
            "least": fitted.observed_proportions[0].tolist(),
            "most": fitted.observed_proportions[1].tolist(),
            "budgets": fitted.observed_budgets.tolist(),
            "mixtures": _rows(fitted.observed_mixtures),
        },
        "far": FAR,
        "noticed": NOTICED,
    }


def _rows(values: np.ndarray | None) -> list[list[float]] | None:
    return None if values is None else values.tolist()


def _coefficients(drawn: Bootstrap) -> dict[str, Any]:
    """Coefficients of the fit and of resamples, nan where a resample failed."""
    of, each = drawn.fitted.coefficients, drawn.resampled.coefficients
    values = np.concatenate([of.exponents, of.amplitudes], axis=-1)
    count = min(VARIANCE, max(MOST_NUMBERS // values.size, 2))
    resamples = np.concatenate([each.exponents, each.amplitudes], axis=-1)[:count]
    resamples = np.where(drawn.failed[:count, :, None], np.nan, resamples)
    return {
        "exponents": np.shape(of.exponents)[1],
        "amplitudes": np.shape(of.amplitudes)[1],
        "own": np.asarray(of.own).tolist(),
        "scale": np.asarray(of.budget_scale).tolist(),
        "values": _encoded(values),
        "resamples": _encoded(resamples),
    }


def _encoded(values: np.ndarray) -> str:
    """Return numbers with all their digits, in a quarter of the room of decimal ones."""
    return base64.b64encode(np.asarray(values, "<f8").tobytes()).decode()


def _spreads(drawn: Bootstrap, level: float) -> list[dict[str, Any]]:
    """Terms of the widths of intervals at the budgets of the sweep, of which the nearest counts."""
    rows = drawn.held_out_rows
    budgets = np.unique(rows.budget[rows.within])
    some = np.linspace(0, len(budgets) - 1, min(len(budgets), MOST_SPREADS)).round().astype(int)
    terms = [(float(at), drawn.spread(float(at)).terms(level)) for at in budgets[some]]
    known = [(at, each) for at, each in terms if np.isfinite(each["width"]).any()]
    return [
        {"budget": at} | {name: values.tolist() for name, values in each.items()}
        for at, each in known
    ]


def _differences(sure: Certainty) -> dict[str, Any] | None:
    """Terms of the probability that one mixture is better, at the budget of the decision."""
    errors = sure.errors
    if not np.isfinite(sure.probability):
        return None
    terms = errors.spread.terms(sure.level)
    return {
        "terms": {name: float(values[0]) for name, values in terms.items()},
        "units": int(errors.spread.units[0]),
        "ratio": errors.ratio,
        "apart": errors.distance,
        "slope": errors.slope,
    }


def _numbers_of(best: Optimum, recipe: Recipe, paths: Paths) -> dict[str, Any]:
    """Return what the forms of a recipe need besides the mixture and the budget."""
    asked, table, lengths = best.constraints, recipe.available, recipe.tokens_per_document
    per_budget = asked.tokens_per_step or (1.0 if best.unit == TOKENS else None)
    return {
        "decimals": DIGITS,
        "tokens": asked.tokens,
        "per_budget": per_budget,
        "available": None if table is None else [_known(each) for each in table[TOKENS]],
        "stamp": recipe.stamp.document(),
        "paths": paths and [list(where) for where in paths.values()],
        "lengths": None if lengths is None else lengths.tolist(),
        "examples": EXAMPLES["tokens" if lengths is None else "documents"],
        "stopping": STOPPING,
        "seed": SEED,
        "yaml": {"plain": PLAIN.pattern, "taken": sorted(WORDS)},
    }


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
