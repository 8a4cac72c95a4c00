"""Own prefixes and suffixes of columns, and tokens in billions: recognised, or refused."""

import numpy as np
import pandas as pd
import pytest

from bimix_jax import SweepError, read_logs, read_sweep
from bimix_jax.sweeps._recognised import with_tokens
from tests.frames import wide_frame

NAMES = {"r_": "r_{}", "loss_": "loss_{}"}


def lab_frame(shares: str, losses: str, scale: float = 1.0) -> pd.DataFrame:
    """Return the usual wide table with the names that a lab gives, {} being the domain."""
    frame = wide_frame()
    for usual, own in (("r_", shares), ("loss_", losses)):
        there = [c for c in frame if c.startswith(usual)]
        if usual == "r_":
            frame[there] *= scale
        frame = frame.rename(columns={c: own.format(c.removeprefix(usual)) for c in there})
    return frame


@pytest.mark.parametrize(
    ("shares", "losses", "scale"),
    [
        ("mixture_{}", "loss_{}", 1),
        ("w_{}", "val_{}", 1),
        ("pct/{}", "eval/{}/nll", 100),
        ("{}_share", "{}_xent", 1),
        ("{}", "Validation Loss {}", 1),
        ("train.{}", "dev.{}", 100),
        ("r_{}", "heldout-{}", 1),
    ],
)
def test_proportions_and_losses_are_recognised_by_what_they_are(shares, losses, scale):
    frame = lab_frame(shares, losses, scale)
    frame = frame.assign(notes=np.nan, lr=3e-4, w_decay=0.1, spikes=0, val_step=frame["tokens"])
    sweep = read_sweep(frame)
    usual = read_sweep(wide_frame())
    assert (sweep.domains, sweep.targets, sweep.unit) == (usual.domains, usual.targets, usual.unit)
    np.testing.assert_allclose(sweep.mixture, usual.mixture, rtol=1e-14)
    np.testing.assert_array_equal(sweep.loss, usual.loss)
    (note,) = (note for note in sweep.notes if "recognised" in note)
    assert shares.format("<name>") in note
    assert losses.format("<name>") in note


def test_a_domain_without_losses_counts_in_the_sum():
    frame = lab_frame("w_{}", "val_{}").drop(columns="val_code")
    frame = frame.assign(val_web=3.0, val_prose=3.1, w_prose=0.0)
    assert read_sweep(frame).domains == ("web", "code", "prose")


@pytest.mark.parametrize(
    ("change", "readings"),
    [
        (lambda f: f.assign(train_loss_web=2.0, train_loss_code=2.1), ("val_<name>", "train_loss")),
        (
            lambda f: f.assign(pct_web=100 * f["w_web"], pct_code=100 * f["w_code"]),
            ("w_<", "pct_<"),
        ),
    ],
)
def test_two_readings_are_refused_and_both_are_named(change, readings):
    with pytest.raises(SweepError, match="2 readings of the columns are possible") as error:
        read_sweep(lab_frame("w_{}", "val_{}").pipe(change))
    assert all(reading in str(error.value) for reading in readings)
    assert "mixture_prefix= (--mixture-prefix)" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(val_quiz=2.0),  # a target, or none
        lambda f: f.assign(val_web=f["w_web"], val_code=f["w_code"]),  # shares of what is held out
        lambda f: f.rename(columns=lambda c: c.replace("w_", "acc_")),
        lambda f: f.rename(columns=lambda c: c.replace("web", "train").replace("code", "val")),
        lambda f: f.rename(columns=lambda c: c + "_runtime" if c.startswith("val_") else c),
        lambda f: f.rename(columns=lambda c: c + "_ppl" if c.startswith("val_") else c),
        lambda f: f.rename(columns=lambda c: c + "_bits" if c.startswith("val_") else c),
    ],
)
def test_what_may_be_something_else_is_not_guessed(change):
    with pytest.raises(SweepError, match=r"Expected r_<domain>"):
        read_sweep(lab_frame("w_{}", "val_{}").pipe(change))


def test_a_small_column_that_breaks_the_sum_is_no_domain():
    frame = lab_frame("w_{}", "val_{}")
    assert read_sweep(frame.assign(w_decay=0.01)).domains == ("web", "code")
    np.testing.assert_allclose(
        read_sweep(frame.assign(w_decay=0.01)).mixture, read_sweep(frame).mixture
    )


@pytest.mark.parametrize("columns", [["tokens_b"], ["tokens_b", "tokens_m"]])
def test_budgets_that_cannot_be_read_are_not_one_budget(columns):
    frame = wide_frame().rename(columns={"tokens": "tokens_b"}).assign(tokens_m=1.0)
    if len(columns) == 1:
        frame["tokens_b"] = frame["tokens_b"].astype(str) + "B"
    kept = [c for c in frame if "tokens" not in c]
    text = " with text" * (len(columns) == 1)
    words = f"the budgets: found {', '.join(columns)}{text}; .*--budget-column"
    with pytest.raises(SweepError, match=words):
        read_sweep(frame[kept + columns])


def test_tokens_that_are_not_in_billions_are_refused():
    with pytest.raises(SweepError, match=r"tokens_b reaches 2e\+11.*Rename it to tokens"):
        with_tokens(pd.DataFrame({"tokens_b": [1e11, 2e11]}))


def test_a_stated_prefix_chooses_between_readings():
    frame = lab_frame("w_{}", "val_{}").assign(train_loss_web=2.0, train_loss_code=2.1)
    sweep = read_sweep(frame, loss_prefix="train_loss_")
    assert sweep.loss.tolist() == [[2.0, 2.1]] * len(frame)
    sweep = read_sweep(frame, mixture_prefix="w_", loss_prefix="val_")
    assert sweep.digest() == read_sweep(wide_frame()).digest()


@pytest.mark.parametrize(
    ("shares", "losses", "scale"),
    [
        ("w_{}", "epochs_{}", 1),
        ("w_{}", "val_tokens_{}", 1),
        ("w_{}", "val_acc_{}", 1),
        ("w_{}", "{}_b", 1),
        ("w_{}", "val_{}", 0.5),
    ],
)
def test_columns_that_are_no_shares_or_say_no_loss_are_not_guessed(shares, losses, scale):
    with pytest.raises(SweepError, match="found the columns"):
        read_sweep(lab_frame(shares, losses, scale))


def test_weights_of_targets_that_never_change_are_no_mixture():
    frame = lab_frame("w_{}", "val_{}").assign(weight_web=0.5, weight_code=0.5)
    assert read_sweep(frame).digest() == read_sweep(wide_frame()).digest()


@pytest.mark.parametrize(
    ("name", "power"),
    [
        ("tokens_b", 1e9),
        ("Tokens (M)", 1e6),
        ("tokens in billions", 1e9),
        ("million tokens", 1e6),
        ("BTokens", 1e9),
        ("tokens_k", 1e3),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_tokens_in_a_unit_become_tokens(name, power, stated):
    usual = read_sweep(wide_frame())
    frame = wide_frame().rename(columns={"tokens": name}).assign(step=1)
    frame[name] /= power
    sweep = read_sweep(frame, budget=name) if stated else read_sweep(frame)
    assert sweep.unit == "tokens"
    np.testing.assert_allclose(sweep.budget, usual.budget, rtol=1e-14)
    assert f"Column {name} was multiplied by {power:,.0f} to tokens." in sweep.notes


@pytest.mark.parametrize("name", ["tokens", "tokens_per_b", "total"])
def test_other_counters_stay_as_they_are(name):
    frame = pd.DataFrame({name: [1.0, 2.0]})
    assert with_tokens(frame)[0] is frame
    both = pd.DataFrame({"tokens": [1.0], "tokens_b": [1.0]})
    assert with_tokens(both)[0] is both


def test_logs_that_are_one_table_of_runs_are_recognised(tmp_path):
    frame = lab_frame("{}_pct", "{}_final_loss", 100).rename(columns={"tokens": "tokens_b"})
    frame = frame.assign(tokens_b=frame["tokens_b"] / 1e9, notes="")
    frame.to_csv(tmp_path / "own.csv")
    for logs in (
        tmp_path / "own.csv",
        [tmp_path / "own.csv"],
        frame,
    ):
        sweep = read_logs(logs)
        assert (sweep.domains, sweep.targets, sweep.unit) == (("web", "code"),) * 2 + ("tokens",)
        assert any("recognised" in note for note in sweep.notes)
    # Of two columns of tokens the stated one counts, in its unit.
    two = frame.assign(tokens_m=1e3 * frame["tokens_b"])
    for key in ("tokens_b", "tokens_m"):
        assert read_logs(two, tokens_key=key).largest_budget == sweep.largest_budget
    with pytest.raises(SweepError, match="tokens_k"):
        read_logs(two, tokens_key="tokens_k")
    with pytest.raises(SweepError, match="loss_pattern"):
        read_logs(lab_frame("w_{}", "epochs_{}"))
