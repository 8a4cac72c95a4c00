"""What is doubtful about a sweep is found, and what is sound is left alone."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.diagnosis._measurements import (
    Severity,
    observe_budgets,
    observe_losses,
    observe_mixtures,
    observe_targets,
    rank_and_condition,
)
from bimix_jax.diagnosis.diagnose import _errors_by_first_budget, _identifiable_laws, _observe_early
from tests.fits import DOMAINS, RUNS, frame, last_budget, without_web

OBSERVERS = (observe_targets, observe_losses, observe_mixtures, observe_budgets)


def sweep_of(table):
    return bx.read_sweep(table, metadata={"tokenizer": "gpt2"})


def seen(table):
    """What is observed but for laws, which compile: severity by what."""
    sweep = sweep_of(table)
    return {o.what: o.severity for observe in OBSERVERS for o in observe(sweep)}


def finds(table, words, severity=Severity.WARNING):
    found = [s for what, s in seen(table).items() if words in what]
    return found == [severity]


@pytest.fixture(autouse=True)
def _quiet():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bx.SweepWarning)
        yield


def test_a_sound_sweep_gives_notes_only():
    found = seen(frame(noise=0.002))
    assert set(found.values()) == {Severity.NOTE}
    assert any("No mixture was run twice" in what for what in found)
    assert any(what.startswith("Not stated") for what in found)


def test_a_mean_that_counts_losses_twice_and_columns_that_count_nothing_are_named():
    table = frame()
    mean = table[[f"loss_{domain}" for domain in DOMAINS]].mean(axis=1).round(4)
    more = table.assign(loss_avg=mean, gpu_hours=3.5)
    assert finds(more, f"Target avg is the mean of {', '.join(DOMAINS)} in every row, so their")
    assert finds(more, "Other columns, neither proportions nor losses: gpu_hours", Severity.NOTE)
    assert not [what for what in seen(table) if "the mean of" in what or "Other columns" in what]


@pytest.mark.parametrize(
    ("columns", "near"),
    [
        (
            {"loss_books": "loss_bookss"},
            "; targets that are not a domain: bookss; bookss may be books",
        ),
        ({"loss_books": "loss_novels"}, "; targets that are not a domain: novels"),
        ({}, ""),
    ],
)
def test_a_domain_that_nothing_measures_is_the_first_line(columns, near):
    table = frame(noise=0.002).rename(columns=columns)
    table = table if columns else table.assign(loss_books=np.nan)
    first = bx.diagnose(sweep_of(table)).observations[0]
    assert first.severity is Severity.WARNING
    assert first.what == f"Domains that no target measures: books{near}"
    assert "only because nothing measures it" in first.advice


def test_targets_none_of_which_is_a_domain_are_a_note_with_the_laws_that_can():
    names = {f"loss_{d}": f"loss_exam{i}" for i, d in enumerate(DOMAINS)}
    (found,) = observe_targets(sweep_of(frame(noise=0.002).rename(columns=names)))
    assert found.severity is Severity.NOTE
    assert found.what == "No target is a domain (exam0, exam1, exam2)"
    assert "TransferBiMix" in found.advice
    assert " BiMix" not in found.advice
    (found,) = observe_targets(sweep_of(frame(noise=0.002)[
        ["run", "tokens", *(f"r_{d}" for d in DOMAINS), "loss_web"]
    ].rename(columns={"loss_web": "loss_val_web"})))  # fmt: skip
    assert found.severity is Severity.WARNING
    assert "val_web may be web" in found.what


def test_budgets_that_break_the_law_are_advised_to_be_left_out():
    sound = sweep_of(frame(noise=0.002))
    assert not list(_observe_early(sound))
    early = sound.budget < np.unique(sound.budget)[2]
    off = np.where(early[:, None], 1.5 * sound.loss, sound.loss)
    (found,) = _observe_early(dataclasses.replace(sound, loss=off))
    assert found.severity is Severity.WARNING
    assert f"--from-budget {np.unique(sound.budget)[2]:.10g}" in found.advice
    cuts, errors = _errors_by_first_budget(dataclasses.replace(sound, loss=off))
    assert errors[0] > 5 * errors[2]
    np.testing.assert_allclose(errors[2], _errors_by_first_budget(sound)[1][2], rtol=1e-4)
    assert cuts.tolist() == np.unique(sound.budget)[:5].tolist()


def test_too_few_budgets_and_scores_say_nothing_of_early_ones():
    table = frame(noise=0.002)
    last = table[table["tokens"] >= np.sort(table["tokens"].unique())[-4]]
    assert not len(_errors_by_first_budget(sweep_of(last))[0])
    scores = {f"score_{d}": 1 - table.pop(f"loss_{d}") / 200 for d in DOMAINS}
    assert not len(_errors_by_first_budget(sweep_of(table.assign(**scores)))[0])


def test_what_each_law_needs_is_said():
    laws = _identifiable_laws(sweep_of(frame(noise=0.002)))
    assert laws.loc["BiMix", ["needs_mixtures", "needs_budgets"]].tolist() == [2, 3]
    assert laws.loc["LogLinear", ["needs_mixtures", "needs_budgets"]].tolist() == [3, 3]
    assert laws.loc["TransferBiMix", "needs_mixtures"] == len(DOMAINS) + 1
    assert (laws["needs_mixtures"] <= laws["coefficients"]).all()


def test_a_target_that_is_split_by_a_misspelling_is_named_as_the_cause():
    table = frame(noise=0.002)
    there = table["run"] == table["run"].iloc[0]
    table = table.assign(
        loss_boks=table["loss_books"].where(there), loss_books=table["loss_books"].mask(there)
    )
    found = bx.diagnose(sweep_of(table))
    assert any("boks may be books" in o.what for o in found.observations)
    assert found.laws.loc["AdditiveLaw", "least_for"] == "boks"
    assert any("for boks)" in o.what for o in found.observations)


def test_a_sweep_with_all_that_a_law_needs_determines_it():
    table = frame(noise=0.002)
    for budgets in (2, 3):
        last = table[table["tokens"] >= np.sort(table["tokens"].unique())[-budgets]]
        laws = _identifiable_laws(sweep_of(last))
        enough = (laws["needs_mixtures"] <= RUNS) & (laws["needs_budgets"] <= budgets)
        np.testing.assert_array_equal(laws["determined"] == laws["coefficients"], enough)


def test_losses_stated_as_nan_are_a_warning():
    table = frame(noise=0.002).astype({"loss_web": object})
    table.loc[7, "loss_web"] = "NaN"
    assert finds(table, "1 loss that is not finite left out (run00)")


def test_one_target_measured_at_a_point_is_no_trouble(recwarn):
    table = frame(noise=0.002).iloc[: 8 * 4]
    table = table.assign(tokens=table["tokens"] * (1 + 1e-3 * np.arange(len(table))))
    for i, domain in enumerate(DOMAINS):
        here = np.arange(len(table)) % len(DOMAINS) == i
        table[f"loss_{domain}"] = table[f"loss_{domain}"].where(here)
    seen(table)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_a_target_like_a_score_is_an_error_without_its_direction():
    table = frame(noise=0.002)
    rising = table.assign(loss_exam=0.1 + 0.5 * table["tokens"] / table["tokens"].max())
    assert finds(rising, "better in exam (", Severity.ERROR)


def scaled(run, factor, table=None):
    table = frame(noise=0.002) if table is None else table
    here = table["run"] == run
    columns = [f"loss_{d}" for d in DOMAINS]
    return table.assign(**{c: table[c].where(~here, table[c] * factor) for c in columns})


def test_perplexities_are_an_error_unless_stated():
    table = frame(noise=0.002)
    table = table.assign(**{f"loss_{d}": np.exp(table[f"loss_{d}"] + 2) for d in DOMAINS})
    assert finds(table, "looks like perplexities", Severity.ERROR)
    stated = bx.read_sweep(table, metadata={"loss_unit": "perplexity"})
    assert not any("perplexities" in o.what for o in observe_losses(stated))


def test_columns_named_as_perplexities_are_an_error_unless_stated():
    table = frame(noise=0.002).rename(columns=lambda name: name.replace("loss_", "ppl_"))
    with pytest.warns(bx.SweepWarning, match="named as perplexities"):
        named = bx.read_sweep(table, loss_prefix="ppl_")
    (seen,) = [o for o in observe_losses(named) if "named as perplexities" in o.what]
    assert seen.severity is Severity.ERROR
    assert seen.advice.startswith("If all losses are perplexities, state --metadata")
    stated = bx.read_sweep(table, loss_prefix="ppl_", metadata={"loss_unit": "perplexity"})
    assert not any("perplexities" in o.what for o in observe_losses(stated))


def test_a_run_in_another_unit_is_seen():
    assert finds(scaled("run03", 1 / np.log(2)), "far from those of the others: run03 (1.4")


def test_a_loss_that_jumps_and_one_that_rises():
    table = frame(noise=0.002)
    table.loc[table.index[20], "loss_web"] *= 1.2
    assert finds(table, "1 loss jumps where those of other runs do not: web in run02")
    rising = frame(noise=0.002)
    rising.loc[rising.index[23], "loss_web"] *= 1.3
    assert finds(rising, "end more than 2 % above")


def test_percentages_and_gaps():
    table = frame(noise=0.002)
    percent = table.assign(**{f"r_{d}": 100 * table[f"r_{d}"] for d in DOMAINS})
    assert finds(percent, "sum to 100", Severity.NOTE)
    few = table.assign(loss_web=table["loss_web"].where(table.index != 3))
    assert finds(few, "1 of 288 loss cells are empty", Severity.NOTE)
    many = table.assign(loss_web=table["loss_web"].where(table.index % 3 > 0))
    assert finds(many, "loss cells are empty (web 33 %)")


def test_zeros_and_domains_never_used():
    assert finds(without_web(frame()), "Shares of exactly 0: web in 2 of 12", Severity.NOTE)
    assert finds(frame().assign(r_wiki=0.0), "no run was trained on: wiki")


def with_mixtures(values):
    """The losses of the usual sweep at mixtures (runs, domains) that are given."""
    repeated = np.repeat(values, 8, axis=0)
    return frame(noise=0.002).assign(
        **{f"r_{d}": repeated[:, i] for i, d in enumerate(DOMAINS)}
    )  # fmt: skip


def test_ties_near_ties_and_narrow_ranges():
    share = np.linspace(0.05, 0.3, RUNS)
    tied = np.column_stack([share, 2 * share, 1 - 3 * share])
    assert finds(with_mixtures(tied), "tied in every mixture: web, code")
    near = tied + 1e-4 * np.random.default_rng(0).standard_normal((RUNS, 1)) * [1, 0, -1]
    assert finds(with_mixtures(near), "nearly tied (condition number")
    narrow = np.column_stack([np.linspace(0.2, 0.22, RUNS), share])
    narrow = np.column_stack([narrow, 1 - narrow.sum(axis=1)])
    assert finds(with_mixtures(narrow), "hardly vary: web 0.2 to 0.22")


def test_rank_and_conditioning_are_those_of_the_matrix_of_mixtures():
    sweep = sweep_of(frame())
    rank, condition = rank_and_condition(sweep)
    assert rank == 3
    assert condition == pytest.approx(np.linalg.cond(sweep.mixtures))
    share = np.linspace(0.05, 0.3, RUNS)
    tied = np.column_stack([share, 2 * share, 1 - 3 * share])
    assert rank_and_condition(sweep_of(with_mixtures(tied))) == (2, np.inf)
    assert rank_and_condition(sweep_of(frame().assign(r_wiki=0.0)))[0] == 3


def test_few_mixtures_and_few_budgets():
    table = frame(noise=0.002)
    assert finds(table[table["run"] < "run03"], "3 mixtures of 3 domains")
    assert finds(last_budget(table), "A single budget")
    early = table["tokens"].isin(sorted(table["tokens"].unique())[:2])
    assert finds(table[early], "2 budgets")


def test_replicates_show_the_noise():
    table = frame(noise=0.002)
    again = frame(noise=0.002, seed=0).assign(run=lambda t: t["run"] + "b")
    shifted = again.assign(**{f"loss_{d}": again[f"loss_{d}"] * 1.01 for d in DOMAINS})
    expected = 100 * (0.01 / 1.005) / np.sqrt(2)
    assert finds(pd.concat([table, shifted]), f"differ by {expected:.2f} % per run", Severity.NOTE)


def test_laws_are_determined_by_enough_mixtures_and_budgets():
    whole = _identifiable_laws(sweep_of(frame()))
    assert set(whole["verdict"]) == {"determined"}
    assert whole.loc["BiMix", "coefficients"] == 4
    one_budget = _identifiable_laws(sweep_of(last_budget(frame())))
    assert one_budget.loc["BiMix", ["determined", "verdict"]].tolist() == [2, "undetermined"]
    table = frame()
    three = _identifiable_laws(sweep_of(table[table["run"] < "run02"]))
    assert three.loc["BiMix", "verdict"] == "determined"
    assert three.loc["TransferBiMix", "verdict"] == "held by its shrinkage"
    assert three.loc["AdditiveLaw", "verdict"] == "undetermined"


def test_the_rank_is_that_of_the_jacobian_by_differences():
    """BiMix at two budgets and one mixture: A·B, A·C and β, α hangs on the mixture."""
    table = frame()
    one_mixture = table[table["run"] == "run00"]
    other = table[(table["run"] == "run01") & (table["tokens"] == table["tokens"].max())]
    sweep = sweep_of(pd.concat([one_mixture, other]))

    def curve(theta):
        alpha, beta, ab, ac = theta
        s = sweep.budget / sweep.largest_budget
        return sweep.mixture[:, 0] ** -alpha * (ab * s**-beta + ac)

    at, steps = np.array([0.2, 0.4, 1.1, 0.9]), 1e-6 * np.eye(4)
    jacobian = np.stack([(curve(at + d) - curve(at - d)) / 2e-6 for d in steps], axis=1)
    rank = np.linalg.matrix_rank(jacobian, tol=1e-5)
    assert _identifiable_laws(sweep).loc["BiMix", "determined"] == rank


def test_observations_come_worst_first_and_nothing_is_compiled_twice(caplog):
    sweep = sweep_of(scaled("run03", 1 / np.log(2), without_web(frame(noise=0.002))))
    found = bx.diagnose(sweep)
    severities = [o.severity for o in found.observations]
    assert severities == sorted(severities, reverse=True)
    assert found.severity is Severity.WARNING
    assert found.domains.loc["web", "zeros"] == 2
    assert list(found.table()) == ["severity", "what", "advice"]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        bx.diagnose(sweep)
    assert "Compiling" not in caplog.text
