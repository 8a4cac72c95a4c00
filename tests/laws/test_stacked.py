"""Stacks against their laws fitted apart and combined in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax import AdditiveLaw, BiMix, LogLinear, Stacked, TransferBiMix, law_named
from bimix_jax.cli.app import app
from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.stacked import member_fits
from bimix_jax.laws.stacked import SCALE, _centre
from bimix_jax.mixture._near import near_mixture
from bimix_jax.xla.compilation import jit
from tests.fits import DOMAINS, frame, web_failed, without_web

LAWS = (BiMix(), TransferBiMix(), LogLinear())
ROBUST, MEAN = Stacked(LAWS), Stacked(LAWS, scale=None)


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.01))


@pytest.fixture(scope="module")
def alone(sweep):
    """The fit of every law by itself."""
    return [bx.fit(sweep, law) for law in LAWS]


@pytest.fixture(scope="module", params=[ROBUST, MEAN], ids=lambda law: law.label)
def fitted(request, sweep):
    return bx.fit(sweep, request.param)


def by_hand(losses, scale):
    """The centre of losses (laws, …), by a root finder for one number at a time."""
    if scale is None:
        return losses.mean(axis=0)

    def one(logs):
        def pull(middle):
            away = (logs - middle) / scale
            return np.sum(away / np.sqrt(1 + away**2))

        if np.ptp(logs) == 0:
            return logs[0]
        return brentq(pull, logs.min(), logs.max(), xtol=1e-15)

    return np.exp(np.apply_along_axis(one, 0, np.log(losses)))


def test_a_stack_predicts_the_centre_of_its_laws_fitted_apart(sweep, alone, fitted):
    losses = np.stack([one.predict_points(sweep.mixture, sweep.budget) for one in alone])
    expected = by_hand(losses, fitted.law.scale)
    predicted = fitted.predict_points(sweep.mixture, sweep.budget)
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)
    members = fitted.predict_members(sweep.mixture, sweep.budget)
    np.testing.assert_allclose(members, losses, rtol=1e-12)
    squares = np.sum((expected / sweep.loss - 1) ** 2, axis=0)
    np.testing.assert_allclose(fitted.sum_of_squares, squares, rtol=1e-9)
    for one, part in zip(alone, member_fits(fitted), strict=True):
        assert np.isnan(part.sum_of_squares).all()  # the stack's own is none of a member
        assert (part.shrinkage == one.shrinkage).all()
        assert (part.identified == one.identified).all()


def test_derivatives_by_the_mixture_agree_with_differences(fitted):
    mixture, budget, step = np.array([0.5, 0.3, 0.2]), fitted.observed_budgets[1], 1e-6

    def near(shares):
        return near_mixture(fitted.law, fitted.coefficients, budget, shares, np.ones(3))

    moves = step * np.eye(3)
    pairs = [(near(mixture + move), near(mixture - move)) for move in moves]
    slopes = np.stack([(a.losses - b.losses) / 2 / step for a, b in pairs], axis=1)
    curvature = np.stack([(a.slopes - b.slopes).sum(axis=0) / 2 / step for a, b in pairs])
    found = near(mixture)
    np.testing.assert_allclose(found.slopes, slopes, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.curvature, curvature, rtol=1e-5, atol=1e-6)


logs = st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4)
by_array = jit(_centre, x64=True)


@given(logs, st.floats(1e-3, 0.1))
def test_a_centre_is_that_of_a_root_finder_and_between_the_losses(values, scale):
    losses = np.exp(np.array(values))[:, None]
    found = np.asarray(by_array(losses, scale))
    np.testing.assert_allclose(np.log(found), np.log(by_hand(losses, scale)), atol=1e-9)
    assert losses.min() * (1 - 1e-12) <= found <= losses.max() * (1 + 1e-12)


def test_a_wild_law_moves_the_centre_little_and_a_missing_one_not_at_all():
    three = np.array([2.0, 2.002, 2.004])
    with jax.enable_x64(True):
        calm = float(_centre(jnp.asarray(three), SCALE))
        wild = float(_centre(jnp.array([*three, 3.0]), SCALE))
        wilder = float(_centre(jnp.array([*three, 3e6]), SCALE))
        for nothing in (0.0, np.nan, np.inf):
            assert float(_centre(jnp.array([*three, nothing]), SCALE)) == calm
        slope = jax.grad(lambda x: _centre(jnp.array([*three, x]), SCALE))(jnp.nan)
        assert np.isnan(float(_centre(jnp.array([np.nan, 0.0]), SCALE)))
    # The mean would move by a tenth.
    assert abs(wild / calm - 1) < SCALE
    assert abs(wilder / wild - 1) < 1e-4
    assert float(slope) == 0


def test_the_optimum_of_a_stack_is_proven_only_for_a_mean_of_convex_laws(sweep, alone, fitted):
    best = bx.optimize_mixture(fitted)
    assert best.proven == (fitted.law.scale is None)
    assert abs(best.gap) < 1e-8
    noted = any("the optimum may be a local one" in note for note in best.notes)
    assert noted != best.proven
    others = sweep.mixtures.to_numpy()
    losses = fitted.predict_points(others, fitted.observed_budgets[1]).mean(axis=1)
    assert best.objective <= losses.min()
    assert not Stacked((BiMix(), AdditiveLaw()), scale=None).convex


def test_where_laws_agree_a_stack_is_one_of_them():
    exact = bx.read_sweep(frame())
    alone, both = (bx.fit(exact, law) for law in (BiMix(), Stacked((BiMix(), TransferBiMix()))))
    best, found = (bx.optimize_mixture(one).mixture for one in (alone, both))
    np.testing.assert_allclose(found, best, atol=1e-5)
    assert both.label == "BiMix"


def test_resamples_and_fits_without_a_run_are_those_of_the_laws(sweep, alone, fitted):
    parts = [bx.bootstrap(sweep, one, n=10) for one in alone]
    whole = bx.bootstrap(sweep, fitted, n=10)

    def resampled(drawn):
        return drawn.predict_points(sweep.mixture, sweep.budget)

    for values in (resampled, lambda drawn: drawn.held_out_rows.predicted):
        losses = np.stack([values(part) for part in parts])
        np.testing.assert_allclose(values(whole), by_hand(losses, fitted.law.scale), rtol=1e-9)
    spent = np.mean([part.freedom.coefficients for part in parts])
    assert 0 < whole.freedom.coefficients <= 2 * spent
    assert whole.failed.sum() == 0


def test_a_saved_stack_is_the_same(tmp_path, fitted):
    path = tmp_path / "fit.json"
    fitted.save(path)
    loaded = bx.load_fit(path)
    assert loaded.law == fitted.law
    np.testing.assert_array_equal(loaded.shrinkage, fitted.shrinkage)
    assert loaded.shrinkage.shape == (3, 3)
    for one, other in zip(loaded.coefficients, fitted.coefficients, strict=True):
        np.testing.assert_array_equal(one, other)
    damaged = path.read_text().replace('"AdditiveLaw"', '"Nothing"').replace('"LogLinear"', '"X"')
    path.write_text(damaged)
    with pytest.raises(ValueError, match="it holds the law 'X'"):
        bx.load_fit(path)


def test_a_member_that_fails_or_has_no_value_leaves_the_rest():
    failed = bx.fit(bx.read_sweep(web_failed(frame(noise=0.01))), Stacked((BiMix(), LogLinear())))
    assert not np.isin(failed.code, FAILED).any()
    assert any("BiMix has no finite fit for web" in note for note in failed.notes)
    part = member_fits(failed)[0]
    assert np.isin(part.code, FAILED).tolist() == [True, False, False]
    assert np.isfinite(bx.optimize_mixture(failed).mixture).all()
    assert np.isfinite(failed.predict([0.0, 0.5, 0.5])).all()


def test_a_mixture_at_which_the_laws_disagree_is_noted():
    # BiMix is infinite towards a share of 0, LogLinear is not.
    sweep = bx.read_sweep(frame(noise=0.01))
    fitted = bx.fit(sweep, Stacked((BiMix(), LogLinear())))
    assert fitted.notes_on_mixtures(sweep.mixtures.to_numpy()) == ()
    (_, said) = fitted.notes_on_mixtures(np.array([[1e-4, 0.5, 0.4999]]))
    assert "disagree here" in said
    assert "on web" in said


@pytest.mark.parametrize("fitted", [ROBUST], indirect=True)
def test_runs_are_proposed_for_the_first_law(sweep, fitted):
    proposed = bx.propose_runs(fitted, sweep, 1, seed=0)
    alone = bx.propose_runs(member_fits(fitted)[0], sweep, 1, seed=0)
    np.testing.assert_array_equal(proposed.mixtures, alone.mixtures)
    assert "first law of the stack" in proposed.notes[0]


@pytest.mark.parametrize("law", [Stacked(), ROBUST, MEAN, Stacked((BiMix(), LogLinear()), 0.01)])
def test_the_label_of_a_stack_names_it(law):
    assert law_named(law.label) == law


def test_a_wrapper_named_around_a_stack_wraps_its_laws():
    laws = tuple(bx.WithModelSize(law) for law in LAWS)
    assert law_named("WithModelSize(Stacked(BiMix, TransferBiMix, LogLinear))").laws == laws
    usual = law_named("WithModelSize(Stacked)")
    assert usual.label == "WithModelSize(Stacked)"
    assert usual.needs_size
    assert usual.at_size(1e9).size == 1e9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stacked((BiMix(),)), "two or more of different names"),
        (lambda: Stacked((BiMix(), BiMix())), "two or more of different names"),
        (lambda: Stacked((BiMix(), Stacked())), "is a stack itself"),
        (lambda: Stacked((BiMix(), "LogLinear")), "expected an instance of a law"),
        (lambda: Stacked(scale=0.0), "scale is 0.0"),
        (lambda: bx.WithWarmUp(Stacked()), "put it around each of its laws"),
        (lambda: bx.fit_many([bx.read_sweep(frame())], Stacked()), "fitted apart"),
    ],
)
def test_what_cannot_be_stacked_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_target_that_is_no_domain_is_left_to_the_laws_that_can_express_it():
    table = frame(noise=0.01)
    sweep = bx.read_sweep(table.assign(loss_chat=table["loss_web"] + 1))
    fitted = bx.fit(sweep, Stacked((BiMix(), LogLinear())))
    assert "chat" in fitted.targets
    alone = bx.fit(sweep, LogLinear()).predict(sweep.mixtures)["chat"]
    np.testing.assert_allclose(fitted.predict(sweep.mixtures)["chat"], alone, rtol=1e-12)
    assert bx.optimize_mixture(fitted).losses["chat"] > 1
    assert np.isfinite(bx.certainty(bx.bootstrap(sweep, fitted, n=4)).mixtures).all()
    assert Stacked((BiMix(), bx.CrossBiMix())).needs_own is False


def test_the_command_shows_a_stack_without_the_coefficients_of_its_laws(tmp_path):
    frame(noise=0.01).to_csv(tmp_path / "sweep.csv", index=False)
    named = ["--law", "Stacked(BiMix, LogLinear)", "-o", str(tmp_path / "fit.json")]
    shown = CliRunner().invoke(app, ["fit", str(tmp_path / "sweep.csv"), *named])
    assert shown.exit_code == 0, shown.output
    assert "The centre of BiMix, LogLinear." in shown.output
    assert "alpha" not in shown.output
    assert bx.load_fit(tmp_path / "fit.json").label == "Stacked(BiMix, LogLinear)"


def test_a_share_of_nothing_is_left_to_the_laws_that_have_a_value():
    sweep = bx.read_sweep(without_web(frame(noise=0.01)))
    fitted = bx.fit(sweep, Stacked((BiMix(), LogLinear())))
    assert (fitted.points == len(sweep.budget)).all()
    assert np.isfinite(fitted.predict_points(sweep.mixture, sweep.budget)).all()
    assert list(fitted.targets) == list(DOMAINS)
