"""Every verb that looks for a best mixture finds the same one."""

import dataclasses
import functools
import re

import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import Constraints, Group
from bimix_jax.mixture.decision import CHUNK, _in_chunks, _measured_domains
from tests.fits import DOMAINS, frame

BUDGET = 3e9
WEIGHTS = {"web": 1.0, "code": 3.0}
REFERENCE = {"web": 0.5, "code": 0.2, "books": 0.3}
ASKED = {
    "none": Constraints(),
    "a guarded target that does not count": Constraints(guardrail={"books": 0.02}),
    "guardrails on all": Constraints(guardrail=0.05, guarded=REFERENCE),
    "bounds": Constraints(lower={"books": 0.1}, upper={"code": 0.5}),
    "tokens": Constraints(available={"code": 4e8}, epochs=2.5, guardrail={"books": 0.1}),
    "a group and a KL term": Constraints(groups=[Group(("web", "books"), least=0.7)], kl=0.05),
    "weights of a file": Constraints(weights={"web": 1.0, "code": 3.0, "books": 0.1}),
}
LAWS = {"BiMix": bx.BiMix(), "TransferBiMix": bx.TransferBiMix()}


@functools.cache
def sweep():
    return bx.read_sweep(frame(noise=0.003))


@functools.cache
def drawn(law):
    fitted = bx.fit(sweep(), LAWS[law], shrinkage=0.01 if law == "TransferBiMix" else "mixtures")
    return bx.bootstrap(sweep(), fitted, n=4)


def of_optimize(drawn, weights, asked):
    return bx.optimize_mixture(drawn.fitted, BUDGET, weights, constraints=asked).mixture


def of_path(drawn, weights, asked):
    found = bx.optimal_path(
        drawn.fitted, [BUDGET / 2, BUDGET], weights, constraints=asked, bootstrap=drawn
    )
    assert np.isfinite(found.losses[list(WEIGHTS)]).all(axis=None)
    return found.mixtures.iloc[1]


def of_sensitivity(drawn, weights, asked):
    return bx.sensitivity(drawn.fitted, None, BUDGET, weights, constraints=asked).mixture


def of_certainty(drawn, weights, asked):
    sure = bx.certainty(drawn, BUDGET, weights, constraints=asked)
    assert np.all(np.isfinite(sure.mixtures))
    return sure.optimum.mixture


def of_several_laws(drawn, weights, asked):
    found = bx.between_laws([drawn.fitted], BUDGET, weights, constraints=asked)
    return found.mixtures[drawn.fitted.law.label]


VERBS = [of_path, of_sensitivity, of_certainty, of_several_laws]


CASES = [("BiMix", asked) for asked in ASKED] + [
    ("TransferBiMix", "a guarded target that does not count"), ("TransferBiMix", "tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "asked"), CASES)
def test_every_verb_finds_the_optimum_of_optimize_mixture(law, asked):
    given = drawn(law)
    weights = None if ASKED[asked].weights else WEIGHTS
    best = of_optimize(given, weights, ASKED[asked])
    assert best.sum() == pytest.approx(1)
    for verb in VERBS:
        np.testing.assert_allclose(verb(given, weights, ASKED[asked]), best, atol=1e-7)


@pytest.mark.parametrize(("law", "asked"), [CASES[2], CASES[-2]])
def test_a_front_holds_the_optimum_of_its_weights(law, asked):
    given = drawn(law)
    found = bx.tradeoff(given.fitted, ["web"], ["code"], BUDGET, constraints=ASKED[asked])
    assert np.isfinite(found.mixtures).all(axis=None)
    weights = {"web": 1 - found.even, "code": found.even}
    best = of_optimize(given, weights, ASKED[asked])
    np.testing.assert_allclose(found.mixtures.loc[found.even], best, atol=1e-6)


def test_a_least_budget_keeps_guardrails_on_targets_without_a_goal():
    fitted = drawn("BiMix").fitted
    asked = Constraints(guardrail={"books": 0.02})
    goals = fitted.predict(of_optimize(drawn("BiMix"), WEIGHTS, asked), BUDGET)
    goals = {target: float(goals[target]) for target in WEIGHTS}
    best = bx.least_budget(fitted, goals, constraints=asked)
    assert best.budget <= BUDGET * (1 + 1e-6)
    assert best.losses["books"] <= 1.02 * best.reference_losses["books"] * (1 + 1e-8)


@pytest.mark.parametrize("law", LAWS)
def test_guardrails_that_cannot_be_kept_are_an_error_of_every_verb(law):
    given, asked = drawn(law), Constraints(guardrail={"books": 0.0}, upper={"books": 0.05})
    fitted = given.fitted
    for verb in (of_optimize, *VERBS):
        with pytest.raises(bx.InfeasibleError, match="guardrail"):
            verb(given, WEIGHTS, asked)
    with pytest.raises(bx.InfeasibleError, match="guardrail"):
        bx.tradeoff(fitted, ["web"], ["code"], BUDGET, constraints=asked)


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_a_batch_of_any_size_is_found_in_whole_chunks(count):
    values = np.arange(float(count))
    np.testing.assert_array_equal(_in_chunks(lambda value: 2 * value, values), 2 * values)


def test_weights_of_the_constraints_are_said_not_to_count_in_a_front():
    asked = ASKED["weights of a file"]
    notes = bx.tradeoff(drawn("BiMix").fitted, ["web"], constraints=asked).notes
    assert any("weights of the constraints do not count" in note for note in notes)


# ---- domains that nothing measures ---------------------------------------------------------------


def misnamed():
    """A sweep whose loss on code is called otherwise."""
    return bx.read_sweep(frame().rename(columns={"loss_code": "loss_python"}))


@functools.cache
def blind(law="BiMix"):
    options = {"shrinkage": 0.01} if law == "TransferBiMix" else {}
    return bx.fit(misnamed(), LAWS[law], **options)


def unasked(fitted):
    return {
        "optimize": lambda: bx.optimize_mixture(fitted),
        "weights": lambda: bx.optimize_mixture(fitted, weights={"web": 1.0, "books": 2.0}),
        "worst": lambda: bx.optimize_mixture(fitted, objective="worst"),
        "goals": lambda: bx.least_budget(fitted, {"web": 3.0}),
        "path": lambda: bx.optimal_path(fitted, [1e9, 2e9]),
        "sensitivity": lambda: bx.sensitivity(fitted),
        "tradeoff": lambda: bx.tradeoff(fitted, ["web"], ["books"]),
        "group": lambda: bx.optimize_mixture(
            fitted, constraints=Constraints(groups=[Group(("web", "code"), least=0.5)])
        ),
    }


@pytest.mark.parametrize("verb", unasked(None))
def test_a_domain_that_nothing_measures_is_an_error(verb):
    with pytest.raises(ValueError, match=r"^code: no target that counts .* the targets web, books"):
        unasked(blind())[verb]()


def test_nor_is_a_run_proposed_or_a_gain_promised():
    with pytest.raises(ValueError, match=r"^code: no target that counts"):
        bx.propose_runs(blind(), misnamed(), 2)
    with pytest.raises(ValueError, match=r"^code: no target that counts"):
        bx.certainty(bx.bootstrap(misnamed(), blind(), n=3))


@pytest.mark.parametrize(
    ("asked", "share"),
    [
        ({"lower": {"code": 0.0}}, 0.0),
        ({"upper": {"code": 0.3}}, 0.0),
        ({"fixed": {"code": 0.2}}, 0.2),
        ({"lower": {"code": 0.1}}, 0.1),
        ({"upper": {"web": 0.5, "books": 0.3}}, 0.2),
    ],
)
def test_a_share_that_was_asked_for_is_given(asked, share):
    best = bx.optimize_mixture(blind(), constraints=Constraints(**asked))
    assert best.mixture["code"] == pytest.approx(share, abs=1e-9)


def test_a_pull_gives_to_what_nothing_measures():
    best = bx.optimize_mixture(blind(), constraints=Constraints(kl=0.1))
    assert best.mixture["code"] > 0.001


def test_a_target_that_the_user_leaves_out_leaves_its_domain_out():
    best = bx.optimize_mixture(drawn("BiMix").fitted, weights={"web": 1.0, "books": 2.0})
    assert best.mixture["code"] == 0


def test_a_domain_that_helps_others_is_measured():
    fitted = blind("TransferBiMix")
    own = [fitted.targets.index(target) for target in ("web", "books")]
    for worth, measured in ((0.3, True), (0.0, False)):
        exponents = np.array(fitted.coefficients.exponents)
        first = len(fitted.law.exponent_names) + DOMAINS.index("code")
        exponents[:, first] = worth
        moved = dataclasses.replace(
            fitted, coefficients=fitted.coefficients._replace(exponents=exponents)
        )
        seen = _measured_domains(moved, BUDGET, np.isin(np.arange(len(fitted.targets)), own))
        assert seen.tolist() == [True, measured, True]


# ---- no finite optimum ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [{"fixed": {"web": 1.0}}, {"upper": {"code": 0.0}}, {"available": {"code": 0.0}}],
)
def test_an_infinite_loss_is_no_optimum(asked):
    fitted = drawn("BiMix").fitted
    with pytest.raises(ValueError, match=r"no finite optimum.*BiMix has no finite loss for .*code"):
        bx.optimize_mixture(fitted, constraints=Constraints(**asked))
    best = bx.optimize_mixture(fitted, weights={"web": 1.0}, constraints=Constraints(**asked))
    assert best.mixture["code"] == 0
    assert np.isfinite(best.objective)


def test_nothing_is_guarded_where_the_guarded_loss_is_infinite():
    asked = Constraints(guardrail=0.1, guarded={"web": 0.6, "code": 0.4, "books": 0.0})
    with pytest.raises(ValueError, match=r"guardrail: BiMix has no finite loss for books"):
        bx.optimize_mixture(drawn("BiMix").fitted, constraints=asked)


@functools.cache
def without_transfer():
    return bx.fit(sweep(), bx.TransferBiMix())


def test_a_law_that_no_run_showed_transfer_says_nothing_of_a_share_of_0():
    fitted, nothing = without_transfer(), {"web": 0.0, "code": 0.5, "books": 0.5}
    assert fitted.label == "BiMix"
    shares = np.array([list(nothing.values())])
    raw = fitted.predict_points(shares, BUDGET)
    assert raw[0, 0] > 100  # finite, but for a reason that is none
    known = fitted.known_points(shares, BUDGET)
    assert known[0, 0] == np.inf
    np.testing.assert_array_equal(known[0, 1:], raw[0, 1:])
    words = "BiMix has no finite loss on web .* runs that do not show what the domains"
    with pytest.raises(ValueError, match=words):
        fitted.predict(nothing)
    with pytest.raises(ValueError, match=r"no finite optimum.*for web, as a share of 0"):
        bx.optimize_mixture(fitted, constraints=Constraints(fixed={"web": 0.0}))
    best = bx.optimize_mixture(fitted, BUDGET, reference=nothing)
    assert best.reference_objective == np.inf
    assert bx.tradeoff(fitted, ["web"], reference=nothing).reference["first"] == np.inf


@pytest.mark.parametrize("web", [0.0, 1e-3])
def test_a_law_with_transfer_has_a_value_where_something_is_worth_something(web):
    mixed = {"web": web, "code": 0.5, "books": 0.5 - web}
    fitted = drawn("TransferBiMix").fitted
    assert fitted.by_domain("transfer").loc["web", ["code", "books"]].max() > 0
    assert np.isfinite(fitted.predict(mixed)).all()
    for law in (bx.AdditiveLaw(), bx.WithWarmUp(bx.SubstitutionBiMix())):
        mixture, own = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
        exponents = np.ones(len(law.names(DOMAINS)))
        assert law.has_value(exponents, mixture, own)
        alone = np.where(np.char.endswith(law.names(DOMAINS), "_code"), 0.0, exponents)
        assert not law.has_value(alone, mixture, own)


@pytest.mark.parametrize("weights", [None, {"books": 1.0}], ids=["all count", "books count"])
@pytest.mark.parametrize("entry", ["exponents", "amplitudes"])
def test_no_verb_decides_by_a_damaged_fit(entry, weights):
    fitted = drawn("BiMix").fitted
    damaged = np.array(getattr(fitted.coefficients, entry))
    damaged[0, 0] = np.nan
    fitted = dataclasses.replace(
        fitted, coefficients=fitted.coefficients._replace(**{entry: damaged})
    )
    given = dataclasses.replace(drawn("BiMix"), fitted=fitted)
    for decide in (
        lambda: bx.optimize_mixture(fitted, weights=weights),
        lambda: bx.optimal_path(fitted, weights=weights),
        lambda: bx.sensitivity(fitted, weights=weights),
        lambda: bx.tradeoff(fitted, ["code"], ["books"]),
        lambda: bx.certainty(given, weights=weights),
    ):
        with pytest.raises(ValueError, match="the coefficients of web give no finite loss"):
            decide()


# ---- what does nothing, and verdicts -------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"epochs": 4.0}, "epochs limits nothing"),
        ({"guarded": REFERENCE}, "guarded has no effect"),
        ({"kl_to": REFERENCE}, "kl_to has no effect"),
        ({"tokens": 1e12}, r"planned for 1e\+12, but the mixture is the best at .*3e\+09 tokens"),
    ],
)
def test_what_does_nothing_is_said(asked, words):
    fitted = drawn("BiMix").fitted
    notes = bx.optimal_path(fitted, [BUDGET], constraints=Constraints(**asked)).notes
    assert any(re.search(words, note) for note in notes)


def test_budgets_far_from_the_sweep_are_said_at_both_ends():
    fitted = drawn("BiMix").fitted
    least, largest = fitted.observed_budgets
    assert fitted.notes_on_budget(least / 2) == fitted.notes_on_budget(2 * largest) == ()
    assert "× the least observed one" in fitted.notes_on_budget(least / 3)[0]
    notes = bx.optimal_path(fitted, [least / 10, 10 * largest]).notes
    assert sum(note.startswith("The budget is") for note in notes) == 2


def test_a_probability_and_a_doubt_do_not_stand_side_by_side():
    vague = dataclasses.replace(drawn("BiMix").fitted, error=np.full(3, 0.5))
    given = dataclasses.replace(drawn("BiMix"), fitted=vague)
    sure = bx.certainty(given, BUDGET)
    assert any("may be as good" in note for note in sure.optimum.notes)
    assert not any("may be as good" in note for note in sure.notes())


def test_no_gain_is_given_over_a_reference_without_a_finite_loss():
    nothing = {"web": 0.5, "code": 0.5, "books": 0.0}
    best = bx.optimize_mixture(drawn("BiMix").fitted, BUDGET, reference=nothing)
    assert any("no finite loss at the reference" in note for note in best.notes)
    with pytest.raises(ValueError, match="reference: BiMix has no finite loss there"):
        bx.certainty(drawn("BiMix"), BUDGET, reference=nothing)


def test_a_reference_that_the_constraints_exclude_may_be_better():
    asked = Constraints(fixed={"web": 0.9, "code": 0.05, "books": 0.05})
    best = bx.optimize_mixture(drawn("BiMix").fitted, BUDGET, constraints=asked)
    assert any("The reference is predicted to be better by" in note for note in best.notes)
