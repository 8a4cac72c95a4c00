"""Which run a file of logs is of: by its name, its folders and the table of runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import SweepError
from bimix_jax.logs._forms import find_files
from bimix_jax.logs._run_tables import same_runs
from tests.logs.test_read_logs import MIXTURES, RUNS, log

VERSIONS = ("version_0", "version_1", "version_2", "version_3")
LABELS = {
    "{run}.csv": RUNS,
    "share0.{i}.csv": ("share0.0", "share0.1", "share0.2", "share0.3"),
    "share0.{i}.csv.gz": ("share0.0", "share0.1", "share0.2", "share0.3"),
    "{run}/history.csv": RUNS,
    "{run}/0000.csv": RUNS,
    "{run}/curve.csv": RUNS,
    "{run}/runs/Feb0{i}_11-12-13_gpu7/metrics.csv": RUNS,
    "{run}/version_{i}/metrics.csv": RUNS,
    "lightning_logs/version_{i}/metrics.csv": VERSIONS,
    "x/lightning_logs/version_{i}/metrics.csv": VERSIONS,
    "wandb/run-20230708_09101{i}-id{i}/files/wandb-history.csv": ("id0", "id1", "id2", "id3"),
    "{run}/wandb/run-20230708_09101{i}-id{i}/files/wandb-history.csv": RUNS,
    "2023-07-08/09-10-1{i}/metrics.csv": ("09-10-10", "09-10-11", "09-10-12", "09-10-13"),
    "all/{run}/seed{i}/log.csv": ("a/seed0", "b/seed1", "c/seed2", "d/seed3"),
}  # fmt: skip
"""Layout → the runs that it tells without a table of runs."""


def placed(root, layout, factor=1.0):
    for i, run in enumerate(RUNS):
        path = root / layout.format(run=run, i=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        table = log(run)
        table.iloc[:, 1:] *= factor
        table.to_csv(path, index=False)
    return root


@pytest.mark.parametrize(("layout", "labels"), LABELS.items(), ids=LABELS.keys())
def test_a_layout_of_folders_tells_the_runs(tmp_path, layout, labels):
    (found,) = find_files([placed(tmp_path, layout)], "wandb")
    assert sorted(file.run for file in found.files) == sorted(labels)
    sweep = bx.read_logs(tmp_path, MIXTURES.assign(run=labels))
    assert sweep.runs == labels
    expected = np.concatenate([log(run)["eval/web/loss"] for run in RUNS])
    np.testing.assert_allclose(sweep.loss[:, 0], expected, rtol=1e-12)
    assert sweep.notes == ()


def test_the_level_of_folders_that_the_table_knows_is_the_run(tmp_path):
    placed(tmp_path, "{run}/seed{i}/log.csv")
    assert bx.read_logs(tmp_path, MIXTURES).runs == RUNS
    labels = [f"seed{i}" for i in range(4)]
    assert bx.read_logs(tmp_path, MIXTURES.assign(run=labels)).runs == tuple(labels)


def test_a_place_that_names_two_runs_is_refused(tmp_path):
    for run, other in zip(RUNS, reversed(RUNS), strict=True):
        (tmp_path / run / other).mkdir(parents=True)
        log(run).to_csv(tmp_path / run / other / "history.csv", index=False)
    with pytest.raises(SweepError, match="its place names 2 runs of the table of mixtures"):
        bx.read_logs(tmp_path, MIXTURES)


def test_a_log_in_several_files_is_one_run_and_counted(tmp_path):
    for run in RUNS:
        (tmp_path / run).mkdir()
        log(run).iloc[:2].to_csv(tmp_path / run / "part-0.csv", index=False)
        log(run).iloc[2:].to_csv(tmp_path / run / "part-1.csv", index=False)
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert (len(sweep.budget), sweep.runs) == (16, RUNS)
    assert sweep.notes == ("The logs of 4 runs are in several files: a, b, c, d.",)


def test_two_logs_of_one_name_are_not_one_run(tmp_path):
    placed(tmp_path, "small/{run}.csv")
    placed(tmp_path, "large/{run}.csv", factor=0.9)
    with pytest.raises(SweepError, match=r"both taken for logs of run a, but differ at the same"):
        bx.read_logs(tmp_path, MIXTURES)


def test_hidden_files_and_the_table_of_runs_are_no_logs_and_others_are_counted(tmp_path):
    placed(tmp_path, "{run}.csv")
    placed(tmp_path / ".ipynb_checkpoints", "{run}.csv", factor=2.0)
    MIXTURES.to_csv(tmp_path / "runs.csv", index=False)
    assert bx.read_logs(tmp_path, tmp_path / "runs.csv").notes == ()
    sweep = bx.read_logs(tmp_path, MIXTURES)
    assert sweep.notes == ("1 file without losses left out: runs.csv.",)


def test_of_two_forms_the_one_that_holds_losses_is_read_and_it_is_said(tmp_path):
    placed(tmp_path, "{run}/metrics.csv")
    for run in RUNS:
        state = '{"log_history": [{"step": 5, "eval_web_loss": 3.5}]}'
        (tmp_path / run / "trainer_state.json").write_text(state)
    said = "Read as {}: 4 files. Not read: 4 of the form {} (form= or --form chooses)."
    first = bx.read_logs(tmp_path, MIXTURES)
    assert (len(first.budget), first.notes) == (4, (said.format("trainer", "wandb"),))
    other = bx.read_logs(tmp_path, MIXTURES, loss_pattern="eval/{target}/loss")
    assert (len(other.budget), other.notes) == (16, (said.format("wandb", "trainer"),))


# ---- labels --------------------------------------------------------------------------------------


def relabelled(tmp_path, runs):
    for run, name in zip(RUNS, runs, strict=True):
        log(run).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("logged", "labels"),
    [
        (("007", "08", "9", "010"), ("7", "8", "09", "10")),
        (RUNS, ("A ", "B ", "C ", "D ")),
        (RUNS, ("a.csv", "b.csv", "c.csv", "d.csv")),
        (("exp_1_x", "exp_2_x", "exp_3_x", "exp_4_x"), ("1", "2", "3", "4")),
    ],
)
def test_labels_that_are_written_otherwise_are_matched_and_counted(tmp_path, logged, labels):
    sweep = bx.read_logs(relabelled(tmp_path, logged), MIXTURES.assign(run=labels))
    assert sweep.runs == logged
    assert sweep.notes[0].startswith("4 runs are written differently in the table of mixtures")
    assert f"{labels[0]} is {logged[0]}" in sweep.notes[0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("007", "7", True), ("7.50", "7.5", True), ("1e5", "100000", True), ("-0", "0", True),
     ("70", "7", False), ("12e45678", "13e45678", False), ("1e400", "2e400", False),
     ("9007199254740993", "9007199254740992", False), ("0.70", "70", False)],
)  # fmt: skip
def test_labels_are_compared_as_exact_numbers(one, other, same):
    assert same_runs([one, "x"], [other, "x"]) == {"x": "x"} | ({other: one} if same else {})


def test_labels_that_could_be_two_runs_are_not_matched(tmp_path):
    folder = relabelled(tmp_path, ("07", "1", "2", "3"))
    with pytest.raises(SweepError, match=r"1 run without a mixture: 07; 2 mixtures .*: 7, 007"):
        bx.read_logs(folder, pd.concat([MIXTURES, MIXTURES[:1]]).assign(run=["7", *"123", "007"]))


@pytest.mark.parametrize("label", ["{}-Mar", "Mar-0{}", "2024-03-0{} 00:00:00", "0{}/03/2024"])
def test_labels_that_became_dates_are_called_so(tmp_path, label):
    folder = relabelled(tmp_path, [f"{i}-3" for i in range(1, 5)])
    labels = [label.format(i) for i in range(1, 5)]
    with pytest.raises(SweepError, match="look like dates that a spreadsheet made of names like"):
        bx.read_logs(folder, MIXTURES.assign(run=labels))


@pytest.mark.parametrize("column", ["id", "name", "trial", "model"])
def test_the_column_whose_cells_are_the_runs_names_them(tmp_path, column):
    folder = placed(tmp_path, "{run}.csv")
    table = MIXTURES.rename(columns={"run": column}).assign(index=range(4), run_id=list("wxyz"))
    assert bx.read_logs(folder, table).runs == RUNS
    assert bx.read_logs(folder, table, run_key=column).runs == RUNS
    with pytest.raises(SweepError, match="4 runs without a mixture: a, b, c, d"):
        bx.read_logs(folder, table, run_key="run_id")


def test_columns_of_a_log_name_runs_where_the_table_has_them(tmp_path):
    for run in RUNS:
        log(run).assign(name="eval", id=7, run=f"x{run}").to_csv(tmp_path / f"{run}.csv")
    assert bx.read_logs(tmp_path, MIXTURES).runs == RUNS
    labels = [f"x{run}" for run in RUNS]
    assert bx.read_logs(tmp_path, MIXTURES.assign(run=labels)).runs == tuple(labels)
    both = pd.concat([log(run).assign(id=i, name=run) for i, run in enumerate(RUNS)])
    both.to_csv(tmp_path / "a.csv", index=False)
    assert bx.read_logs(tmp_path / "a.csv", MIXTURES).runs == RUNS


def test_rows_without_a_run_and_runs_twice(tmp_path):
    folder = placed(tmp_path, "{run}.csv")
    with pytest.raises(SweepError, match="column run does not name a run in rows 2, 4"):
        bx.read_logs(folder, MIXTURES.assign(run=["a", None, "c", ""]))
    again = pd.concat([MIXTURES, MIXTURES[1:2]], ignore_index=True)
    assert bx.read_logs(folder, again).notes == (
        "The DataFrame: 1 row left out that repeated the mixture of a run.",
    )
    with pytest.raises(SweepError, match="run a appears more than once, with different mixtures, "
                                         "in rows 1, 5"):  # fmt: skip
        bx.read_logs(folder, again.assign(run=[*RUNS, "a"]))


def test_mixtures_may_be_columns_of_the_logs_by_any_prefix(tmp_path):
    for run in RUNS:
        shares = MIXTURES.set_index("run").loc[run]
        table = log(run).assign(**{f"data/p/{d}": shares[d] for d in shares.index})
        table.to_csv(tmp_path / f"{run}.csv", index=False)
    sweep = bx.read_logs(tmp_path, mixture_prefix="data/p/")
    np.testing.assert_array_equal(sweep.mixtures["web"], MIXTURES["web"])
    with pytest.raises(SweepError, match="no columns of the logs begin with 'w/'"):
        bx.read_logs(tmp_path, mixture_prefix="w/")
    mixed = pd.read_csv(Path(tmp_path / "a.csv"))
    mixed.assign(**{"data/p/web": [0.2, 0.2, 0.3, 0.3]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SweepError, match="run a logs several proportions of web"):
        bx.read_logs(tmp_path, mixture_prefix="data/p/")
    mixed.assign(**{"data/p/web": "half"}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SweepError, match="column data/p/web: run a has 'half'"):
        bx.read_logs(tmp_path, mixture_prefix="data/p/")
