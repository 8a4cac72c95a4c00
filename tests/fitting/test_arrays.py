import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from bimix_jax import Code, Law, fit_arrays
from bimix_jax.laws import BiMix, TransferBiMix
from bimix_jax.xla.compilation import jit
from tests.conftest import synthetic_points
from tests.programs import both_ways, fit_points, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
OWN = np.arange(3)
BOUNDS = ([1e-9, 1e-3, 0, 0], [5, 10, np.inf, np.inf])


def fitted(mixture, budget, loss, weight=None, own=OWN, **options):
    return fit_points(BiMix(), mixture, budget, loss, weight, own, **options)


fit_of_these_rows = jit(functools.partial(fit_arrays, BiMix()))
"""Without the rows that `fit_points` adds."""


def scipy_sum_of_squares(share, budget, loss, residual="relative", starts=8, seed=0):
    """The best of several SciPy fits of one target, in the four parameters together."""
    rng = np.random.default_rng(seed)
    relative = budget / budget.max()

    def rest(x):
        predicted = share ** -x[0] * (x[2] * relative ** -x[1] + x[3])
        if residual == "log":
            return np.log(predicted / loss)
        return (predicted - loss) / (loss if residual == "relative" else 1.0)

    ends = [
        least_squares(rest, rng.uniform([0.01, 0.1, 0.2, 0.2], [0.5, 2, 3, 3]), bounds=BOUNDS,
                      xtol=1e-14, ftol=1e-14, gtol=1e-14, x_scale="jac")
        for _ in range(starts)
    ]  # fmt: skip
    return 2 * min(end.cost for end in ends)


def test_known_coefficients_are_recovered_to_1e_8():
    mixture, budget, loss, truth = synthetic_points()
    found = fitted(mixture, budget, loss)
    np.testing.assert_allclose(found.coefficients.exponents, truth["exponents"], rtol=1e-8)
    np.testing.assert_allclose(found.coefficients.amplitudes, truth["amplitudes"], rtol=1e-8)
    assert np.all(found.code == Code.CONVERGED)


@pytest.mark.parametrize("residual", ["relative", "log", "absolute"])
@pytest.mark.parametrize("seed", range(3))
def test_sum_of_squares_is_that_of_scipys_best(residual, seed):
    mixture, budget, loss, _ = synthetic_points(seed, noise=0.01)
    found = fitted(mixture, budget, loss, residual=residual)
    for i in OWN:
        best = scipy_sum_of_squares(mixture[:, i], budget, loss[:, i], residual)
        assert found.sum_of_squares[i] == pytest.approx(best, rel=1e-6)


def test_embedded_sweep_reaches_scipys_best(embedded):
    found = fitted(embedded.mixture, embedded.budget, embedded.loss, own=embedded.own_index())
    for i in range(0, 7, 3):
        best = scipy_sum_of_squares(embedded.mixture[:, i], embedded.budget, embedded.loss[:, i])
        assert found.sum_of_squares[i] == pytest.approx(best, rel=1e-6)


@pytest.mark.slow  # further problems with known optima
def test_ill_conditioned_fits_are_the_best_known_or_coded():
    rng = np.random.default_rng(3)
    count, points = 300, 64
    alpha, beta = rng.uniform(0.02, 0.4, (count, 1)), rng.uniform(0.05, 1, (count, 1))
    floor, scale = rng.uniform(0.1, 0.9, (count, 1)), rng.uniform(1, 5, (count, 1))
    share, budget = rng.uniform(0.1, 0.4, (count, points)), np.tile(np.geomspace(0.1, 1, 8), 8)
    loss = scale * share**-alpha * ((1 - floor) * budget**-beta + floor)
    loss *= np.exp(0.005 * rng.standard_normal(loss.shape))
    mixture = np.stack([share, 1 - share], axis=-1)

    def run(starts):
        fit_one = functools.partial(fit_arrays, BiMix(), own=0, budget_scale=1.0, starts=starts)
        return jit(jax.vmap(lambda m, y: fit_one(m, budget, y)))(mixture, loss)

    ours = run(None)
    many = run([[a, b] for a in (0.05, 0.4) for b in (0.02, 0.1, 0.3, 0.8, 2.0, 6.0)])
    best = np.minimum(ours.sum_of_squares, many.sum_of_squares)
    silent = np.isin(ours.code, [Code.CONVERGED, Code.BOUNDARY])
    assert np.all(ours.sum_of_squares[silent] <= best[silent] * (1 + 1e-3))
    assert np.mean(ours.code == Code.MAX_STEPS) < 0.01


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_an_exponent_that_the_start_does_not_see_is_searched_for_where_it_counts(seed):
    """Losses that do not fall: the relative fit, a log fit's start, has no reducible part."""
    rng = np.random.default_rng(seed)
    share, budget = rng.uniform(0.1, 0.4, 20), np.resize(np.geomspace(1 / 64, 1, 5), 20)
    loss = 3 * share**-0.2 * np.exp(0.3 * rng.standard_normal(20))
    mixture = np.stack([share, 1 - share], axis=1)

    def rest(x):
        return np.log(share ** -x[0] * (x[2] * budget ** -x[1] + x[3]) / loss)

    best = min(
        least_squares(rest, [0.1, beta, 1, 2], bounds=BOUNDS, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        .cost for beta in (0.02, 0.1, 0.5, 5.0)
    )  # fmt: skip
    found = fit_points(BiMix(), mixture, budget, loss[:, None], own=[0], residual="log")
    assert found.sum_of_squares[0] <= 2 * best * (1 + 1e-6)


def test_huber_agrees_with_scipy_and_resists_an_outlier():
    mixture, budget, loss, truth = synthetic_points(noise=0.003)
    loss[5] *= 1.5
    robust, plain = fitted(mixture, budget, loss, huber=0.005), fitted(mixture, budget, loss)
    error = np.abs(robust.coefficients.exponents - truth["exponents"]).max()
    assert error < np.abs(plain.coefficients.exponents - truth["exponents"]).max() / 3

    def rest(x):
        relative = budget / budget.max()
        return mixture[:, 0] ** -x[0] * (x[2] * relative ** -x[1] + x[3]) / loss[:, 0] - 1

    best = least_squares(rest, [0.1, 0.5, 1, 1], bounds=BOUNDS, loss="huber", f_scale=0.005,
                         x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14)  # fmt: skip
    assert robust.sum_of_squares[0] == pytest.approx(2 * best.cost, rel=1e-6)


@pytest.mark.parametrize("optimizer", [optax.adam(0.03), optax.lbfgs()], ids=["adam", "lbfgs"])
def test_any_optax_optimizer_runs_through_the_same_loop(optimizer):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    ours, theirs = fitted(mixture, budget, loss), fitted(mixture, budget, loss, optimizer=optimizer)
    np.testing.assert_allclose(theirs.sum_of_squares, ours.sum_of_squares, rtol=1e-6)


@pytest.mark.parametrize("residual", ["relative", "log"])
def test_tied_exponents_are_one_number_and_scipys_best(residual):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    found = fitted(mixture, budget, loss, tied=("beta",), residual=residual)
    assert np.ptp(found.coefficients.exponents[:, 1]) < 1e-12
    relative = budget[:, None] / budget.max()

    def rest(x):
        predicted = mixture ** -x[:3] * (x[4:7] * relative ** -x[3] + x[7:])
        return (np.log(predicted / loss) if residual == "log" else predicted / loss - 1).ravel()

    start = np.concatenate([np.full(3, 0.1), [0.5], np.ones(6)])
    best = least_squares(rest, start, bounds=(1e-9, np.inf), x_scale="jac",
                         xtol=1e-14, ftol=1e-14, gtol=1e-14)  # fmt: skip
    assert np.sum(found.sum_of_squares) == pytest.approx(2 * best.cost, rel=1e-6)


def test_weights_count_and_zero_weight_is_absence():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, len(budget)).astype(float)
    repeated = np.repeat(np.arange(len(budget)), counts.astype(int))
    weighted = fitted(mixture, budget, loss, counts)
    copied = fitted(mixture[repeated], budget[repeated], loss[repeated])
    np.testing.assert_allclose(
        weighted.coefficients.exponents, copied.coefficients.exponents, rtol=1e-6
    )
    np.testing.assert_array_equal(weighted.points, np.full(3, np.sum(counts > 0)))


def test_padding_with_missing_losses_changes_nothing():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    padded = fitted(
        np.concatenate([mixture, np.full((9, 3), 1 / 3)]),
        np.concatenate([budget, np.full(9, 1e8)]),
        np.concatenate([loss, np.full((9, 3), np.nan)]),
    )
    plain = fit_of_these_rows(mixture, budget, loss, own=OWN)
    np.testing.assert_allclose(padded.sum_of_squares, plain.sum_of_squares, rtol=1e-10)
    np.testing.assert_array_equal(padded.points, plain.points)


def test_points_of_one_mixture_may_share_its_row():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    count = len(np.unique(budget))
    assert len(np.unique(mixture[:count], axis=0)) == 1
    # A point without a budget or a loss must not touch the others of its mixture.
    loss[1, 0], budget[count], loss[count] = np.nan, np.nan, np.nan
    # All mixtures at the first budget, then all at the second, and so on.
    in_turn = np.arange(len(budget)).reshape(-1, count).T.ravel()
    fit = jit(functools.partial(fit_arrays, TransferBiMix(), own=OWN))
    each = (mixture[::count], mixture[in_turn])
    found, expected = (fit(shares, budget[in_turn], loss[in_turn]) for shares in each)
    np.testing.assert_array_equal(found.points, len(budget) - np.array([2, 1, 1]))
    np.testing.assert_allclose(found.sum_of_squares, expected.sum_of_squares, rtol=1e-9)
    np.testing.assert_allclose(
        found.coefficients.exponents, expected.coefficients.exponents, atol=1e-5
    )


@dataclasses.dataclass(frozen=True)
class Partly(TransferBiMix):
    """A law without a value at early budgets of mixtures that are poor in the own domain."""

    name = "Partly"

    def basis_at(self, exponents, log_worth, features):
        early = (features[-1] < -1) & (log_worth < -1)
        first, second = super().basis_at(exponents, log_worth, features)
        return jnp.where(early, jnp.inf, first), second


def test_a_point_without_a_value_leaves_the_others_of_its_mixture_theirs():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    count = len(np.unique(budget))
    in_turn = np.arange(len(budget)).reshape(-1, count).T.ravel()
    assert Partly().has_log_worth
    fit = jit(functools.partial(fit_arrays, Partly(), own=OWN, shrinkage=np.inf))
    each = (mixture[::count], mixture[in_turn])
    found, expected = (fit(shares, budget[in_turn], loss[in_turn]) for shares in each)
    assert np.all(expected.points < len(budget))
    np.testing.assert_array_equal(found.points, expected.points)
    np.testing.assert_allclose(found.sum_of_squares, expected.sum_of_squares, rtol=1e-9)


def test_rows_where_the_law_is_infinite_are_left_out_of_that_target_only():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    mixture[:8, 0], mixture[:8, 1] = 0.0, mixture[:8, 0] + mixture[:8, 1]
    found = fitted(mixture, budget, loss)
    np.testing.assert_array_equal(found.points, len(budget) - np.array([8, 0, 0]))
    assert np.all(np.isfinite(found.sum_of_squares))


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(3)), st.randoms(use_true_random=False))
def test_permutation_of_rows_domains_and_targets_changes_nothing(order, random):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    rows = list(range(len(budget)))
    random.shuffle(rows)
    order = np.array(order)
    plain = fitted(mixture, budget, loss)
    mixed = fitted(mixture[rows][:, order], budget[rows], loss[rows][:, order])
    for one, other in zip(plain.coefficients[:2], mixed.coefficients[:2], strict=True):
        np.testing.assert_allclose(other, one[order], rtol=1e-5)
    np.testing.assert_allclose(mixed.sum_of_squares, plain.sum_of_squares[order], rtol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100), st.floats(1e-3, 1e3))
def test_scaling_losses_and_budgets_scales_the_amplitudes_only(factor, unit):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    plain, scaled = fitted(mixture, budget, loss), fitted(mixture, unit * budget, factor * loss)
    exponents, amplitudes = plain.coefficients.exponents, plain.coefficients.amplitudes
    np.testing.assert_allclose(scaled.coefficients.exponents, exponents, rtol=1e-5)
    np.testing.assert_allclose(scaled.coefficients.amplitudes, factor * amplitudes, rtol=1e-5)


def test_the_gauge_moves_with_the_budget_scale_and_predictions_do_not():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    here, there = fitted(mixture, budget, loss), fitted(mixture, budget, loss, budget_scale=1e8)
    at = np.full(len(budget), 3e10)
    np.testing.assert_allclose(
        predicted_losses(BiMix(), here.coefficients, mixture, at),
        predicted_losses(BiMix(), there.coefficients, mixture, at),
        rtol=1e-6,
    )


def test_single_budget_leaves_beta_unidentified_and_alpha_right():
    mixture, budget, loss, truth = synthetic_points()
    last = budget == budget.max()
    found = fitted(mixture[last], budget[last], loss[last])
    assert np.all(found.code == Code.UNIDENTIFIED)
    np.testing.assert_array_equal(found.identified, [[True, False]] * 3)
    np.testing.assert_allclose(
        found.coefficients.exponents[:, 0], truth["exponents"][:, 0], rtol=1e-8
    )


@pytest.mark.parametrize("residual", ["relative", "log"])
def test_single_mixture_leaves_alpha_unidentified(residual):
    _, budget, loss, truth = synthetic_points()
    one = np.full((8, 3), 1 / 3)
    found = fitted(one, budget[:8], loss[:8], residual=residual)
    assert np.all(found.code == Code.UNIDENTIFIED)
    np.testing.assert_array_equal(found.identified[:, 0], False)
    np.testing.assert_allclose(
        found.coefficients.exponents[:, 1], truth["exponents"][:, 1], rtol=1e-5
    )


def test_losses_that_never_fall_are_coded_boundary():
    mixture, budget, loss, _ = synthetic_points()
    rising = loss * (budget[:, None] / budget.max()) ** 1.5
    found = fitted(mixture, budget, rising)
    assert np.all(found.code == Code.BOUNDARY)
    np.testing.assert_array_equal(found.coefficients.amplitudes[:, 0], 0.0)


def test_pure_power_law_is_coded_boundary():
    mixture, budget, _, _ = synthetic_points()
    loss = (
        mixture**-0.1
        * (budget[:, None] / budget.max()) ** -0.3
        * np.exp(0.002 * np.log(budget / budget.max())[:, None] ** 2 * -1)
    )
    found = fitted(mixture, budget, loss)
    np.testing.assert_array_equal(found.coefficients.amplitudes[:, 1], 0.0)
    assert np.all(found.code == Code.BOUNDARY)


@pytest.mark.parametrize("broken", [-1.0, 0.0, np.inf])
def test_a_broken_loss_spoils_its_own_target_only(broken):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    plain = fitted(mixture, budget, loss)
    loss[3, 1] = broken
    found = fitted(mixture, budget, loss)
    np.testing.assert_array_equal(found.code, [Code.CONVERGED, Code.BAD_DATA, Code.CONVERGED])
    others = np.array([0, 2])
    np.testing.assert_allclose(
        found.sum_of_squares[others], plain.sum_of_squares[others], rtol=1e-12
    )


def test_a_target_without_points_or_domain_is_bad_data():
    mixture, budget, loss, _ = synthetic_points()
    loss[:, 0] = np.nan
    found = fitted(mixture, budget, loss, own=np.array([0, 1, -1]))
    np.testing.assert_array_equal(found.code, [Code.BAD_DATA, Code.CONVERGED, Code.BAD_DATA])


def test_steps_that_run_out_are_coded():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    found = fit_points(BiMix(), mixture, budget, loss, own=OWN, max_steps=2)
    assert np.all(found.code == Code.MAX_STEPS)


def test_one_target_is_a_fit_without_the_axis():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    one = fit_points(BiMix(), mixture, budget, loss[:, 1], own=1)
    several = fitted(mixture, budget, loss)
    assert one.code.shape == ()
    np.testing.assert_allclose(one.coefficients.exponents, several.coefficients.exponents[1])


def test_float32_is_near_float64():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    double = fitted(mixture, budget, loss)
    single = fitted(*(np.asarray(x, np.float32) for x in (mixture, budget, loss)))
    assert single.coefficients.exponents.dtype == np.float32
    np.testing.assert_allclose(single.sum_of_squares, double.sum_of_squares, rtol=1e-3)


def test_a_second_call_compiles_nothing():
    counts = set()
    for seed in range(3):
        mixture, budget, loss, _ = synthetic_points(seed, noise=0.01)
        fit_of_these_rows(mixture, budget, loss, own=OWN)
        counts.add(fit_of_these_rows.compilations())
    assert len(counts) == 1


def test_equal_laws_share_a_compilation():
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    run = jit(fit_arrays, static_argnums=0)
    for law in (BiMix(), BiMix()):
        run(law, mixture, budget, loss, own=OWN)
    assert run.compilations() == 1


@pytest.mark.parametrize(
    "options", [{}, {"residual": "log"}, {"huber": 0.01}, {"tied": ("beta",)}], ids=str
)
def test_derivatives_agree_with_central_differences(options):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    direction = np.random.default_rng(5).standard_normal(loss.shape)

    def exponents(shift):
        found = fit_arrays(
            BiMix(), mixture, budget, loss * (1 + shift * direction), own=OWN, tolerance=1e-10,
            **options,
        )  # fmt: skip
        return jnp.concatenate(
            [found.coefficients.exponents, found.coefficients.amplitudes], axis=1
        )

    step = 1e-5
    ends = map(both_ways(exponents), (-step, 0.0, step))
    (lower, *_), (_, forward, reverse), (upper, *_) = ends
    expected = (upper - lower) / (2 * step)
    np.testing.assert_allclose(forward, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-11)


def sum_of_exponents(shift, data, loss, directions):
    moved = {name: values * (1 + shift * directions[name]) for name, values in data.items()}
    found = fit_arrays(
        BiMix(), **moved, loss=loss, own=OWN, budget_scale=jnp.max(data["budget"]), tolerance=1e-10
    )
    return jnp.sum(found.coefficients.exponents * jnp.arange(1.0, 7.0).reshape(3, 2))


slope_of_exponents = jit(jax.value_and_grad(sum_of_exponents))


@pytest.mark.parametrize("what", ["mixture", "budget", "weight"])
def test_derivatives_in_other_data_agree_with_central_differences(what):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    rng = np.random.default_rng(6)
    data = {"mixture": mixture, "budget": budget, "weight": np.ones(loss.shape)}
    directions = {name: np.zeros(values.shape) for name, values in data.items()}
    directions[what] = rng.standard_normal(data[what].shape)
    step, others = 1e-4, (data, loss, directions)
    ends = [slope_of_exponents(shift, *others)[0] for shift in (-step, step)]
    expected = (ends[1] - ends[0]) / (2 * step)
    assert slope_of_exponents(0.0, *others)[1] == pytest.approx(float(expected), rel=1e-5)


def test_derivative_at_an_active_bound_is_that_of_the_bounded_fit():
    mixture, budget, loss, _ = synthetic_points()
    rising = loss * (budget[:, None] / budget.max()) ** 1.5

    def alpha(shift):
        moved = rising * (1 + shift * jnp.log(mixture))
        return jnp.sum(
            fit_arrays(BiMix(), mixture, budget, moved, own=OWN).coefficients.exponents[:, 0]
        )

    alpha = jit(jax.value_and_grad(alpha))
    expected = (alpha(1e-4)[0] - alpha(-1e-4)[0]) / 2e-4
    assert alpha(0.0)[1] == pytest.approx(float(expected), rel=1e-5)


@dataclasses.dataclass(frozen=True)
class Total(Law):
    """A user's law: three amplitudes, one exponent, no own domain."""

    name = "Total"
    exponent_names = ("beta",)
    amplitude_names = ("reducible", "first", "floor")

    def bounds(self, domains):
        return [(1e-3, 5.0)]

    def starts(self, domains):
        return [[0.3], [1.0]]

    def features(self, mixture, own, budget):
        return jnp.log(budget), mixture[0]

    def basis(self, exponents, features):
        return jnp.exp(-exponents[0] * features[0]), features[1], 1.0


def test_a_users_law_runs_through_everything():
    mixture, budget, _, _ = synthetic_points()
    loss = 0.5 * (budget / budget.max()) ** -0.4 + 0.7 * mixture[:, 0] + 1.5
    found = fit_points(Total(), mixture, budget, loss, own=-1)
    assert found.code == Code.CONVERGED
    np.testing.assert_allclose(found.coefficients.exponents, [0.4], rtol=1e-8)
    np.testing.assert_allclose(found.coefficients.amplitudes, [0.5, 0.7, 1.5], rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"residual": "squared"}, "residual is 'squared'"),
        ({"tied": ("gamma",)}, "tied names gamma"),
        ({"loss": np.ones((4, 3))}, "do not fit together"),
        ({"mixture": np.ones((7, 3))}, "which the points have in turn"),
        ({"budget": np.ones(0), "loss": np.ones(0)}, "of one point or more"),
        ({"mixture": np.ones((0, 3))}, "of one point or more"),
    ],
)
def test_bad_options_are_named(change, words):
    mixture, budget, loss, _ = synthetic_points()
    arguments = {"mixture": mixture, "budget": budget, "loss": loss, "own": OWN} | change
    with pytest.raises(ValueError, match=words):
        fit_arrays(BiMix(), **arguments)


@dataclasses.dataclass(frozen=True)
class Pooled(Law):
    """L = Σ_j gain_j·r_j·s^−β + floor: an amplitude per domain and one more."""

    domains: int = 8
    signed: tuple[str, ...] = ()

    name = "Pooled"
    exponent_names = ("beta",)

    @property
    def amplitude_names(self):
        return (*(f"gain{j}" for j in range(self.domains)), "floor")

    def bounds(self, domains):
        return [(0.05, 5.0)]

    def starts(self, domains):
        return [[0.3], [1.0]]

    def features(self, mixture, own, budget):
        return mixture, jnp.log(budget)

    def basis(self, exponents, features):
        mixture, log_budget = features
        return (*(mixture * jnp.exp(-exponents[0] * log_budget)), 1.0)


def pooled_points(gains, seed=0):
    rng = np.random.default_rng(seed)
    mixture = np.repeat(rng.dirichlet(np.ones(len(gains)), 25), 4, axis=0)
    budget = np.tile([1.0, 2, 4, 8], 25)
    loss = 1.3 + (mixture @ np.asarray(gains)) * budget**-0.6
    return mixture, budget, loss * np.exp(0.003 * rng.standard_normal(100))


def pooled_best(mixture, budget, loss, least):
    """Least relative squares by SciPy, which searches for everything together."""

    def rest(x):
        return (((mixture @ x[1:-1]) * budget ** -x[0] + x[-1]) / loss) - 1

    count = mixture.shape[1]
    low = np.array([0.05, *np.full(count, least), 0.0])
    start = np.array([0.5, *np.ones(count), 1.0])
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 2000}
    return 2 * least_squares(rest, start, bounds=(low, np.inf), x_scale="jac", **tight).cost


def test_nine_amplitudes_of_which_some_are_0_reach_scipys_best():
    points = pooled_points([1.0, 0.0, 2.0, 0.0, 0.5, 0.0, 1.0, 3.0], seed=4)
    found = fit_points(Pooled(), *points, own=-1, budget_scale=1.0)
    assert found.sum_of_squares == pytest.approx(pooled_best(*points, 0.0), rel=1e-6)
    assert found.code == Code.BOUNDARY
    assert found.coefficients.exponents[0] == pytest.approx(0.6, abs=0.02)


def test_signed_amplitudes_may_be_negative_and_others_not():
    gains = [1.0, -0.5, 2.0, -0.8]
    law = Pooled(4, signed=("gain1", "gain3"))
    points = pooled_points(gains)
    found = fit_points(law, *points, own=-1, budget_scale=1.0, residual="log")
    assert found.code == Code.CONVERGED
    np.testing.assert_allclose(found.coefficients.amplitudes[:4], gains, atol=0.05)
    one = fit_points(Pooled(4, signed=("gain1",)), *points, own=-1, budget_scale=1.0)
    assert one.code == Code.BOUNDARY
    assert one.coefficients.amplitudes[3] == 0
    best = pooled_best(*points, [0.0, -np.inf, 0.0, 0.0])
    assert one.sum_of_squares == pytest.approx(best, rel=1e-6)


def test_signed_names_that_are_no_amplitudes_are_refused():
    points = pooled_points([1.0, 1.0])
    with pytest.raises(ValueError, match=r"signed of Pooled names slope; expected .*gain0, gain1"):
        fit_points(Pooled(2, signed=("slope",)), *points, own=-1)


def test_a_line_search_sees_the_derivative_of_many_amplitudes():
    points = pooled_points([1.0, 0.0, 2.0, 0.5])
    found = fit_points(Pooled(4), *points, own=-1, optimizer=optax.lbfgs(), budget_scale=1.0)
    assert found.sum_of_squares == pytest.approx(pooled_best(*points, 0.0), rel=1e-8)


def test_a_misspelt_setting_names_the_nearest_one():
    mixture, budget, loss, _ = synthetic_points()
    with pytest.raises(TypeError, match=r"fit_arrays.. got an .*'hubre'.*Did you mean huber"):
        fit_arrays(BiMix(), mixture, budget, loss, own=0, hubre=0.1)
