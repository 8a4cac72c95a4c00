"""Objects of the package shown in one line, and refused by name where another kind stands."""

import re

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from tests.frames import random_frame


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(random_frame(np.random.default_rng(0), runs=10, budgets=4, domains=3))


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, "BiMix")


def test_every_result_is_shown_in_one_line(sweep, fitted):
    drawn = bx.bootstrap(sweep, fitted, 30)
    best = bx.optimize_mixture(fitted)
    shown = {
        "Sweep": sweep,
        "Fit": fitted,
        "Bootstrap": drawn,
        "Certainty": bx.certainty(drawn),
        "Comparison": bx.compare(sweep, "BiMix", "mixtures", repeats=1),
        "Evaluation": bx.evaluate(fitted, sweep),
        "Diagnosis": bx.diagnose(sweep),
        "Optimum": best,
        "OptimalPath": bx.optimal_path(fitted),
        "Tradeoff": bx.tradeoff(fitted, ["d0"]),
        "Sensitivity": bx.sensitivity(fitted),
        "Proposal": bx.propose_runs(fitted, sweep, 1),
        "Recipe": bx.make_recipe(best, fitted),
    }
    in_notebooks = []
    for name, value in shown.items():
        text = repr(value)
        assert text.startswith(f"{name}(")
        assert "\n" not in text
        assert len(text) < 300
        assert "array" not in text
        if hasattr(value, "_repr_html_"):
            page = value._repr_html_()
            assert page.count("<table") == page.count("</table>") >= 1
            in_notebooks.append(name)
    assert in_notebooks == ["Sweep", "Fit", "Certainty", "Comparison", "Optimum"]
    assert "30 resamples" in repr(drawn)


CALLS = {
    "fit": lambda given, sweep, fitted: bx.fit(given, bx.BiMix()),
    "compare": lambda given, sweep, fitted: bx.compare(given),
    "diagnose": lambda given, sweep, fitted: bx.diagnose(given),
    "bootstrap": lambda given, sweep, fitted: bx.bootstrap(given, "BiMix"),
    "evaluate": lambda given, sweep, fitted: bx.evaluate(fitted, given),
    "propose_runs": lambda given, sweep, fitted: bx.propose_runs(fitted, given, 1),
    "calibration": lambda given, sweep, fitted: bx.calibration(given, bx.BiMix()),
    "standard_splits": lambda given, sweep, fitted: bx.standard_splits(given),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_path_or_a_table_for_a_sweep_is_told_how_to_read_it(sweep, fitted, call):
    said = "sweep is 'my runs.csv', a str; expected a Sweep: bimix_jax.read_sweep('my runs.csv')."
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        call("my runs.csv", sweep, fitted)
    with pytest.raises(ValueError, match=r"sweep is a DataFrame; expected a Sweep: bimix_jax.read"):
        call(pd.DataFrame({"run": ["a"]}), sweep, fitted)


@pytest.mark.parametrize(
    "call",
    [
        lambda given, sweep: bx.optimize_mixture(given),
        lambda given, sweep: bx.optimal_path(given),
        lambda given, sweep: bx.sensitivity(given),
        lambda given, sweep: bx.tradeoff(given, ["d0"]),
        lambda given, sweep: bx.least_budget(given, {"d0": 2.0}),
        lambda given, sweep: bx.evaluate(given, sweep),
        lambda given, sweep: bx.propose_runs(given, sweep, 1),
        lambda given, sweep: bx.between_laws([given]),
    ],
)
def test_a_path_or_a_sweep_for_a_fit_is_told_how_to_get_one(sweep, call):
    with pytest.raises(ValueError, match=r"is 'fit.json', a str; .*bimix_jax.load_fit\('fit.json'"):
        call("fit.json", sweep)
    with pytest.raises(ValueError, match=r"is a Sweep; expected a Fit: bimix_jax.load_fit"):
        call(sweep, sweep)


def test_a_fit_is_no_bootstrap(fitted):
    with pytest.raises(ValueError, match=r"bootstrap is a Fit; .* bimix_jax.bootstrap\(sweep"):
        bx.certainty(fitted)
