"""What a Sweep says of itself, and how it is split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimix_jax import datasets, read_sweep
from tests.frames import random_frame, wide_frame, with_cell


def ragged(ends=(4, 4, 4, 4, 4, 4, 4, 4, 4, 2)):
    """One run for each number of budgets, at 100, 200, … steps."""
    frame = random_frame(np.random.default_rng(1), runs=len(ends), budgets=max(ends))
    last = frame["run"].map({f"run{i}": 100 * end for i, end in enumerate(ends)})
    return read_sweep(frame[frame["steps"] <= last])


def replicated(seed=0):
    """8 mixtures in 2 runs each, and 2 in 1."""
    frame = random_frame(np.random.default_rng(seed), runs=10, budgets=3)
    again = frame[frame["run"] <= "run7"]
    return read_sweep(pd.concat([frame, again.assign(run=again["run"] + "b")]))


# ---- what it says --------------------------------------------------------------------------------


def test_runs_and_mixtures_are_in_order_of_appearance():
    sweep = read_sweep(wide_frame().iloc[::-1])
    assert sweep.runs == ("c", "b", "a")
    assert sweep.mixtures.to_dict("index") == {
        "c": {"web": 0.5, "code": 0.5},
        "b": {"web": 0.6, "code": 0.4},
        "a": {"web": 0.2, "code": 0.8},
    }


def test_runs_can_be_left_out_by_name():
    sweep = read_sweep(wide_frame())
    fewer = sweep.without_runs(["b"])
    assert fewer.runs == ("a", "c")
    assert fewer.notes[-1] == f"Runs left out, with {(sweep.run == 'b').sum()} points: b."
    assert sweep.without_runs("b").loss.tolist() == fewer.loss.tolist()
    with pytest.raises(ValueError, match=r"there is no run mix-9; the runs are a, b, c\."):
        sweep.without_runs(["mix-9"])
    with pytest.raises(ValueError, match=r"no run run31; the runs are run0, .*, …\. Did you mean"):
        replicated().without_runs(["run31"])
    with pytest.raises(ValueError, match="names every run"):
        sweep.without_runs(["a", "b", "c"])


def test_points_of_one_mixture_share_a_group():
    sweep = replicated()
    same = sweep.mixture_group[:, None] == sweep.mixture_group[None, :]
    close = np.abs(sweep.mixture[:, None] - sweep.mixture[None, :]).max(axis=2) < 5e-7
    np.testing.assert_array_equal(same, close)
    assert len(np.unique(sweep.mixture_group)) == 10


def test_mixtures_agree_to_six_decimals():
    frame = wide_frame()
    near = frame.assign(r_web=frame["r_web"] + 1e-8, r_code=frame["r_code"] - 1e-8)
    sweep = read_sweep(pd.concat([frame, near.assign(run=frame["run"] + "2")]))
    assert len(np.unique(sweep.mixture_group)) == 3


def test_a_mixture_on_the_edge_of_rounding_is_one_mixture():
    edge = [1 / 128, np.nextafter(1 / 128, 1), np.nextafter(1 / 128, 0)]
    frame = wide_frame()
    frame.loc[frame["run"] == "b", "r_web"] = 1 / 128
    frame["r_code"] = 1 - frame["r_web"]
    replicates = [
        frame.assign(run=frame["run"] + str(i), r_web=frame["r_web"].replace(1 / 128, share))
        for i, share in enumerate(edge)
    ]
    assert len(np.unique(read_sweep(pd.concat(replicates)).mixture_group)) == 3


def test_a_run_whose_rows_are_rounded_differently_is_never_torn():
    frame = wide_frame()
    frame.loc[4, ["r_web", "r_code"]] = [0.600004, 0.399996]
    sweep = read_sweep(frame)
    assert len(np.unique(sweep.mixture_group)) == 3
    for seed in range(10):
        train, test = sweep.split_runs(0.4, seed)
        assert not set(train.runs) & set(test.runs)


def test_summary_counts():
    assert read_sweep(datasets.proxy_sweep()).summary() == (
        "16 runs of 15 mixtures at 11 budgets up to 2.867M tokens: 176 points, 7 domains, 7 targets"
    )
    empty = read_sweep(with_cell(wide_frame(), 1, "loss_web", None))
    assert empty.summary().endswith("9 points, 2 domains, 2 targets, 1 empty loss")


def test_the_last_common_budget_is_that_of_90_percent_of_the_runs():
    assert ragged().last_common_budget() == 400
    assert ragged((4,) * 8 + (2, 2)).last_common_budget() == 200
    assert ragged((4,) * 18 + (2, 2)).last_common_budget() == 400
    assert ragged((4,) * 17 + (2,) * 3).last_common_budget() == 200
    assert ragged((4,) + (2,) * 9).last_common_budget() == 200
    assert ragged().largest_budget == 400


def test_without_a_common_budget_it_is_the_commonest():
    frame = wide_frame(tokens=[1, 2, 3, 4, 2, 5, 6, 7, 8])
    assert read_sweep(frame).last_common_budget() == 2


def test_replicates_count_each_for_the_common_budget():
    sweep = replicated()
    assert sweep.last_common_budget() == 300


# ---- digest --------------------------------------------------------------------------------------


def test_the_digest_hangs_on_every_value_and_name():
    frame = wide_frame()
    variants = [
        frame,
        with_cell(frame, 6, "loss_web", 2.0),
        with_cell(frame, 5, "loss_web", np.nextafter(frame["loss_web"][4], 9)),
        with_cell(frame, 5, "loss_web", None),
        with_cell(frame, 5, "tokens", 2.5e9),
        with_cell(frame, 9, "run", "d"),
        frame.assign(r_web=frame["r_code"], r_code=frame["r_web"]),
        frame.assign(loss_web=frame["loss_code"], loss_code=frame["loss_web"]),
        frame.rename(columns={"loss_code": "loss_prose"}),
        frame.rename(columns={"tokens": "steps"}),
        frame.iloc[:-1],
    ]
    digests = [read_sweep(v).digest() for v in variants]
    assert len(set(digests)) == len(variants)


def test_the_digest_does_not_hang_on_what_is_not_measured():
    frame = wide_frame()
    assert read_sweep(frame.assign(note="x")).digest() == read_sweep(frame).digest()


def test_the_digest_takes_one_empty_cell_for_another():
    empty = [with_cell(wide_frame(), 1, "loss_web", gap) for gap in (None, np.nan, -np.nan, "")]
    sweeps = [read_sweep(frame) for frame in empty]
    signed = sweeps[0].take(np.arange(9))
    signed.loss[0, 0] = np.copysign(np.nan, -1)
    assert len({sweep.digest() for sweep in [*sweeps, signed]}) == 1


def test_the_digest_survives_permuted_columns_of_rows_that_had_to_be_normalised():
    frame = random_frame(np.random.default_rng(2), domains=7)
    shares = [c for c in frame if c.startswith("r_")]
    frame[shares] = frame[shares].round(3)
    with pytest.warns(UserWarning, match="normalised"):
        one, other = read_sweep(frame), read_sweep(frame[frame.columns[::-1]])
    assert one.digest() == other.digest()


# ---- to_frame ------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [[], ["tokens"]])
def test_a_written_sweep_reads_back_bit_for_bit(tmp_path, drop):
    frame = with_cell(wide_frame(seed=3), 4, "loss_code", None)
    frame = frame[::3] if drop else frame
    sweep = read_sweep(frame.drop(columns=drop))
    sweep.to_frame().to_csv(tmp_path / "sweep.csv", index=False)
    back = read_sweep(tmp_path / "sweep.csv")
    assert back.digest() == sweep.digest()
    assert back.runs == sweep.runs
    pd.testing.assert_frame_equal(back.to_frame(), sweep.to_frame(), check_exact=True)


def test_normalised_rows_read_back_bit_for_bit():
    frame = random_frame(np.random.default_rng(3), runs=40, domains=9).round(3)
    with pytest.warns(UserWarning, match="normalised"):
        sweep = read_sweep(frame)
    assert read_sweep(sweep.to_frame()).digest() == sweep.digest()


def test_the_embedded_sweep_reads_back_from_wide():
    sweep = read_sweep(datasets.proxy_sweep())
    assert read_sweep(sweep.to_frame()).digest() == sweep.digest()


def test_a_column_called_as_the_run_is_kept_beside_it():
    sweep = read_sweep(wide_frame(name=list("uuuvvvwww")), run="name")
    table = sweep.to_frame()
    assert table["run"].tolist() == list("uuuvvvwww")
    assert table["run (extra)"].tolist() == list("aaabbbccc")


def test_other_columns_that_look_like_measurements_are_not_read_back_as_such():
    renamed = wide_frame(r_squared=0.5, loss_scale=2.0).rename(
        columns=lambda c: c.replace("r_web", "p_web").replace("r_code", "p_code")
    )
    renamed = renamed.rename(columns={"loss_web": "nats_web", "loss_code": "nats_code"})
    sweep = read_sweep(renamed, mixture_prefix="p_", loss_prefix="nats_")
    back = read_sweep(sweep.to_frame())
    assert back.digest() == sweep.digest()
    assert back.extra.columns.tolist() == ["extra r_squared", "extra loss_scale"]


# ---- subsets -------------------------------------------------------------------------------------


def assert_partition(sweep, train, test):
    """Every point is in one part, as it was."""
    assert len(train.run) + len(test.run) == len(sweep.run)
    assert len(train.run) > 0
    assert len(test.run) > 0
    both = pd.concat([train.to_frame(), test.to_frame()])
    by = ["run", sweep.unit]
    pd.testing.assert_frame_equal(
        both.sort_values(by, ignore_index=True), sweep.to_frame().sort_values(by, ignore_index=True)
    )


@settings(deadline=None, max_examples=40)
@given(st.floats(0.001, 0.999), st.integers(0, 10**6))
def test_split_runs_is_a_partition_that_keeps_replicates_together(fraction, seed):
    sweep = replicated()
    train, test = sweep.split_runs(fraction, seed)
    assert_partition(sweep, train, test)
    mixtures = [set(map(tuple, part.mixture.round(6))) for part in (train, test)]
    assert not mixtures[0] & mixtures[1]
    assert len(mixtures[1]) == np.clip(round(fraction * 10), 1, 9)


def test_split_runs_hangs_on_its_seed_alone():
    sweep = replicated()
    drawn = [sweep.split_runs(0.3, seed)[1].runs for seed in range(20)]
    assert drawn == [sweep.split_runs(0.3, seed)[1].runs for seed in range(20)]
    assert len(set(drawn)) > 10
    held_out = {run for runs in drawn for run in runs}
    assert held_out == set(sweep.runs)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_split_runs_draws_the_same_runs_for_any_order_of_columns_and_rows(seed):
    rng = np.random.default_rng(seed)
    frame = random_frame(rng)
    permuted = frame.iloc[rng.permutation(len(frame)), rng.permutation(frame.shape[1])]
    one, other = (read_sweep(f).split_runs(0.5, seed)[1] for f in (frame, permuted))
    assert set(one.runs) == set(other.runs)


def test_split_runs_says_what_it_did():
    train, test = replicated().split_runs(0.3, seed=4)
    assert train.notes[-1] == "train part: 3 of 10 mixtures held out (seed 4)"
    assert test.notes[-1] == "test part: 3 of 10 mixtures held out (seed 4)"


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, np.nan])
@pytest.mark.parametrize("split", ["split_runs", "split_budgets"])
def test_a_fraction_outside_0_and_1_is_an_error(split, fraction):
    with pytest.raises(ValueError, match=f"held out, is {fraction}; expected .* between 0 and 1"):
        getattr(replicated(), split)(fraction)


def test_one_mixture_or_one_budget_cannot_be_split():
    sweep = read_sweep(wide_frame())
    with pytest.raises(ValueError, match="the sweep has one mixture; expected two or more"):
        sweep.take(sweep.run == "a").split_runs(0.5)
    with pytest.raises(ValueError, match="the sweep has one budget; expected two or more"):
        sweep.take(sweep.budget == 1e9).split_budgets(0.5)


@pytest.mark.parametrize(
    ("fraction", "cut"), [(0.5, 300), (0.25, 400), (0.01, 400), (0.75, 200), (0.99, 200)]
)
def test_split_budgets_cuts_at_one_budget_for_all_runs(fraction, cut):
    sweep = ragged()
    train, test = sweep.split_budgets(fraction)
    assert_partition(sweep, train, test)
    assert train.budget.max() < cut == test.budget.min()
    assert test.notes[-1] == f"test part: budgets from {cut} steps on held out"


def test_from_budget_leaves_out_what_is_before():
    sweep = ragged()
    later = sweep.from_budget(300)
    assert set(later.budget) == {300, 400}
    assert len(later.run) == np.sum(sweep.budget >= 300)
    assert later.notes[-1] == "20 points before 300 steps left out."
    with pytest.raises(ValueError, match="least is 500 steps, but the largest budget is 400"):
        sweep.from_budget(500)


def test_take_accepts_a_condition_on_other_columns():
    sweep = read_sweep(wide_frame(seed=[0] * 6 + [1] * 3))
    assert sweep.take(sweep.extra["seed"] == 0).runs == ("a", "b")


@pytest.mark.parametrize("points", [[5, 0], np.arange(9) < 2, np.array([-1]), slice(2, 4)])
def test_take_picks_points_of_everything(points):
    frame = wide_frame(seed=range(9))
    sweep = read_sweep(frame)
    part = sweep.take(points, "why")
    expected = frame.iloc[points]
    assert part.run.tolist() == expected["run"].tolist()
    assert part.budget.tolist() == expected["tokens"].tolist()
    assert part.mixture[:, 0].tolist() == expected["r_web"].tolist()
    assert part.loss[:, 1].tolist() == expected["loss_code"].tolist()
    assert part.extra["seed"].tolist() == expected["seed"].tolist()
    assert part.notes == (*sweep.notes, "why")
    assert len(sweep.run) == 9
