"""Tables of logs of every shape: long, one tag a file, nested, objects, averages, ids, states."""

import gzip
import json
import os

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import SweepError
from tests.logs.test_budgets_of_logs import (
    DOMAINS,
    MIXTURES,
    RUNS,
    STEPS,
    log,
    loss_table,
    losses,
    write,
)


def assert_read(sweep):
    """All points of all runs, value for value."""
    assert sweep.targets == DOMAINS
    assert sweep.run.tolist() == np.repeat(RUNS, len(STEPS)).tolist()
    np.testing.assert_array_equal(sweep.loss, loss_table())


# ---- long tables and downloads -------------------------------------------------------------------


def long(key="key", value="value", run="run_id"):
    parts = [
        log(r, step=STEPS).assign(**{run: r}).melt([run, "step"], None, key, value) for r in RUNS
    ]
    return pd.concat(parts).sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    ("key", "value", "run"),
    [("key", "value", "run_uuid"), ("metric", "value", "run"), ("tag", "value", "dir_name")],
)
def test_a_row_may_be_a_run_step_and_metric(tmp_path, key, value, run):
    long(key, value, run).to_csv(tmp_path / "metrics.csv", index=False)
    sweep = bx.read_logs(tmp_path / "metrics.csv", MIXTURES, tokens_per_step=2)
    assert_read(sweep)
    assert sweep.budget[:4].tolist() == [200, 400, 800, 1600]


def test_a_long_table_may_tell_tokens_and_nan_beside(tmp_path):
    table = long().assign(tokens=lambda t: t["step"] * 1000, is_nan=False)
    table = table.reset_index(drop=True)
    last = (table["run_id"] == "elk") & (table["step"] == 800)
    table.loc[last, ["value", "is_nan"]] = [0.0, True]
    table.to_parquet(tmp_path / "metrics.parquet", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert (sweep.unit, len(sweep.budget), sweep.budget.max()) == ("tokens", 11, 8e5)
    assert sweep.notes[0] == "2 losses that are not finite left out (elk): look for diverged runs."


@pytest.mark.parametrize(
    "name", ["run-{run}-tag-eval_{target}_loss.csv", "{run}/eval_{target}_loss.csv"]
)
def test_a_download_of_tensorboard_is_of_one_run_and_tag(tmp_path, name):
    for run in RUNS:
        for target, curve in zip(DOMAINS, losses(run).values(), strict=True):
            path = tmp_path / name.format(run=run, target=target)
            path.parent.mkdir(exist_ok=True)
            table = pd.DataFrame({"Wall time": 1.7e9, "Step": STEPS, "Value": curve})
            table.to_csv(path, index=False)
    assert_read(bx.read_logs(tmp_path, MIXTURES))


def test_a_download_that_tells_no_tag_names_the_way_out(tmp_path):
    table = pd.DataFrame({"Wall time": 1.7e9, "Step": STEPS, "Value": 3.0})
    table.to_csv(tmp_path / "scalars_1.csv", index=False)
    with pytest.raises(SweepError, match=r"download of TensorBoard.*run-RUN-tag-TAG.csv.*tfevents"):
        bx.read_logs(tmp_path, MIXTURES)


@pytest.mark.parametrize("cell", ["0x10", "0XaB", "-0x1f", '"0x10"'])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_hexadecimal_cell_is_not_a_step(tmp_path, cell, ending):
    for run in RUNS:
        text = log(run, "eval/{}/loss", step=STEPS).to_csv(index=False)
        if run == RUNS[1]:
            head, first, *rest = text.splitlines()
            text = "\n".join([head, ",".join([cell, *first.split(",")[1:]]), *rest])
        packed = gzip.compress(text.encode()) if ending else text.encode()
        (tmp_path / f"{run}.csv{ending}").write_bytes(packed)
    plain = cell.strip('"')
    with pytest.raises(SweepError, match=f"{RUNS[1]}.*{plain}|{plain}.*{RUNS[1]}"):
        bx.read_logs(tmp_path, MIXTURES)


# ---- names of metrics ----------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [None, "val.{target}.nll", "val/{target}/nll"])
def test_json_lines_may_be_nested(tmp_path, pattern):
    outer, inner = ("eval", "loss") if pattern is None else ("val", "nll")
    for run in RUNS:
        curves = losses(run)
        rows = [
            {"step": s, outer: {d: {inner: curves[f"eval/{d}/loss"][i]} for d in DOMAINS}}
            for i, s in enumerate(STEPS)
        ]
        text = "\n".join(map(json.dumps, [*rows, {"step": 900, "note": ["a"]}]))
        (tmp_path / f"{run}.jsonl").write_text(
            text if run != "owl" else "\n".join(text.split("\n")[:-1])
        )
    assert_read(bx.read_logs(tmp_path, MIXTURES, loss_pattern=pattern))


@pytest.mark.parametrize("named", ["eval/{}_loss", "eval_{}_loss", "eval.{}.loss"])
def test_other_separators_are_taken_where_nothing_fits_and_it_is_said(tmp_path, named):
    for run in RUNS:
        log(run, named, _step=STEPS).to_parquet(tmp_path / f"{run}.parquet", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert_read(sweep)
    assert "those like" in sweep.notes[0]


def test_json_a_thousand_levels_deep_is_named(tmp_path):
    (tmp_path / "owl.jsonl").write_text('{"step": 1, "eval": ' + '{"a": ' * 5000 + "1" + "}" * 5001)
    with pytest.raises(SweepError, match=r"owl.jsonl is nested deeper than 100 levels"):
        bx.read_logs(tmp_path, MIXTURES)
    (tmp_path / "owl.jsonl").unlink()
    (tmp_path / "owl").mkdir()
    state = '{"global_step": 1, "log_history": ' + "[" * 5000
    (tmp_path / "owl" / "trainer_state.json").write_text(state)
    with pytest.raises(SweepError, match=r"trainer_state.json is nested deeper than 100 levels"):
        bx.read_logs(tmp_path, MIXTURES)


# ---- averages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"eval/macro_avg/loss": [1.0, 1.1, 1.2, 1.3]}, "macro_avg (its name says so)"),
        ({"eval/overall/loss": [1.0, 1.1, 1.2, 1.3]}, "overall (its name says so)"),
        ({"eval/val/loss": "mean"}, "val (the mean of law, med)"),
        (
            {"eval/suite/loss": [1.0] * 4, "eval/suite/a/loss": [1.0] * 4},
            "suite (its name begins those of suite/a)",
        ),
    ],
)
def test_averages_are_left_out_and_named(tmp_path, extra, why):
    for run in RUNS:
        mean = sum(losses(run).values()) / 2
        columns = {name: mean if cells == "mean" else cells for name, cells in extra.items()}
        log(run, _step=STEPS).assign(**columns).to_csv(tmp_path / f"{run}.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert set(sweep.targets) - {"suite/a"} == set(DOMAINS)
    assert why in sweep.notes[0]


def test_a_mean_of_some_targets_is_left_out_under_any_name(tmp_path):
    for run in RUNS:
        table = log(run, _step=STEPS)
        table["eval/quiz/loss"] = 2 + 0.3 * np.cos(np.arange(len(STEPS)) + len(run))
        table["eval/tongue/loss"] = (table["eval/law/loss"] + table["eval/quiz/loss"]) / 2
        table.to_csv(tmp_path / f"{run}.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert sweep.targets == (*DOMAINS, "quiz")
    assert "tongue (the mean of law, quiz)" in sweep.notes[0]


def test_a_domain_is_no_average(tmp_path):
    write(tmp_path, _step=STEPS)
    for run in RUNS:
        table = log(run, _step=STEPS).rename(columns={"eval/med/loss": "eval/all/loss"})
        table.to_csv(tmp_path / f"{run}.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES.rename(columns={"med": "all"}))
    assert (sweep.targets, sweep.notes) == (("law", "all"), ())


# ---- runs of one name, states of one run ---------------------------------------------------------


def test_runs_of_one_name_are_told_apart_by_their_ids(tmp_path):
    ids = {"fox": "x1", "owl": "x2", "elk": "x3"}
    names = {"fox": "same", "owl": "same", "elk": "other"}
    logs = pd.concat([log(r, _step=STEPS).assign(name=names[r], id=ids[r]) for r in RUNS])
    logs.to_csv(tmp_path / "all.csv", index=False)
    table = MIXTURES.assign(id=MIXTURES["run"].map(ids), name=MIXTURES["run"].map(names))
    sweep = bx.read_logs(tmp_path, table.drop(columns="run"))
    np.testing.assert_array_equal(sweep.loss, loss_table())
    assert "because 2 of them (x1, x2) share the name same." in sweep.notes[0]
    with pytest.raises(SweepError, match=r"because 2 of them .x1, x2. share the name same"):
        bx.read_logs(
            tmp_path, pd.DataFrame({"run": ["same", "other"], "law": [0.2, 0.8], "med": [0.8, 0.2]})
        )
    unique = logs.assign(name=logs["id"].map({v: k for k, v in ids.items()}))
    unique.to_csv(tmp_path / "all.csv", index=False)
    assert_read(bx.read_logs(tmp_path, MIXTURES))


def test_of_several_states_the_one_that_got_furthest_is_read(tmp_path):
    for run in RUNS:
        rows = log(run, "eval_{}_loss", step=STEPS).to_dict("records")
        for place, count in (("", 2), ("checkpoint-400", 3), ("checkpoint-800", 4)):
            (tmp_path / run / place).mkdir(parents=True, exist_ok=True)
            state = {"global_step": STEPS[count - 1], "log_history": rows[:count]}
            (tmp_path / run / place / "trainer_state.json").write_text(json.dumps(state))
    assert_read(bx.read_logs(tmp_path, MIXTURES))


# ---- objects -------------------------------------------------------------------------------------

TABLES = {run: log(run, _step=STEPS) for run in RUNS}
TOGETHER = pd.concat([table.assign(run=run) for run, table in TABLES.items()])
OBJECTS = {
    "DataFrame": TOGETHER,
    "DataFrame with an index": TOGETHER.set_index(["run", "_step"]),
    "list of DataFrames": [table.assign(run=run) for run, table in TABLES.items()],
    "run to DataFrame": TABLES,
    "run to rows": {run: table.to_dict("records") for run, table in TABLES.items()},
    "run to columns": {run: table.to_dict("list") for run, table in TABLES.items()},
    "rows": TOGETHER.to_dict("records"),
    "long": long(),
    "log_history": {run: log(run, "eval_{}_loss", step=STEPS).to_dict("records") for run in RUNS},
}


@pytest.mark.parametrize("logs", OBJECTS.values(), ids=OBJECTS.keys())
def test_logs_may_be_objects(logs):
    assert_read(bx.read_logs(logs, MIXTURES))


def test_one_json_document_may_hold_all_runs(tmp_path):
    (tmp_path / "all.json").write_text(json.dumps(OBJECTS["run to rows"]))
    assert_read(bx.read_logs(tmp_path / "all.json", MIXTURES))
    (tmp_path / "all.json").write_text('{"fox": [{"step": 1')
    with pytest.raises(SweepError, match=r"all.json is not complete JSON"):
        bx.read_logs(tmp_path / "all.json", MIXTURES)


@pytest.mark.parametrize(
    ("logs", "words"),
    [
        (3, r"logs is 3 \(int\); expected files or folders, a DataFrame"),
        ({"fox": 3}, r"logs of run fox is 3 \(int\)"),
        ([TABLES["fox"]], "no column names the runs"),
        ([TOGETHER, "fox.csv"], r"logs\[1\] is 'fox.csv' \(str\)"),
    ],
)
def test_other_objects_are_named(logs, words):
    with pytest.raises(SweepError, match=words):
        bx.read_logs(logs, MIXTURES)


def test_a_pipe_is_called_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(SweepError, match=r"log.csv is a (named pipe|FIFO)"):
        bx.read_logs(tmp_path / "log.csv", MIXTURES)


# ---- common budgets ------------------------------------------------------------------------------


def test_evaluations_spread_over_steps_of_the_logger_are_joined_when_asked(tmp_path):
    for run in RUNS:
        whole = log(run, _step=np.array(STEPS) * 10)
        parts = [
            whole.assign(_step=whole["_step"] + i)[["_step", c]] for i, c in enumerate(losses(run))
        ]
        pd.concat(parts).sort_values("_step").to_csv(tmp_path / f"{run}.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES, align="nearest")
    assert_read(sweep)
    assert sweep.budget[:4].tolist() == [1000, 2000, 4000, 8000]
    assert "12 points with other targets were joined to these" in sweep.notes[0]
    assert "0 points were left out" in sweep.notes[0]


def test_runs_that_alignment_empties_are_named(tmp_path):
    write(tmp_path, _step=STEPS)
    log("elk", _step=[7, 17, 27, 37]).to_csv(tmp_path / "elk.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES, align="nearest")
    assert sweep.runs == ("fox", "owl")
    assert any(
        "1 of 3 runs have no point at a common budget and were left out: elk" in n
        for n in sweep.notes
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_log_from_a_spreadsheet_is_read_in_its_encoding(tmp_path, encoding):
    for folder, written in ("plain", "utf-8"), ("sheet", encoding):
        (tmp_path / folder).mkdir()
        for run in RUNS:
            path = tmp_path / folder / f"{run}.csv"
            log(run, step=STEPS).to_csv(path, index=False, encoding=written)
    plain, sheet = (
        bx.read_logs(tmp_path / folder, MIXTURES, tokens_per_step=2)
        for folder in ("plain", "sheet")
    )
    assert sheet.digest() == plain.digest()


def test_a_column_called_name_names_the_metrics_where_run_names_the_runs(tmp_path):
    path = tmp_path / "all.csv"
    long("name", "value", "run").to_csv(path, index=False)
    assert_read(bx.read_logs(path, MIXTURES))


def test_a_long_table_without_a_column_of_metrics_is_told_its_name(tmp_path):
    path = tmp_path / "all.csv"
    long("what", "value", "run").to_csv(path, index=False)
    with pytest.raises(SweepError, match="needs the names of the metrics in a column metric"):
        bx.read_logs(path, MIXTURES)


def test_lists_of_losses_are_named_where_no_loss_is_found(tmp_path):
    for run in RUNS:
        rows = [{"step": s, "scores": [{"task": "law", "nll": 2.5}]} for s in STEPS]
        (tmp_path / f"{run}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SweepError, match=r"no column matches .* Column scores holds lists of obj"):
        bx.read_logs(tmp_path, MIXTURES)


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, " is -1; expected"), (2, "and there is 1 more such value;"), (3, "there are 2 more such")],
)
def test_losses_below_zero_are_counted(tmp_path, count, said):
    write(tmp_path, _step=STEPS)
    table = log("fox", _step=STEPS)
    table.loc[: count - 1, "eval/law/loss"] = -1
    table.to_csv(tmp_path / "fox.csv", index=False)
    with pytest.raises(SweepError, match=said):
        bx.read_logs(tmp_path, MIXTURES)
