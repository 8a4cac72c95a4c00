"""The optimum of one fit in NumPy, against JAX's derivatives and the search for batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bimix_jax as bx
from benchmarks import sizes_worlds
from bimix_jax.fitting.coefficients import Coefficients, predict_losses
from bimix_jax.laws import LAWS
from bimix_jax.mixture import _near, _single
from bimix_jax.mixture._dense import Factor
from bimix_jax.mixture._exact import bracketed_roots
from bimix_jax.mixture._flatness import TOLERANCE, as_good, flat_range
from bimix_jax.mixture._single import SingleModel, best_single, single_arguments
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.mixture.feasible import feasible_set
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem
from bimix_jax.xla.compilation import jit
from tests.programs import best_mixture

DOMAINS = 5
GROUPS = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 0]])
FEW = ("SplitSubstitutionBiMix", "CrossBiMix")
WRAPPED = [
    dataclasses.replace(
        bx.WithModelSize(bx.WithWarmUp(bx.TransferBiMix())), reference=1e8, size=1e9
    ),
    bx.WithRepetition(bx.BiMix(), capacities=(0.1, 0.5, np.inf, np.inf, 0.3)),
]


def squares(losses):
    """An objective of one's own."""
    return jnp.sum(losses**2)


def coefficients_of(law, seed=0):
    """Random coefficients within the bounds of a law."""
    rng = np.random.default_rng(seed)
    low, high = np.asarray(law.bounds(DOMAINS), float).T
    exponents = rng.uniform(np.maximum(low, -1), np.minimum(high, 1), (DOMAINS, len(low)))
    amplitudes = rng.uniform(0.5, 2, (DOMAINS, len(law.amplitude_names)))
    return Coefficients(exponents, amplitudes, np.eye(DOMAINS), np.ones(DOMAINS))


def everything(law):
    """Arguments with bounds, groups, a KL term and guardrails, and a target without a weight."""
    lower, upper = np.full(DOMAINS, 0.02), np.array([1, 0.4, 0.5, 1, 1])
    set_ = feasible_set(lower, upper, GROUPS, np.array([0.1, 0.2]), np.array([0.6, 0.6]))
    set_ = dataclasses.replace(
        set_,
        kl=np.array(0.05),
        kl_to=np.array([0.4, 0.3, 0.1, 0.1, 0.1]),
        guard_limit=np.array([0.3, np.inf, 0.2, np.inf, 0.3]),
        guard_reference=np.full(DOMAINS, 1 / DOMAINS),
    )
    weights = np.array([1.0, 0.5, 0.0, 2.0, 1.0])
    return MixtureArguments(coefficients_of(law), np.asarray(1.3), weights, set_)


@pytest.mark.parametrize(
    "law",
    [
        *(bx.law_named(n) for n in FEW),
        *(pytest.param(bx.law_named(n), marks=pytest.mark.slow) for n in LAWS if n not in FEW),
        *WRAPPED,
    ],
    ids=lambda law: law.label,
)
def test_slopes_and_curvature_agree_with_derivatives_of_predictions(law):
    one_sum = not isinstance(law, bx.WithRepetition)
    assert law.is_of_one_sum == one_sum
    coefficients, weights = coefficients_of(law), np.arange(1.0, DOMAINS + 1)

    def losses(mixture):
        return predict_losses(law, coefficients, mixture[None], 1.3)[0]

    derivatives = jit(
        lambda r: (losses(r), jax.jacrev(losses)(r), jax.hessian(lambda r: weights @ losses(r))(r)),
        x64=True,
    )
    for mixture in (np.full(DOMAINS, 0.2), np.array([0.6, 0.3, 0.09, 0.0099999, 1e-7])):
        found = _near.near_mixture(law, coefficients, 1.3, mixture, weights)
        # By relative changes, as a tiny share may have a huge slope.
        for ours, theirs, power in zip(found, derivatives(mixture), (0, 1, 2), strict=True):
            scale = np.multiply.outer(mixture, mixture) if power == 2 else mixture**power
            wanted = np.asarray(theirs) * scale
            np.testing.assert_allclose(ours * scale, wanted, atol=1e-14 * np.abs(wanted).max())


def test_a_law_that_replaces_the_basis_has_to_state_its_form_again():
    class Coupled(bx.TransferBiMix):
        def basis(self, exponents, features):
            by_budget, plain = super().basis(exponents, features)
            return by_budget * (1 + features[0][0] * features[0][1]), plain

    assert bx.TransferBiMix().is_of_one_sum
    assert not Coupled().is_of_one_sum


def test_many_mixtures_have_the_slopes_and_curvature_of_each():
    law = bx.TransferBiMix()
    rng = np.random.default_rng(0)
    # More than one call takes, so that the last one is filled up.
    mixtures = rng.dirichlet(np.ones(DOMAINS), _near.AT_ONCE + 3)
    weights = rng.random(mixtures.shape)
    asked = law, coefficients_of(law), 1.3
    found = _near.near_mixtures(*asked, mixtures, weights)
    each = [_near.near_mixture(*asked, *pair) for pair in zip(mixtures, weights, strict=True)]
    for ours, theirs in zip(found, zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("objective", ["mean", "worst", squares], ids=["mean", "worst", "own"])
def test_the_model_of_one_fit_is_the_problem(objective):
    law = bx.TransferBiMix()
    problem, arguments = MixtureProblem(law, objective), everything(law)
    mixture = np.array([0.35, 0.15, 0.2, 0.1, 0.2])
    x = np.append(mixture, [3.0] * problem.extra)
    model = SingleModel(problem, single_arguments(arguments))
    z = np.random.default_rng(0).uniform(0.1, 1, model.count)

    def lagrangian(x):
        return problem.value(x, arguments) + z @ problem.rows(x, arguments)

    def theirs(x):
        value, gradient = jax.value_and_grad(problem.value)(x, arguments)
        rows = problem.rows(x, arguments)
        jacobian = jax.jacfwd(problem.rows)(x, arguments)
        return value, gradient, rows, jacobian, jax.hessian(lagrangian)(x)

    for ours, wanted in zip(model.around(x[None], z[None]), jit(theirs, x64=True)(x), strict=True):
        np.testing.assert_allclose(ours[0], wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("law", "objective"),
    [
        (bx.BiMix(), "mean"),
        (bx.TransferBiMix(), "worst"),
        (bx.CrossBiMix(), "mean"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (bx.BiMix(), "worst"),
                (bx.TransferBiMix(), "mean"),
                (bx.CrossBiMix(), "worst"),
            ]
        ),
    ],
)
def test_one_fit_has_the_optimum_of_the_search_for_batches(law, objective):
    problem, arguments = MixtureProblem(law, objective), everything(law)
    if law.is_power_of_own and objective == "worst":
        arguments = arguments._replace(
            feasible=dataclasses.replace(arguments.feasible, kl=None, kl_to=None)
        )
    method = "exact" if law.is_power_of_own else "gradient"
    ours = best_single(problem, method, arguments)
    theirs = best_mixture(
        law, *arguments[:3], constraints=arguments.feasible, method=method, objective=objective
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-12 if method == "exact" else 1e-9)


def test_exact_ranges_are_those_of_the_search():
    law = bx.BiMix()
    arguments = everything(law)
    # With groups, the search finds them; these hold everywhere.
    wide = feasible_set(np.full(DOMAINS, 0.02), np.array([1, 0.4, 0.5, 1, 1]), GROUPS)
    for kl in (None, np.array(0.05)):
        kept = {"kl": kl, "kl_to": arguments.feasible.kl_to}
        guard = {n: getattr(arguments.feasible, n) for n in ("guard_limit", "guard_reference")}
        searched = arguments._replace(feasible=dataclasses.replace(wide, **kept, **guard))
        exact = searched._replace(
            feasible=dataclasses.replace(
                searched.feasible,
                groups=np.zeros((0, DOMAINS)),
                least=np.zeros(0),
                most=np.zeros(0),
            )
        )
        problem = MixtureProblem(law)
        best = best_single(problem, "exact", exact)
        ours, theirs = (flat_range(best, as_good(problem, a, best)) for a in (exact, searched))
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("law", [bx.BiMix(), bx.TransferBiMix()], ids=lambda law: law.name)
def test_optima_of_100_domains_are_proven_and_a_second_compiles_nothing(law):
    fitted = sizes_worlds.fitted(law, 100, 300)
    few = bx.Constraints(upper={"d003": 0.005}, lower={"d007": 0.03}, guardrail={"d011": 0.05})
    assert abs(bx.optimize_mixture(fitted, 2e10).gap) < 1e-8
    compiled = _near._compiled.compilations(), _single._powers.compilations()
    best = bx.optimize_mixture(fitted, 3e10, constraints=few)
    assert abs(best.gap) < 1e-8
    assert (_near._compiled.compilations(), _single._powers.compilations()) == compiled
    mixture = best.mixture.to_numpy()
    assert mixture.sum() == pytest.approx(1, abs=1e-12)
    assert mixture.min() >= 0
    assert mixture[3] <= 0.005 + 1e-9
    assert mixture[7] >= 0.03 - 1e-9
    limit = 1.05 * best.reference_losses["d011"]
    assert best.losses["d011"] <= limit * (1 + 1e-9)
    # No small exchange of two shares that the constraints allow is better.
    rng = np.random.default_rng(0)
    moved = np.tile(mixture, (200, 1))
    for row in moved:
        give, take = rng.choice(100, 2, replace=False)
        step = min(row[give] - (0.03 if give == 7 else 0.0), 1e-4)
        row[[give, take]] += [-step, step if take != 3 else 0.0]
        row[give] += step if take == 3 else 0.0
    losses = fitted.predict_points(moved, 3e10)
    allowed = losses[:, 11] <= limit
    assert np.all(losses[allowed].mean(axis=1) >= best.objective - 1e-10)


def test_flat_ranges_of_many_domains_end_at_the_tolerance():
    fitted = sizes_worlds.fitted(bx.TransferBiMix(), 24, 100)
    decision = Decision.of(fitted, 2e10, request=Request())
    best = decision.solve()
    ends = as_good(decision.problem, decision.arguments, best.mixture)
    low, high = flat_range(best.mixture, ends)
    worse = fitted.predict_points(ends, 2e10).mean(axis=1) / best.values[0] - 1
    inside = np.concatenate([low > 1e-6, high < 1 - 1e-6])
    moved = np.abs(ends - best.mixture).max(axis=1) > 0
    np.testing.assert_allclose(worse[inside & moved], TOLERANCE, rtol=1e-5)
    assert np.all(low <= best.mixture)
    assert np.all(best.mixture <= high)


@pytest.mark.parametrize("law", [bx.BiMix(), bx.TransferBiMix()], ids=lambda law: law.name)
def test_ranges_at_many_tolerances_are_those_at_each(law):
    arguments, tolerances = everything(law), (1e-4, 1e-2)
    problem = MixtureProblem(law)
    best = best_single(problem, "gradient", arguments)
    together = as_good(problem, arguments, best, tolerances).reshape(2, -1, DOMAINS)
    for ends, tolerance in zip(together, tolerances, strict=True):
        alone = as_good(problem, arguments, best, (tolerance,))
        np.testing.assert_allclose(ends, alone, atol=1e-7)
    reach = np.abs(together - best).max(axis=2)
    assert np.all(reach[1] >= reach[0] - 1e-7)
    assert (reach[1] > 2 * reach[0]).any()


@pytest.mark.parametrize("size", [1, 5, 32, 33, 150])
def test_factors_solve_and_refuse_what_is_not_positive(size):
    rng = np.random.default_rng(size)
    half = rng.standard_normal((size, size))
    matrix, sides = half @ half.T + np.eye(size), rng.standard_normal((size, 2))
    np.testing.assert_allclose(
        Factor(matrix).solve(sides), np.linalg.solve(matrix, sides), rtol=1e-9
    )
    matrix[-1, -1] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        Factor(matrix)


@given(st.floats(-5, 5), st.floats(0.1, 30), st.sampled_from([1, 3]))
def test_roots_are_found_between_their_ends(root, steepness, power):
    def falling(x):
        return -(np.sinh(np.clip(steepness * (x - root), -50, 50)) ** power)

    low, high = np.array([-7.0, root, -6.0]), np.array([8.0, 9.0, -5.5])
    found = bracketed_roots(falling, low, high)
    # A cube is 0 within rounding of 1e-308, whose third root is 1e-103.
    assert found[0] == pytest.approx(root, abs=1e-14 * (1 + abs(root)))
    # An end that is the root, and a bracket that has none.
    assert found[1] == root
    assert found[2] == -5.5
