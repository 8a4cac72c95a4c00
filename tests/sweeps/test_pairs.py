"""Proportions in one table, losses in another."""

import warnings

import numpy as np
import pandas as pd
import pytest

from bimix_jax import SweepError, SweepWarning, read_sweep

NAMES = ("github", "pile_cc", "pubmed_abstracts", "pubmed_central")


def pair(runs=4, seed=0):
    """Mixtures and losses as RegMix publishes them, with columns and rows in different orders."""
    rng = np.random.default_rng(seed)
    mixtures = pd.DataFrame(rng.dirichlet(np.ones(4), runs), columns=list(NAMES))
    losses = pd.DataFrame(rng.uniform(2, 5, (runs, 3)), columns=["pubmed_central", "github", "x"])
    mixtures = mixtures.add_prefix("train_the_pile_").assign(index=range(1, runs + 1))
    losses = losses.add_prefix("metric/the_pile_").add_suffix("_val_loss")
    return mixtures, losses.assign(index=range(1, runs + 1)).iloc[::-1]


def test_names_meet_after_stripping_what_all_columns_share():
    sweep = read_sweep(*pair())
    assert sweep.domains == NAMES
    assert sweep.targets == ("pubmed_central", "github", "x")
    assert sweep.own_index().tolist() == [3, 0, -1]


def test_values_are_joined_on_the_key_and_keyed_by_name():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures, losses)
    by_key = losses.set_index("index")
    for i, run in enumerate(sweep.run):
        assert sweep.loss[i, 1] == by_key.loc[int(run), "metric/the_pile_github_val_loss"]
        assert sweep.mixtures.loc[run, "github"] == sweep.mixture[i, 0]
    assert sweep.runs == ("1", "2", "3", "4")
    assert sweep.unit == "run"


def test_files_and_frames_give_the_same(tmp_path):
    mixtures, losses = pair()
    mixtures.to_csv(tmp_path / "mixture.csv", index=False)
    losses.to_parquet(tmp_path / "loss.parquet", index=False)
    sweep = read_sweep(tmp_path / "mixture.csv", tmp_path / "loss.parquet")
    assert sweep.digest() == read_sweep(mixtures, losses).digest()


def test_orders_of_columns_and_rows_do_not_matter():
    mixtures, losses = pair()
    permuted = read_sweep(mixtures.iloc[::-1, ::-1], losses.sample(frac=1, axis=1, random_state=1))
    assert permuted.digest() == read_sweep(mixtures, losses).digest()


def test_a_single_loss_column_meets_its_domain():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures, losses[["index", "metric/the_pile_github_val_loss"]])
    assert sweep.targets == ("github",)
    assert "github" in sweep.domains


def test_names_that_never_match_keep_all_but_the_kind_of_number_with_a_note():
    mixtures, losses = pair()
    losses = losses.rename(columns=lambda c: c.replace("github", "git").replace("central", "all"))
    sweep = read_sweep(mixtures, losses)
    assert sweep.domains[0] == "the_pile_github"
    assert "the_pile_git" in sweep.targets
    assert sweep.notes[-1].startswith("No target is a domain")


def test_scores_beside_losses_leave_the_names_of_losses_matched():
    mixtures, losses = pair()
    scored = losses.assign(
        **{"eval/quiz_acc": 0.5, "eval/math_acc": np.linspace(0.2, 0.4, len(losses))}
    )
    alone, both = read_sweep(mixtures, losses), read_sweep(mixtures, scored)
    assert both.targets == (*alone.targets, "quiz_acc", "math_acc")


def test_the_index_of_pandas_is_no_target():
    mixtures, losses = pair()
    shuffled = losses.sample(frac=1, random_state=3)
    # As pandas writes it, and once more for each time that such a file was saved again.
    saved = [
        t.reset_index(names="Unnamed: 0").reset_index(names="Unnamed: 0.1")
        for t in (mixtures, shuffled)
    ]
    sweep = read_sweep(*saved)
    assert sweep.digest() == read_sweep(mixtures, losses).digest()


def test_runs_in_one_table_only_are_left_out_with_a_warning():
    mixtures, losses = pair()
    with pytest.warns(SweepWarning) as caught:
        sweep = read_sweep(mixtures, losses.assign(index=losses["index"] + 1))
    said = [str(w.message) for w in caught]
    assert said == ["1 run without losses left out: 1.", "1 run without a mixture left out: 5."]
    assert sweep.runs == ("2", "3", "4")
    assert set(said) <= set(sweep.notes)


@pytest.mark.parametrize("label", ["RUN 2", "run 2 ", "run\u00a02"])
def test_labels_that_differ_in_case_or_blanks_join_with_a_note(label):
    mixtures, losses = (t.assign(index=[f"run {i}" for i in t["index"]]) for t in pair())
    expected = read_sweep(mixtures, losses)
    sweep = read_sweep(mixtures, losses.replace({"index": {"run 2": label}}))
    assert sweep.digest() == expected.digest()
    assert f"{label!r} is 'run 2'" in " ".join(sweep.notes)


def test_two_labels_of_the_losses_for_one_mixture_are_an_error():
    mixtures, losses = (t.assign(index=[f"run {i}" for i in t["index"]]) for t in pair())
    losses["index"] = losses["index"].replace({"run 1": "Run 1", "run 2": "RUN 1"})
    with pytest.raises(SweepError, match=r"'RUN 1' and 'Run 1' may be 'run 1'"):
        read_sweep(mixtures, losses)


def test_no_key_in_common_values_shows_both():
    mixtures, losses = pair()
    with pytest.raises(SweepError, match=r"no value is in both.*1, 2, 3, 4;.*losses: 14, 13"):
        read_sweep(mixtures, losses.assign(index=losses["index"] + 10))


def test_a_key_twice_in_the_mixtures_is_shown_with_its_row():
    mixtures, losses = pair()
    with pytest.raises(SweepError, match=r"key index: 3 appears more than once.*row 4"):
        read_sweep(mixtures.assign(index=[1, 2, 3, 3]), losses)


def test_a_key_twice_in_the_losses_without_budgets_is_found():
    mixtures, losses = pair()
    with pytest.raises(SweepError, match=r"runs have several rows, .*\(row 5: 2\)"):
        read_sweep(mixtures, pd.concat([losses, losses.iloc[[2]]]))


def test_an_empty_column_is_not_a_domain():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures.assign(remarks=np.nan), losses)
    assert sweep.digest() == read_sweep(mixtures, losses).digest()


def test_a_missing_key_is_shown_with_its_row():
    mixtures, losses = pair()
    with pytest.raises(SweepError, match=r"missing in the table of losses, row 3\. Name the run"):
        read_sweep(mixtures, losses.assign(index=[4, 3, None, 1]))


def test_tables_without_a_common_column_ask_for_a_key():
    mixtures, losses = pair()
    with pytest.raises(SweepError, match=r"share no column \(.*; .*\); expected one that"):
        read_sweep(mixtures, losses.rename(columns={"index": "id"}))
    with pytest.raises(SweepError, match=r"share the columns index, not id.*key="):
        read_sweep(mixtures, losses, key="id")


def test_the_key_names_the_runs_whatever_it_is_called():
    mixtures, losses = (table.rename(columns={"index": "id"}) for table in pair())
    mixtures.iloc[1, :4] = mixtures.iloc[0, :4]
    assert read_sweep(mixtures, losses).runs == ("1", "2", "3", "4")


def test_keys_that_are_text_in_one_table_meet_numbers_in_the_other():
    mixtures, losses = pair()
    as_text = mixtures.assign(index=mixtures["index"].astype(str))
    assert read_sweep(as_text, losses).digest() == read_sweep(mixtures, losses).digest()


def test_tables_that_call_both_by_bare_names_are_told_apart():
    mixtures, losses = pair()
    mixtures.columns = [*NAMES, "id"]
    losses.columns = ["pubmed_central", "github", "x", "id"]
    sweep = read_sweep(mixtures, losses, key="id")
    assert sweep.targets == ("pubmed_central", "github", "x")
    np.testing.assert_allclose(sweep.mixture, mixtures[list(NAMES)], rtol=1e-15)
    np.testing.assert_array_equal(sweep.loss[:, 1], losses.sort_values("id")["github"])


def test_losses_at_several_budgets_repeat_the_mixture():
    mixtures, losses = pair()
    both = pd.concat([losses.assign(step=100), losses.assign(step=200)])
    sweep = read_sweep(mixtures, both)
    assert (len(sweep.budget), len(sweep.runs), sweep.unit) == (8, 4, "steps")


def test_a_budget_both_tables_have_is_the_one_of_the_losses():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures.assign(step=300), losses.assign(step=100))
    assert sweep.largest_budget == 100
    assert "The two tables differ in step: taken from the losses." in sweep.notes
    assert sweep.extra["step (mixtures)"].tolist() == [300] * 4


def test_what_both_tables_say_alike_is_kept_once():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures.assign(step=100, seed=1), losses.assign(step=100))
    assert sweep.extra.columns.tolist() == ["seed"]
    assert not any("differ" in note for note in sweep.notes)


def test_a_budget_given_by_name_is_no_target():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures, losses.assign(flops=1e18), budget="flops")
    assert (sweep.unit, sweep.largest_budget, len(sweep.targets)) == ("flops", 1e18, 3)


def test_a_selected_column_is_no_target():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures, losses.assign(depth=[1, 2, 2, 2]), select={"depth": 2})
    assert (sweep.runs, len(sweep.targets)) == (("1", "2", "3"), 3)


def test_a_stray_word_in_a_loss_column_is_an_error_and_no_lost_target():
    mixtures, losses = pair()
    column = "metric/the_pile_github_val_loss"
    with pytest.raises(SweepError, match=rf"column {column}: losses that are text \(row 2: nope\)"):
        read_sweep(mixtures, losses.assign(**{column: [2.0, "nope", 3.0, 4.0]}))


def test_rows_in_messages_are_those_of_each_file():
    mixtures, losses = pair()
    losses.iloc[0, 0], mixtures.iloc[1, 0] = -1.0, -0.5
    with pytest.raises(SweepError) as error:
        read_sweep(mixtures, losses)
    assert "column metric/the_pile_pubmed_central_val_loss" in str(error.value)
    assert "(row 1: -1.0)" in str(error.value)
    assert "column train_the_pile_github: proportions negative" in str(error.value)
    assert "(row 2: -0.5)" in str(error.value)


def test_prefixes_pick_the_columns():
    mixtures, losses = pair()
    sweep = read_sweep(
        mixtures.assign(noise=9.0), losses.assign(lr=0.1), mixture_prefix="train_",
        loss_prefix="metric/",
    )  # fmt: skip
    assert sweep.domains == NAMES
    assert sweep.targets == ("pubmed_central", "github", "x")
    assert set(sweep.extra.columns) == {"noise", "lr"}


def test_a_prefix_that_no_column_has_shows_the_columns():
    mixtures, losses = pair()
    with pytest.raises(
        SweepError, match=r"table of losses has the columns metric/.*begin with 'y'"
    ):
        read_sweep(mixtures, losses, loss_prefix="y")


def plain_pair(scale=1.0):
    mixtures, losses = pair()
    plain = mixtures.rename(columns=lambda name: name.removeprefix("train_the_pile_"))
    plain[list(NAMES)] *= scale
    return plain, losses


@pytest.mark.parametrize("scale", [1.0, 100.0, 3e9])
@pytest.mark.parametrize(
    "settings",
    [{"LR": 3e-4}, {"lr": 1e-9, "Weight decay": 0.1}, {"global_batch_size": 512}],
    ids=str,
)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.filterwarnings("ignore::bimix_jax.SweepWarning")
def test_settings_of_training_among_the_shares_are_no_domains(scale, settings, last):
    mixtures, losses = plain_pair(scale)
    beside = mixtures.assign(**settings)
    if not last:
        beside = beside[[*settings, *mixtures.columns]]
    if scale > 100:
        with pytest.raises(SweepError, match="do not sum to 1"):
            read_sweep(beside, losses)
        return
    sweep, expected = (read_sweep(table, losses) for table in (beside, mixtures))
    assert sweep.domains == expected.domains == NAMES
    np.testing.assert_array_equal(sweep.mixture, expected.mixture)
    assert f"like settings of training are not measurements: {', '.join(settings)}." in str(
        sweep.notes[0]
    )


@pytest.mark.parametrize("runs", [2, 4])
def test_a_domain_with_the_name_of_a_setting_stays_where_the_sum_needs_it(runs):
    mixtures, losses = plain_pair()
    renamed = mixtures.rename(columns={"github": "epochs"}).iloc[:runs].round(3)
    losses = losses.rename(columns=lambda name: name.replace("github", "epochs"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        sweep = read_sweep(renamed, losses)
    assert sweep.domains == ("epochs", *NAMES[1:])
    assert "epochs" in sweep.targets
    bare = losses.rename(columns=lambda name: name.removeprefix("metric/the_pile_"))
    bare = bare.rename(columns=lambda name: name.removesuffix("_val_loss"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        assert "epochs" in read_sweep(renamed, bare).targets


def test_settings_of_training_among_the_losses_are_no_targets():
    mixtures, losses = pair()
    sweep = read_sweep(mixtures, losses.assign(learning_rate=3e-4))
    assert sweep.targets == read_sweep(mixtures, losses).targets
    assert "not measurements: learning_rate." in sweep.notes[0]


def test_a_small_share_that_never_changes_is_warned_of():
    mixtures, losses = plain_pair(100.0)
    with pytest.warns(SweepWarning, match=r"same share in every run \(mixing_rate: 4e-06\)"):
        read_sweep(mixtures.assign(mixing_rate=4e-4), losses)


def test_mixtures_without_a_number_are_refused():
    mixtures, losses = plain_pair()
    with pytest.raises(SweepError, match="The table of proportions has the columns index"):
        read_sweep(mixtures[["index"]], losses)
