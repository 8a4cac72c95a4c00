"""The judge: splits, predictions of every split, noise, and what the verdict says."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax import BiMix, Comparison, LogLinear, Split, TransferBiMix, standard_splits
from bimix_jax.cli.app import app
from bimix_jax.judging.automatic import fit_train_part
from bimix_jax.judging.compare import JUDGED, _able
from bimix_jax.judging.noise import NoiseFloor, noise_floor
from tests.fits import frame, last_budget, without_web

SEARCHED = 2e-4
"""Relative difference of errors by searches of the judge's tolerance and of a fit's."""


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def judged(sweep):
    return bx.compare(sweep, [BiMix(), "LogLinear"], repeats=3)


@pytest.mark.parametrize("budget_power", [0.0, 2.0])
def test_errors_are_those_of_fitting_and_evaluating_each_split(sweep, judged, budget_power):
    if budget_power == 0:
        judged = bx.compare(sweep, [BiMix()], repeats=3, budget_power=0)
    for kind, repeats in (("mixtures", 3), ("budgets", 1), ("both", 3)):
        power = 0.0 if kind == "mixtures" else budget_power
        errors = []
        for split in standard_splits(sweep, [kind], repeats):
            scale = sweep.largest_budget
            part = sweep.take(split.train)
            fitted = bx.fit(part, BiMix(), budget_scale=scale, budget_power=power)
            errors.append(bx.evaluate(fitted, sweep.take(split.test)).table().loc["overall"])
        expected = pd.DataFrame(errors)
        row = judged.table_of(kind).loc["BiMix"]
        assert row["mre"] == pytest.approx(expected["mre"].mean(), rel=SEARCHED)
        assert row["spearman"] == pytest.approx(expected["spearman"].mean(), rel=1e-9)
        assert row["r2_mixtures"] == pytest.approx(expected["r2_mixtures"].mean(), rel=SEARCHED)


@pytest.mark.parametrize(
    ("law", "kind"), [*((law, "mixtures") for law in JUDGED), (TransferBiMix(), "budgets")]
)
def test_evaluate_and_compare_tell_the_same_error(law, kind):
    sweep = bx.read_sweep(frame(noise=0.001))
    (split,) = standard_splits(sweep, [kind], 1)
    judged = bx.compare(sweep, [law], [split]).error[0, 0][split.test]
    fitted = fit_train_part(sweep, split, law)
    expected = bx.evaluate(fitted, sweep.take(split.test)).table().loc["overall", "mre"]
    assert judged.mean() == pytest.approx(expected, rel=SEARCHED)


def test_the_settings_of_a_fit_are_those_of_fitting_each_part():
    sweep = bx.read_sweep(frame(noise=0.01))
    split = standard_splits(sweep, ["mixtures"], 1)[0]
    settings = {"residual": "log", "huber": 0.002, "shrinkage": 1e-3}
    judged = bx.compare(sweep, [TransferBiMix()], [split], **settings).error[0, 0][split.test]
    fitted = fit_train_part(sweep, split, TransferBiMix(), **settings)
    expected = bx.evaluate(fitted, sweep.take(split.test)).table().loc["overall", "mre"]
    assert judged.mean() == pytest.approx(expected, rel=SEARCHED)
    chosen = fit_train_part(sweep, split, TransferBiMix())
    other = bx.evaluate(chosen, sweep.take(split.test)).table().loc["overall", "mre"]
    assert abs(judged.mean() - other) > 10 * SEARCHED * other


def test_settings_that_compare_does_not_take_are_refused(sweep):
    with pytest.raises(ValueError, match="shrinkage is 'budgets'; expected a strength"):
        bx.compare(sweep, ["BiMix"], shrinkage="budgets")
    with pytest.raises(TypeError, match=r"compare\(\) got.*'hubre'.*Did you mean huber\?"):
        bx.compare(sweep, ["BiMix"], hubre=0.02)


def test_the_law_that_is_true_wins_and_the_verdict_says_by_how_much(judged):
    assert judged.best == "BiMix"
    table = judged.table_of("both")
    assert table.loc["BiMix", "difference"] == 0
    gap = table.loc["LogLinear", "mre"] - table.loc["BiMix", "mre"]
    assert table.loc["LogLinear", "difference"] == pytest.approx(gap)
    verdict = judged.verdict()
    assert verdict.startswith("BiMix is off by")
    assert "later budgets of unseen mixtures" in verdict
    assert "below LogLinear's, a clear difference." in verdict


def test_the_notes_say_how_points_counted_where_later_budgets_are_held_out(sweep, judged):
    assert any("fit with budget_power=2 for budgets beyond the sweep's" in n for n in judged.notes)
    seen = bx.compare(sweep, [BiMix()], ["mixtures"], repeats=2)
    assert not any("budget_power" in note for note in seen.notes)


def hand_made(errors, groups=8, unidentified=(False, False)):
    """A comparison of two laws with given relative errors (laws, mixtures), one split."""
    errors = np.asarray(errors, float)
    return Comparison(
        laws=("one", "other"), targets=("web",), kinds=("mixtures",),
        test=np.ones((1, groups), bool), measured=np.full((groups, 1), 2.0),
        predicted=2.0 * (1 + errors)[:, None, :, None], budget=np.ones(groups),
        unidentified=np.array(unidentified)[:, None, None],
        group=np.arange(groups), noise=NoiseFloor(np.nan, np.nan),
    )  # fmt: skip


def test_paired_differences_and_their_standard_errors():
    rng = np.random.default_rng(0)
    first, extra = rng.uniform(0.01, 0.02, 8), rng.uniform(0.0, 0.01, 8)
    judged = hand_made([first, first + extra])
    row = judged.table_of("mixtures").loc["other"]
    assert row["difference"] == pytest.approx(extra.mean())
    assert row["se"] == pytest.approx(extra.std(ddof=1) / np.sqrt(8))
    assert "a clear difference" in judged.verdict()
    assert "noise is unknown" in judged.verdict()


def test_laws_that_cannot_be_told_apart_are_named():
    first = np.linspace(0.01, 0.02, 8)
    judged = hand_made([first, first[::-1] + 0.0002])
    assert "does not separate one from other (+0.02 ±" in judged.verdict()


def test_of_laws_that_predict_the_same_the_first_is_best():
    judged = hand_made([np.full(8, 0.01), np.full(8, 0.01 - 1e-9)])
    assert judged.best == "one"
    assert "other predicts the same here." in judged.verdict()
    assert "separate" not in judged.verdict()


def test_a_flexible_law_has_to_win_by_half_a_standard_error():
    first = np.linspace(0.01, 0.02, 8)
    assert hand_made([first, first[::-1] - 0.0002]).best == "one"
    assert (
        "does not separate one from other (-0.02 ±"
        in hand_made([first, first[::-1] - 0.0002]).verdict()
    )
    assert hand_made([first, first - 0.0002 * np.arange(8)]).best == "other"
    lead = np.linspace(-1, 1, 8)
    spread = lead.std(ddof=1) / np.sqrt(8)
    for share, best in ((0.4, "one"), (0.6, "other")):
        assert hand_made([first, first - 1e-3 * (lead + share * spread)]).best == best


def test_a_law_that_the_runs_leave_open_is_not_trusted():
    errors = [np.full(8, 0.02), np.linspace(0.009, 0.011, 8)]
    assert hand_made(errors).best == "other"
    assert hand_made(errors, unidentified=[False, True]).best == "one"
    assert hand_made(errors, unidentified=[True, True]).best == "other"


def test_regret_is_what_the_wrong_choice_costs():
    judged = hand_made(np.zeros((2, 8)))
    measured = np.arange(1.0, 9.0)[:, None]
    predicted = np.stack([measured, measured[::-1]])[:, None]
    judged = Comparison(**{**vars(judged), "measured": measured, "predicted": predicted})
    assert judged.table_of("mixtures")["regret"].tolist() == [0.0, 7.0]


def test_each_law_is_scored_at_all_points_that_it_can_use_and_zeros_count_in_the_pick():
    sweep = bx.read_sweep(without_web(frame(noise=0.01), runs=(0, 1, 2)))
    judged = bx.compare(sweep, [BiMix(), LogLinear()], ["mixtures"], repeats=3)
    web = judged.targets.index("web")
    none = sweep.mixture[:, sweep.domains.index("web")] == 0
    held = judged.test[:, none]
    said = f"BiMix: {held.any(axis=0).sum()} of {3 * judged.test.any(axis=0).sum()} held-out losses"
    assert held.any()
    assert any(f"{said} are not scored" in note for note in judged.notes)
    assert np.all(np.isnan(judged.error[0][:, none, web]))
    assert np.all(np.isfinite(judged.error[1][:, none, web][held]))
    table = judged.table_of("mixtures")
    assert table.loc["BiMix", "mre"] == table.loc["BiMix", "mre_common"]
    assert table.loc["LogLinear", "scored"] - table.loc["BiMix", "scored"] == held.sum()
    assert judged.best == "LogLinear"
    assert "BiMix was excluded: it has no value at" in judged.verdict()


@pytest.mark.parametrize("law", [BiMix(), TransferBiMix()])
def test_held_out_losses_change_no_fit(sweep, law):
    split = standard_splits(sweep, ["both"], 1)[0]
    rng = np.random.default_rng(0)
    noise = np.where(split.train[:, None], sweep.loss, rng.uniform(1, 9, sweep.loss.shape))
    other = dataclasses.replace(sweep, loss=noise)
    one, two = (bx.compare(each, [law], [split]) for each in (sweep, other))
    np.testing.assert_array_equal(one.predicted, two.predicted)


def test_of_four_budgets_the_last_is_held_out_and_three_are_not_judged():
    table = frame(noise=0.01)
    last = np.sort(table["tokens"].unique())
    four = bx.read_sweep(table[table["tokens"] >= last[-4]])
    judged = bx.compare(four, [BiMix()], ["mixtures", "budgets"], repeats=1)
    (split,) = standard_splits(four, "budgets", least=3)
    assert len(np.unique(four.budget[split.test])) == 1
    assert any("The last 1 of 4 budgets is held out, not 2" in note for note in judged.notes)
    assert not judged.unidentified.any()
    three = bx.read_sweep(table[table["tokens"] >= last[-3]])
    assert {split.kind for split in standard_splits(three)} == {"mixtures"}
    with pytest.raises(ValueError, match="the sweep has 3 budgets"):
        standard_splits(three, "budgets")


def test_what_matters_little_is_no_lead():
    first = np.linspace(0.01, 0.02, 8)
    judged = hand_made([first, first - 5e-5])
    assert judged.best == "one"
    assert "other differs by at most 0.01 points, too little to matter." in judged.verdict()


@pytest.mark.parametrize(("mixtures", "draws"), [(20, 5), (90, 4), (100, 3), (300, 2), (450, 2)])
def test_many_mixtures_are_held_out_in_fewer_draws(mixtures, draws):
    share = np.linspace(0.1, 0.9, mixtures)
    table = {"run": [f"r{i}" for i in range(mixtures)], "budget": 1e9, "r_a": share}
    measured = bx.read_sweep(pd.DataFrame(table | {"r_b": 1 - share, "loss_a": 3 - share}))
    splits = standard_splits(measured)
    assert len(splits) == draws
    assert draws == 5 or sum(split.test.sum() for split in splits) >= 90
    assert len(standard_splits(measured, repeats=3)) == 3


def test_a_single_budget_allows_unseen_mixtures_only():
    sweep = bx.read_sweep(last_budget(frame(noise=0.01)))
    assert {split.kind for split in standard_splits(sweep)} == {"mixtures"}
    floor = noise_floor(sweep)
    assert np.isnan(floor.least())
    with pytest.raises(ValueError, match="single budget"):
        bx.compare(sweep, [BiMix()], ["both"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"laws": ["TransferMix"]}, "Did you mean TransferBiMix"),
        ({"laws": []}, "laws is empty"),
        ({"splits": ["runs"]}, "splits names runs; expected some of mixtures, budgets, both"),
        ({"splits": []}, "splits is empty"),
        ({"repeats": 0}, "repeats is 0"),
        ({"budget_power": -2.0}, "budget_power is -2.0"),
        ({"runs": 1.5}, "share of the mixtures held out, is 1.5"),
        ({"targets": ["exam"]}, "targets names exam"),
    ],
)
def test_bad_options_are_named(sweep, options, message):
    with pytest.raises(ValueError, match=message):
        bx.compare(sweep, **{"laws": [BiMix()], **options})


def test_splits_of_ones_own_are_checked(sweep):
    all_points, none = np.ones(len(sweep.budget), bool), np.zeros(len(sweep.budget), bool)
    for train, test, message in (
        (none, all_points, "leaves no run to fit"),
        (all_points, none, "leaves no run to judge on"),
        (all_points, all_points, "are in both parts"),
        (all_points[1:], none[1:], "masks of"),
    ):
        with pytest.raises(ValueError, match=message):
            bx.compare(sweep, [BiMix()], [Split("mine", train, test)])


def test_the_command_prints_a_verdict_and_draws(tmp_path):
    path, picture = tmp_path / "sweep.csv", tmp_path / "laws.png"
    frame(noise=0.01).to_csv(path, index=False)
    options = ["compare", str(path), "--law", "BiMix", "--law", "loglinear", "--repeats", "3"]
    shown = CliRunner().invoke(app, [*options, "--plot", str(picture)])
    assert shown.exit_code == 0, shown.output
    assert "BiMix is off by" in shown.output
    assert picture.stat().st_size > 10_000
    found = json.loads(CliRunner().invoke(app, [*options, "--json"]).output)
    assert found["best"] == "BiMix"
    assert set(found["splits"]) == {"mixtures", "budgets", "both"}


def test_fits_that_fail_predict_nothing_and_are_said():
    table = frame(noise=0.01)
    runs = table["run"].unique()
    table.loc[table["run"].isin(runs[2:]), "loss_web"] = np.nan
    sweep = bx.read_sweep(table)
    train = np.isin(sweep.run, runs[2:8])
    judged = bx.compare(sweep, [BiMix()], [Split("mine", train, ~train)])
    assert np.isnan(judged.error[..., judged.targets.index("web")]).all()
    assert judged.table()["mre"].iloc[0] < 0.05
    assert any("BiMix: 33 % of the fits have no usable points" in note for note in judged.notes)
    assert any("is predicted there" in note for note in judged.notes)


def test_a_law_without_any_value_is_named(sweep):
    class Nowhere(LogLinear):
        name = "Nowhere"

        def usable(self, mixture, own):
            return mixture[0] > 2

    with pytest.raises(ValueError, match=r"no held-out loss of mixtures is predicted by Nowhere"):
        bx.compare(sweep, [BiMix(), Nowhere()], ["mixtures"], repeats=1)


def test_the_verdict_says_which_better_law_is_excluded():
    errors = [np.full(8, 0.02), np.linspace(0.009, 0.011, 8)]
    verdict = hand_made(errors, unidentified=[False, True]).verdict()
    assert verdict.startswith("one is off by 2.00 %")
    assert "other has a 1.00-point lower error but was excluded: in most training" in verdict
    assert "separate" not in verdict


def test_the_simplest_of_equal_laws_is_trusted_whatever_their_order(sweep):
    judged = bx.compare(sweep, [TransferBiMix(), BiMix()], ["mixtures"], repeats=2)
    assert judged.best == "BiMix"
    assert judged.coefficients == (7, 4)


def test_the_noise_is_that_of_the_targets_that_are_judged(sweep):
    judged = bx.compare(sweep, [BiMix()], ["mixtures"], repeats=1, targets=["code"])
    assert judged.noise.curves == pytest.approx(noise_floor(sweep, ["code"]).curves)
    only = bx.read_sweep(frame(noise=0.01).drop(columns=["loss_web", "loss_books"]))
    assert judged.noise.curves == pytest.approx(noise_floor(only).curves)


def test_names_of_splits_and_splits_go_together(sweep):
    own = standard_splits(sweep, ["budgets"])[0]._replace(kind="mine")
    judged = bx.compare(sweep, "BiMix", [own, "mixtures"], repeats=2)
    assert judged.kinds == ("mine", "mixtures", "mixtures")
    assert bx.compare(sweep, ["BiMix"], "mixtures", repeats=1).kinds == ("mixtures",)
    with pytest.raises(ValueError, match="splits names both of them"):
        bx.compare(sweep, ["BiMix"], [own, "both of them"])


def test_one_budget_is_named_as_the_reason_why_fits_are_open():
    sweep = bx.read_sweep(last_budget(frame(noise=0.01)))
    notes = bx.compare(sweep, [BiMix()], repeats=1).notes
    assert any("unidentified, because a single budget does not show" in n for n in notes)


def test_domains_that_no_mixture_tells_apart_are_named_to_every_law_that_asks(sweep):
    table = frame(noise=0.01)
    half = (table["r_web"] + table["r_code"]) / 2
    alike = bx.read_sweep(table.assign(r_web=half, r_code=half))
    for notes in (
        bx.fit(alike, bx.DataMixingLaw()).notes,
        bx.compare(alike, [BiMix(), bx.AdditiveLaw()], ["mixtures"], repeats=1).notes,
    ):
        assert any("cannot tell the effects of these domains apart" in note for note in notes)
        assert any("web, code" in note for note in notes)
    assert not any("tell the effects" in note for note in bx.fit(alike, BiMix()).notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((frame(), ["BiMix"]), "sweep is a DataFrame; expected a Sweep: bimix_jax.read_sweep"),
        ((None, [BiMix]), r"law is the class BiMix; expected BiMix\(\), an instance"),
    ],
)
def test_what_is_no_sweep_or_no_law_is_named(sweep, arguments, message):
    given, laws = arguments
    with pytest.raises(ValueError, match=message):
        bx.compare(sweep if given is None else given, laws)


def test_laws_of_own_shares_are_not_compared_where_no_target_is_a_domain():
    names = {f"loss_{d}": f"loss_exam_{d[0]}" for d in ("web", "code", "books")}
    sweep = bx.read_sweep(frame(noise=0.002).rename(columns=names))
    laws, notes = _able(sweep, [bx.BiMix(), bx.LogLinear()], None, True)
    assert laws == [bx.LogLinear()]
    assert notes == ("Not compared, as no target is a domain: BiMix.",)
    with pytest.raises(ValueError, match="BiMix looks at the share of the domain"):
        bx.compare(sweep, ["BiMix", "LogLinear"])


def test_a_law_that_divides_by_nothing_is_excluded_and_the_reason_is_said():
    # Without the run of web alone, a fit leaves web no part in the sum that it divides by.
    rng, share = np.random.default_rng(0), np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    runs = [f"run{i}" for i in range(6)]
    table = pd.DataFrame({"run": runs, "r_web": 1 - share, "r_code": share})
    for test in range(4):
        table[f"score_t{test}"] = 80 - 4 / np.maximum(share, 0.05) + rng.normal(0, 0.2, 6)
    sweep = bx.read_sweep(table)
    parts = [Split("mine", sweep.run != run, sweep.run == run) for run in runs]
    judged = bx.compare(sweep, ["AdditiveLaw", "LogLinear"], parts, race=False)
    assert np.isnan(judged.predicted[0]).any()
    assert np.nanmax(judged.predicted) <= 100 * sweep.loss.max()
    assert judged.best == "LogLinear"
    assert "AdditiveLaw was excluded: it has no value at" in judged.verdict()
