"""References by name: the same in every verb, in Python and as an option; kept with a fit."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.fitting import storage
from tests.frames import random_frame


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(random_frame(np.random.default_rng(3), runs=8, budgets=4, domains=3))


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, bx.BiMix())


def best_by_hand(sweep, weights):
    """The run with the least weighted loss in its last row, from the table of losses."""
    table = pd.DataFrame(sweep.loss, sweep.run, sweep.targets)
    last = table[sweep.budget == sweep.budget.max()]
    return (last * pd.Series(weights)).sum(axis=1).idxmin()


@pytest.mark.parametrize("weights", [None, {"d0": 1}, {"d1": 1}, {"d0": 1, "d2": 3}])
def test_the_best_run_is_the_one_of_the_least_weighted_loss(sweep, fitted, weights):
    best = bx.optimize_mixture(fitted, weights=weights, reference="best-run")
    run = best_by_hand(sweep, weights or dict.fromkeys(sweep.targets, 1))
    np.testing.assert_allclose(best.reference, sweep.mixtures.loc[run], rtol=1e-14)
    assert f"The best run, which is the reference, is {run}: by its measured losses." in best.notes
    if weights is None:
        assert run == bx.best_measured(sweep)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("uniform", lambda sweep: [1 / 3] * 3),
        ("run:run5", lambda sweep: sweep.mixtures.loc["run5"].tolist()),
        ("available", lambda sweep: [0.1, 0.3, 0.6]),
    ],
)
def test_every_verb_takes_every_word(sweep, fitted, word, expected):
    asked = bx.Constraints(available={"d0": "1B", "d1": 3e9, "d2": 6e9})
    held = {"reference": word, "constraints": asked}
    reference = expected(sweep)
    given = held | {"reference": dict(zip(sweep.domains, reference, strict=True))}
    best = bx.optimize_mixture(fitted, **held)
    np.testing.assert_allclose(best.reference, reference, rtol=1e-12)
    for verb in (
        lambda **how: bx.sensitivity(fitted, **how).nats,
        lambda **how: bx.tradeoff(fitted, ["d0"], **how).reference,
        lambda **how: bx.between_laws([fitted], **how).gains,
    ):
        np.testing.assert_allclose(verb(**held), verb(**given), rtol=1e-12)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("best", "reference is 'best'; expected uniform, available, best-run, run:NAME or a mixtu"),
        ("best-runs", "Did you mean best-run"),
        ("run:run9", r"reference is 'run:run9'; expected one of the 8 runs .* Did you mean run"),
        ("available", r"tokens of d0, d1, d2, too, by available= \(--available\)"),
    ],
)
def test_what_is_no_reference_is_refused(fitted, reference, words):
    with pytest.raises(ValueError, match=words):
        bx.optimize_mixture(fitted, reference=reference)


def test_a_best_run_needs_losses_at_the_last_common_budget(sweep):
    loss = np.where((sweep.budget == sweep.budget.max())[:, None], np.nan, sweep.loss)
    loss[:, 1:] = sweep.loss[:, 1:]
    fitted = bx.fit(dataclasses.replace(sweep, loss=loss))
    with pytest.raises(ValueError, match="no run has every weighted loss measured"):
        bx.optimize_mixture(fitted, reference="best-run")
    assert bx.optimize_mixture(fitted, weights={"d1": 1}, reference="best-run").reference.sum() > 0


def test_a_saved_fit_knows_its_runs_and_an_older_one_says_that_it_does_not(fitted, tmp_path):
    path = tmp_path / "fit.json"
    fitted.save(path)
    loaded = bx.load_fit(path)
    for reference in ("best-run", "run:run2"):
        one, other = (
            bx.optimize_mixture(fit, reference=reference).reference for fit in (fitted, loaded)
        )
        pd.testing.assert_series_equal(one, other, check_exact=True)
    document = json.loads(path.read_text())
    for entry in ("runs", storage.DIGEST):
        del document[entry]
    path.write_text(json.dumps(document | {"format": storage.EVEN}))
    older = bx.load_fit(path)
    assert bx.optimize_mixture(older).reference.tolist() == [1 / 3] * 3
    with pytest.raises(ValueError, match="saved without its runs; fit the sweep again"):
        bx.optimize_mixture(older, reference="best-run")
    older.save(path)
    assert json.loads(path.read_text())["format"] == storage.EVEN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ["a"]}, "entry runs has numbers of shape"),
        ({"mixtures": [[2.0, 0.0, 0.0]] * 8}, "runs holds"),
        ({"more": 1}, "runs has the unknown entry"),
    ],
)
def test_damaged_runs_are_named(fitted, tmp_path, change, words):
    path = tmp_path / "fit.json"
    fitted.save(path)
    document = json.loads(path.read_text())
    del document[storage.DIGEST]
    path.write_text(json.dumps(document | {"runs": document["runs"] | change}))
    with pytest.raises(ValueError, match=words):
        bx.load_fit(path)
