"""Scores among the targets: recognised, described, and refused where their direction is open."""

import dataclasses
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bimix_jax as bx
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._table import fit_frame
from bimix_jax.reading.targets import Target
from bimix_jax.sweeps.scores import scores_among
from tests.batching.tables import table_of_sweeps
from tests.fits import frame

pytestmark = [
    pytest.mark.filterwarnings("ignore:More seems to be better:bimix_jax.SweepWarning"),
    pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning"),
    pytest.mark.filterwarnings("ignore:targets. Names that differ only in case"),
]


def with_scores(name="quiz", top=1.0, **columns):
    """The shared world with one more target, which rises along every run."""
    table = frame(noise=0.002)
    rise = 1 - table["loss_web"] / (1.01 * table["loss_web"].max())
    return table.assign(**{f"loss_{name}": top * rise}, **columns)


@pytest.mark.parametrize(
    "use",
    [
        lambda s: bx.fit(s, bx.LogLinear()),
        lambda s: bx.compare(s, ["LogLinear", "AdditiveLaw"]),
        lambda s: bx.fit_many({"only": s}, bx.LogLinear())["only"],
    ],
    ids=["fit", "compare", "fit_many"],
)
@pytest.mark.parametrize("top", [1.0, 100.0])
def test_a_target_like_a_score_without_a_direction_is_refused_by_all_that_fits(top, use):
    sweep = bx.read_sweep(with_scores("quiz", top))
    with pytest.raises((ValueError, KeyError)) as error:
        use(sweep)
    for words in ("better in quiz (", "the worst mixture", "--metadata higher_is_better=quiz"):
        assert words in str(error.value)


def test_what_shows_it_is_said():
    found = scores_among(bx.read_sweep(with_scores()), ["web", "quiz"])
    assert found == {"quiz": "between 0 and 1, and rising along 12 of 12 runs"}


def scores_of(sweep):
    return {target.name: target for target in sweep.described if target.is_score}


@pytest.mark.parametrize("column", ["score_quiz", "loss_quiz_acc", "loss_pass@1", "loss_BLEU"])
def test_columns_and_names_of_scores_are_recognised_and_said(column):
    table = with_scores().rename(columns={"loss_quiz": column})
    sweep = bx.read_sweep(table)
    name = column.removeprefix("loss_").removeprefix("score_")
    assert scores_of(sweep) == {name: Target(name, "higher", maximum=1.0, unit="fraction")}
    np.testing.assert_allclose(sweep.loss[:, sweep.targets.index(name)], 1 - table[column])
    assert any(
        note.startswith(f"Taken as scores, of which more is better: {name}.")
        for note in sweep.notes
    )
    again = bx.read_sweep(sweep.to_frame())
    assert (again.metadata, again.digest()) == (sweep.metadata, sweep.digest())


def test_percent_and_fractions_are_told_apart_and_both_are_noted():
    table = with_scores("quiz_acc", 80.0)
    half = with_scores("exam_acc")["loss_exam_acc"]
    sweep = bx.read_sweep(table)
    assert scores_of(sweep)["quiz_acc"].unit == "percent"
    with pytest.warns(bx.SweepWarning, match="No score of exam_acc is above 1, while others are"):
        doubtful = bx.read_sweep(table.assign(loss_exam_acc=half))
    assert scores_of(doubtful)["exam_acc"].unit == "percent"
    stated = bx.read_sweep(
        table.assign(loss_exam_acc=half),
        metadata={"targets": {"exam_acc": {"unit": "fraction", "chance": 0.25}}},
    )
    assert scores_of(stated)["exam_acc"].maximum == 1
    place = stated.targets.index("exam_acc")
    np.testing.assert_allclose(stated.loss[:, place], (1 - half) / 0.75)
    assert "Scores are read as percent: quiz_acc." in stated.notes


def test_a_score_called_as_a_domain_keeps_its_column_s_name():
    table = with_scores().rename(columns={"loss_quiz": "score_code"})
    sweep = bx.read_sweep(table)
    assert sweep.targets == ("web", "code", "books", "score_code")
    assert "score_code" in sweep.to_frame()
    assert sweep.own_index().tolist() == [0, 1, 2, -1]
    with pytest.raises(bx.SweepError, match="code are called as domains"):
        bx.read_sweep(frame(), metadata={"higher_is_better": "code"})


TOML = """
[score_quiz]
chance = 0.25
family = "exams"
examples = 500
[web]
weight = 2
"""


@pytest.mark.parametrize("kind", ["toml", "csv", "mapping"])
def test_descriptions_come_from_a_file_a_table_or_a_mapping(kind, tmp_path):
    entries = {
        "score_quiz": {"chance": 0.25, "family": "exams", "examples": 500},
        "web": {"weight": 2},
    }
    if kind == "toml":
        (tmp_path / "targets.toml").write_text(TOML)
    if kind == "csv":
        rows = [{"target": name, **each} for name, each in entries.items()]
        pd.DataFrame(rows).to_csv(tmp_path / "targets.csv", index=False)
    given = entries if kind == "mapping" else str(tmp_path / f"targets.{kind}")
    table = with_scores().rename(columns={"loss_quiz": "score_quiz"})
    sweep = bx.read_sweep(table, metadata={"targets": given})
    assert sweep.metadata.targets == (
        Target("quiz", "higher", 0.25, 1.0, "fraction", "exams", None, 500),
        Target("web", weight=2.0),
    ) or sweep.metadata.targets[::-1] == (
        Target("quiz", "higher", 0.25, 1.0, "fraction", "exams", None, 500),
        Target("web", weight=2.0),
    )
    sweep.save(tmp_path / "sweep.parquet")
    assert bx.read_sweep(tmp_path / "sweep.parquet").metadata == sweep.metadata


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"quiz": {"chance": 1.0, "maximum": 1.0}}, "chance 1 of quiz is not below its maximum 1"),
        ({"quiz": {"direction": "up"}}, "direction of quiz is 'up'; expected lower or higher"),
        ({"quiz": {"unit": "Elo"}}, "the unit of quiz is 'Elo'; give its maximum"),
        ({"quiz": {"direction": "lower", "maximum": 1}}, "quiz has a range, but its direction is"),
        ({"quiz": {"weight": -1}}, "weight of quiz is -1; expected a number ≥ 0"),
        ({"quiz": {"examples": 0}}, "examples of quiz is 0; expected a number ≥ 1"),
        ({"quiz": {"family": ""}}, "family of quiz is ''; expected text"),
        ({"quiz": {"chanse": 1}}, "chanse is unknown; expected only name, .* Did you mean chance"),
        ({"quiz": 0.25}, r"quiz is 0.25; expected entries like .* a table \[quiz\]"),
        ({"quizz": {"chance": 0.2}}, "targets: quizz is unknown; expected only web"),
        ([{"chance": 0.2}], "has no name"),
        ([3], "3 is no description"),
        ([Target("quiz"), Target("quiz")], "quiz is described twice"),
    ],
)
def test_what_cannot_be_described_is_refused(described, words):
    with pytest.raises(ValueError, match=words):
        bx.read_sweep(with_scores(), metadata={"targets": described})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.2, r"scores above the maximum 1, .*row 4: 1\.2"),
        (-0.6, r"farther below chance 0\.25 than that is above it .*row 4: -0\.6"),
        ("much", "scores that are text"),
    ],
)
def test_scores_outside_their_range_are_found(value, words):
    table = with_scores().rename(columns={"loss_quiz": "score_quiz"})
    table["score_quiz"] = table["score_quiz"].astype(object)
    table.loc[3, "score_quiz"] = value
    described = {"quiz": {"chance": 0.25, "maximum": 1, "unit": "fraction"}}
    with pytest.raises(bx.SweepError, match=words):
        bx.read_sweep(table, metadata={"targets": described})


def test_a_maximum_that_is_reached_is_noted():
    table = with_scores().rename(columns={"loss_quiz": "score_quiz"})
    table.loc[3, "score_quiz"] = 1.0
    sweep = bx.read_sweep(table)
    assert "quiz reaches its maximum 1 at 1 point; laws see 1e-06 of its range less." in sweep.notes


def test_a_score_that_falls_along_the_runs_is_doubted_and_a_falling_loss_is_not():
    falling = with_scores().assign(score_odd=lambda t: t["loss_web"] / 10).drop(columns="loss_quiz")
    with pytest.warns(bx.SweepWarning, match="Score odd falls along 12 of 12 runs"):
        bx.read_sweep(falling)
    with warnings.catch_warnings():
        warnings.simplefilter("error", bx.SweepWarning)
        bx.read_sweep(with_scores().rename(columns={"loss_quiz": "score_quiz"}))


@given(
    chance=st.floats(0, 0.9),
    maximum=st.floats(1, 100),
    score=st.floats(-0.5, 1),
)
def test_scores_and_distances_are_inverse_and_of_opposite_direction(chance, maximum, score):
    target = Target("quiz", chance=chance, maximum=maximum)
    value = score * maximum
    distance = target.distance(value)
    assert target.score(distance) == pytest.approx(value, abs=1e-9)
    assert target.distance(value + 0.1) < distance
    assert target.distance(chance) == pytest.approx(1)
    assert abs(target.distance(maximum)) < 1e-12
    assert target.points(distance) == pytest.approx(100 * (maximum - value) / maximum)


def test_a_law_of_domains_leaves_a_score_out_as_any_target_that_is_none():
    fitted = bx.fit(bx.read_sweep(with_scores("quiz_acc")), bx.BiMix())
    assert fitted.targets == ("web", "code", "books")


@pytest.mark.parametrize("name", ["quiz", "quiz_acc"])
def test_what_is_stated_is_believed_and_kept(name, tmp_path):
    stated = {"lower_is_better": name.upper()}
    sweep = bx.read_sweep(with_scores(name), metadata=stated)
    assert sweep.metadata.targets == (Target(name, "lower"),)
    assert not scores_among(sweep, sweep.targets)
    sweep.save(tmp_path / "sweep.parquet")
    kept = bx.read_sweep(tmp_path / "sweep.parquet")
    assert kept.metadata == sweep.metadata
    more = bx.read_sweep(tmp_path / "sweep.parquet", metadata={"lower_is_better": ["web"]})
    assert {t.name for t in more.metadata.targets} == {name, "web"}
    assert more.metadata.shown() in (
        f"less is better in {name} and web",
        f"less is better in web and {name}",
    )


def test_a_target_that_is_stated_has_to_exist():
    with pytest.raises(ValueError, match="targets: quizz is unknown; expected only web"):
        bx.read_sweep(with_scores(), metadata={"lower_is_better": "quizz"})
    with pytest.raises(ValueError, match="lower_is_better is"):
        bx.read_sweep(with_scores(), metadata={"lower_is_better": [1]})


def test_a_domain_called_like_a_score_has_losses():
    names = {"r_web": "r_score", "loss_web": "loss_score"}
    sweep = bx.read_sweep(frame(noise=0.002).rename(columns=names))
    assert not scores_among(sweep, sweep.targets)
    assert bx.optimize_mixture(bx.fit(sweep, bx.BiMix())).weights["score"] == 1


@pytest.mark.parametrize("rising", [1, 5])
def test_a_loss_that_rises_in_a_few_runs_is_a_loss(rising):
    table = frame(noise=0.002)
    here = table["run"].isin([f"run{i:02}" for i in range(rising)])
    risen = table["loss_web"].where(~here, 0.2 + table["tokens"] / table["tokens"].max())
    sweep = bx.read_sweep(table.assign(loss_web=risen / risen.max()))
    assert not scores_among(sweep, sweep.targets)


def test_a_loss_that_neither_falls_nor_rises_is_a_loss():
    table = frame(noise=0.002)
    noise = np.random.default_rng(3).normal(0, 0.003, len(table))
    sweep = bx.read_sweep(table.assign(loss_odd=0.7 * (1 + noise), loss_flat=0.5))
    assert not scores_among(sweep, sweep.targets)


def test_values_above_100_are_no_score():
    sweep = bx.read_sweep(with_scores(top=300.0), metadata={"loss_unit": "nats"})
    assert not scores_among(sweep, sweep.targets)


def test_a_score_of_a_saved_fit_is_not_made_small():
    sweep = bx.read_sweep(with_scores("quiz_acc"), metadata={"lower_is_better": "quiz_acc"})
    fitted = bx.fit(sweep, bx.LogLinear())
    weights = dict.fromkeys(("web", "quiz_acc"), 1.0)
    assert bx.optimize_mixture(fitted, weights=weights).weights["quiz_acc"] == 1
    unstated = dataclasses.replace(fitted, metadata=bx.Metadata())
    with pytest.raises(ValueError, match="better in quiz_acc"):
        bx.optimize_mixture(unstated)
    assert bx.optimize_mixture(unstated, weights={"web": 1.0}).weights["quiz_acc"] == 0


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_score_in_a_batch_harms_no_other_sweep(shuffled):
    table = table_of_sweeps(4)
    one = table["sweep"] == "s2"
    table["loss_code"] = table["loss_code"].where(~one, 1 - table["loss_code"] / 20)
    if shuffled:
        table = table.groupby("sweep").sample(frac=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fits = fit_frame(table, BatchMethod(bx.BiMix()), tuple(jax.local_devices()))
    bad = fits[fits["code"] == "bad_data"]
    assert bad["sweep"].tolist() == ["s2"]
    assert "better in code (between 0 and 1" in bad["reason"].item()
    assert set(fits["sweep"]) == {"s0", "s1", "s2", "s3"}


def test_a_batch_fits_scores_by_absolute_residuals_as_a_fit_does():
    table = table_of_sweeps(2).rename(columns={"loss_code": "loss_code_acc"})
    table["loss_code_acc"] = 1 - table["loss_code_acc"] / 200
    one = bx.read_sweep(table[table["sweep"] == "s1"].drop(columns="sweep"))
    law, absolute = bx.AdditiveLaw(), {"residual": "absolute"}
    many = bx.fit_many({"s1": one}, law, targets=["code_acc"], **absolute)
    alone = bx.fit(one, law, targets=["code_acc"], **absolute)
    np.testing.assert_allclose(many["s1"].sum_of_squares, alone.sum_of_squares, rtol=1e-5)
    fits = fit_frame(table, BatchMethod(law), tuple(jax.local_devices()))
    assert fits["reason"].str.contains("code_acc are scores; a batch fits scores by abs").all()


def all_are_scores(sweep):
    return set(scores_of(sweep)) == set(sweep.targets)


def test_what_says_so_is_not_cut_off_the_names():
    ends = frame(noise=0.002)
    ends = ends[ends["tokens"] == ends["tokens"].max()]
    losses = [c for c in ends if c.startswith("loss_")]
    ends[losses] = 1 - ends[losses] / 20
    wide = ends.rename(columns=lambda c: f"{c}_acc" if c.startswith("loss_") else c)
    assert all_are_scores(bx.read_sweep(wide))
    prefixed = ends.rename(columns=lambda c: c.replace("loss_", "score_"))
    for sweep in (bx.read_sweep(prefixed), bx.read_sweep(prefixed, loss_prefix="score_")):
        assert sweep.targets == ("score_web", "score_code", "score_books")
        assert all_are_scores(sweep)
    shares, runs = ends.drop(columns=losses), ends[["run"]]
    for name in ("metric/{}_acc", "acc/{}"):
        columns = {name.format(d): ends[f"loss_{d}"] for d in ("web", "code", "books")}
        assert all_are_scores(bx.read_sweep(shares.drop(columns="tokens"), runs.assign(**columns)))


def test_scores_of_a_pattern_of_logs_keep_their_names(tmp_path):
    for run, share in {"a": 0.2, "b": 0.6, "c": 0.5}.items():
        log = {"_step": [10, 20], "eval/web/acc": [share, share + 0.1], "eval/code/acc": 0.5}
        pd.DataFrame(log).to_csv(tmp_path / f"{run}.csv", index=False)
    runs = pd.DataFrame({"run": ["a", "b", "c"], "web": [0.2, 0.6, 0.5], "code": [0.8, 0.4, 0.5]})
    sweep = bx.read_logs(tmp_path, runs, loss_pattern="eval/{target}/acc", tokens_per_step=10)
    assert all_are_scores(sweep)
