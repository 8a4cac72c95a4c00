import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, nnls

import bimix_jax as bx
from bimix_jax import BiMix, Constraints, Group, InfeasibleError, feasible_set
from bimix_jax.mixture import optimum
from bimix_jax.mixture._certificate import certify
from bimix_jax.mixture._exact import decreasing_root
from bimix_jax.mixture._flatness import as_good
from bimix_jax.mixture._notes import nearest_in_hull, nonnegative_least_squares
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem
from bimix_jax.xla.compilation import jit
from tests.fits import frame
from tests.mixture.test_proportions import random_law
from tests.programs import best_mixture, both_ways

DOMAINS = 5
GROUPS = np.array([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 0]])


@functools.cache
def solver(method, objective):
    """One compilation for every test."""
    return jax.jit(
        lambda c, w, s: bx.optimal_proportions(
            BiMix(), c, 2.0, w, method=method, constraints=s, objective=objective
        )
    )


objective_of = jit(MixtureProblem.objective_of, static_argnums=0)


def random_set(seed, kl=False):
    """Bounds, two groups and guardrails that a random mixture satisfies."""
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.full(DOMAINS, 2.0))
    lower = np.where(rng.random(DOMAINS) < 0.5, inside * rng.uniform(0, 1, DOMAINS), 0.0)
    upper = np.where(rng.random(DOMAINS) < 0.5, inside * rng.uniform(1, 2, DOMAINS), 1.0)
    sums = GROUPS @ inside
    found = feasible_set(lower, upper, GROUPS, 0.8 * sums, 1.1 * sums)
    allowed = np.where(rng.random(DOMAINS) < 0.5, rng.uniform(0, 0.1, DOMAINS), np.inf)
    return dataclasses.replace(found, guard_limit=allowed, guard_reference=inside)


def violation(mixture, allowed):
    sums = GROUPS @ mixture
    return max(
        abs(mixture.sum() - 1), (allowed.lower - mixture).max(), (mixture - allowed.upper).max(),
        (sums - allowed.most).max(), (allowed.least - sums).max(),
    )  # fmt: skip


@pytest.mark.usefixtures("float64")
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["mean", "worst"]))
def test_exact_and_gradient_agree_are_feasible_and_proven(seed, objective):
    coefficients, weights = random_law(seed, DOMAINS)
    allowed = random_set(seed)
    problem = MixtureProblem(BiMix(), objective)
    arguments = MixtureArguments(coefficients, np.asarray(2.0), weights, allowed)
    exact, gradient = (
        np.asarray(solver(method, objective)(coefficients, weights, allowed))
        for method in ("exact", "gradient")
    )
    assert violation(exact, allowed) < 1e-12
    assert violation(gradient, allowed) < 1e-9
    one, other = (float(objective_of(problem, r, arguments)) for r in (exact, gradient))
    assert other == pytest.approx(one, rel=1e-7)
    assert abs(certify(problem, exact, arguments).gap) < 1e-8 * one


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", ["exact", "gradient"])
def test_derivatives_of_the_constrained_optimum_agree_with_central_differences(method):
    coefficients, weights = random_law(3, DOMAINS)
    allowed = random_set(11)
    direction = np.random.default_rng(0).standard_normal(coefficients.amplitudes.shape)

    def mixture(shift):
        moved = coefficients._replace(
            amplitudes=coefficients.amplitudes * (1 + shift * direction),
            exponents=coefficients.exponents * (1 + 0.3 * shift * direction),
        )
        return solver(method, "mean")(moved, weights, allowed)

    step = 1e-5
    ends = map(both_ways(mixture), (-step, 0.0, step))
    (lower, *_), (_, forward, reverse), (upper, *_) = ends
    expected = (upper - lower) / (2 * step)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(forward, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(reverse, forward, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_a_pull_leads_from_the_optimum_to_its_mixture():
    coefficients, weights = random_law(5, DOMAINS)
    to = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    free = best_mixture(BiMix(), coefficients, 2.0, weights)
    base = feasible_set(np.zeros(DOMAINS), np.ones(DOMAINS), GROUPS)
    at = [
        np.asarray(solver("exact", "mean")(
            coefficients, weights,
            dataclasses.replace(base, kl=np.array(strength), kl_to=to),
        ))
        for strength in (1e-9, 1.0, 1e6)
    ]  # fmt: skip
    np.testing.assert_allclose(at[0], free, atol=1e-6)
    np.testing.assert_allclose(at[2], to, atol=1e-4)
    assert np.abs(at[1] - to).sum() < np.abs(at[0] - to).sum()


@pytest.mark.usefixtures("float64")
def test_a_batch_survives_a_member_whose_guardrails_leave_nothing():
    coefficients, weights = random_law(6, DOMAINS)
    allowed = random_set(6)
    impossible = np.eye(DOMAINS)[0]
    both = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), allowed)
    both = dataclasses.replace(
        both,
        guard_reference=np.stack([allowed.guard_reference, impossible]),
        guard_limit=np.stack([allowed.guard_limit, np.zeros(DOMAINS)]),
    )
    found = jax.vmap(solver("exact", "mean"), in_axes=(None, None, 0))(coefficients, weights, both)
    assert np.all(np.isfinite(found[0]))
    assert np.all(np.isnan(found[1]))


@settings(max_examples=60)
@given(st.integers(0, 10_000))
@example(158)
@example(8448)
def test_feasibility_is_that_of_a_linear_programme_and_the_start_lies_inside(seed):
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.ones(DOMAINS))
    lower = np.where(rng.random(DOMAINS) < 0.5, inside * rng.uniform(0, 1.3, DOMAINS), 0.0)
    lower = np.minimum(1, lower)
    upper = np.minimum(1, np.maximum(lower, inside * rng.uniform(0.8, 2, DOMAINS)))
    groups = (rng.random((3, DOMAINS)) < 0.5).astype(float)
    least = groups @ inside * rng.uniform(0.5, 1.2, 3)
    most = np.minimum(1, least * rng.uniform(1, 1.5, 3))
    rows, limits = np.vstack([groups, -groups]), np.concatenate([most, -least])
    oracle = linprog(np.zeros(DOMAINS), rows, limits, np.ones((1, DOMAINS)), [1.0],
                     bounds=list(zip(lower, upper, strict=True)))  # fmt: skip
    try:
        found = feasible_set(lower, upper, groups, least, most)
    except InfeasibleError:
        assert oracle.status == 2
        return
    assert oracle.status == 0
    start = found.start
    assert abs(start.sum() - 1) < 1e-9
    assert np.all(rows @ start <= limits + 1e-9)
    assert np.all((lower - 1e-9 <= start) & (start <= upper + 1e-9))


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_nonnegative_least_squares_is_scipys(seed):
    rng = np.random.default_rng(seed)
    matrix, target = rng.standard_normal((6, 9)), rng.standard_normal(6)
    ours = np.linalg.norm(matrix @ nonnegative_least_squares(matrix, target) - target)
    assert ours == pytest.approx(nnls(matrix, target)[1], abs=1e-10)


def test_the_nearest_mixture_of_a_hull_is_the_mixture_itself_inside():
    points = np.random.default_rng(0).dirichlet(np.ones(4), 9)
    np.testing.assert_allclose(nearest_in_hull(points.mean(axis=0), points), points.mean(axis=0),
                               atol=1e-7)  # fmt: skip
    corner = np.eye(4)[0]
    assert np.abs(nearest_in_hull(corner, points) - corner).max() > 0.01


@pytest.mark.parametrize("seed", range(8))
def test_no_blend_is_nearer_than_the_nearest_of_a_hull(seed):
    rng = np.random.default_rng(seed)
    points, mixture = rng.dirichlet(np.ones(5), 12), rng.dirichlet(np.ones(5))
    nearest = nearest_in_hull(mixture, points)
    # Towards no corner of the hull does the distance fall.
    assert np.max((points - nearest) @ (mixture - nearest)) < 1e-6
    inside = rng.dirichlet(np.ones(12)) @ points
    np.testing.assert_allclose(nearest_in_hull(inside, points), inside, atol=1e-7)


@pytest.mark.usefixtures("float64")
def test_roots_and_their_derivatives():
    root = functools.partial(decreasing_root, lambda x, a: a - jnp.exp(x) * x, low=0.0, high=9.0)
    x = root(low=jnp.zeros(()), high=jnp.full((), 9.0), arguments=2.0)
    assert float(x * np.exp(x)) == pytest.approx(2.0, rel=1e-14)
    slope = jax.grad(lambda a: root(low=jnp.zeros(()), high=jnp.full((), 9.0), arguments=a))(2.0)
    assert float(slope) == pytest.approx(float(1 / (np.exp(x) * (1 + x))), rel=1e-10)


# ---- by name -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame()), bx.BiMix())


CONFLICTS = [
    ({"lower": {"web": 0.6, "code": 0.53}}, "floors sum to 1.13 .web 0.6, code 0.53"),
    ({"upper": {"web": 0.1, "code": 0.2, "books": 0.3}}, "ceilings sum to 0.6"),
    ({"lower": {"web": 0.5}, "upper": {"web": 0.4}}, "web: the floor 0.5 is above the ceiling 0.4"),
    (
        {"fixed": {"web": 0.5}, "available": {"web": 1e9}, "epochs": 1},
        "by its available tokens.: the floor",
    ),
    ({"groups": [Group(("web", "code"), most=0.2)], "lower": {"web": 0.3}}, "web . code: floors"),
    (
        {"groups": [Group(("web", "code"), most=0.6), Group(("code", "books"), most=0.6),
                    Group(("web", "books"), most=0.6)]},
        "no mixture .* web . code ≤ 0.6, code . books ≤ 0.6, web . books ≤ 0.6 together",
    ),
    ({"guardrail": 0.0, "lower": {"web": 0.5}}, "guardrails require web .*: floors sum to 1.16"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), CONFLICTS)
def test_conflicts_are_named_and_no_mixture_is_returned(fitted, given, words):
    with pytest.raises(InfeasibleError, match=words):
        bx.optimize_mixture(fitted, constraints=Constraints(**given))


WRONG = [
    ({"lower": {"wiki": 0.1}}, "lower: wiki is unknown; expected only"),
    ({"available": {"wiki": 1e9}}, "available: wiki is unknown"),
    ({"guardrail": {"wiki": 0.1}}, "guardrail: wiki is unknown"),
    ({"groups": [Group(("wiki",))]}, "groups: wiki is unknown"),
    ({"available": {"web": -1.0}}, "available: web is -1.0; expected tokens ≥ 0"),
    ({"lower": {"web": 1.5}}, "lower: web is 1.5; expected a proportion"),
    ({"upper": {"web": "much"}}, "upper: web is 'much'; expected a proportion"),
    ({"epochs": 0.0}, "epochs is 0.0; expected a number above 0"),
    ({"guardrail": -0.1}, "guardrail is -0.1"),
    ({"kl": 1.0, "kl_to": {"web": 0.5, "code": 0.1, "books": 0.1}}, "kl_to: .*sums to 0.7"),
    ({"guardrail": 0.1, "guarded": {"web": 1.0}}, "guarded: .*code, books"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_bad_constraints_are_refused(fitted, given, words):
    with pytest.raises(ValueError, match=words):
        bx.optimize_mixture(fitted, constraints=Constraints(**given))


def test_a_mapping_is_no_constraints(fitted):
    with pytest.raises(ValueError, match="constraints is a dict; expected Constraints"):
        bx.optimize_mixture(fitted, constraints={"lower": {"web": 0.4}})


def test_constraints_in_another_spelling_are_the_same(fitted):
    given = {
        "lower": {"web": 0.1}, "available": {"code": 1e9}, "epochs": 2.0,
        "groups": [Group(("web", "code"), most=0.6)], "guardrail": {"code": 0.5},
    }  # fmt: skip
    loud = {
        "lower": {"WEB": 0.1}, "available": {" Code": 1e9}, "epochs": 2.0,
        "groups": [Group(("Web", "code"), most=0.6)], "guardrail": {"code\u00a0": 0.5},
    }  # fmt: skip
    exact = bx.optimize_mixture(fitted, constraints=Constraints(**given))
    with pytest.warns(UserWarning, match="taken for one"):
        found = bx.optimize_mixture(fitted, constraints=Constraints(**loud))
    np.testing.assert_array_equal(found.mixture, exact.mixture)
    assert found.constraints == exact.constraints
    assert found.binding.index.tolist() == exact.binding.index.tolist()


def test_tokens_need_to_be_known_where_budgets_are_steps():
    table = frame().rename(columns={"tokens": "steps"})
    fitted = bx.fit(bx.read_sweep(table), bx.BiMix())
    with pytest.raises(ValueError, match=r"budgets are steps.*tokens_per_step"):
        bx.optimize_mixture(fitted, constraints=Constraints(available={"web": 1e9}, epochs=1))
    shown = bx.optimize_mixture(fitted, constraints=Constraints(available={"web": 1e9}))
    assert shown.epochs is None
    given = Constraints(available={"web": 2e8}, epochs=2, tokens_per_step=0.5)
    assert given.ceilings(fitted, 1e9) == {"web": pytest.approx(0.8)}


def test_files_and_dictionaries_hold_everything(tmp_path):
    given = Constraints(
        lower={"web": 0.1}, available={"code": 1e9}, epochs=4.0, kl=0.1,
        groups=[Group(("web", "code"), 0.1, 0.9)], guardrail={"code": 0.01},
    )  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(given.to_dict()))
    assert bx.read_constraints(tmp_path / "c.json") == given
    (tmp_path / "c.toml").write_text(
        "epochs = 4.0\nkl = 0.1\n[lower]\nweb = 0.1\n[available]\ncode = 1e9\n"
        "[guardrail]\ncode = 0.01\n[[groups]]\n"
        'domains = ["web", "code"]\nleast = 0.1\nmost = 0.9\n'
    )
    assert bx.read_constraints(tmp_path / "c.toml") == given
    (tmp_path / "bad.toml").write_text("floor = 1")
    with pytest.raises(ValueError, match=r"bad.toml: constraints: floor is unknown"):
        bx.read_constraints(tmp_path / "bad.toml")


HELD = [
    ({"upper": {"web": 0.2}}, "web ≤ 0.2", {"upper": {"web": 0.2 * 1.01}}),
    ({"lower": {"web": 0.6}}, "web ≥ 0.6", {"lower": {"web": 0.6 * 0.99}}),
    ({"fixed": {"web": 0.2}}, "web ≤ 0.2", {"lower": {"web": 0.2}, "upper": {"web": 0.2 * 1.01}}),
    (
        {"available": {"web": 4e8}, "epochs": 2, "tokens": 4e9},
        "web ≤ 0.2 (2 epochs of 400M tokens)",
        {"available": {"web": 4.04e8}, "epochs": 2, "tokens": 4e9},
    ),
    ({"groups": [Group(("web", "code"), most=0.5)]}, "web + code ≤ 0.5",
     {"groups": [Group(("web", "code"), most=0.5 * 1.01)]}),
    ({"guardrail": {"books": 0.0}, "kl": 0.01}, "loss of books ≤ 1 × uniform's",
     {"guardrail": {"books": 0.01}, "kl": 0.01}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "held", "relaxed"), HELD)
def test_what_holds_an_optimum_gains_what_relaxing_it_gives(fitted, given, held, relaxed):
    def value(best):
        kl = np.sum(best.mixture * np.log(best.mixture * len(best.mixture)))
        return best.objective + best.constraints.kl * kl

    best = bx.optimize_mixture(fitted, constraints=Constraints(**given))
    wider = bx.optimize_mixture(fitted, constraints=Constraints(**relaxed))
    gain = best.binding["gain"]
    assert held in gain.index
    assert gain[held] == pytest.approx(value(best) - value(wider), rel=1e-6)
    assert 0 < gain[held] <= value(best) - bx.optimize_mixture(fitted).objective


def test_a_loose_guardrail_gains_no_more_than_its_absence(fitted):
    free = bx.optimize_mixture(fitted)
    most = float((free.losses / free.reference_losses).max()) - 1
    best = bx.optimize_mixture(fitted, constraints=Constraints(guardrail=0.99 * most))
    gain = best.binding["gain"].sum()
    assert gain == pytest.approx(best.objective - free.objective, rel=1e-6)
    assert best.binding["multiplier"].sum() * 0.01 > 10 * gain


def test_goals_are_held_by_limits_that_cost_budget(fitted):
    goals = dict(zip(fitted.targets, fitted.predict(best_of(fitted), 3e9), strict=True))
    most = 0.9 * best_of(fitted)["web"]
    best, wider = (
        bx.least_budget(fitted, goals, constraints=Constraints(upper={"web": most * room}))
        for room in (1.0, 1.01)
    )
    (gain,) = best.binding["gain"]
    assert gain == pytest.approx(best.budget - wider.budget, rel=0.02)
    alone = bx.least_budget(fitted, {"web": goals["web"]})
    assert len(alone.binding) == 0
    assert any("without a goal" in note and "code, books" in note for note in alone.notes)


def test_flat_ranges_and_alternatives_are_as_good(fitted):
    best = bx.optimize_mixture(fitted)
    limit = best.objective * 1.001
    assert np.all(best.flatness["flat_low"] < best.mixture - 1e-3)
    assert np.all(best.flatness["flat_high"] > best.mixture + 1e-3)
    losses = fitted.predict(best.alternatives, best.budget).mean(axis=1)
    np.testing.assert_allclose(losses, limit, rtol=1e-7)


def test_a_flat_range_of_the_worst_loss_counts_its_kl_term(fitted):
    def value(mixtures):
        penalty = (mixtures * np.log(mixtures * mixtures.shape[1])).sum(axis=1)
        return fitted.predict(mixtures, best.budget).max(axis=1) + 0.5 * penalty

    asked = Constraints(kl=0.5)
    best = bx.optimize_mixture(fitted, objective="worst", constraints=asked)
    (least,) = value(best.mixture.to_frame().T)
    np.testing.assert_allclose(value(best.alternatives), least * 1.001, rtol=1e-7)


def test_least_budget_reaches_its_goals_and_no_less_does(fitted):
    goals = dict(zip(fitted.targets, fitted.predict(best_of(fitted), 3e9), strict=True))
    least = bx.least_budget(fitted, goals)
    assert least.budget == pytest.approx(3e9, rel=1e-6)
    np.testing.assert_allclose(least.losses, list(goals.values()), rtol=1e-7)
    with pytest.raises(InfeasibleError, match="no budget reaches all of them"):
        bx.least_budget(fitted, {"web": 1e-3, "code": 1e-3})


def best_of(fitted):
    return bx.optimize_mixture(fitted).mixture


@pytest.mark.usefixtures("float64")
def test_a_fixed_share_does_not_hold_the_worst_loss_up():
    coefficients, weights = random_law(1, DOMAINS)
    bounds = feasible_set([0, 0, 0.07, 0, 0], [1, 1, 0.07, 1, 1], GROUPS)
    free = np.full(DOMAINS, np.inf)
    bounds = dataclasses.replace(bounds, guard_limit=free, guard_reference=bounds.start)
    mixture = np.asarray(solver("exact", "worst")(coefficients, weights, bounds))
    arguments = MixtureArguments(coefficients, np.asarray(2.0), weights, bounds)
    problem = MixtureProblem(BiMix(), "worst")
    worst = float(objective_of(problem, mixture, arguments))
    assert abs(certify(problem, mixture, arguments).gap) < 1e-9 * worst


def test_a_range_that_was_not_found_is_said_and_not_narrow(fitted, monkeypatch):
    def lost(*asked):
        found = as_good(*asked).copy()
        found[0] = np.nan
        return found

    monkeypatch.setattr(optimum, "as_good", lost)
    best = bx.optimize_mixture(fitted)
    first, second = best.flatness.index[:2]
    assert np.isnan(best.flatness.loc[first, "flat_low"])
    assert np.all(np.isfinite(best.flatness.loc[second]))
    assert any(note.endswith(f"did not converge for {first}.") for note in best.notes)


# ---- values of the wrong kind --------------------------------------------------------------------

TRUTH = [
    "guardrail", "epochs", "tokens", "tokens_per_step", "kl", "lower", "upper", "fixed",
    "available", "groups", "weights", "kl_to", "guarded",
]  # fmt: skip


@pytest.mark.parametrize("field", TRUTH)
def test_true_is_no_number_nor_anything_else(field, tmp_path):
    with pytest.raises(ValueError, match=f"{field} is True"):
        Constraints(**{field: True})
    (tmp_path / "c.toml").write_text(f"{field} = true\n")
    with pytest.raises(ValueError, match=f"c.toml: {field} is True"):
        bx.read_constraints(tmp_path / "c.toml")
    if field not in ("epochs", "tokens", "tokens_per_step", "kl", "groups"):
        (tmp_path / "c.json").write_text(json.dumps({field: {"web": True}}))
        with pytest.raises(ValueError, match=f"c.json: {field}: web is True"):
            bx.read_constraints(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('groups = [{domains = ["web"], most = true}]', "most of web is True"),
        ('groups = [{domains = "web", most = 0.5}]', "domains is 'web'; expected a list of names"),
        ('groups = [{domains = ["web", "web"], most = 0.5}]', "each once"),
        ('groups = [{domains = [1, 2], most = 0.5}]', "expected a list of names"),
        ("groups = [{most = 0.5}]", "a group needs its domains"),
        ("groups = {web = 1}", "expected a list of groups"),
        ("guardrail = 5", "guardrail is 5; expected a fraction from 0 to below 1, 0.01 for 1 %"),
        ("guardrail = inf", "guardrail is inf"),
        ("epochs = nan", "epochs is nan; expected a number above 0"),
        ("kl = -1", "kl is -1; expected nats ≥ 0"),
        ("epoch = 4", "epoch is unknown.*Did you mean epochs"),
        ("epochs = 4\nepochs = 5", r"c.toml is not a complete TOML file: [^.]*\.$"),
        ("[lower]\nweb/en = 0.1", 'Write such a name in quotes: "web/en" = …'),
        ("[upper]\ncode = 0.1\nour books = 0.1", 'in quotes: "our books" = …'),
        ("[lower]\nweb = [0.1]", "lower: web is .0.1.; expected a proportion"),
        ("[available]\nweb = 1979-05-27", "available: web is datetime"),
        ("tokens = 1e999", "tokens is inf"),
        ("[lower]\nweb = \"0,2\"", "lower: web is '0,2'.*decimal point"),
    ],
)  # fmt: skip
def test_files_of_constraints_with_damage_are_refused(tmp_path, content, words):
    (tmp_path / "c.toml").write_text(content)
    with pytest.raises(ValueError, match=words):
        bx.read_constraints(tmp_path / "c.toml")


def test_numbers_as_people_write_them_are_read(tmp_path):
    (tmp_path / "c.toml").write_text(
        'guardrail = "1%"\ntokens = "40B"\n[available]\nweb = "1.2B"\ncode = "300,000"\n'
        '[lower]\nweb = "20%"\n[[groups]]\ndomains = ["web", "code"]\nmost = "60%"\n'
    )
    assert bx.read_constraints(tmp_path / "c.toml") == Constraints(
        guardrail=0.01, tokens=4e10, available={"web": 1.2e9, "code": 3e5}, lower={"web": 0.2},
        groups=[Group(("web", "code"), most=0.6)],
    )  # fmt: skip


@pytest.mark.parametrize("off", [-1e-12, 1e-12])
def test_sums_that_miss_1_by_rounding_are_1(fitted, off):
    share = np.array([0.5, 0.3, 0.2 + off])
    by_name = dict(zip(fitted.domains, share, strict=True))
    groups = [Group(fitted.domains, least=1 + off), Group(("web",), 0.5 + off, 0.5)]
    for asked in (
        {"upper": by_name}, {"lower": by_name}, {"fixed": by_name}, {"groups": groups},
    ):  # fmt: skip
        best = bx.optimize_mixture(fitted, constraints=Constraints(**asked))
        assert best.mixture.sum() == pytest.approx(1, abs=1e-12)
        assert best.mixture["web"] == pytest.approx(0.5, abs=1e-9)


def test_weights_mixtures_and_budgets_are_numbers(fitted):
    half = {"web": 0.5, "code": 0.5}
    for call, words in (
        (lambda: bx.optimize_mixture(fitted, True), "budget is True; expected tokens above 0"),
        (lambda: bx.optimize_mixture(fitted, "much"), "budget is 'much'"),
        (lambda: bx.optimize_mixture(fitted, weights={"web": True}), "weights: web is True"),
        (lambda: bx.optimize_mixture(fitted, weights=[True, 1.0, 1.0]), "weights is True"),
        (lambda: fitted.predict(half | {"books": False}), "mixtures: books is False"),
        (lambda: fitted.predict([0.5, 0.5, False]), "mixtures is False"),
        (lambda: fitted.predict({"web": 0.5, "code": 0.5, "books": 0.0}, [True]), "budget is True"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    shares = {"web": "50%", "code": "30 %", "books": 0.2}
    exact = fitted.predict([0.5, 0.3, 0.2], 4e9)
    np.testing.assert_allclose(fitted.predict(shares, "4B"), exact)
