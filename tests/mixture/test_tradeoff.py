"""Sensitivities, paths along the budget and fronts between groups of targets."""

import json
import types

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.cli.show import plain
from bimix_jax.mixture._notes import hull_note
from bimix_jax.plots._style import spread_out
from tests.fits import DOMAINS, Geometric, frame, geometric_sweep, web_failed

MIXTURE = {"web": 0.2, "code": 0.3, "books": 0.5}


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame()), bx.BiMix())


@pytest.fixture(scope="module")
def geometric():
    return bx.fit(geometric_sweep(), Geometric())


# ---- sensitivity ---------------------------------------------------------------------------------


def moved(mixture, domain, step):
    """The mixture after `domain` gained `step`, the others giving in proportion."""
    others = [d for d in mixture if d != domain]
    left = sum(mixture[d] for d in others)
    return {d: mixture[d] * (1 - step / left) for d in others} | {domain: mixture[domain] + step}


def test_sensitivities_are_finite_differences_of_predictions(fitted):
    found = bx.sensitivity(fitted, MIXTURE, 3e9, {"web": 2.0, "books": 1.0})
    for domain in DOMAINS:
        up, down = (fitted.predict(moved(MIXTURE, domain, h), 3e9) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(found.nats.loc[domain], 0.01 * (up - down) / 2e-5, rtol=1e-6)
    expected = (2 * found.nats["web"] + found.nats["books"]) / 3
    np.testing.assert_allclose(found.mean, expected, rtol=1e-12)
    losses = fitted.predict(MIXTURE, 3e9)
    np.testing.assert_allclose(found.percent.loc["web"], 100 * found.nats.loc["web"] / losses)


def test_at_the_optimum_no_point_helps_the_mean_and_every_point_costs_the_others(fitted):
    found = bx.sensitivity(fitted)
    pd.testing.assert_series_equal(
        found.mixture, bx.optimize_mixture(fitted).mixture, check_names=False
    )
    assert np.abs(found.mean).max() < 1e-9
    signs = np.sign(found.nats.loc[list(DOMAINS), list(DOMAINS)].to_numpy())
    np.testing.assert_array_equal(signs, 1 - 2 * np.eye(3))


def test_sensitivity_where_a_domain_is_all_or_nothing(fitted):
    found = bx.sensitivity(fitted, {"web": 0.0, "code": 0.0, "books": 1.0})
    assert found.nats["web"].isna().all()  # its loss is infinite there
    assert found.nats.loc["books"].isna().all()
    assert found.nats.loc["web", "books"] > 0
    assert any("books is the whole mixture" in note for note in found.notes)
    assert plain(found.document())["nats"]["books"]["web"] is None


def test_sensitivity_of_a_target_that_is_no_domain(geometric):
    found = bx.sensitivity(geometric, MIXTURE)
    up, down = (geometric.predict(moved(MIXTURE, "web", h)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(found.nats.loc["web"], 0.01 * (up - down) / 2e-5, rtol=1e-5)
    assert found.table().columns.tolist() == ["web", "exam", "mean"]


def test_sensitivity_refuses_several_mixtures_and_unknown_names(fitted):
    with pytest.raises(ValueError, match="mixture holds 2 mixtures; expected one"):
        bx.sensitivity(fitted, pd.DataFrame([MIXTURE, MIXTURE]))
    with pytest.raises(ValueError, match="no value for books"):
        bx.sensitivity(fitted, {"web": 0.5, "code": 0.5})
    with pytest.raises(ValueError, match="budget is -1"):
        bx.sensitivity(fitted, MIXTURE, -1.0)


# ---- front ---------------------------------------------------------------------------------------


def test_the_front_falls_is_convex_and_is_beaten_by_no_mixture(fitted):
    found = bx.tradeoff(fitted, ["web"], budget=3e9)
    assert found.second == ("code", "books")
    first, second = found.front["first"].to_numpy(), found.front["second"].to_numpy()
    assert np.all(np.diff(first) > 0)
    assert np.all(np.diff(second) < 0)
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), 2000)
    losses = fitted.predict_points(drawn, 3e9)
    one, other = losses[:, 0], losses[:, 1:].mean(axis=1)
    for a, b in zip(first, second, strict=True):
        assert not np.any((one < a - 1e-9) & (other < b - 1e-9))


def test_the_price_is_the_slope_of_the_front(fitted):
    table = bx.tradeoff(fitted, ["web"]).table()
    slope = np.gradient(table["second"], table["first"], edge_order=2)
    np.testing.assert_allclose(-slope[5:-5], table["price"].iloc[5:-5], rtol=0.02)


def test_where_every_target_counts_the_same_the_front_meets_the_optimum(fitted):
    found = bx.tradeoff(fitted, ["web"])
    assert found.even == pytest.approx(2 / 3, abs=0.05)
    weights = {"web": 1 - found.even, "code": found.even / 2, "books": found.even / 2}
    best = bx.optimize_mixture(fitted, weights=weights)
    np.testing.assert_allclose(found.mixtures.loc[found.even], best.mixture, atol=1e-9)


def test_a_front_of_a_law_by_gradient_names_what_is_not_counted(geometric):
    found = bx.tradeoff(geometric, "web", "exam")
    np.testing.assert_allclose(found.mixtures, [Geometric().shares] * 41, atol=1e-5)
    assert any("not convex" in note for note in found.notes)
    document = json.loads(json.dumps(plain(found.document())))
    assert len(document["front"]) == 41


def test_groups_of_a_front_are_checked(fitted):
    with pytest.raises(ValueError, match="first is mail; expected some of web, code, books"):
        bx.tradeoff(fitted, ["mail"])
    with pytest.raises(ValueError, match="second is empty"):
        bx.tradeoff(fitted, list(DOMAINS))
    with pytest.raises(ValueError, match="code is in both"):
        bx.tradeoff(fitted, ["web", "code"], ["code"])
    failed = bx.fit(bx.read_sweep(web_failed(frame())), bx.BiMix())
    with pytest.raises(ValueError, match="the effect of the mixture on web is not identified"):
        bx.tradeoff(failed, ["web"])
    notes = bx.tradeoff(failed, ["code"], ["books"]).notes
    assert any("In neither group, so that they do not count: web" in note for note in notes)


def test_mixtures_outside_the_sweep_are_counted(fitted):
    least, most = fitted.observed_proportions
    held = bx.Constraints(lower={"web": most[0] + 0.05})
    path = bx.optimal_path(fitted, [1e9, 4e9], constraints=held)
    front = bx.tradeoff(fitted, ["web"])
    here = bx.sensitivity(fitted, {"web": 0.98, "code": 0.01, "books": 0.01})
    ends = front.mixtures["web"]
    outside = (front.mixtures < least - 1e-9) | (front.mixtures > most + 1e-9)
    count = outside.any(axis=1).sum()
    for notes, words in (
        (path.notes, "in 2 of 2 mixtures: "),
        (path.notes, f"web {most[0] + 0.05:.3f} to {most[0] + 0.05:.3f} ({least[0]:.3f}-"),
        (front.notes, f"in {count} of 41 mixtures: web {ends.min():.3f} to {ends.max():.3f} ("),
        (here.notes, f"web 0.980 ({least[0]:.3f}-{most[0]:.3f} observed)"),
    ):
        assert any(words in n for n in notes if n.startswith("Outside the range the sweep covered"))
    assert 0 < count < 41
    assert fitted.notes_on_mixtures(fitted.observed_mixtures) == ()


def test_mixtures_that_no_blend_of_runs_gives_are_counted():
    def note(shares):
        return hull_note(fitted, pd.DataFrame(shares, columns=list("abc")))

    runs = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    ends = np.stack([runs.min(axis=0), runs.max(axis=0)])
    fitted = types.SimpleNamespace(observed_proportions=ends, observed_mixtures=runs[:2])
    assert note([[0.3, 0.5, 0.2], [0.7, 0.1, 0.2]]) == ()
    assert note([[0.3, 0.4, 0.3], [0.3, 0.5, 0.2]])[0].startswith("1 of 2 mixtures keep the range")


# ---- pictures ------------------------------------------------------------------------------------


def test_pictures_show_every_domain_and_group(fitted):
    found = bx.optimal_path(fitted)
    drawn = bx.plots.plot_path(found)
    assert {t.get_text().split()[0] for t in drawn.axes[0].texts} >= set(DOMAINS)
    front = bx.plots.plot_tradeoff(bx.tradeoff(fitted, ["web"]))
    assert front.axes[0].get_xlabel() == "mean loss of web (nats)"
    moves = bx.plots.plot_sensitivity(bx.sensitivity(fitted))
    assert len(moves.axes[0].texts) == 12  # the mean beside three targets


def test_labels_are_pushed_apart_and_keep_their_order():
    values = np.array([0.0, 0.01, 0.02, 0.5, 0.505])
    spread = np.array(spread_out(values, 0.05))
    assert np.all(np.diff(spread) >= 0.05 - 1e-12)
    assert spread[:3].mean() == pytest.approx(values[:3].mean())
