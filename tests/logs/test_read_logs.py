"""What is done with logs that are not as one would wish, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import SweepError
from tests.logs import exports

RUNS = ("a", "b", "c", "d")
STEPS = (100, 200, 400, 800)
MIXTURES = pd.DataFrame(
    {"run": RUNS, "web": [0.2, 0.4, 0.6, 0.8], "code": [0.8, 0.6, 0.4, 0.2]}
)  # fmt: skip


def log(run, steps=STEPS):
    """A run's history: smooth curves in the log of the step."""
    share = MIXTURES.set_index("run").loc[run, "web"]
    s = np.array(steps, float)
    return pd.DataFrame(
        {
            "_step": steps,
            "eval/web/loss": 2 + share**-0.2 * (s / 100) ** -0.3,
            "eval/code/loss": 1 + (1 - share) ** -0.1 * (s / 100) ** -0.4,
        }
    )


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "logs"
    place.mkdir()
    for run in RUNS:
        log(run).to_csv(place / f"{run}.csv", index=False)
    return place


def rewrite(folder, run, table):
    table.to_csv(folder / f"{run}.csv", index=False)


# ---- mixtures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "notes"),
    [
        (1.0, []),
        (100.0, ["The proportions sum to 100 in every row: taken as percentages, divided by 100."]),
        (3e9, ["Mixtures given as weights that sum to 3e+09 per run were divided by their "
               "sums."]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::bimix_jax.SweepWarning")
def test_mixtures_are_shares_percentages_or_amounts(folder, factor, notes):
    table = MIXTURES.assign(web=MIXTURES["web"] * factor, code=MIXTURES["code"] * factor)
    sweep = bx.read_logs(folder, table)
    np.testing.assert_allclose(sweep.mixtures["web"], MIXTURES["web"], rtol=1e-15)
    assert list(sweep.notes) == notes


def test_a_long_table_says_what_its_shares_are_of(folder):
    long = MIXTURES.melt("run", var_name="domain", value_name="documents")
    sweep = bx.read_logs(folder, long.assign(documents=long["documents"] * 1000))
    assert sweep.metadata.share_unit == "documents"
    np.testing.assert_allclose(sweep.mixtures["web"], MIXTURES["web"])
    assert "given as documents that sum to 1000 per run" in sweep.notes[0]


def test_mixtures_may_be_json_or_columns_of_the_logs(folder, tmp_path):
    by_run = MIXTURES.set_index("run").to_dict("index")
    (tmp_path / "runs.json").write_text(json.dumps(by_run))
    expected = bx.read_logs(folder, MIXTURES).digest()
    assert bx.read_logs(folder, tmp_path / "runs.json").digest() == expected
    for run in RUNS:
        rewrite(folder, run, log(run).assign(r_web=by_run[run]["web"], r_code=by_run[run]["code"]))
    assert bx.read_logs(folder).digest() == expected


def test_metrics_named_as_perplexities_are_doubted_unless_their_unit_is_stated(folder):
    for run in RUNS:
        rewrite(folder, run, log(run).rename(columns=lambda name: name.replace("loss", "ppl")))
    asked = {"loss_pattern": "eval/{target}/ppl", "tokens_per_step": 1000}
    read = bx.read_logs(folder, MIXTURES, **asked)
    assert "named as perplexities" in read.notes[0]
    stated = bx.read_logs(folder, MIXTURES, **asked, metadata={"loss_unit": "perplexity"})
    np.testing.assert_allclose(stated.loss, np.log(read.loss))
    assert not any("named as" in note for note in stated.notes)


def test_other_columns_of_the_runs_are_kept(folder):
    sweep = bx.read_logs(folder, MIXTURES.assign(seed=[1, 2, 3, 4], model_size="70M"))
    assert sweep.extra["seed"].tolist() == np.repeat([1, 2, 3, 4], 4).tolist()
    assert sweep.metadata.model_size == 7e7


def test_runs_that_one_side_lacks_are_an_error_or_left_out(folder):
    with pytest.raises(SweepError, match=r"1 run without a mixture: d.*drop_unmatched"):
        bx.read_logs(folder, MIXTURES.iloc[:3])
    more = pd.concat([MIXTURES, MIXTURES.iloc[:1].assign(run="e")])
    with pytest.raises(SweepError, match="1 mixture without a run: e"):
        bx.read_logs(folder, more)
    sweep = bx.read_logs(folder, more.drop(index=1), drop_unmatched=True)
    assert sweep.runs == ("a", "c", "d")
    assert sweep.notes == ("Left out: 1 run without a mixture: b; 1 mixture without a run: e.",)


# ---- steps and tokens ----------------------------------------------------------------------------


def test_of_a_step_logged_twice_the_last_stands_and_is_counted(folder):
    twice = pd.concat([log("a").assign(**{"eval/web/loss": 9.0}).iloc[[1]], log("a")])
    rewrite(folder, "a", twice)
    sweep = bx.read_logs(folder, MIXTURES)
    assert sweep.digest() == bx.read_logs(folder, MIXTURES).digest()
    np.testing.assert_array_equal(sweep.loss[:4, 0], log("a")["eval/web/loss"])
    assert sweep.notes == ("Logged more than once: 1 step of 1 run (a). The last value was kept.",)


def test_metrics_on_rows_of_their_own_are_no_doubles(folder):
    for run in RUNS:
        whole = log(run)
        parts = [whole[["_step", c]] for c in whole if c != "_step"]
        rewrite(folder, run, pd.concat([*parts, pd.DataFrame({"_step": [5], "train": [1.0]})]))
    assert bx.read_logs(folder, MIXTURES).notes == ()


def test_untrained_models_and_diverged_losses_are_left_out_and_counted(folder):
    start = log("a").iloc[[0]].assign(_step=0)
    diverged = log("a").assign(**{"eval/code/loss": [1.0, "Infinity", "NaN", 0.5]})
    rewrite(folder, "a", pd.concat([start, diverged]))
    sweep = bx.read_logs(folder, MIXTURES)
    assert np.isnan(sweep.loss[:4, 1]).tolist() == [False, True, True, False]
    assert sweep.notes == (
        "2 losses that are not finite left out (a): look for diverged runs.",
        "1 row of untrained models (step 0) left out.",
        "2 of 32 loss cells are empty and were left out.",
    )


def test_tokens_come_from_a_column_even_on_other_rows(folder):
    for run in RUNS:
        others = pd.DataFrame({"_step": [50, 350, 850], "tokens": [5e5, 35e5, 85e5]})
        rewrite(folder, run, pd.concat([log(run), others]))
    sweep = bx.read_logs(folder, MIXTURES)
    assert sweep.unit == "tokens"
    np.testing.assert_allclose(sweep.budget[:4], np.array(STEPS) * 1e4)
    assert sweep.notes == ("In 16 rows tokens were filled in from the steps and the rows around.",)
    in_steps = bx.read_logs(folder, MIXTURES, unit="steps")
    assert (in_steps.unit, in_steps.budget[:4].tolist()) == ("steps", list(STEPS))


def test_endpoints_only_keeps_the_last_point_of_each_run(folder):
    rewrite(folder, "b", log("b", STEPS[:2]))
    sweep = bx.read_logs(folder, MIXTURES, endpoints_only=True)
    assert sweep.budget.tolist() == [800, 200, 800, 800]
    assert sweep.notes == (
        "1 of 4 runs ends before the 800 that the others reach: b (200).",
        "10 points before the ends of their runs left out.",
    )


def test_olmix_ends_of_runs_are_read_without_more(tmp_path):
    ends = exports.measured().endpoints()
    exports.olmix(exports.measured(), tmp_path)
    sweep = bx.read_logs(tmp_path)
    assert sweep.domains == ends.domains
    assert sweep.unit == "run"
    np.testing.assert_array_equal(sweep.run, ends.run)
    np.testing.assert_array_equal(sweep.mixture, ends.mixture)
    np.testing.assert_array_equal(sweep.loss, ends.loss)


# ---- common budgets ------------------------------------------------------------------------------


def jittered(folder):
    """Every run evaluated up to .5 % beside the others."""
    for i, run in enumerate(RUNS):
        rewrite(folder, run, log(run, [int(1000 * s * (1 + 0.0016 * i)) for s in STEPS]))


def test_budgets_that_nearly_agree_are_moved_and_counted(folder):
    jittered(folder)
    sweep = bx.read_logs(folder, MIXTURES)
    assert len(np.unique(sweep.budget)) == 4
    (note,) = sweep.notes
    assert note.startswith("12 of 16 points were moved to the nearest of 4 common budgets, by up")
    assert "0 points were left out" in note
    as_logged = bx.read_logs(folder, MIXTURES, align="none")
    assert len(np.unique(as_logged.budget)) == 16
    np.testing.assert_array_equal(sweep.loss, as_logged.loss)


def test_interpolation_is_exact_where_curves_are_linear_in_the_log(folder):
    for i, run in enumerate(RUNS):
        steps = np.array([100 + 7 * i, 230 + 11 * i, 400 + i, 900 + i])
        line = pd.DataFrame({"_step": steps, "eval/web/loss": 9 - np.log(steps) - 0.1 * i})
        rewrite(folder, run, line)
    sweep = bx.read_logs(folder, MIXTURES, align="interpolate", budgets=[200, 300, 800, 5000])
    assert np.unique(sweep.budget).tolist() == [200, 300, 800]
    expected = 9 - np.log(sweep.budget) - 0.1 * np.repeat(range(4), 3)
    np.testing.assert_allclose(sweep.loss[:, 0], expected, rtol=1e-12)
    assert sweep.notes[0].startswith("12 of 12 points at 4 common budgets were interpolated")


def test_named_budgets_keep_the_nearest_points_only(folder):
    sweep = bx.read_logs(folder, MIXTURES, budgets=[201, 799], align="nearest")
    assert np.unique(sweep.budget).tolist() == [201, 799]
    assert "8 of 16 points were moved" in sweep.notes[0]
    assert "8 points were left out" in sweep.notes[0]


def test_budgets_without_anything_in_common_stay_and_it_is_said(folder):
    for i, run in enumerate(RUNS):
        rewrite(folder, run, log(run, [100 + 30 * i, 1000 + 300 * i]))
    sweep = bx.read_logs(folder, MIXTURES)
    assert len(np.unique(sweep.budget)) == 8
    assert "align='interpolate'" in sweep.notes[0]


def test_runs_of_unlike_lengths_keep_all_their_points(folder):
    rewrite(folder, "b", log("b", STEPS[:2]))
    sweep = bx.read_logs(folder, MIXTURES)
    assert len(sweep.budget) == 14
    assert sweep.notes == ("1 of 4 runs ends before the 800 that the others reach: b (200).",)


# ---- the way back --------------------------------------------------------------------------------


def test_a_saved_sweep_is_read_back_with_all_it_knows(folder, tmp_path):
    metadata = {"tokenizer": "gpt2", "loss_unit": "bits", "model_size": "70M"}
    jittered(folder)
    sweep = bx.read_logs(folder, MIXTURES, tokens_per_step=7, metadata=metadata)
    sweep.save(tmp_path / "sweep.parquet")
    back = bx.read_sweep(tmp_path / "sweep.parquet")
    assert back.digest() == sweep.digest()
    assert (back.unit, back.notes, back.metadata) == (sweep.unit, sweep.notes, sweep.metadata)
    assert back.metadata.loss_unit == "nats"
    as_given = bx.read_logs(folder, MIXTURES, tokens_per_step=7)
    np.testing.assert_allclose(sweep.loss, as_given.loss * np.log(2), rtol=1e-14)


# ---- bad input -----------------------------------------------------------------------------------

CASES = {
    "pattern without a target": ({"loss_pattern": "eval/loss"}, "expected {target} in it once"),
    "pattern that matches nothing": (
        {"loss_pattern": "val/{target}/nll"},
        "no column matches 'val/{target}/nll'. The nearest of 3: eval/web/loss, eval/code/loss",
    ),
    "tokens without a rate": ({"unit": "tokens"}, "--tokens-per-step"),
    "rate of 0": ({"tokens_per_step": 0}, "tokens_per_step is 0"),
    "unknown tokens": ({"tokens_key": "toks"}, "no column toks"),
    "unknown unit": ({"unit": "days"}, "unit is 'days'"),
    "unknown run key": ({"run_key": "trial"}, "no column trial"),
    "unknown step key": ({"step_key": "trial"}, "no column trial"),
    "unknown form": ({"form": "neptune"}, "form is 'neptune'; expected one of"),
    "form not there": ({"form": "trainer"}, "no file of logs of the form trainer"),
    "unknown alignment": ({"align": "up"}, "align is 'up'"),
    "tolerance": ({"tolerance": 0}, "tolerance is 0"),
    "budgets": ({"budgets": [0]}, "expected numbers above 0"),
    "budgets far away": ({"budgets": [5]}, "the logs hold 100-800"),
}


@pytest.mark.parametrize(("options", "words"), CASES.values(), ids=CASES.keys())
def test_bad_options_are_refused_in_a_paragraph(folder, options, words):
    with pytest.raises(SweepError) as caught:
        bx.read_logs(folder, MIXTURES, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_setting_names_the_nearest_one(folder):
    with pytest.raises(TypeError, match=r"read_logs.*'token_per_step'.*mean tokens_per_step\?"):
        bx.read_logs(folder, MIXTURES, token_per_step=7)


def test_the_ten_nearest_names_are_shown(folder):
    wide = log("a").assign(**{f"train/{i}/grad": 1.0 for i in range(30)})
    rewrite(folder, "a", wide)
    with pytest.raises(SweepError) as caught:
        bx.read_logs(folder, MIXTURES, loss_pattern="eval/{target}/nll")
    nearest = str(caught.value).split(": ", 2)[2].split(". Write")[0].split(", ")
    assert len(nearest) == 10
    assert set(nearest[:2]) == {"eval/web/loss", "eval/code/loss"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.jsonl",
            '{"_step": 1, "eval/web/loss": 3}\n{"_step": 2, "eva',
            "line 2 is not",
        ),
        ("a/trainer_state.json", '{"log_history": [{"step": 1', "is not complete JSON"),
        ("a/trainer_state.json", '{"global_step": 3}', "holds no log_history"),
        ("a/trainer_state.json", '{"log_history": [3]}', "holds no log_history"),
        (
            "a/trainer_state.json",
            '{"log_history": [{"step": 1, "eval_web_loss": 2}, {"step": 2, "eval_web_loss": "?"}]}',
            "run a has '?'",
        ),
        ("a.csv", "", "cannot be read as csv"),
        ("a.txt", "step 1 loss 3", "no file of logs"),
    ],
)
def test_damaged_logs_are_refused(tmp_path, name, content, words):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(SweepError, match=words):
        bx.read_logs(tmp_path, MIXTURES)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (MIXTURES.assign(web=[0.2, -1, 0.6, 0.8]), "run b has web = -1"),
        (MIXTURES.assign(run=["a", "a", "c", "d"]), "a appears more than once"),
        (MIXTURES.drop(columns="run"), "no column names the runs"),
        (MIXTURES.assign(web=[0.2, 0.9, 0.6, 0.8]), "do not sum to 1"),
    ],
)
def test_bad_mixtures_are_refused(folder, table, words):
    with pytest.raises(SweepError, match=words):
        bx.read_logs(folder, table)


def test_missing_things_are_named(folder, tmp_path):
    with pytest.raises(SweepError, match="gone does not exist"):
        bx.read_logs(tmp_path / "gone", MIXTURES)
    with pytest.raises(SweepError, match="no columns of the logs begin with 'r_'"):
        bx.read_logs(folder)
    rewrite(folder, "a", log("a").assign(**{"eval/web/loss": "high"}))
    with pytest.raises(SweepError, match="run a has 'high'"):
        bx.read_logs(folder, MIXTURES)
    rewrite(folder, "a", log("a").drop(columns="_step"))
    with pytest.raises(SweepError, match="4 rows with losses have no step, the first of run a"):
        bx.read_logs(folder, MIXTURES)


# ---- what fast readers would take otherwise ------------------------------------------------------


def test_a_trainer_that_was_resumed_says_its_steps_twice(tmp_path):
    def entries(run, factor=1.0):
        rows = log(run).to_dict("records")
        return [
            {"epoch": 0.1, f"eval_{name}_loss": factor * row[f"eval/{name}/loss"], "step": step}
            for row, step in zip(rows, STEPS, strict=True)
            for name in ("web", "code")
        ]

    for run in RUNS:
        again = entries(run, 2.0)[:2] if run == "c" else []
        nan = [{"step": 400, "loss": float("nan")}]  # which no strict reader takes
        (tmp_path / run).mkdir()
        text = json.dumps({"log_history": [*again, *nan, *entries(run)]}, indent=2)
        (tmp_path / run / "trainer_state.json").write_text(text)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    expected = pd.concat([log(run) for run in RUNS])[["eval/web/loss", "eval/code/loss"]]
    np.testing.assert_array_equal(sweep.loss, expected)
    assert sweep.notes == ("Logged more than once: 1 step of 1 run (c). The last value was kept.",)


@pytest.mark.parametrize("names", [("2024-01-02", "2024-01-03"), ("007", "8"), ("1.50", "2")])
def test_runs_are_called_alike_in_logs_and_mixtures(tmp_path, names):
    logs = pd.concat([log(run).assign(run=name) for run, name in zip("ab", names, strict=True)])
    logs.to_csv(tmp_path / "all.csv", index=False)
    MIXTURES.iloc[:2].assign(run=names).to_csv(tmp_path / "mixtures.csv", index=False)
    sweep = bx.read_logs(tmp_path / "all.csv", tmp_path / "mixtures.csv")
    np.testing.assert_array_equal(
        sweep.loss, pd.concat([log("a"), log("b")])[["eval/web/loss", "eval/code/loss"]]
    )


def test_columns_that_only_some_runs_have_stay_empty_in_the_others(folder):
    rewrite(folder, "a", log("a").drop(columns="eval/code/loss"))
    rewrite(folder, "b", log("b").assign(**{"eval/exam/loss": 3.0, "note": "fine"}))
    sweep = bx.read_logs(folder, MIXTURES)
    assert sweep.targets == ("web", "code", "exam")
    assert np.isnan(sweep.loss).sum(axis=0).tolist() == [0, 4, 12]


def test_a_row_that_ends_too_early_is_empty_where_it_ends(folder):
    text = (folder / "a.csv").read_text().rstrip("\n")
    (folder / "a.csv").write_text(text.rpartition(",")[0])
    assert np.isnan(bx.read_logs(folder, MIXTURES).loss[3]).tolist() == [False, True]


@pytest.mark.parametrize("key", ["run", "trial"])
@pytest.mark.parametrize(
    "labels", [["007", "7", "042"], ["12e3", "12000", "x"], ["1.10", "1.1", "2"]]
)
def test_labels_of_runs_are_text_in_logs_and_in_the_table_of_mixtures(tmp_path, key, labels):
    steps = [100, 200]
    rows = [
        {key: label, "_step": step, "eval/web/loss": 4 - i - step / 1e3, "eval/code/loss": 2 + i}
        for i, label in enumerate(labels)
        for step in steps
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "logs.csv", index=False)
    shares = {"web": [0.2, 0.5, 0.7], "code": [0.8, 0.5, 0.3]}
    pd.DataFrame({key: labels, **shares}).to_csv(tmp_path / "runs.csv", index=False)
    sweep = bx.read_logs(
        tmp_path / "logs.csv", tmp_path / "runs.csv", run_key=key, tokens_per_step=10
    )
    assert sweep.runs == tuple(labels)
    assert sweep.mixtures["web"].tolist() == shares["web"]
    assert not any("differently" in note for note in sweep.notes)


def test_blanks_at_the_ends_of_labels_make_no_other_run(tmp_path):
    rows = [
        {"run": run + " " * (step > 100), "_step": step, "eval/web/loss": 3 - step / 1e3}
        for run in "ab"
        for step in (100, 200)
    ]
    runs = pd.DataFrame({"run": ["a", "b"], "web": [0.2, 0.5], "code": [0.8, 0.5]})
    sweep = bx.read_logs(pd.DataFrame(rows), runs, tokens_per_step=10)
    assert sweep.runs == ("a", "b")
    assert len(sweep.budget) == 4
    assert any("'a ' is 'a', 'b ' is 'b'" in note for note in sweep.notes)
    again = bx.read_sweep(sweep.to_frame().assign(run=["a", "a ", "b", "b\t"]))
    assert again.runs == ("a", "b")
    assert any(r"'b\t' is 'b'" in note for note in again.notes)


def test_a_stale_state_that_is_passed_over_is_said(tmp_path):
    for run, losses in {"a": [3.0, 2.0], "b": [3.5, 2.5]}.items():
        for folder, count in ((tmp_path / run, 1), (tmp_path / run / "checkpoint-200", 2)):
            folder.mkdir()
            history = [
                {"step": 100 * (i + 1), "eval_web_loss": loss}
                for i, loss in enumerate(losses[:count])
            ]
            state = {"global_step": 100 * count, "log_history": history}
            (folder / "trainer_state.json").write_text(json.dumps(state))
    runs = pd.DataFrame({"run": ["a", "b"], "web": [0.2, 0.5], "code": [0.8, 0.5]})
    sweep = bx.read_logs(tmp_path, runs, tokens_per_step=10)
    assert sweep.largest_budget == 2000
    (note,) = [n for n in sweep.notes if "because a checkpoint has more steps" in n]
    assert note.startswith("2 trainer_state.json left out")
    assert "ends before checkpoint-200" in note
