"""Model size, repetition and warm-up around any law."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import (
    AdditiveLaw,
    BiMix,
    SplitTransferBiMix,
    TransferBiMix,
    WithModelSize,
    WithRepetition,
    WithWarmUp,
    law_named,
    stack_sizes,
)
from bimix_jax.judging import compare
from bimix_jax.laws.wrappers import _effective_budget, _effective_tokens
from bimix_jax.sweeps.sizes import number_of_parameters
from tests.fits import DOMAINS, frame, truth

SIZES = (7e7, 1.6e8, 4e8)


def sized(form, sizes=SIZES, noise=0.0):
    """A table of a world where BiMix and a term of size are true, one row a run and budget."""
    tables = []
    for size in sizes:
        table = frame(noise=noise).assign(model_size=size)
        losses = [c for c in table if c.startswith("loss_")]
        ratio = (size / max(sizes)) ** -0.2
        if form == "floor":
            # BiMix's factor of the mixture is r^−α; the term of the size stands beside its floor.
            for domain, alpha in zip(DOMAINS, truth()["exponents"][:, 0], strict=True):
                table[f"loss_{domain}"] += 0.7 * ratio * table[f"r_{domain}"] ** -alpha
        else:
            table[losses] = (
                table[losses] * ratio if form == "multiplicative" else table[losses] + ratio
            )
        tables.append(table)
    return pd.concat(tables)


@pytest.mark.parametrize("form", ["multiplicative", "additive", "floor"])
def test_a_larger_model_is_predicted_from_smaller_ones(form):
    table = sized(form)
    small = bx.read_sweep(table[table["model_size"] < 4e8], model_size="model_size")
    everything = bx.read_sweep(table, model_size="model_size")
    fitted = bx.fit(everything, WithModelSize(BiMix(), form))
    np.testing.assert_allclose(fitted.table()["delta"], 0.2, atol=1e-4)
    assert len(everything.runs) == 3 * 12
    if form != "multiplicative":
        with pytest.raises(ValueError, match=f"{form}, needs 3 model sizes or more"):
            bx.fit(small, WithModelSize(BiMix(), form))
        return
    ahead = bx.fit(small, WithModelSize(BiMix(), form)).at_model_size(4e8)
    large = everything.take(everything.size == 4e8)
    predicted = ahead.predict_points(large.mixture, large.budget)
    np.testing.assert_allclose(predicted, large.loss, rtol=1e-4)
    best = bx.optimize_mixture(ahead)
    assert best.method == "exact"
    assert any("2.5 × the largest that was fitted" in note for note in best.notes)


def test_a_size_beside_the_floor_is_part_of_what_the_mixture_multiplies():
    """A larger size and its optimum, against BiMix whose floor holds the term of that size."""
    sweep = bx.read_sweep(sized("floor"), model_size="model_size")
    ahead = bx.fit(sweep, WithModelSize(BiMix(), "floor")).at_model_size(4e9)
    one = bx.read_sweep(frame())
    alpha = truth()["exponents"][:, 0]
    smaller = 0.7 * (10.0**-0.2) * one.mixture**-alpha
    np.testing.assert_allclose(
        ahead.predict_points(one.mixture, one.budget), one.loss + smaller, rtol=1e-4
    )
    assert bx.optimize_mixture(ahead).method == "exact"
    shown = law_named("withmodelsize(bimix, floor)")
    assert shown == WithModelSize(BiMix(), "floor")
    assert shown.label == "WithModelSize(BiMix, floor)"


def test_amplitudes_of_a_size_beside_the_floor_follow_the_gauge():
    law = WithModelSize(SplitTransferBiMix(), "floor", reference=1.0, size=3.0)
    own, mixture = jnp.zeros(3), jnp.array([0.5, 0.3, 0.2])
    exponents = jnp.array([0.2, 0.4, 0.5, 1.5, 2.0, 0.5, 4.0])
    amplitudes = jnp.array([1.0, 2.0, 0.7])
    features = law.features(mixture, own, jnp.array(2.0))
    found = law.canonical(exponents, amplitudes, own)
    before, after = (
        jnp.dot(jnp.stack(law.basis(e, features)), a) for e, a in ((exponents, amplitudes), found)
    )
    assert float(jnp.max(found[0][4:])) == 1.0
    np.testing.assert_allclose(after, before, rtol=1e-6)


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
    fitted = bx.fit(sweep, law, shrinkage=1e-4).at_model_size(1e9)
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
        bx.fit(one, bx.BiMix()).at_model_size(1e9)
    with pytest.raises(ValueError, match="form is 'sum'"):
        WithModelSize(BiMix(), "sum")
    with pytest.raises(ValueError, match="around AdditiveLaw, which has no floor"):
        WithModelSize(AdditiveLaw(), "floor")
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
    with pytest.raises(ValueError, match=r"model size is '1\.2\.3M'; expected parameters"):
        number_of_parameters("1.2.3M")


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
    found = _effective_tokens(jnp.asarray(seen), jnp.asarray(offered), decay)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_limit_repetition_changes_nothing_and_with_one_epochs_count_less():
    sweep = bx.read_sweep(frame(noise=0.003))
    plain, free = bx.fit(sweep, bx.BiMix()), bx.fit(sweep, WithRepetition(BiMix()))
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
    with pytest.raises(ValueError, match="available: wiki is unknown"):
        bx.fit(bx.read_sweep(frame()), WithRepetition(BiMix(), {"wiki": 1e9}))


def warmed(cost=0.03, noise=0.0):
    """A table of a world where BiMix is true of a budget that warm-up shortens."""
    table = frame()
    largest = table["tokens"].max()
    ratio = table["tokens"] / largest
    moved = largest * ratio**2 * (1 + cost) / (ratio + cost)
    found = bx.fit(bx.read_sweep(table), bx.BiMix())
    mixture = table[[f"r_{d}" for d in found.domains]].to_numpy()
    losses = found.predict_points(mixture, moved)
    rng = np.random.default_rng(0)
    names = [f"loss_{t}" for t in found.targets]
    return table.assign(
        **dict(zip(names, (losses * rng.lognormal(0, noise, losses.shape)).T, strict=True))
    )


@pytest.mark.parametrize("base", [BiMix(), TransferBiMix()])
def test_what_warm_up_costs_is_found_and_is_one_number_for_all_targets(base, tmp_path):
    sweep = bx.read_sweep(warmed())
    fitted = bx.fit(sweep, WithWarmUp(base), shrinkage=0.0)
    np.testing.assert_allclose(fitted.table()["warm_up"], 0.03 * sweep.largest_budget, rtol=1e-3)
    assert fitted.table()["warm_up"].nunique() == 1
    plain = bx.fit(sweep, base, shrinkage=0.0)
    assert fitted.error.max() < 1e-4 < 1e-3 < plain.error.min()
    fitted.save(tmp_path / "fit.json")
    assert bx.load_fit(tmp_path / "fit.json").law == fitted.law


def test_without_warm_up_the_law_is_its_base_and_amplitudes_are_of_the_largest_budget():
    fitted, plain = (bx.fit(bx.read_sweep(frame(noise=0.003)), law) for law in
                     (WithWarmUp(BiMix()), BiMix()))  # fmt: skip
    same = dataclasses.replace(
        fitted,
        coefficients=plain.coefficients._replace(
            exponents=np.column_stack([np.zeros(len(plain.targets)), plain.coefficients.exponents])
        ),
    )
    budget = np.geomspace(1e8, 1e10, 5)
    mixture = np.tile([0.2, 0.3, 0.5], (5, 1))
    np.testing.assert_allclose(
        same.predict_points(mixture, budget), plain.predict_points(mixture, budget), rtol=1e-12
    )
    assert _effective_budget(1.0, 0.07) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(fitted.table()["A"], plain.table()["A"], rtol=0.01)


def test_a_law_with_warm_up_goes_everywhere():
    sweep = bx.read_sweep(warmed(noise=0.003))
    law = WithWarmUp(BiMix())
    fitted = bx.fit(sweep, law)
    best = bx.optimize_mixture(fitted, 2 * sweep.largest_budget)
    assert (best.method, best.proven) == ("exact", True)
    guarded = {"constraints": bx.Constraints(guardrail=0.005), "weights": {"web": 5.0, "code": 1.0,
               "books": 1.0}}  # fmt: skip
    exact, gradient = (
        bx.optimize_mixture(fitted, method=method, **guarded) for method in ("exact", "gradient")
    )
    np.testing.assert_allclose(exact.mixture, gradient.mixture, atol=1e-5)
    many = bx.fit_many({"one": sweep, "two": sweep}, law)
    np.testing.assert_allclose(many["two"].sum_of_squares, fitted.sum_of_squares, rtol=1e-6)
    resampled = bx.bootstrap(sweep, fitted, n=20)
    cost = resampled.resampled.coefficients.exponents[..., 0]
    np.testing.assert_allclose(cost, cost[:, :1].repeat(3, axis=1), rtol=1e-12)
    without_web = {"web": 0.0, "code": 0.5, "books": 0.5}
    with pytest.raises(ValueError, match=r"WithWarmUp\(BiMix\) has no finite loss on web"):
        fitted.predict(without_web)
    judged = bx.compare(sweep, ["BiMix", "withwarmup(bimix)"], ["budgets"])
    assert judged.best == "WithWarmUp(BiMix)"
    assert bx.propose_runs(fitted, sweep, 1).regret_now > 0


def test_laws_go_around_each_other_in_one_order():
    inside = WithModelSize(WithRepetition(WithWarmUp(BiMix()), {"web": 1e9}))
    assert inside.label == "WithModelSize(WithRepetition(WithWarmUp(BiMix)))"
    assert WithModelSize(BiMix(), "additive").label == "WithModelSize(BiMix, additive)"
    with pytest.raises(ValueError, match=r"as in WithRepetition\(WithWarmUp\(BiMix\(\)\)\)"):
        WithWarmUp(WithRepetition(BiMix()))
    with pytest.raises(ValueError, match="WithModelSize only once"):
        WithModelSize(WithModelSize(BiMix()))
    with pytest.raises(ValueError, match=r"around 'BiMix'; expected an instance of a law"):
        WithRepetition("BiMix", {"web": 1e9})
    assert bx.law_named("WithModelSize(withwarmup(BiMix))") == WithModelSize(WithWarmUp(BiMix()))
    with pytest.raises(ValueError, match=r"Did you mean WithWarmUp\(BiMix\)"):
        bx.law_named("WarmUp(BiMix)")


def test_laws_around_laws_are_judged_by_their_whole_name_and_within_sizes(monkeypatch):
    sweep = bx.read_sweep(sized("multiplicative", noise=0.003), model_size="model_size")
    judged = bx.compare(
        sweep, [WithModelSize(TransferBiMix()), WithModelSize(BiMix()), WithModelSize(BiMix())],
        ["mixtures"], repeats=2,
    )  # fmt: skip
    assert judged.laws == (
        "WithModelSize(TransferBiMix)", "WithModelSize(BiMix)", "WithModelSize(BiMix) #2",
    )  # fmt: skip
    assert judged.best == "WithModelSize(BiMix)"
    one = judged.table_of("mixtures").loc["WithModelSize(BiMix)"]
    per_size = []
    for split in bx.standard_splits(sweep, ["mixtures"], 2):
        fitted = bx.fit(sweep.take(split.train), WithModelSize(BiMix()))
        for size in np.unique(sweep.size):
            part = sweep.take(split.test & (sweep.size == size))
            per_size.append(bx.evaluate(fitted, part).table().loc["overall"])
    expected = pd.DataFrame(per_size)[["r2_mixtures", "spearman"]].mean()
    assert one["r2_mixtures"] == pytest.approx(expected["r2_mixtures"], rel=1e-5)
    assert one["spearman"] == pytest.approx(expected["spearman"], rel=1e-9)
    monkeypatch.setattr(compare, "JUDGED", (BiMix(), TransferBiMix()))
    default = bx.compare(sweep, splits=["mixtures"], repeats=2)
    both = ("BiMix", "TransferBiMix")
    forms = [f"WithModelSize({law}{form})" for form in ("", ", floor") for law in both]
    assert default.laws == tuple(forms)


def test_a_size_that_is_not_said_or_not_run_is_asked_for():
    sweep = bx.read_sweep(sized("multiplicative"), model_size="model_size")
    fitted = bx.fit(sweep, WithModelSize(BiMix()))
    with pytest.raises(ValueError, match="say which by"):
        bx.optimize_mixture(fitted)
    with pytest.raises(ValueError, match="of which the sweep has no runs"):
        bx.plots.plot_curves(fitted.at_model_size(1e9), sweep)
    figure = bx.plots.plot_curves(fitted.at_model_size(7e7), sweep)
    shown = np.concatenate([line.get_ydata() for line in figure.axes[0].lines if
                            line.get_linestyle() == "None"])  # fmt: skip
    assert set(shown) <= set(sweep.loss[sweep.size == 7e7, 0])


def test_a_sweep_of_several_sizes_survives_a_file(tmp_path):
    both = bx.read_sweep(sized("multiplicative"), model_size="model_size")
    assert not any("selected by" in note for note in both.notes)
    both.save(tmp_path / "both.parquet")
    back = bx.read_sweep(tmp_path / "both.parquet")
    np.testing.assert_array_equal(back.size, both.size)
    assert (back.digest(), back.notes) == (both.digest(), both.notes)
    with pytest.raises(ValueError, match="the sweep has several model sizes"):
        bx.fit(back, bx.BiMix())
    one = bx.read_sweep(tmp_path / "both.parquet", select={"model_size": SIZES[0]})
    assert one.size is None
    both.to_frame().to_csv(tmp_path / "both.csv", index=False)
    again = bx.read_sweep(tmp_path / "both.csv", model_size="model_size")
    assert again.digest() == both.digest()
