"""What logs say of steps, tokens and losses: read as it is meant, or refused with the reason."""

import json

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import SweepError

RUNS = ("fox", "owl", "elk")
DOMAINS = ("law", "med")
STEPS = (100, 200, 400, 800)
MIXTURES = pd.DataFrame({"run": RUNS, "law": [0.2, 0.5, 0.8], "med": [0.8, 0.5, 0.2]})


def losses(run, pattern="eval/{}/loss"):
    """(steps, 2) smooth curves, a column a target."""
    at = RUNS.index(run)
    s = np.array(STEPS, float)
    return {pattern.format(d): 2 + 0.1 * at + i + (s / 100) ** -0.3 for i, d in enumerate(DOMAINS)}


def log(run, pattern="eval/{}/loss", **columns):
    return pd.DataFrame({**columns, **losses(run, pattern)})


def write(folder, **columns):
    for run in RUNS:
        log(run, **columns).to_csv(folder / f"{run}.csv", index=False)
    return folder


def loss_table():
    curves = {r: losses(r) for r in RUNS}
    names = [f"eval/{d}/loss" for d in DOMAINS]
    return np.column_stack([np.concatenate([curves[r][n] for r in RUNS]) for n in names])


# ---- which counter is the step -------------------------------------------------------------------


@pytest.mark.parametrize("key", ["train/global_step", "trainer/global_step", "global_step", "iter"])
def test_a_counter_of_training_stands_before_that_of_the_logger(tmp_path, key):
    write(tmp_path, _step=[0, 1, 2, 3], **{key: STEPS})
    sweep = bx.read_logs(tmp_path, MIXTURES, tokens_per_step=10)
    assert sweep.budget[:4].tolist() == [1000, 2000, 4000, 8000]
    assert sweep.notes[0].startswith(
        f"Steps are {key}, not _step, which counts differently: run elk has 100 where _step is 0."
    )
    by_logger = bx.read_logs(tmp_path, MIXTURES, step_key="_step")
    assert by_logger.budget[:3].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "columns",
    [
        {"_step": STEPS, "train/global_step": STEPS},
        {"_step": STEPS, "iter": [7, 3, 9, 1]},
        {"_step": STEPS, "epoch_step": [1, 2, 3, 4]},
        {"_step": STEPS, "train/global_step": [5, 5, 5, 5]},
    ],
)
def test_counters_that_agree_or_count_something_else_change_nothing(tmp_path, columns):
    sweep = bx.read_logs(write(tmp_path, **columns), MIXTURES)
    assert (sweep.budget[:4].tolist(), sweep.notes) == (list(STEPS), ())


def on_rows_of_their_own(folder, counter, counts, evaluated, form="csv"):
    """Write logs with counts at some calls of the logger, and losses at others."""
    for run in RUNS:
        rows = pd.DataFrame({"_step": list(counts), counter: list(counts.values())})
        rows = pd.concat([log(run, _step=evaluated), rows]).sort_values("_step", kind="stable")
        if form == "csv":
            rows.to_csv(folder / f"{run}.csv", index=False)
        else:
            cells = ({k: v for k, v in r.items() if v == v} for r in rows.to_dict("records"))
            (folder / f"{run}.jsonl").write_text("\n".join(map(json.dumps, cells)))
    return folder


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("key", ["train/global_step", "iter"])
def test_losses_belong_to_the_last_step_logged_before_their_row(tmp_path, key, form):
    counts = {0: 50, 1: 100, 3: 150, 4: 200, 7: 400, 9: 700, 10: 800}
    on_rows_of_their_own(tmp_path, key, counts, [2, 5, 8, 11], form)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert sweep.budget[:4].tolist() == list(STEPS)
    np.testing.assert_array_equal(sweep.loss, loss_table())
    assert sweep.notes[1:] == (
        f"12 rows with losses took the last {key} logged before. In 9 rows the next one is more "
        f"than 2 % larger: run elk took 100, and 150 is next. Log {key} beside the losses if that "
        "is wrong.",
    )
    tokens = bx.read_logs(tmp_path, MIXTURES, tokens_per_step=10)
    assert tokens.budget[:4].tolist() == [1000, 2000, 4000, 8000]


@pytest.mark.parametrize("each", [1, 2, 7])
def test_steps_of_sampled_logs_are_behind_by_less_than_the_samples_are_apart(tmp_path, each):
    counts = {call: call + 3 for call in range(0, 900, each)}
    on_rows_of_their_own(tmp_path, "global_step", counts, [100, 200, 400, 880])
    sweep = bx.read_logs(tmp_path, MIXTURES)
    behind = np.array([103, 203, 403, 883]) - sweep.budget[:4]
    assert np.all((behind >= 0) & (behind < each))


def test_steps_beside_losses_stand_and_those_of_the_same_call_count(tmp_path):
    counts = {0: 90, 1: 100, 3: 200, 5: 400, 6: 410, 7: 800}
    on_rows_of_their_own(tmp_path, "global_step", counts, [1, 3, 5, 8], "jsonl")
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert sweep.budget[:4].tolist() == list(STEPS)
    assert sweep.notes[1:] == ("3 rows with losses took the last global_step logged before.",)


@pytest.mark.parametrize(
    ("calls", "counts", "budgets", "words"),
    [
        # The next call has the first step, and the second is near.
        ([0, 3, 5, 7], {1: 98, 2: 99, 4: 200, 6: 400}, [98, 99, 200, 400], "took it from the next"),
        # The model may have been untrained.
        ([0, 3, 5, 7], {1: 50, 2: 100, 4: 200, 6: 400}, [100, 200, 400], "left out"),
        # The first step is two calls later.
        ([0, 4, 6, 8], {2: 98, 3: 99, 5: 200, 7: 400}, [99, 200, 400], "left out"),
    ],
)
def test_losses_before_the_first_step_take_it_or_are_counted(
    tmp_path, calls, counts, budgets, words
):
    sweep = bx.read_logs(on_rows_of_their_own(tmp_path, "global_step", counts, calls), MIXTURES)
    assert sweep.budget[sweep.run == "elk"].tolist() == budgets
    early = next(note for note in sweep.notes if "before the first" in note)
    assert early.startswith("3 rows with losses before the first global_step")
    assert words in early


@pytest.mark.parametrize("counter", ["global_step", "tokens"])
def test_losses_that_are_all_before_the_first_count_are_refused_with_the_reason(tmp_path, counter):
    on_rows_of_their_own(tmp_path, counter, {8: 100, 9: 190}, [0, 2, 4, 6])
    with pytest.raises(SweepError, match=rf"12 rows with losses before the first {counter} left"):
        bx.read_logs(tmp_path, MIXTURES)


def test_a_row_before_the_first_step_counts_its_own_tokens(tmp_path):
    for run in RUNS:
        evals = log(run, _step=[0, 4, 6, 8], tokens=[1e6, 2e6, 4e6, 8e6])
        rows = pd.DataFrame({"_step": [2, 3, 5, 7], "global_step": [150, 200, 400, 800]})
        rows = pd.concat([evals, rows]).sort_values("_step")
        rows.to_csv(tmp_path / f"{run}.csv", index=False)
    assert bx.read_logs(tmp_path, MIXTURES).budget[:4].tolist() == [1e6, 2e6, 4e6, 8e6]
    sweep = bx.read_logs(tmp_path, MIXTURES, unit="steps")
    assert sweep.budget[:3].tolist() == [200, 400, 800]
    assert "3 rows with losses before the first global_step left out." in sweep.notes


def test_columns_of_one_name_are_refused_by_name(tmp_path):
    for run in RUNS:
        text = log(run, _step=STEPS).to_csv(index=False).replace("eval/med/loss", "eval/law/loss")
        (tmp_path / f"{run}.csv").write_text(text)
    with pytest.raises(SweepError, match="eval/law/loss"):
        bx.read_logs(tmp_path, MIXTURES)


def test_runs_with_the_loggers_counter_alone_are_named(tmp_path):
    write(tmp_path, _step=[0, 1, 2, 3], **{"train/global_step": STEPS})
    log("owl", _step=[0, 1, 2, 3]).to_csv(tmp_path / "owl.csv", index=False)
    with pytest.raises(SweepError, match=r"1 file of logs has only _step.*those of the runs owl"):
        bx.read_logs(tmp_path, MIXTURES)


# ---- counters of tokens --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([1e6, 2e6, 1e6, 2e6], r"falls while steps rise in 1 run: owl.*from 2e\+06 at step 200"),
        ([4e3, 4e3, 4e3, 4e3], "does not rise in 1 run, owl: run owl has several losses of"),
        ([1e6, 2e6, 2e6, 2e6], "does not rise in 1 run, owl"),
        ([1e6, "n.a", 4e6, 8e6], "column tokens of run owl holds 'n.a'"),
    ],
)  # fmt: skip
def test_tokens_that_do_not_count_are_refused_with_their_runs(tmp_path, tokens, words):
    write(tmp_path, _step=STEPS, tokens=[1e6, 2e6, 4e6, 8e6])
    log("owl", _step=STEPS, tokens=tokens).to_csv(tmp_path / "owl.csv", index=False)
    with pytest.raises(SweepError, match=words) as caught:
        bx.read_logs(tmp_path, MIXTURES)
    assert "--unit steps" in str(caught.value)
    assert bx.read_logs(tmp_path, MIXTURES, unit="steps").budget[:4].tolist() == list(STEPS)


@pytest.mark.parametrize(
    ("tokens", "example"),
    [
        (["1,000,000", "2,000,000", "4,000,000", 8e6], "'1,000,000', which was read as 1000000"),
        (["1M", "2M", "4M", "0.008B"], "'1M', which was read as 1000000"),
        (["1 000 000", "2'000'000", "4.000.000", 8e6], "'1 000 000', which was read as 1000000"),
        ([1000000, "2,000,000", 4e6, "8e6"], "'2,000,000', which was read as 2000000"),
    ],
)  # fmt: skip
def test_tokens_written_as_text_are_read(tmp_path, tokens, example):
    sweep = bx.read_logs(write(tmp_path, _step=STEPS, tokens=tokens), MIXTURES)
    assert (sweep.unit, sweep.budget[:4].tolist()) == ("tokens", [1e6, 2e6, 4e6, 8e6])
    assert sweep.notes == (f"Column tokens holds text like {example}.",)


def test_tokens_on_rows_of_their_own_are_the_last_before_a_loss(tmp_path):
    counts = {0: 1e6, 2: 2e6, 4: 4e6, 6: 8e6}
    on_rows_of_their_own(tmp_path, "tokens", counts, [1, 3, 5, 7])
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert (sweep.unit, sweep.budget[:4].tolist()) == ("tokens", [1e6, 2e6, 4e6, 8e6])
    assert sweep.notes == (
        "12 rows with losses took the last tokens logged before. In 9 rows the next one is more "
        "than 2 % larger: run elk took 1e+06, and 2e+06 is next. Log tokens beside the losses if "
        "that is wrong.",
    )


def test_tokens_are_never_continued_beyond_the_first_and_the_last(tmp_path):
    counts = {150: 1.5e6, 300: 3e6, 790: 7.9e6}
    on_rows_of_their_own(tmp_path, "tokens", counts, STEPS)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert sweep.budget[:3].tolist() == [2e6, 4e6, 7.9e6]
    assert sweep.notes[:3] == (
        "In 6 rows tokens were filled in from the steps and the rows around.",
        "3 rows with losses took the last tokens logged before.",
        "3 rows with losses before the first tokens left out.",
    )


def test_tokens_stand_where_only_the_steps_were_restarted(tmp_path):
    sweep = bx.read_logs(write(tmp_path, step=[1, 2, 1, 2], tokens=[1e6, 2e6, 4e6, 8e6]), MIXTURES)
    assert sweep.budget[:4].tolist() == [1e6, 2e6, 4e6, 8e6]


def test_steps_written_as_text_are_read_or_named(tmp_path):
    write(tmp_path, _step=["500", "1,000", "2,000", "1e4"])
    assert bx.read_logs(tmp_path, MIXTURES).budget[:4].tolist() == [500, 1000, 2000, 10000]
    write(tmp_path, _step=["500", "soon", "2,000", "1e4"])
    with pytest.raises(
        SweepError, match="column _step: run elk has 'soon'; expected numbers of steps"
    ):
        bx.read_logs(tmp_path, MIXTURES)


def test_a_rate_that_contradicts_the_tokens_logged_is_said(tmp_path):
    write(tmp_path, _step=STEPS, tokens=[1e6, 2e6, 4e6, 8e6])
    assert bx.read_logs(tmp_path, MIXTURES, tokens_per_step=1e4).notes == (
        "Tokens are steps times 10,000 tokens per step.",
    )
    sweep = bx.read_logs(tmp_path, MIXTURES, tokens_per_step=5)
    assert "run elk has 1e+06 tokens at step 100, not 500" in sweep.notes[1]


# ---- charts --------------------------------------------------------------------------------------


def chart(folder, axis, values):
    columns = {axis: values}
    for run in RUNS:
        curves = losses(run)
        columns |= {f"{run} - {name}": curve for name, curve in curves.items()}
        columns |= {f"{run} - {name}__MIN": curve - 1 for name, curve in curves.items()}
    pd.DataFrame(columns).to_csv(folder / "chart.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("axis", "options", "unit"),
    [
        ("Step", {}, "steps"),
        ("trainer/global_step", {}, "steps"),
        ("throughput/total_tokens", {}, "tokens"),
        ("mine", {"step_key": "mine"}, "steps"),
        ("mine", {"tokens_key": "mine"}, "tokens"),
    ],
)
def test_the_axis_of_a_chart_tells_the_unit(tmp_path, axis, options, unit):
    sweep = bx.read_logs(chart(tmp_path, axis, STEPS), MIXTURES, **options)
    assert (sweep.unit, sweep.budget[:4].tolist()) == (unit, list(STEPS))
    np.testing.assert_array_equal(sweep.loss, loss_table())


@pytest.mark.parametrize(("axis", "unit"), [("Tokens (B)", 1e9), ("tokens_m", 1e6), ("mine", 1)])
def test_tokens_in_billions_are_counted_in_tokens(tmp_path, axis, unit):
    sweep = bx.read_logs(chart(tmp_path, axis, STEPS), MIXTURES, tokens_key=axis)
    assert (sweep.unit, sweep.budget[:4].tolist()) == ("tokens", [step * unit for step in STEPS])
    note = f"Column {axis} was multiplied by {unit:,.0f} to tokens."
    assert (note in sweep.notes) == (unit > 1)


@pytest.mark.parametrize("axis", ["Relative Time (Wall)", "_runtime", "epoch", "mine"])
def test_charts_over_something_else_are_refused(tmp_path, axis):
    with pytest.raises(SweepError, match=r"the x axis of this chart is .*expected steps or tokens"):
        bx.read_logs(chart(tmp_path, axis, STEPS), MIXTURES)


def test_a_rate_beside_an_axis_of_tokens_is_refused(tmp_path):
    with pytest.raises(SweepError, match="no steps, but tokens"):
        bx.read_logs(chart(tmp_path, "train/tokens", STEPS), MIXTURES, tokens_per_step=4)


# ---- losses that are not finite ------------------------------------------------------------------


def as_csv(folder, run, rows):
    text = "_step,eval/law/loss,eval/med/loss\n" + "".join(
        f"{row['_step']},{row.get('eval/law/loss', '')},{row.get('eval/med/loss', '')}\n"
        for row in rows
    )
    (folder / f"{run}.csv").write_text(text)


def as_json_lines(folder, run, rows):
    (folder / f"{run}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def as_trainer(folder, run, rows):
    names = {"_step": "step", "eval/law/loss": "eval_law_loss", "eval/med/loss": "eval_med_loss"}
    history = [{names[k]: v for k, v in row.items()} for row in rows]
    (folder / run).mkdir()
    text = json.dumps({"global_step": 800, "log_history": history})
    (folder / run / "trainer_state.json").write_text(text)


@pytest.mark.parametrize("written", [as_csv, as_json_lines, as_trainer])
@pytest.mark.parametrize("nan", [float("nan"), "NaN", float("inf"), "Infinity"])
def test_losses_that_are_not_finite_are_counted_with_their_runs(tmp_path, written, nan):
    for run in RUNS:
        rows = log(run, _step=STEPS).to_dict("records")
        if run == "owl":
            rows[3] |= {"eval/law/loss": nan, "eval/med/loss": nan}
            del rows[1]["eval/med/loss"]
        written(tmp_path, run, rows)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert len(sweep.budget) == 11
    assert "2 losses that are not finite left out (owl): look for diverged runs." in sweep.notes
    assert "1 of 3 runs ends before the 800 that the others reach: owl (400)." in sweep.notes


def test_nan_that_fills_gaps_is_no_loss(tmp_path):
    for run in RUNS:
        whole = log(run, _step=STEPS)
        parts = [whole[["_step", c]] for c in whole if c != "_step"]
        rows = pd.concat([*parts, pd.DataFrame({"_step": range(1, 9)})]).sort_values("_step")
        rows.to_csv(tmp_path / f"{run}.csv", index=False, na_rep="nan")
    assert bx.read_logs(tmp_path, MIXTURES).notes == ()


# ---- dots before three digits --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "read", "said"),
    [
        (["250", "500", "1.000", "2.000"], [250, 500, 1000, 2000], "which was read as 1000."),
        (["999", "1.998", "2.997", "3.996"], [999, 1998, 2997, 3996], "which was read as 1998."),
        (["500.000", "1.000.000", "2.000.000", "4.000.000"], [5e5, 1e6, 2e6, 4e6], "'1.000.000'"),
        (["1.000", "2.000", "4.000", "8.000"], [1, 2, 4, 8], "read as 1, not as 1000."),
        (["0", "1.000", "2.000", "4.000"], [1, 2, 4], "read as 1, not as 1000."),
    ],
)
@pytest.mark.parametrize("key", ["_step", "consumed_tokens"])
def test_dots_that_may_separate_thousands_are_never_read_in_silence(
    tmp_path, steps, read, said, key
):
    beside = {} if key == "_step" else {"_step": STEPS}
    sweep = bx.read_logs(write(tmp_path, **beside, **{key: steps}), MIXTURES)
    assert sweep.budget[: len(read)].tolist() == read
    assert any(f"Column {key} holds text like" in n and said in n for n in sweep.notes)


@pytest.mark.parametrize("steps", [["1.125", "2", "3.375", "4"], ["0.500", "1.000", "1.500", "2"]])
def test_decimals_that_separate_no_thousands_need_no_note(tmp_path, steps):
    sweep = bx.read_logs(write(tmp_path, _step=steps), MIXTURES)
    assert sweep.budget[:4].tolist() == list(map(float, steps))
    assert not any("holds text" in n for n in sweep.notes)
