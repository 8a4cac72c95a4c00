"""Data of the page's explorer: the fitted law in JavaScript, coefficients, and what was run."""

import base64
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.fitting.fitted import FAR, NOTICED, Fit, has_values
from bimix_jax.recipe.available import TOKENS
from bimix_jax.recipe.forms import EXAMPLES, PLAIN, SEED, STOPPING, WORDS
from bimix_jax.recipe.recipe import DIGITS, Recipe
from bimix_jax.report._javascript import javascript
from bimix_jax.uncertainty.bootstrap import VARIANCE, Bootstrap

if TYPE_CHECKING:
    from bimix_jax.mixture.optimum import Optimum

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


def explorer_data(
    best: "Optimum",
    drawn: Bootstrap,
    starts: dict[str, pd.Series],
    recipe: Recipe | None,
    level: float,
) -> dict[str, Any]:
    """Collect the numbers of the explorer, as JSON types.

    Args:
        best: the recommendation, where the sliders begin.
        drawn: the resamples of its fit, for intervals.
        starts: mixtures by name that a button sets.
        recipe: of the recommendation, for copies as a file; None without them.
        level: of the intervals.
    """
    fitted, decision = best.decision.fitted, best.decision
    least, largest = map(float, fitted.observed_budgets)
    return {
        "domains": list(fitted.domains),
        "targets": list(fitted.targets),
        "unit": fitted.unit,
        "mixture": best.mixture.tolist(),
        "reference": best.reference.tolist(),
        "budget": best.budget,
        "weights": decision.weights.tolist(),
        "objective": best.objective_name,
        "starts": [mixture.tolist() for mixture in starts.values()],
        "fit": _coefficients(drawn),
        "spreads": _spreads(drawn, level),
        "observed": {
            "least": fitted.observed_proportions[0].tolist(),
            "most": fitted.observed_proportions[1].tolist(),
            "budgets": [least, largest],
            "mixtures": _rows(fitted.observed_mixtures),
        },
        "far": FAR,
        "noticed": NOTICED,
        "recipe": None if recipe is None else _recipe(best, recipe),
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


def _recipe(best: "Optimum", recipe: Recipe) -> dict[str, Any]:
    """What the forms of a recipe need besides the mixture and the budget."""
    asked, table, lengths = best.constraints, recipe.available, recipe.tokens_per_document
    per_budget = asked.tokens_per_step or (1.0 if best.unit == TOKENS else None)
    return {
        "decimals": DIGITS,
        "tokens": asked.tokens,
        "per_budget": per_budget,
        "available": None if table is None else [_known(each) for each in table[TOKENS]],
        "stamp": recipe.stamp.document(),
        "lengths": None if lengths is None else lengths.tolist(),
        "examples": EXAMPLES["tokens" if lengths is None else "documents"],
        "stopping": STOPPING,
        "seed": SEED,
        "yaml": {"plain": PLAIN.pattern, "taken": sorted(WORDS)},
    }


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)
