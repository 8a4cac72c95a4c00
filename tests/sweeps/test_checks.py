"""Every bad input gives one error that lists all findings with column, row, value and remedy."""

import warnings

import numpy as np
import pandas as pd
import pytest

from bimix_jax import SweepError, SweepWarning, read_sweep
from tests.frames import long_frame, wide_frame, with_cell


def message(frame, **options):
    """The error of a table that is no sweep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        with pytest.raises(SweepError) as error:
            read_sweep(frame, **options)
    return str(error.value)


def findings(frame, **options):
    """The lines of the error, one a finding."""
    first, *lines = message(frame, **options).splitlines()
    assert f"{len(lines)} problem" in first
    return [line.removeprefix("  - ") for line in lines]


def only_finding(frame, **options):
    (line,) = findings(frame, **options)
    return line


def warned(frame):
    """The sweep and the warnings of reading it, which must also be in its notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sweep = read_sweep(frame)
    said = [str(w.message) for w in caught if issubclass(w.category, SweepWarning)]
    assert set(said) <= set(sweep.notes)
    return sweep, said


def test_the_table_these_tests_spoil_reads_without_a_word():
    sweep, said = warned(wide_frame())
    assert not said
    assert not sweep.notes
    assert sweep.domains == sweep.targets == ("web", "code")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("r_web", -0.2, ["proportions negative", "row 4: -0.2", "between 0 and 1"]),
        ("r_web", np.inf, ["negative or infinite", "row 4: inf", "between 0 and 1"]),
        ("r_web", None, ["proportions missing", "row 4", "0 is a value"]),
        ("r_web", "", ["proportions missing", "row 4", "0 is a value"]),
        ("r_code", "half", ["proportions that are text", "row 4: half", "Write numbers"]),
        ("loss_web", 0, ["not positive and finite", "row 4: 0", "Leave the cell"]),
        ("loss_web", -1.5, ["not positive and finite", "row 4: -1.5", "Leave the cell"]),
        ("loss_web", np.inf, ["not positive and finite", "row 4: inf", "Leave the cell"]),
        ("loss_code", "diverged", ["losses that are text", "row 4: diverged", "leave the cell"]),
        ("tokens", 0, ["not positive and finite", "row 4: 0", "Leave out the row"]),
        ("tokens", -5, ["not positive and finite", "row 4: -5", "Leave out the row"]),
        ("tokens", np.inf, ["not positive and finite", "row 4: inf", "Leave out the row"]),
        ("tokens", None, ["budgets missing", "row 4", "Every row needs"]),
        ("tokens", "1 box", ["budgets that are text", "row 4: 1 box", "Write numbers"]),
        ("run", None, ["run names missing", "row 4", "Name the run"]),
    ],
)
def test_a_bad_cell_is_found_with_its_column_row_value_and_remedy(column, value, words):
    line = only_finding(with_cell(wide_frame(), 4, column, value))
    assert line.startswith(f"column {column}: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize("column", ["r_web", "loss_web", "tokens"])
@pytest.mark.parametrize(
    "values", [[True] * 9, pd.date_range("2020", periods=9), [1 + 2j] * 9, [[1.0]] * 9]
)
def test_what_pandas_would_turn_into_numbers_is_refused(column, values):
    line = only_finding(wide_frame(**{column: values}))
    assert f"column {column}" in line
    assert f"row 1: {values[0]}" in line


@pytest.mark.parametrize("types", ["object", "string", "category"])
def test_numbers_in_columns_of_other_types_are_read_to_the_last_bit(types):
    assert read_sweep(wide_frame().astype(types)).digest() == read_sweep(wide_frame()).digest()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("loss", -1.5, ["column loss of code", "row 4: -1.5"]),
        ("loss", "diverged", ["column loss of code", "text", "row 4: diverged"]),
        ("tokens", None, ["column tokens", "missing", "row 4"]),
        ("tokens", "1 box", ["column tokens", "text", "row 4: 1 box"]),
        ("domain", None, ["column domain", "names missing", "row 4"]),
        ("proportion", 0.3, ["column proportion", "two mixtures", "row 4: a code 0.3"]),
        ("proportion", "half", ["column proportion", "text", "row 4: a code half"]),
    ],
)
def test_a_bad_cell_of_a_long_table_is_found_in_its_own_row(column, value, words):
    line = only_finding(with_cell(long_frame(), 4, column, value))
    for word in words:
        assert word in line


@pytest.mark.parametrize(("value", "words"), [(0.3, "two mixtures"), ("half", "text")])
def test_proportions_beside_each_target_of_a_point_are_all_looked_at(value, words):
    points = wide_frame()[["run", "tokens", "r_web", "r_code"]]
    frame = pd.concat([points.assign(target=t, loss=2.0) for t in ("web", "code")])
    frame = frame.sort_values(["run", "tokens"]).reset_index(drop=True)
    assert read_sweep(frame).targets == ("web", "code")
    row = 2  # the second target of the first point
    line = only_finding(with_cell(frame, row, "r_code", value))
    assert line.startswith("column r_code: ")
    assert words in line
    assert f"(row {row}: " in line


def test_a_row_of_a_long_table_without_a_run_is_found():
    lines = findings(with_cell(long_frame(), 4, "run", None))
    assert any(line.startswith("column run: run names missing (row 4: nan)") for line in lines)


@pytest.mark.parametrize("value", ["half", -0.8, np.inf])
def test_a_bad_proportion_of_a_long_table_is_named(value):
    frame = long_frame()
    of_run = (frame["run"] == "a") & (frame["domain"] == "code")
    frame["proportion"] = frame["proportion"].astype(object).where(~of_run, value)
    line = only_finding(frame)
    assert line.startswith("column proportion of code: ")
    assert f"row 2: {value}" in line


def test_a_domain_that_a_run_of_a_long_table_lacks_is_missing():
    frame = long_frame()
    line = only_finding(frame[~((frame["run"] == "b") & (frame["domain"] == "code"))])
    assert line.startswith("column proportion of code: proportions missing (row 7: nan")


def test_a_long_table_without_proportions_or_names_says_so():
    assert "domain and proportion: no row has both" in message(long_frame(proportion=np.nan))
    assert "domain and loss: no row has both" in message(long_frame(domain=None))


@pytest.mark.parametrize(("total", "shown"), [(0.97, "0.97"), (1.03, "1.03")])
def test_rows_that_sum_wrongly_are_shown_with_their_sum(total, shown):
    frame = wide_frame()
    line = only_finding(with_cell(frame, 2, "r_code", total - frame["r_web"][1]))
    assert line.startswith("proportions: rows that do not sum to 1")
    assert f"row 2: {shown})" in line
    assert "divide each row by its sum" in line


def test_sums_are_checked_in_the_rows_beside_a_bad_cell():
    frame = with_cell(with_cell(wide_frame(), 1, "r_web", "x"), 9, "r_code", 0.1)
    lines = findings(frame)
    assert any("row 1: x" in line for line in lines)
    assert any("do not sum to 1 (row 9: 0.6)" in line for line in lines)


def test_rows_close_to_1_are_normalised_with_one_warning_that_counts_them():
    frame = wide_frame()
    frame.loc[frame["run"] == "a", "r_web"] = 0.21
    sweep, said = warned(frame)
    assert said == ["The proportions of 1 of 3 mixtures summed to 1.01 and were normalised to 1."]
    np.testing.assert_allclose(sweep.mixture[0], [0.21 / 1.01, 0.8 / 1.01], rtol=1e-15)
    np.testing.assert_allclose(sweep.mixture.sum(axis=1), 1, rtol=1e-15)


def test_rounding_in_the_last_digit_is_normalised_without_a_word():
    frame = wide_frame()
    frame.loc[frame["run"] == "a", "r_web"] = 0.200001
    sweep, said = warned(frame)
    assert not said
    np.testing.assert_allclose(sweep.mixture.sum(axis=1), 1, rtol=1e-15)


def test_percentages_are_divided_by_100_with_a_warning():
    frame = wide_frame()
    percent = frame.assign(r_web=100 * frame["r_web"], r_code=100 * frame["r_code"])
    sweep, (said,) = warned(percent)
    assert "percentages" in said
    np.testing.assert_allclose(sweep.mixture, read_sweep(frame).mixture, rtol=1e-15)


def test_percentages_that_sum_wrongly_are_errors_of_their_row_alone():
    frame = wide_frame()
    percent = frame.assign(r_web=100 * frame["r_web"], r_code=100 * frame["r_code"])
    line = findings(with_cell(percent, 9, "r_code", 30))[0]
    assert "do not sum to 100 (row 9: 80.0)" in line


def test_a_point_twice_is_found():
    frame = wide_frame()
    line = only_finding(pd.concat([frame, frame.iloc[[3]]]))
    assert line.startswith("run and budget: the same point twice (row 10: b at 1e+09)")
    assert "run=" in line
    assert "budget=" in line


def test_a_point_twice_in_a_long_table_is_found():
    frame = long_frame()
    line = only_finding(pd.concat([frame, frame.iloc[[3]]]))
    assert "the same point twice (row 19: a 2000000000.0 code)" in line


def test_runs_of_several_rows_without_budgets_are_told_the_column_that_may_hold_them():
    line = only_finding(wide_frame().rename(columns={"tokens": "iteration"}))
    assert line.startswith("column run: runs have several rows, and no column is called tokens")
    assert "--budget-column iteration" in line
    alone = only_finding(wide_frame().drop(columns="tokens").assign(lr=0.1, remark="x"))
    assert "with budget= (--budget-column), or keep one row per run" in alone


def test_an_empty_run_column_names_no_run():
    for empty in (None, np.nan, "", "  "):
        sweep, said = warned(wide_frame(run=empty))
        assert not said
        assert len(sweep.runs) == 3
        assert sweep.notes[0] == "Column run is empty, so it names no run."
    line = only_finding(with_cell(wide_frame(), 5, "run", "   "))
    assert "run names missing (row 5" in line


@pytest.mark.parametrize("counted", [[1e9, 4e9, 5e8], [1e9, 1e9, 1e9], [3.0, 2.0, 2.0]])
def test_tokens_that_do_not_rise_with_the_steps_are_no_budgets(counted):
    tokens = wide_frame()["tokens"].tolist()
    tokens[3:6] = counted
    frame = wide_frame(tokens=tokens, step=[10, 20, 30] * 3)
    line = only_finding(frame.sample(frac=1, random_state=1))
    assert "column tokens: does not rise with step in run b (" in line
    assert f"b at step 30 has {counted[2]:g}" in line
    assert "--budget-column step" in line
    assert read_sweep(frame, budget="step").unit == "steps"


def test_losses_stated_as_nan_are_counted_with_their_runs():
    frame = with_cell(with_cell(wide_frame(), 5, "loss_web", "NaN"), 9, "loss_web", "nan ")
    sweep, _ = warned(frame)
    assert "2 losses that are not finite left out (b, c)." in sweep.notes


def test_missing_budgets_are_not_also_called_duplicates():
    frame = with_cell(with_cell(wide_frame(), 1, "tokens", None), 2, "tokens", None)
    assert "budgets missing (row 1: nan; row 2: nan)" in only_finding(frame)


def test_a_run_with_two_mixtures_is_found():
    frame = with_cell(with_cell(wide_frame(), 5, "r_web", 0.3), 5, "r_code", 0.7)
    line = only_finding(frame)
    assert line.startswith("run: a run with two mixtures (row 5: b)")


@pytest.mark.parametrize(
    ("column", "sizes"),
    [
        ("model_size", [70, 160]),
        ("model_size", ["70M", "160M"]),
        ("n_params", [1.5e8, 2.5e8]),
        ("params", [70, "160M"]),
    ],
)
@pytest.mark.parametrize("make", [wide_frame, long_frame])
def test_several_model_sizes_are_listed_and_nothing_else_is_blamed(make, column, sizes):
    parts = [make().assign(**{column: size}) for size in sizes]
    both = pd.concat(parts).astype({column: object})
    line = only_finding(both)
    assert line.startswith(f"column {column}: several model sizes: {sizes[0]}, {sizes[1]}.")
    assert f"select={{'{column}': {sizes[0]!r}}}" in line
    assert read_sweep(both, select={column: sizes[1]}).runs == ("a", "b", "c")


def test_a_column_that_names_runs_or_budgets_is_no_model_size():
    frame = wide_frame().rename(columns={"run": "model", "tokens": "params"})
    assert read_sweep(frame, run="model", budget="params").runs == ("a", "b", "c")


def test_targets_none_of_which_is_a_domain_are_read_with_a_note():
    frame = wide_frame().rename(columns={"loss_web": "loss_quiz", "loss_code": "loss_essay"})
    sweep, said = warned(frame)
    assert sweep.targets == ("quiz", "essay")
    assert not said
    assert sweep.notes[-1].startswith("No target is a domain, so laws of a domain's own share")


def test_a_target_in_common_that_was_never_measured_does_not_count():
    frame = wide_frame(loss_web=np.nan).rename(columns={"loss_code": "loss_x"})
    assert warned(frame)[0].notes[-1].startswith("No target is a domain")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("wweb", "essay"), ["Domain web has no loss, and target wweb is not a domain"]),
        (("held-out web", "code (val)"), ["target held-out web is", "target code (val) is"]),
        (("cobweb", "decode"), []),
    ],
)
def test_names_that_nearly_match_are_pointed_at_where_none_does(names, words):
    columns = dict(zip(("loss_web", "loss_code"), [f"loss_{n}" for n in names], strict=True))
    _, said = warned(wide_frame().rename(columns=columns))
    assert len(said) == len(words)
    for sentence, word in zip(said, words, strict=True):
        assert word in sentence


@pytest.mark.parametrize(("r", "y"), [("train_", "val_"), ("pile/", ""), ("", "eval.")])
def test_names_meet_without_what_all_columns_share_and_it_is_said(r, y):
    names = {f"r_{d}": f"r_{r}{d}" for d in ("web", "code")}
    names |= {f"loss_{d}": f"loss_{y}{d}" for d in ("web", "code")}
    sweep = read_sweep(wide_frame().rename(columns=names))
    assert sweep.digest() == read_sweep(wide_frame()).digest()
    assert sweep.notes == (
        "No target has a domain's name until the parts that all columns share are cut: "
        f"r_{r}web and loss_{y}web are web.",
    )


def test_a_single_target_is_not_cut_to_a_domain():
    frame = wide_frame().drop(columns="loss_code").rename(columns={"loss_web": "loss_quiz_web"})
    sweep, (said,) = warned(frame)
    assert sweep.targets == ("quiz_web",)
    assert "Domain web has no loss, and target quiz_web is not a domain" in said


def test_a_single_mixture_is_an_error():
    line = only_finding(wide_frame(r_web=0.3, r_code=0.7))
    assert "all runs have one mixture" in line
    assert "Add runs" in line


def test_mixtures_that_differ_by_rounding_alone_are_a_single_one():
    share = np.array([1 / 128] * 3 + [np.nextafter(1 / 128, 1)] * 6)
    assert "all runs have one mixture" in only_finding(wide_frame(r_web=share, r_code=1 - share))


def test_no_measured_loss_is_an_error():
    line = only_finding(wide_frame(loss_web=np.nan, loss_code=np.nan))
    assert line == "losses: no loss is measured. Fill in the loss columns."


def test_all_findings_are_in_one_error():
    frame = wide_frame(model_size=[1] * 5 + [2] * 4)
    for row, column, value in [
        (1, "r_web", -0.1), (2, "r_code", "x"), (3, "loss_web", 0), (4, "loss_code", "y"),
        (5, "tokens", None), (6, "tokens", -1), (9, "r_code", 0.1),
    ]:  # fmt: skip
        frame = with_cell(frame, row, column, value)
    text = "\n".join(lines := findings(frame))
    assert len(lines) == 8
    for words in ["row 1: -0.1", "row 2: x", "row 3: 0", "row 4: y", "row 5: nan", "row 6: -1",
                  "row 9: 0.6", "model sizes: 1, 2"]:  # fmt: skip
        assert words in text


def test_many_bad_rows_are_counted_and_three_are_shown():
    line = only_finding(wide_frame(loss_web=-1.0))
    assert "row 1: -1.0; row 2: -1.0; row 3: -1.0, 9 rows" in line
    assert "row 4" not in line


def test_rows_of_a_selection_are_those_of_the_file():
    frame = pd.concat([wide_frame(model_size=1), wide_frame(model_size=2)])
    line = only_finding(with_cell(frame, 13, "loss_web", -1), select={"model_size": 2})
    assert "row 13: -1" in line


def test_empty_loss_cells_are_masked_counted_and_no_error():
    frame = with_cell(with_cell(wide_frame(), 2, "loss_web", None), 3, "loss_code", "")
    sweep, said = warned(frame)
    assert not said
    assert sweep.notes == ("2 of 18 loss cells are empty and were left out.",)
    assert np.argwhere(np.isnan(sweep.loss)).tolist() == [[1, 0], [2, 1]]


def test_a_target_without_any_loss_is_left_out_and_noted():
    sweep = read_sweep(wide_frame(loss_prose=np.nan))
    assert sweep.targets == ("web", "code")
    assert sweep.notes == ("Targets without any loss left out: prose.",)


def test_a_domain_that_no_run_used_is_kept_and_noted():
    sweep = read_sweep(wide_frame(r_prose=0))
    assert sweep.domains == ("web", "code", "prose")
    assert sweep.notes == ("Domains that no run was trained on: prose.",)


def test_perplexities_are_warned_of():
    frame = wide_frame()
    _, (said,) = warned(frame.assign(loss_web=60.0, loss_code=50.0 - frame["tokens"] / 1e9))
    assert "looks like perplexities" in said
    assert "take the logarithm" in said


def test_columns_named_as_perplexities_are_warned_of_unless_their_unit_is_stated():
    frame = wide_frame().rename(columns=lambda name: name.replace("loss_", "val-PPL/"))
    with pytest.warns(SweepWarning, match="named as perplexities.*val-PPL/web.*loss_unit="):
        sweep = read_sweep(frame, loss_prefix="val-PPL/")
    assert "named as perplexities" in sweep.notes[0]
    stated = read_sweep(frame, loss_prefix="val-PPL/", metadata={"loss_unit": "perplexity"})
    np.testing.assert_allclose(stated.loss, np.log(sweep.loss))
    assert not any("named as perplexities" in note for note in stated.notes)


def test_domains_named_by_perplexities_and_logarithms_of_them_are_no_doubt():
    names = {f"{kind}code": f"{kind}ppl_low" for kind in ("r_", "loss_")}
    assert read_sweep(wide_frame().rename(columns=names)).notes == ()
    logs = wide_frame().rename(columns=lambda name: name.replace("loss_", "log_ppl_"))
    assert read_sweep(logs, loss_prefix="log_ppl_").notes == ()


def test_perplexities_of_one_target_are_warned_of_by_name():
    frame = wide_frame()
    _, (said,) = warned(frame.assign(loss_code=np.exp(frame["loss_code"] + 3)))
    assert said.startswith("The median loss of code is ")
    assert "looks like perplexities" in said


@pytest.mark.parametrize("factor", [12, 1000, 0.1])
def test_a_loss_whose_decimal_point_is_lost_is_warned_of_with_its_place(factor):
    frame = with_cell(wide_frame(), 2, "loss_code", factor * wide_frame()["loss_code"][2])
    _, said = warned(frame)
    (far,) = [each for each in said if "lost decimal points" in each]
    run, budget = frame["run"].iloc[1], frame["tokens"].iloc[1]
    assert far.startswith(f"1 loss is more than 8 times above or below the median of the target "
                          f"(code in run {run} at {budget:g}: ")  # fmt: skip


@pytest.mark.parametrize("digits", [3, 12])
def test_a_row_of_means_is_no_run(digits):
    frame = wide_frame()
    means = frame.mean(numeric_only=True).round(digits).to_dict()
    found = only_finding(pd.concat([frame, pd.DataFrame([{"run": "x", **means}])]))
    assert found.startswith(f"rows: a row that holds the means of all others (row {len(frame) + 1}")


@pytest.mark.parametrize("name", ["Mean", " average", "TOTAL"])
def test_a_run_labelled_like_a_summary_is_warned_of(name):
    _, said = warned(wide_frame().replace({"run": {"b": name}}))
    assert f"Run {name.strip()} is labelled like a summary of other rows" in said[-1]


@pytest.mark.parametrize("other", ["A", "a\u200b", "'a", '"A"'])
def test_labels_that_differ_in_case_quotes_or_invisible_characters_are_warned_of(other):
    _, (said,) = warned(with_cell(wide_frame(), 0, "run", other))
    assert said.startswith("Runs ")
    assert "differ only in case, blanks, quotes or Unicode form" in said


@pytest.mark.parametrize("kind", ["loss_", "r_"])
def test_columns_of_one_name_in_two_spellings_are_one_where_no_row_has_both(kind):
    frame = wide_frame()
    rows = frame.to_dict("records")
    rows[2][f"{kind}Code "] = rows[2].pop(f"{kind}code")
    sweep = read_sweep(pd.DataFrame(rows))
    assert sweep.digest() == read_sweep(frame).digest()
    assert "'Code' is 'code'" in sweep.notes[0]
    rows[2][f"{kind}code"] = 0.1
    if kind == "loss_":
        assert set(read_sweep(pd.DataFrame(rows)).targets) == {"web", "code", "Code"}


def test_two_targets_with_one_loss_everywhere_are_warned_of():
    frame = wide_frame()
    _, (said,) = warned(frame.assign(loss_code_x=frame["loss_code"]))
    assert said.startswith("Targets code, code_x have the same loss in every row")


def test_a_unit_behind_a_name_is_pointed_at():
    _, (said,) = warned(wide_frame().rename(columns={"loss_code": "loss_code (nats)"}))
    assert "Domain code has no loss, and target code (nats) is not a domain" in said


def test_losses_that_rise_along_a_run_are_warned_of_by_name():
    frame = wide_frame()
    rising = with_cell(frame, 6, "loss_code", 1.05 * frame["loss_code"][4]).astype(
        {"loss_code": float}
    )
    _, (said,) = warned(rising.sample(frac=1, random_state=0))
    assert said.startswith("1 of 6 curves")
    assert "code in run b" in said


def test_a_target_like_a_score_is_said_to_be_one_instead_of_a_diverged_run():
    frame = wide_frame()
    _, (said,) = warned(frame.assign(loss_quiz=1 - frame["loss_web"] / 10))
    assert said.startswith("More seems to be better in quiz (between 0 and 1, and rising along")


def test_a_score_of_0_is_said_to_be_no_loss():
    line = only_finding(with_cell(wide_frame(loss_quiz=0.2), 4, "loss_quiz", 0))
    assert "row 4: 0" in line
    assert "If more is better in it, say so: metadata={'higher_is_better': ['quiz']}" in line


def test_losses_that_rise_within_the_noise_are_not():
    frame = wide_frame()
    noisy = with_cell(frame, 6, "loss_code", 1.01 * frame["loss_code"][4])
    assert not warned(noisy)[1]


def test_losses_of_one_run_under_a_misspelled_name_are_pointed_at():
    table = wide_frame().rename(columns={"loss_code": "loss_codes"})
    there = table["run"] == "a"
    split = table.assign(
        loss_cods=table["loss_codes"].where(there), loss_codes=table["loss_codes"].mask(there)
    )
    with pytest.warns(SweepWarning, match="Target cods has losses only where codes has none"):
        read_sweep(split)
    both = split.assign(loss_codes=table["loss_codes"])
    assert not any("only where" in note for note in read_sweep(both).notes)


def test_losses_under_a_misspelled_name_are_pointed_at():
    table = wide_frame()
    for name, message in (
        ("los_web", "Column los_web is not read; if it holds losses, call it loss_web"),
        ("loss_weeb", "Domain web has no loss, and target weeb is not a domain: if they are one"),
        ("loss_wbe", "Domain web has no loss, and target wbe is not a domain: if they are one"),
    ):
        with pytest.warns(SweepWarning, match=message):
            sweep = read_sweep(table.rename(columns={"loss_web": name}))
        assert any(message in note for note in sweep.notes)
    fewer = read_sweep(table.drop(columns="loss_web").assign(loss_exam=2.0, warmth=1.0))
    assert fewer.notes == ()


@pytest.mark.parametrize("unit", [" (nats)", " [%]", "(bits)"])
def test_a_unit_that_became_a_part_of_a_name_is_noted(unit):
    names = {f"{kind}code": f"{kind}code{unit}" for kind in ("r_", "loss_")}
    sweep = read_sweep(wide_frame().rename(columns=names))
    assert f"code{unit}" in sweep.targets
    assert [each for each in sweep.notes if f"code{unit}: the unit is a part of the name" in each]
    assert not [each for each in read_sweep(wide_frame()).notes if "unit" in each]


def test_a_target_that_is_the_mean_of_domains_is_warned_of():
    frame = wide_frame()
    domains = [name.removeprefix("loss_") for name in frame if name.startswith("loss_")]
    mean = frame[[f"loss_{name}" for name in domains]].mean(axis=1).round(4)
    _, (said,) = warned(frame.assign(loss_tongue=mean))
    assert said.startswith(f"Target tongue is the mean of {', '.join(domains)} in every row")
    near = mean * (1 + 0.001 * np.cos(np.arange(len(frame))))
    assert not warned(frame.assign(loss_tongue=near))[1]


def test_a_target_that_is_a_weighted_mean_of_domains_is_warned_of():
    frame, rng = wide_frame(), np.random.default_rng(0)
    domains = [name for name in frame if name.startswith("loss_")]
    frame[domains] *= rng.uniform(0.9, 1.1, (len(frame), len(domains)))
    mean = (frame[domains] @ [0.7, 0.3]).round(4)
    _, (said,) = warned(frame.assign(loss_tongue=mean))
    names = [name.removeprefix("loss_") for name in domains]
    assert said.startswith(f"Target tongue is a weighted mean of {', '.join(names)} in every row")
    for other in (mean * (1 + 0.001 * np.cos(np.arange(len(frame)))), 1.1 * mean):
        assert not warned(frame.assign(loss_tongue=other))[1]
