"""Wide and long tables become a Sweep, whatever the order of their columns and rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimix_jax import SweepError, datasets, read_sweep, standard_splits
from tests.frames import MIXTURES, long_frame, random_frame, wide_frame

LONG = datasets.proxy_sweep()


def test_a_wide_table_is_read_by_name():
    sweep = read_sweep(wide_frame())
    assert (sweep.domains, sweep.targets, sweep.unit) == (
        ("web", "code"),
        ("web", "code"),
        "tokens",
    )
    assert sweep.run.tolist() == list("aaabbbccc")
    assert sweep.budget.tolist() == [1e9, 2e9, 4e9] * 3
    np.testing.assert_array_equal(sweep.mixture[::3], list(MIXTURES.values()))
    np.testing.assert_array_equal(sweep.loss, wide_frame()[["loss_web", "loss_code"]])


def test_a_long_table_is_the_wide_one():
    assert read_sweep(long_frame()).digest() == read_sweep(wide_frame()).digest()


def test_the_embedded_sweep_is_as_its_file_says():
    table, sweep = pd.read_csv(LONG), read_sweep(LONG)
    assert (len(sweep.runs), len(sweep.budget), len(sweep.domains)) == (16, 176, 7)
    assert sweep.domains == sweep.targets
    assert set(sweep.extra.columns) == {"seed", "step"}
    for _, row in table.sample(40, random_state=0).iterrows():
        here = (sweep.run == row["run"]) & (sweep.budget == row["tokens"])
        assert here.sum() == 1
        column = sweep.domains.index(row["domain"])
        assert sweep.loss[here, column].item() == pytest.approx(row["loss"], rel=1e-15)
        assert sweep.mixture[here, column].item() == pytest.approx(row["proportion"], abs=1e-5)


def test_long_losses_with_wide_mixtures_are_read():
    wide = wide_frame()
    long = long_frame().drop(columns="proportion").rename(columns={"domain": "target"})
    both = long.merge(wide[["run", "tokens", "r_web", "r_code"]], on=["run", "tokens"])
    assert read_sweep(both).digest() == read_sweep(wide).digest()


def test_a_long_target_without_proportions_is_no_domain():
    held_out = long_frame()[::2].assign(domain="chat", proportion=np.nan, loss=3.0)
    sweep = read_sweep(pd.concat([long_frame(), held_out]))
    assert sweep.domains == ("web", "code")
    assert sweep.targets == ("web", "code", "chat")
    assert sweep.own_index().tolist() == [0, 1, -1]


def test_a_long_domain_without_losses_is_no_target():
    frame = long_frame()
    sweep = read_sweep(frame.assign(loss=frame["loss"].where(frame["domain"] != "code")))
    assert (sweep.domains, sweep.targets) == (("web", "code"), ("web",))
    assert sweep.notes == ("Targets without any loss left out: code.",)


def test_a_point_that_lacks_a_row_in_a_long_table_has_an_empty_loss():
    sweep = read_sweep(long_frame().drop(index=3))
    assert np.argwhere(np.isnan(sweep.loss)).tolist() == [[1, 1]]
    assert sweep.notes == ("1 of 18 loss cells are empty and were left out.",)


@pytest.mark.parametrize("spelled", ["Web", " web", "\u00a0WEB", "we\u200bb"])
def test_a_target_spelled_otherwise_than_its_domain_is_that_domain(spelled):
    sweep = read_sweep(wide_frame().rename(columns={"loss_web": f"loss_{spelled}"}))
    assert sweep.targets == ("web", "code")
    assert sweep.digest() == read_sweep(wide_frame()).digest()
    (note,) = sweep.notes
    assert "taken for one" in note
    assert note.endswith("is 'web'.")


def test_two_targets_that_may_be_a_domain_are_refused():
    table = wide_frame().rename(columns={"loss_web": "loss_Web", "loss_code": "loss_WEB"})
    with pytest.raises(SweepError, match="targets: 'Web' and 'WEB' may be 'web'"):
        read_sweep(table)


def test_names_of_one_role_that_differ_in_case_stay_two():
    names = {"r_web": "r_C", "r_code": "r_c", "loss_web": "loss_C", "loss_code": "loss_c"}
    sweep = read_sweep(wide_frame().rename(columns=names))
    assert sweep.domains == sweep.targets == ("C", "c")
    assert not sweep.notes
    alone = read_sweep(wide_frame(loss_WEB=3.0))
    assert alone.targets == ("web", "code", "WEB")


def test_a_domain_of_a_long_table_spelled_in_two_ways_is_one():
    frame = long_frame()
    other = frame["domain"].where(frame["run"] != "b", frame["domain"].str.capitalize())
    sweep = read_sweep(frame.assign(domain=other))
    assert sweep.domains == sweep.targets == ("web", "code")
    assert sweep.digest() == read_sweep(frame).digest()
    assert "'Web' is 'web', 'Code' is 'code'" in sweep.notes[0]


def test_a_pair_whose_names_differ_in_case_is_cut_all_the_same():
    wide = wide_frame()
    ends = wide[wide["tokens"] == 4e9]
    ratios = ends[["run", "r_web", "r_code"]].set_axis(["run", "train/Web", "train/Code"], axis=1)
    losses = ends[["run", "loss_web", "loss_code"]]
    losses = losses.set_axis(["run", "eval_web_ce", "eval_code_ce"], axis=1)
    sweep = read_sweep(ratios, losses)
    assert sweep.domains == sweep.targets == ("Web", "Code")


def test_a_long_row_of_two_names_is_an_error():
    swapped = long_frame(target=["code", "web"] * 9)
    with pytest.raises(SweepError, match=r"row 1 has domain web and target code.*r_<domain>"):
        read_sweep(swapped)
    same = long_frame().assign(target=long_frame()["domain"])
    assert read_sweep(same).digest() == read_sweep(wide_frame()).digest()


def test_columns_that_a_long_table_cannot_keep_are_noted():
    sweep = read_sweep(long_frame(seconds=range(18), seed=3))
    assert sweep.extra["seconds"].tolist() == list(range(0, 18, 2))
    (note,) = sweep.notes
    assert "differ within a point" in note
    assert "seconds" in note
    assert "seed" not in note


def test_other_columns_are_kept_one_row_a_point():
    sweep = read_sweep(wide_frame(seed=range(9), model_size=70))
    assert sweep.extra["seed"].tolist() == list(range(9))
    assert sweep.extra["model_size"].tolist() == [70] * 9


def test_prefixes_can_be_given():
    renamed = wide_frame().rename(columns=lambda c: c.replace("r_", "share of ", 1))
    renamed = renamed.rename(columns=lambda c: c.replace("loss_", "nats."))
    sweep = read_sweep(renamed, mixture_prefix="share of ", loss_prefix="nats.")
    assert sweep.digest() == read_sweep(wide_frame()).digest()


def test_what_follows_a_given_prefix_is_matched_too():
    renamed = wide_frame().rename(
        columns={"r_web": "train_the_pile_web", "r_code": "train_the_pile_code",
                 "loss_web": "metric/the_pile_web_val", "loss_code": "metric/the_pile_code_val"}
    )  # fmt: skip
    sweep = read_sweep(renamed, mixture_prefix="train_", loss_prefix="metric/")
    assert sweep.digest() == read_sweep(wide_frame()).digest()


def test_of_two_prefixes_that_fit_the_longer_one_is_meant():
    frame = wide_frame().rename(columns=lambda c: c.replace("loss_", "r_loss_"))
    sweep = read_sweep(frame, loss_prefix="r_loss_")
    assert sweep.digest() == read_sweep(wide_frame()).digest()
    with pytest.raises(SweepError, match="found the columns run, tokens, r_web"):
        read_sweep(wide_frame(), mixture_prefix="loss_")


def test_messages_call_columns_as_the_file_does():
    renamed = wide_frame().rename(
        columns={"r_web": "train_the_web", "r_code": "train_the_code"}
    ).assign(train_the_web=-1)  # fmt: skip
    with pytest.raises(SweepError, match="column train_the_web: proportions negative"):
        read_sweep(renamed, mixture_prefix="train_")


def test_a_table_of_no_layout_shows_its_columns_and_what_was_expected():
    with pytest.raises(SweepError) as error:
        read_sweep(pd.DataFrame({"run": ["a"], "web": [0.5]}))
    assert "found the columns run, web" in str(error.value)
    assert "Expected r_<domain> with loss_<target>" in str(error.value)
    assert "mixture_prefix=" in str(error.value)
    assert "losses=" in str(error.value)


def test_no_rows_are_an_error():
    with pytest.raises(SweepError, match="has no rows; expected one per run and budget"):
        read_sweep(wide_frame().iloc[:0])
    with pytest.raises(SweepError, match="has no rows"):
        read_sweep(long_frame().iloc[:0])


# ---- select --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "wanted", "rows"),
    [
        ([70, 160, 160], 160, 6),
        ([70, 160, 160], "160", 6),
        ([70, 160, 160], 160.0, 6),
        ([7e7, 1.6e8, 1.6e8], "160_000_000".replace("_", ""), 6),
        ([7e7, 1.6e8, 1.6e8], "1.6e8", 6),
        (["70M", "160M", "160M"], "160M", 6),
        (["x", "y", "z"], ["x", "z"], 6),
        (["x", "y", "z"], ("y",), 3),
        (["x", "y", "z"], np.array(["x", "y"]), 6),
        ([1, 2, 3], pd.Series([2, 3]), 6),
        ([1, 2, 3], {1, "3"}, 6),
        ([1, 2, 3], range(2, 4), 6),
        ([True, False, False], False, 6),
    ],
)
def test_select_takes_numbers_strings_and_lists(values, wanted, rows):
    frame = wide_frame(kind=np.repeat(values, 3))
    if rows == 3:
        frame = frame.assign(r_web=np.linspace(0.1, 0.9, 9), r_code=np.linspace(0.9, 0.1, 9))
        frame = frame.assign(run=range(9))
    sweep = read_sweep(frame, select={"kind": wanted})
    assert len(sweep.budget) == rows
    assert sweep.notes[0].startswith(f"{rows} of 9 rows selected by kind = ")


def test_select_by_two_columns_takes_rows_of_both():
    frame = wide_frame(size=1, seed=[0, 1, 1] * 3)
    assert len(read_sweep(frame, select={"size": 1, "seed": 1}).budget) == 6


def test_select_by_an_unknown_column_lists_the_columns():
    with pytest.raises(SweepError, match="no column size; expected one of run, tokens"):
        read_sweep(wide_frame(), select={"size": 1})


@pytest.mark.parametrize("wanted", [410, "410M", [70, 410]])
def test_select_of_an_unknown_value_lists_the_values(wanted):
    frame = wide_frame(size=[70] * 3 + [160] * 6)
    with pytest.raises(SweepError, match=r"no row has size = 410M?; it takes the values 70, 160"):
        read_sweep(frame, select={"size": wanted})


def test_select_that_is_no_mapping_says_so():
    with pytest.raises(SweepError, match="expected a mapping of a column to its value"):
        read_sweep(wide_frame(), select=["run"])


def test_select_of_nothing_is_an_error():
    with pytest.raises(SweepError, match="takes the values 1"):
        read_sweep(wide_frame(size=1), select={"size": []})


def test_select_that_leaves_no_row_says_so():
    frame = wide_frame(size=[1] * 3 + [2] * 6, seed=[0] * 6 + [1] * 3)
    with pytest.raises(SweepError, match="no row has size = 1, seed = 1 together"):
        read_sweep(frame, select={"size": 1, "seed": 1})


# ---- budget and run ------------------------------------------------------------------------------


def test_tokens_come_before_steps_and_the_choice_is_noted():
    frame = wide_frame(step=[10, 20, 40] * 3)
    sweep = read_sweep(frame)
    assert sweep.unit == "tokens"
    said = "Budgets are taken from tokens (step is there too; budget= (--budget-column) chooses)."
    assert said in sweep.notes
    chosen = read_sweep(frame, budget="step")
    assert (chosen.unit, chosen.largest_budget) == ("steps", 40)
    assert chosen.extra.columns.tolist() == ["tokens"]


@pytest.mark.parametrize(
    ("column", "unit"), [("Step", "steps"), ("STEPS", "steps"), ("Tokens", "tokens")]
)
def test_capitals_do_not_hide_a_budget_or_a_run(column, unit):
    sweep = read_sweep(wide_frame().rename(columns={"tokens": column, "run": "Run"}))
    assert (sweep.unit, sweep.runs) == (unit, ("a", "b", "c"))
    assert read_sweep(sweep.to_frame()).digest() == sweep.digest()


def test_a_budget_in_capitals_is_no_target_of_a_pair():
    wide = wide_frame().assign(Step=[1, 2, 3] * 3)
    mixtures = wide[["run", "r_web", "r_code"]].drop_duplicates()
    losses = wide[["run", "Step", "loss_web", "loss_code"]].rename(
        columns={"loss_web": "web", "loss_code": "code"}
    )
    sweep = read_sweep(mixtures, losses)
    assert (sweep.targets, sweep.unit) == (("web", "code"), "steps")


def test_an_unknown_budget_lists_the_columns():
    with pytest.raises(SweepError, match=r"no column flops to take budgets from; .* run, tokens"):
        read_sweep(wide_frame(), budget="flops")


def test_a_proportion_is_no_budget_and_no_run():
    with pytest.raises(SweepError, match="no column r_web to take budgets from"):
        read_sweep(wide_frame(), budget="r_web")
    with pytest.raises(SweepError, match="no column r_web to name runs by"):
        read_sweep(wide_frame(), run="r_web")


def test_a_sweep_without_a_budget_has_one():
    sweep = read_sweep(wide_frame()[::3].drop(columns="tokens"))
    assert (sweep.unit, sweep.budget.tolist()) == ("run", [1.0] * 3)
    assert sweep.notes == ("No budget column: the sweep has a single budget, called 1 run.",)


def test_a_single_budget_is_no_error_and_no_warning(recwarn):
    sweep = read_sweep(wide_frame()[::3])
    assert sweep.budget.tolist() == [1e9] * 3
    assert not recwarn.list
    assert not sweep.notes


def test_runs_without_names_are_told_apart_by_mixture_and_seed():
    frame = wide_frame(seed=0)
    replicate = frame[frame["run"] == "a"].assign(seed=1)
    sweep = read_sweep(pd.concat([frame, replicate]).drop(columns="run"))
    assert len(sweep.runs) == 4
    assert sweep.run[0] != sweep.run[-1]
    assert "No run column: every mixture and seed is a run." in sweep.notes


def test_the_run_column_can_be_named():
    sweep = read_sweep(wide_frame(name=list("uuuvvvwww")), run="name")
    assert sweep.runs == ("u", "v", "w")
    assert sweep.extra["run"].tolist() == list("aaabbbccc")
    with pytest.raises(SweepError, match="no column nome to name runs by"):
        read_sweep(wide_frame(), run="nome")


def test_a_long_table_needs_a_run_column():
    with pytest.raises(SweepError, match="needs a column that names the runs; name it with run="):
        read_sweep(long_frame().drop(columns="run"))


# ---- names, not positions ------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_permutation_of_columns_and_rows_changes_nothing_by_name(seed):
    rng = np.random.default_rng(seed)
    frame = random_frame(rng)
    permuted = frame.iloc[rng.permutation(len(frame)), rng.permutation(frame.shape[1])]
    one, other = read_sweep(frame), read_sweep(permuted)
    assert one.digest() == other.digest()
    by_name = one.to_frame().columns
    pd.testing.assert_frame_equal(
        *(s.to_frame()[by_name].sort_values(["run", "steps"], ignore_index=True)
          for s in (one, other)),
        check_exact=True,
    )  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_permutation_of_a_long_table_changes_nothing_by_name(seed):
    frame = long_frame().sample(frac=1, random_state=seed)
    assert read_sweep(frame).digest() == read_sweep(wide_frame()).digest()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_rows_within_two_percent_are_divided_by_their_sum(seed):
    rng = np.random.default_rng(seed)
    frame = random_frame(rng)
    shares = [c for c in frame if c.startswith("r_")]
    scale = np.repeat(rng.uniform(0.981, 1.019, 6), 4)
    frame[shares] = frame[shares].mul(scale, axis=0)
    with pytest.warns(UserWarning, match="were normalised to 1"):
        sweep = read_sweep(frame)
    np.testing.assert_allclose(sweep.mixture.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(sweep.mixture * scale[:, None], frame[shares], rtol=1e-12)


def test_shares_of_a_long_table_that_are_nearly_those_of_the_run_are_counted():
    rows = [
        (run, tokens, domain, share, 3.0 - share - tokens / 1e10)
        for run, web in (("a", 0.3), ("b", 0.6))
        for tokens in (1e9, 2e9)
        for domain, share in (("web", web), ("code", 1 - web))
    ]
    table = pd.DataFrame(rows, columns=["run", "tokens", "domain", "proportion", "loss"])
    table.loc[2, "proportion"] += 5e-5
    sweep = read_sweep(table)
    assert "1 proportion within 0.0001 of the first of a run; the first is kept." in sweep.notes
    np.testing.assert_allclose(sweep.mixture[:2, 0], 0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_sweep(wide_frame(), budgets="step"), "read_sweep.*'budgets'.*mean budget?"),
        (
            lambda: standard_splits(read_sweep(wide_frame()), run=0.3),
            "standard_splits.*'run'; expected some of sweep, kinds, repeats, runs, .*mean runs?",
        ),
    ],
)
def test_a_misspelt_setting_names_the_nearest_one(call, message):
    with pytest.raises(TypeError, match=message):
        call()
