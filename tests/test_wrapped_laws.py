"""Model size and repetition around any law."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import BiMix, TransferBiMix, WithModelSize, WithRepetition, stack_sizes
from bimix_jax.laws.repetition import effective_tokens
from bimix_jax.sizes import number_of_parameters
from tests.fits import frame

SIZES = (7e7, 1.6e8, 4e8)


def sized(form, sizes=SIZES, noise=0.0):
    """A table of a world where BiMix and a term of size are true, one row a run and budget."""
    tables = []
    for size in sizes:
        table = frame(noise=noise).assign(model_size=size)
        losses = [c for c in table if c.startswith("loss_")]
        ratio = (size / max(sizes)) ** -0.2
        table[losses] = table[losses] * ratio if form == "multiplicative" else table[losses] + ratio
        tables.append(table)
    return pd.concat(tables)


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_a_larger_model_is_predicted_from_smaller_ones(form):
    table = sized(form)
    small = bx.read_sweep(table[table["model_size"] < 4e8], model_size="model_size")
    everything = bx.read_sweep(table, model_size="model_size")
    fitted = bx.fit(everything, WithModelSize(BiMix(), form))
    np.testing.assert_allclose(fitted.table()["delta"], 0.2, atol=1e-4)
    assert len(everything.runs) == 3 * 12
    if form == "additive":
        with pytest.raises(ValueError, match="additive, needs 3 model sizes or more"):
            bx.fit(small, WithModelSize(BiMix(), form))
        return
    ahead = bx.fit(small, WithModelSize(BiMix(), form)).at_model_size(4e8)
    large = everything.take(everything.size == 4e8)
    predicted = ahead.predict_points(large.mixture, large.budget)
    np.testing.assert_allclose(predicted, large.loss, rtol=1e-4)
    best = bx.optimize_mixture(ahead)
    assert best.method == "exact"
    assert any("2.5 × the largest that was fitted" in note for note in best.notes)


def test_every_point_of_several_sizes_is_scored_at_its_size():
    sweep = bx.read_sweep(sized("multiplicative", noise=0.003), model_size="model_size")
    train, test = sweep.split_runs(0.3)
    fitted = bx.fit(train, WithModelSize(TransferBiMix()))
    assert bx.evaluate(fitted, test).table().loc["overall", "mre"] < 0.006
    judged = bx.compare(sweep, [WithModelSize(BiMix())], ["mixtures"], repeats=1)
    assert judged.table()["mre"].iloc[0] < 0.006


def test_laws_around_laws_survive_a_file(tmp_path):
    sweep = bx.read_sweep(sized("multiplicative"), model_size="model_size")
    law = WithModelSize(WithRepetition(TransferBiMix(), {"web": 1e9}))
    fitted = bx.fit(sweep, law, restraint=1e-4).at_model_size(1e9)
    fitted.save(tmp_path / "fit.json")
    again = bx.load_fit(tmp_path / "fit.json")
    assert again.law == fitted.law
    np.testing.assert_array_equal(again.predict(sweep.mixtures), fitted.predict(sweep.mixtures))


def test_sizes_that_a_law_or_a_prediction_overlooks_are_refused():
    sweep = bx.read_sweep(sized("multiplicative"), model_size="model_size")
    one = bx.read_sweep(frame())
    with pytest.raises(ValueError, match=r"use WithModelSize\(BiMix\(\)\)"):
        bx.fit(sweep, BiMix())
    with pytest.raises(ValueError, match="needs 2 model sizes or more, and the sweep has none"):
        bx.fit(one, WithModelSize(BiMix()))
    with pytest.raises(ValueError, match="say which by"):
        bx.fit(sweep, WithModelSize(BiMix())).predict(one.mixtures)
    with pytest.raises(ValueError, match="knows no model size"):
        bx.fit(one).at_model_size(1e9)
    with pytest.raises(ValueError, match="form is 'sum'"):
        WithModelSize(BiMix(), "sum")
    with pytest.raises(ValueError, match="no column params"):
        bx.read_sweep(frame(), model_size="params")


def test_sweeps_of_several_sizes_go_together_by_name():
    first = bx.read_sweep(frame())
    other = bx.read_sweep(frame()[["run", "tokens", "r_books", "r_web", "r_code", "loss_web"]])
    both = stack_sizes({"70M": first, 1.6e8: other})
    assert both.targets == ("web",)
    assert any("left out: code, books" in note for note in both.notes)
    np.testing.assert_array_equal(both.mixture[:96], both.mixture[96:])
    assert both.runs[12].endswith("(1.6e+08)")
    assert both.digest() != stack_sizes({"71M": first, 1.6e8: other}).digest()
    with pytest.raises(ValueError, match="holds 1 model sizes"):
        stack_sizes({"70M": first})
    with pytest.raises(ValueError, match="model size is 'large'"):
        number_of_parameters("large")


def test_effective_tokens_are_the_formula():
    seen, offered, decay = (
        np.array([0.2, 1.0, 4.0, 1e6, 50.0]),
        np.array([1, 1, 1, 1, np.inf]),
        15.4,
    )
    expected = np.where(
        seen <= offered, seen, offered + decay * (1 - np.exp(-(seen - 1) / decay))
    )  # fmt: skip
    expected[4] = 50.0
    found = effective_tokens(jnp.asarray(seen), jnp.asarray(offered), decay)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_limit_repetition_changes_nothing_and_with_one_epochs_count_less():
    sweep = bx.read_sweep(frame(noise=0.003))
    plain, free = bx.fit(sweep), bx.fit(sweep, WithRepetition(BiMix()))
    np.testing.assert_allclose(free.predict(sweep.mixtures), plain.predict(sweep.mixtures))
    scarce = bx.fit(sweep, WithRepetition(BiMix(), {"web": sweep.largest_budget / 50}))
    best = bx.optimize_mixture(scarce, 2 * sweep.largest_budget)
    ample = bx.optimize_mixture(plain, 2 * sweep.largest_budget)
    assert best.mixture["web"] < ample.mixture["web"]
    assert not best.proven
    assert any("Repeated data count less" in note for note in (*best.notes, *scarce.notes))


def test_wrong_tokens_are_named():
    with pytest.raises(ValueError, match="available holds web: -1"):
        WithRepetition(BiMix(), {"web": -1})
    with pytest.raises(ValueError, match="available names wiki"):
        bx.fit(bx.read_sweep(frame()), WithRepetition(BiMix(), {"wiki": 1e9}))
