"""The race of the judge: what is dropped, what is told, and that the pick is that of all splits."""

import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.cli.fit import _tell
from bimix_jax.fitting.coefficients import Code
from bimix_jax.judging import _cost, _race, _searches, _trial
from bimix_jax.judging._searches import HeldOut
from bimix_jax.judging.comparison import USEFUL
from bimix_jax.judging.noise import NoiseFloor
from tests.conftest import synthetic_points

KINDS = ("mixtures",) * 5 + ("both",) * 5
MIXTURES = 30


class Drawn(_trial.Trial):
    """A trial whose laws are off by given errors (laws, splits, mixtures) instead of fitted."""

    def fitted(self, law, splits):
        predicted = 2.0 * (1 + law.errors[splits])[:, :, None]
        codes = np.full((len(splits), 1), Code.CONVERGED)
        usable = np.ones((MIXTURES, 1), bool)
        return HeldOut(splits, predicted, codes, usable, codes + 1.0, (law.label,) * len(splits))


def drawn(seed):
    """A race of five laws on ten splits, whose errors are noisy and depend on the training part."""
    rng = np.random.default_rng(seed)
    difficulty = rng.uniform(0.005, 0.02, MIXTURES)
    usual = rng.choice([1.0, 1.0, 1.02, 1.1, 1.4, 2.0, 4.0], 5)[:, None, None]
    of_part = np.exp(0.05 * rng.standard_normal((5, len(KINDS), 1)))
    errors = usual * of_part * difficulty * np.exp(0.3 * rng.standard_normal((5, 10, MIXTURES)))
    laws = [
        SimpleNamespace(
            label=f"law{i}",
            errors=each,
            names=lambda domains: ["a"],
            amplitude_names=("A",),
            members=(),
            expresses=lambda target, domains: True,
        )
        for i, each in enumerate(errors)
    ]
    sweep = SimpleNamespace(
        domains=(), targets=("web",), loss=np.full((MIXTURES, 1), 2.0), size=None,
        budget=np.ones(MIXTURES), mixture_group=np.arange(MIXTURES), metadata=bx.Metadata(),
    )  # fmt: skip
    parts = []
    for kind in KINDS:
        test = np.zeros(MIXTURES, bool)
        test[rng.choice(MIXTURES, 10, replace=False)] = True
        parts.append(SimpleNamespace(kind=kind, test=test))
    return Drawn(sweep, laws, parts, ("web",), None)


@pytest.fixture(autouse=True)
def without_noise(request, monkeypatch):
    if request.node.name.startswith("test_what_is_dropped"):
        monkeypatch.setattr(_race, "noise_floor", lambda *given: NoiseFloor(np.nan, np.nan))


@pytest.mark.parametrize("seed", range(12))
def test_what_is_dropped_is_far_behind_and_the_pick_is_that_of_all_splits(seed):
    trial = drawn(seed)
    (raced, _), (whole, _) = (_race.run(trial, race) for race in (True, False))
    assert whole.judged.all()
    for kind in ("mixtures", "both"):
        assert raced.best_of(kind) == whole.best_of(kind)
        row = whole.table_of(kind)
        gone = raced.dropped(kind)
        # By all splits it is neither best nor one that they do not separate from the best.
        behind = (row["difference"] > 2 * row["se"]) & (row["difference"] > USEFUL)
        assert behind[gone].all()
        # Twice the error of the best one is seen at the first look.
        double = row["mre"] > 2 * row["mre"].min()
        count = raced.table_of(kind)["splits"]
        assert (count[double] <= 2).all()
        assert (count[~gone] == 5).all()
        kept = row.index[~gone]
        pd.testing.assert_frame_equal(
            raced.table_of(kind).loc[kept, ["mre", "difference", "se", "splits"]],
            row.loc[kept, ["mre", "difference", "se", "splits"]],
        )


@pytest.fixture(scope="module")
def sweep():
    mixture, budget, loss, _ = synthetic_points(runs=30, budgets=4, noise=0.003)
    runs = np.repeat([f"run{i:02}" for i in range(30)], 4)
    columns = {f"r_{d}": mixture[:, i] for i, d in enumerate(("web", "code", "books"))}
    columns |= {f"loss_{d}": loss[:, i] for i, d in enumerate(("web", "code", "books"))}
    return pd.DataFrame({"run": runs, "tokens": budget, **columns})


def test_a_law_that_is_clearly_worse_is_dropped_and_told(sweep, tmp_path):
    measured = bx.read_sweep(sweep)
    laws, kinds = ["LogLinear", "BiMix"], ["mixtures", "both"]
    judged = bx.compare(measured, laws, kinds, repeats=3)
    count = judged.judged.sum(axis=1)
    assert 2 <= count[0] < count[1] == 6
    (told,) = [note for note in judged.notes if "dropped" in note]
    row = judged.table_of("both").loc["LogLinear"]
    assert told.startswith(f"LogLinear was dropped after {count[0]} of 6 splits as clearly worse")
    behind = f"{100 * row['difference']:.2f} ± {100 * row['se']:.2f} behind BiMix (both)."
    assert told.endswith(behind)
    assert row["splits"] < 3
    assert "race=False (--no-race) judges every law on every split." in judged.notes
    whole = bx.compare(measured, laws, kinds, repeats=3, race=False)
    assert whole.judged.all()
    assert not any("dropped" in note for note in whole.notes)
    np.testing.assert_array_equal(judged.predicted[judged.judged], whole.predicted[judged.judged])
    assert np.isnan(judged.predicted[~judged.judged]).all()
    assert "BiMix's error is" in judged.verdict()
    again = bx.compare(measured, laws, kinds, repeats=3)
    np.testing.assert_array_equal(judged.predicted, again.predicted)
    file = tmp_path / "sweep.csv"
    sweep.to_csv(file, index=False)
    options = ["compare", str(file), "--repeats", "3", "--law", "LogLinear", "--law", "BiMix"]
    options += ["--split", "mixtures", "--split", "both"]
    shown = CliRunner().invoke(app, options)
    assert shown.exit_code == 0, shown.output
    assert "splits judged" in shown.output
    assert "LogLinear was dropped after" in " ".join(shown.output.split())
    every = CliRunner().invoke(app, [*options, "--no-race"])
    assert "dropped" not in every.output
    assert "splits judged" not in every.output


@pytest.mark.parametrize("factors", [(3.0, 3.0), (3.0, 1.0), (1.0, 1.0)])
def test_members_are_dropped_where_their_stack_is_clearly_worse_too(monkeypatch, factors):
    monkeypatch.setattr(_race, "noise_floor", lambda *given: NoiseFloor(np.nan, np.nan))
    monkeypatch.setattr(_searches, "combined", lambda law, predicted: np.min(predicted, axis=0))
    trial = drawn(0)
    for law, factor in zip(trial.laws, (1.01, *factors, 3.0, 1.0), strict=True):
        law.errors = factor * trial.laws[4].errors
    trial.laws[3].members = tuple(trial.laws[1:3])
    judged = _race.run(trial, True)[0].judged
    count = judged.sum(axis=1).tolist()
    # The stack predicts as its better member; it is worse where both are.
    kept = min(factors) == 1
    assert count == [10, *([10, 10, 10] if kept else [2, 2, 2]), 10]
    np.testing.assert_array_equal(judged[3], judged[1] & judged[2])


def test_progress_tells_the_rounds_and_about_how_long_they_take(sweep, monkeypatch):
    told = []
    bx.compare(bx.read_sweep(sweep), ["LogLinear", "BiMix"], repeats=3, progress=told.append)
    assert [(outlook.done, outlook.splits) for outlook in told] == [(0, 7), (3, 7), (5, 7)]
    assert str(told[0]) == "judging 2 laws on 7 splits"
    assert told[0].laws == 2 >= told[-1].laws
    assert all(0 < outlook.seconds < 20 for outlook in told)
    monkeypatch.setattr(_cost, "LONG", 0.0)
    assert str(told[1]).startswith("judging")
    assert ", 3 done, about" in str(told[1])
    assert str(told[1]).endswith(" left")


def test_an_estimate_grows_with_the_work(sweep):
    measured = bx.read_sweep(sweep)
    parts = bx.standard_splits(measured, ["mixtures"], 3)
    wanted = np.ones((1, 3), bool)

    def seconds(law, count=3, targets=("web", "code")):
        trial = _trial.Trial(measured, [law], parts, targets, bx.FitOptions())
        told = []
        _cost.Watch(trial, told.append).tell(wanted[:, :count], np.zeros(count, bool))
        return told[0].seconds - _cost.COMPILATION / min(2, os.cpu_count())

    few, many = seconds(bx.BiMix()), seconds(bx.AdditiveLaw())
    assert 0 < few < min(many, seconds(bx.TransferBiMix()))
    assert seconds(bx.AdditiveLaw(), 1) == pytest.approx(many / 3)
    assert seconds(bx.AdditiveLaw(), 3, ("web",)) == pytest.approx(many / 2)


@pytest.mark.parametrize("seconds", [5.0, 300.0, np.nan])
def test_only_a_long_comparison_says_so_in_a_pipe(capsys, seconds):
    _tell(_cost.Outlook(6, 0, 11, seconds))
    _tell(_cost.Outlook(6, 3, 11, seconds))
    expected = "bimix compare: judging 6 laws on 11 splits, about 5 minutes\n"
    assert capsys.readouterr().err == (expected if seconds == 300 else "")
