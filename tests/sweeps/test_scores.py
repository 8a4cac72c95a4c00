"""Targets in which more is better are refused by whatever fits or decides, unless stated."""

import dataclasses
import warnings

import jax
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching._table import fit_frame
from bimix_jax.sweeps.scores import scores_among
from tests.batching.tables import table_of_sweeps
from tests.fits import frame

pytestmark = [
    pytest.mark.filterwarnings("ignore:More seems to be better:bimix_jax.SweepWarning"),
    pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning"),
    pytest.mark.filterwarnings("ignore:lower_is_better. Names that differ only in case"),
]


def with_scores(name="quiz", top=1.0, **columns):
    """The shared world with one more target, which rises along every run."""
    table = frame(noise=0.002)
    rise = 1 - table["loss_web"] / (1.01 * table["loss_web"].max())
    return table.assign(**{f"loss_{name}": top * rise}, **columns)


@pytest.mark.parametrize(("name", "top"), [("quiz", 1.0), ("quiz", 100.0), ("quiz_acc", 3.0)])
@pytest.mark.parametrize(
    "use",
    [
        lambda s: bx.fit(s, bx.LogLinear()),
        lambda s: bx.compare(s, ["LogLinear", "AdditiveLaw"]),
        lambda s: bx.fit_many({"only": s}, bx.LogLinear())["only"],
    ],
    ids=["fit", "compare", "fit_many"],
)
def test_scores_are_refused_by_all_that_fits(name, top, use):
    sweep = bx.read_sweep(with_scores(name, top))
    with pytest.raises((ValueError, KeyError)) as error:
        use(sweep)
    for words in (f"better in {name} (", "the worst mixture", f"--metadata lower_is_better={name}"):
        assert words in str(error.value)


def test_what_shows_it_is_said():
    found = scores_among(bx.read_sweep(with_scores()), ["web", "quiz"])
    assert found == {"quiz": "between 0 and 1, and rising along 12 of 12 runs"}
    named = scores_among(bx.read_sweep(with_scores("quiz_acc")), ["quiz_acc"])
    assert named == {"quiz_acc": "by a word of the name"}


def test_a_law_of_domains_leaves_a_score_out_as_any_target_that_is_none():
    fitted = bx.fit(bx.read_sweep(with_scores("quiz_acc")), bx.BiMix())
    assert fitted.targets == ("web", "code", "books")


@pytest.mark.parametrize("name", ["quiz", "quiz_acc"])
def test_what_is_stated_is_believed_and_kept(name, tmp_path):
    stated = {"lower_is_better": name.upper()}
    sweep = bx.read_sweep(with_scores(name), metadata=stated)
    assert sweep.metadata.lower_is_better == (name,)
    assert not scores_among(sweep, sweep.targets)
    sweep.save(tmp_path / "sweep.parquet")
    kept = bx.read_sweep(tmp_path / "sweep.parquet")
    assert kept.metadata == sweep.metadata
    more = bx.read_sweep(tmp_path / "sweep.parquet", metadata={"lower_is_better": ["web"]})
    assert more.metadata.lower_is_better == (name, "web")


def test_a_target_that_is_stated_has_to_exist():
    with pytest.raises(ValueError, match="lower_is_better: quizz is unknown; expected only web"):
        bx.read_sweep(with_scores(), metadata={"lower_is_better": "quizz"})
    with pytest.raises(ValueError, match="lower_is_better is"):
        bx.Metadata(lower_is_better=[1])


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
    assert bx.optimize_mixture(fitted).weights["quiz_acc"] == 1
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


def test_a_batch_with_a_column_called_like_a_score_fails_it_by_name():
    table = table_of_sweeps(2).rename(columns={"loss_code": "loss_code_acc"})
    fits = fit_frame(table, BatchMethod(bx.AdditiveLaw()), tuple(jax.local_devices()))
    assert fits["reason"].str.contains("better in code_acc").all()


def refused_as_scores(sweep):
    return set(scores_among(sweep, sweep.targets)) == set(sweep.targets)


def test_what_says_so_is_not_cut_off_the_names():
    ends = frame(noise=0.002)
    ends = ends[ends["tokens"] == ends["tokens"].max()]
    wide = ends.rename(columns=lambda c: f"{c}_acc" if c.startswith("loss_") else c)
    assert refused_as_scores(bx.read_sweep(wide))
    prefixed = ends.rename(columns=lambda c: c.replace("loss_", "score_"))
    sweep = bx.read_sweep(prefixed, loss_prefix="score_")
    assert sweep.targets == ("score_web", "score_code", "score_books")
    assert refused_as_scores(sweep)
    shares, losses = ends.drop(columns=[c for c in ends if c.startswith("loss_")]), ends[["run"]]
    for name in ("metric/{}_acc", "acc/{}"):
        columns = {name.format(d): ends[f"loss_{d}"] for d in ("web", "code", "books")}
        pair = bx.read_sweep(shares.drop(columns="tokens"), losses.assign(**columns))
        assert refused_as_scores(pair)


def test_scores_of_a_pattern_of_logs_keep_their_names(tmp_path):
    for run, share in {"a": 0.2, "b": 0.6, "c": 0.5}.items():
        log = {"_step": [10, 20], "eval/web/acc": [share, share + 0.1], "eval/code/acc": 0.5}
        pd.DataFrame(log).to_csv(tmp_path / f"{run}.csv", index=False)
    runs = pd.DataFrame({"run": ["a", "b", "c"], "web": [0.2, 0.6, 0.5], "code": [0.8, 0.4, 0.5]})
    sweep = bx.read_logs(tmp_path, runs, loss_pattern="eval/{target}/acc", tokens_per_step=10)
    assert refused_as_scores(sweep)
