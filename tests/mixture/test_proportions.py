import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from bimix_jax import BiMix, Coefficients, Law, fit_arrays, optimal_proportions
from bimix_jax.mixture._certificate import certify
from bimix_jax.mixture._exact import power_law_proportions, power_terms
from bimix_jax.mixture.feasible import simplex
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem
from bimix_jax.xla.compilation import jit
from tests.conftest import synthetic_points
from tests.programs import best_mixture, both_ways, predicted_losses

pytestmark = pytest.mark.usefixtures("float64")
exact = jax.jit(functools.partial(optimal_proportions, BiMix(), method="exact"))
gradient = jax.jit(functools.partial(optimal_proportions, BiMix(), method="gradient"))


def problem_at(mixture, coefficients, budget, weights, law=None):
    """What `certify` takes: a problem, a mixture and arguments, on the whole simplex."""
    arguments = MixtureArguments(
        coefficients, np.asarray(budget), np.asarray(weights), simplex(coefficients.own.shape[1])
    )
    return MixtureProblem(law or BiMix()), mixture, arguments


def random_law(seed, domains, batch=()):
    rng = np.random.default_rng(seed)
    shape = (*batch, domains)
    return Coefficients(
        exponents=np.stack([rng.uniform(0.01, 1.0, shape), rng.uniform(0.05, 1.5, shape)], axis=-1),
        amplitudes=rng.uniform(0.05, 4.0, (*shape, 2)),
        own=np.broadcast_to(np.eye(domains), (*shape, domains)),
        budget_scale=np.ones(shape),
    ), rng.uniform(0.1, 2.0, shape)


@pytest.mark.parametrize("domains", [2, 8, 50])
def test_exact_and_gradient_agree_to_1e_6(domains):
    coefficients, weights = random_law(domains, domains, (40,))
    over = functools.partial(jax.vmap, in_axes=(0, None, 0))
    one, other = (over(m)(coefficients, 2.0, weights) for m in (exact, gradient))
    np.testing.assert_allclose(one.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.parametrize("domains", [2, 5, 12])
def test_exact_agrees_with_slsqp(domains):
    coefficients, weights = random_law(100 + domains, domains)
    problem, _, arguments = problem_at(None, coefficients, 0.5, weights)
    value = jax.jit(jax.value_and_grad(lambda r: problem.value(r, arguments)))
    best = minimize(
        lambda r: tuple(map(np.asarray, value(r))), np.full(domains, 1 / domains), jac=True,
        method="SLSQP", bounds=[(1e-6, 1)] * domains, options={"ftol": 1e-15, "maxiter": 1000},
        constraints={"type": "eq", "fun": lambda r: r.sum() - 1, "jac": lambda r: np.ones(domains)},
    )  # fmt: skip
    ours = exact(coefficients, 0.5, weights)
    np.testing.assert_allclose(ours, best.x, atol=1e-4)
    assert value(ours)[0] <= best.fun + 1e-10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2, 7]))
def test_the_duality_gap_of_the_exact_optimum_is_rounding(seed, domains):
    coefficients, weights = random_law(seed, domains)
    mixture = exact(coefficients, 3.0, weights)
    assert certify(*problem_at(mixture, coefficients, 3.0, weights)).gap < 1e-10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_scaling_all_weights_changes_nothing(seed, factor):
    coefficients, weights = random_law(seed, 6)
    np.testing.assert_allclose(
        exact(coefficients, 1.0, factor * weights), exact(coefficients, 1.0, weights), rtol=1e-9
    )


def test_permuting_targets_and_domains_permutes_the_mixture():
    coefficients, weights = random_law(7, 5)
    order = np.array([3, 0, 4, 1, 2])
    moved = jax.tree.map(lambda leaf: leaf[order], coefficients)
    plain = exact(coefficients, 1.0, weights)
    np.testing.assert_allclose(exact(moved, 1.0, weights[order]), plain, rtol=1e-10)
    renamed = moved._replace(own=moved.own[:, order])
    for method in (exact, gradient):
        np.testing.assert_allclose(method(renamed, 1.0, weights[order]), plain[order], atol=1e-6)


def test_more_weight_means_more_of_that_domain():
    coefficients, _ = random_law(1, 4)
    plain, heavy = (exact(coefficients, 1.0, np.array([w, 1.0, 1.0, 1.0])) for w in (1.0, 3.0))
    assert heavy[0] > plain[0]
    assert np.all(heavy[1:] < plain[1:])


@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_a_domain_that_no_target_sees_gets_nothing(method):
    coefficients, _ = random_law(2, 4)
    three = jax.tree.map(lambda leaf: leaf[:3], coefficients)
    mixture = best_mixture(BiMix(), three, 1.0, method=method)
    assert mixture[3] < 1e-9
    assert mixture.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("method", [exact, gradient], ids=["exact", "gradient"])
def test_derivatives_agree_with_central_differences(method):
    coefficients, weights = random_law(11, 5)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(x.shape) for x in (*coefficients[:2], weights)]

    def mixture(shift):
        exponents, amplitudes, w = (
            x * (1 + shift * d)
            for x, d in zip((*coefficients[:2], weights), directions, strict=True)
        )
        moved = coefficients._replace(exponents=exponents, amplitudes=amplitudes)
        return method(moved, 2.0 + shift, w)

    step = 1e-5
    ends = map(both_ways(mixture), (-step, 0.0, step))
    (lower, *_), (_, forward, reverse), (upper, *_) = ends
    expected = (upper - lower) / (2 * step)
    np.testing.assert_allclose(forward, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(reverse, forward, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_derivative_through_fit_and_optimum_to_the_data(method):
    mixture, budget, loss, _ = synthetic_points(noise=0.01)
    direction = np.random.default_rng(8).standard_normal(loss.shape)

    def chain(shift):
        moved = loss * (1 + shift * direction)
        found = fit_arrays(BiMix(), mixture, budget, moved, own=np.arange(3), tolerance=1e-10)
        best = optimal_proportions(BiMix(), found.coefficients, 2e10, method=method)
        return jnp.sum(best * jnp.arange(1.0, 4.0))

    chain, step = jit(jax.value_and_grad(chain)), 1e-5
    expected = (chain(step)[0] - chain(-step)[0]) / (2 * step)
    assert chain(0.0)[1] == pytest.approx(float(expected), rel=1e-5)


@dataclasses.dataclass(frozen=True)
class Shared(Law):
    """Two domains count together, so the optimum is not unique."""

    name = "Shared"
    exponent_names = ("alpha",)
    amplitude_names = ("scale",)

    def bounds(self, domains):
        return [(0.0, 5.0)]

    def starts(self, domains):
        return [[0.5]]

    def features(self, mixture, own, budget):
        return jnp.log(mixture[0] + mixture[1]), jnp.log(mixture[2])

    def basis(self, exponents, features):
        return (sum(jnp.exp(-exponents[0] * x) for x in features),)


def test_where_the_optimum_is_not_unique_objective_and_gap_hold():
    coefficients = Coefficients(
        np.array([[0.5]]), np.array([[1.0]]), np.zeros((1, 3)), np.array([1.0])
    )
    mixture = np.asarray(best_mixture(Shared(), coefficients, 1.0))
    problem, _, arguments = problem_at(mixture, coefficients, 1.0, np.ones(1), Shared())
    assert certify(problem, mixture, arguments).gap <= 1e-7
    np.testing.assert_allclose(mixture[2], 0.5, atol=1e-7)
    value = jit(problem.value)
    best = value(np.array([0.5, 0.0, 0.5]), arguments)
    assert value(mixture, arguments) == pytest.approx(float(best), abs=1e-9)


def test_power_laws_of_two_equal_domains_split_evenly():
    np.testing.assert_allclose(
        jit(lambda a, b: power_law_proportions(power_terms(a, b, simplex(2)), simplex(2)))(
            np.array([2.0, 2.0]), np.array([0.1, 0.1])
        ),
        0.5,
        rtol=1e-12,
    )


def test_a_second_call_compiles_nothing():
    run = jax.jit(functools.partial(optimal_proportions, BiMix()))
    for seed in range(3):
        coefficients, weights = random_law(seed, 4)
        run(coefficients, 2.0, weights)
    assert run._cache_size() == 1


def test_unknown_methods_are_refused():
    coefficients, _ = random_law(0, 3)
    with pytest.raises(ValueError, match="method is 'newton'"):
        optimal_proportions(BiMix(), coefficients, 1.0, method="newton")
    with pytest.raises(ValueError, match="does not exist for Shared"):
        optimal_proportions(Shared(), coefficients, 1.0, method="exact")


def test_predicted_losses_are_the_formula():
    coefficients, _ = random_law(3, 3)
    mixture, budget = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]), np.array([0.5, 2.0])
    alpha, beta = coefficients.exponents.T
    reducible, floor = coefficients.amplitudes.T
    expected = mixture**-alpha * (reducible * budget[:, None] ** -beta + floor)
    np.testing.assert_allclose(
        predicted_losses(BiMix(), coefficients, mixture, budget), expected, rtol=1e-12
    )
