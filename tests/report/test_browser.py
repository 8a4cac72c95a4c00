"""Pages in a headless browser, which is started once; left out where there is none."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.laws import LAWS, Bridged, law_named
from bimix_jax.mixture._notes import outside_hull
from bimix_jax.printable import printable
from bimix_jax.recipe.recipe import make_recipe
from bimix_jax.report._explorer import law_in_javascript
from bimix_jax.report._javascript import javascript
from bimix_jax.report._numbers import shown
from bimix_jax.report._page import page

from . import browser, reports

pytestmark = pytest.mark.skipif(browser.path_of_browser() is None, reason="no browser")
DOMAINS = 3

PATIENCE = 180_000
"""Milliseconds for the browser to open a page on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def started():
    with browser.started() as made:
        yield made


@pytest.fixture(scope="module")
def calculator(started):
    """An empty page that computes."""
    return started.new_page()


def computed(page, function, cases):
    """Results of a function in JavaScript for lists of arguments."""
    texts = page.evaluate(f"(cases) => cases.map((each) => String(({function})(...each)))", cases)
    return np.array([float(text.replace("Infinity", "inf")) for text in texts])


# ---- laws ----------------------------------------------------------------------------------------


def every_law():
    """The laws of the package, and wrapped ones as a fit leaves them."""
    capacities = (0.3, 0.4, np.inf)
    repeated = bx.WithRepetition(bx.BiMix(), {"web": 1.0})
    sized = bx.WithModelSize(bx.SubstitutionBiMix())
    return [
        *(law() for law in LAWS.values()),
        bx.Stacked(),
        bx.Stacked((bx.TransferBiMix(), bx.AdditiveLaw(), bx.LogLinear())),
        bx.Stacked((bx.TransferBiMix(), bx.AdditiveLaw()), scale=None),
        bx.WithWarmUp(bx.TransferBiMix()),
        dataclasses.replace(repeated, capacities=capacities),
        dataclasses.replace(sized, reference=2.0, size=3.0),
        bridged(bx.TransferBiMix()),
    ]


def bridged(law):
    """A bridge from a random fit, as a fit of the same domains in another order leaves it."""
    coefficients = random_fit(law, np.random.default_rng(3))
    small = a_fit(law, coefficients, [f"d{i}" for i in range(len(coefficients.own))])
    return dataclasses.replace(Bridged.of(small, 1.5), order=(2, 0, 1), large_scale=6.4e9)


def random_fit(law, rng, domains=DOMAINS):
    """A fit with random coefficients within the law's bounds, and one target that is no domain."""
    low, high = np.clip(np.asarray(law.bounds(domains), float), -2, 2).T
    count = domains + (not law.needs_own)
    exponents = rng.uniform(low, high, (count, len(low)))
    amplitudes = rng.uniform(0.2, 3, (count, len(law.amplitude_names)))
    known = law.known_exponents([f"d{i}" for i in range(count)])
    exponents = exponents if known is None else np.where(np.isnan(known), exponents, known)
    own = np.eye(domains + 1)[:count, :domains]
    return bx.Coefficients(exponents, amplitudes, own, np.full(count, 6.4e9))


def a_fit(law, coefficients, targets):
    """A fit of nothing, with these coefficients."""
    count, domains = len(targets), [f"d{i}" for i in range(coefficients.own.shape[1])]
    return bx.Fit(
        coefficients=coefficients,
        code=np.zeros(count, int),
        identified=np.ones(coefficients.exponents.shape, bool),
        points=np.full(count, 99),
        sum_of_squares=np.ones(count),
        error=np.full(count, 0.01),
        observed_proportions=np.array([[0.0] * len(domains), [1.0] * len(domains)]),
        observed_budgets=np.array([1e8, 6.4e9]),
        shrinkage=np.zeros(count),
        agreement=np.ones(count),
        law=law,
        domains=tuple(domains),
        targets=tuple(targets),
        unit="tokens",
    )


@pytest.mark.parametrize("law", every_law(), ids=lambda law: law.label)
def test_a_law_predicts_in_the_browser_as_in_python(calculator, law):
    rng = np.random.default_rng(0)
    coefficients = random_fit(law, rng)
    count = len(coefficients.own)
    names = [f"d{i}" for i in range(count)]
    fitted = a_fit(law, coefficients, names)
    mixtures = rng.dirichlet(np.ones(DOMAINS), 12)
    mixtures[::4, 1] = 0
    mixtures /= mixtures.sum(axis=1, keepdims=True)
    budgets = rng.uniform(1e8, 2e10, len(mixtures))
    expected = fitted.known_points(mixtures, budgets)
    cases = [
        [*(part[i].tolist() for part in coefficients), mixture.tolist(), budget]
        for mixture, budget in zip(mixtures, budgets, strict=True)
        for i in range(count)
    ]
    found = computed(calculator, law_in_javascript(fitted), cases)
    # Where the laws of a stack are far apart, rounding moves the root that is their centre.
    rtol = 1e-9 if law.members else 1e-12
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=rtol)
    assert np.isfinite(found).sum() > len(mixtures)


@pytest.mark.parametrize("name", [*LAWS, "Stacked"])
def test_every_law_has_an_explorer_with_many_domains(name):
    law = law_named(name)
    coefficients = random_fit(law, np.random.default_rng(0), 100)
    fitted = a_fit(law, coefficients, [f"d{i}" for i in range(len(coefficients.own))])
    assert len(law_in_javascript(fitted)) < 300_000


def everything(x, scale):
    """Operations that laws of one's own may use."""
    matrix = jnp.outer(x, x) + jnp.eye(3)
    several = [
        jnp.sum(matrix @ x),
        jnp.prod(jnp.cumsum(x)[jnp.array([2, 0])]),
        jax.nn.softmax(scale * x)[1],
        jax.nn.softplus(x[0] - scale),
        jnp.max(jnp.clip(x, 0.1, 0.5)) - jnp.min(x),
        jax.lax.cond(scale > 1, lambda: jnp.tanh(scale), lambda: jnp.sqrt(scale)),
        jnp.where(jnp.any(x > 0.6) & ~jnp.all(x > 0.1), x[2] ** 3, jnp.expm1(-x[1])),
        jnp.log1p(jax.nn.sigmoid(scale)) + jnp.sign(x[0] - x[1]) * jnp.abs(x[2]) ** scale,
        jnp.linalg.norm(x.at[1].set(scale)) + jnp.einsum("i,ij->j", x, matrix)[0],
        jnp.logaddexp(x[0], x[1]) + jnp.float_power(scale, x[2]) + jnp.cbrt(x[0]),
        jax.lax.scan(lambda c, each: (c * each + scale, c - each), scale, x, reverse=True)[1][0],
        jax.lax.fori_loop(0, 4, lambda i, y: y + i * jnp.cos(y), scale),
        jnp.stack([x, x**2])[1, ::-1][0] + jnp.floor(5 * scale) + (x > 0.3).astype(int).sum(),
    ]
    return jnp.stack(several) @ jnp.arange(1.0, 1 + len(several))


def test_operations_of_laws_of_ones_own(calculator):
    rng = np.random.default_rng(1)
    cases = [[rng.dirichlet(np.ones(3)).tolist(), rng.uniform(0.1, 3)] for _ in range(20)]
    with jax.enable_x64(True):
        expected = [float(everything(jnp.array(x), jnp.float64(scale))) for x, scale in cases]
    found = computed(calculator, javascript(everything, x=(3,), scale=()), cases)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report whose plan names paths, two of one domain."""
    paths = tmp_path_factory.mktemp("paths") / "paths.toml"
    lines = [f"{json.dumps(name)} = [{json.dumps('s3://data/' + str(i))}]\n"
             for i, name in enumerate(reports.HARMFUL)]  # fmt: skip
    lines[1] = f'{json.dumps(reports.LONG)} = ["a/0", "a/1"]\n'
    paths.write_text("".join(lines))
    made = reports.decided()
    return dataclasses.replace(made, plan=dataclasses.replace(made.plan, paths=str(paths)))


@pytest.fixture(scope="module")
def file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page(report), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(started, file):
    """The page at 390 pixels, with all that its console says."""
    context = started.new_context(viewport={"width": 390, "height": 800})
    tab = context.new_page()
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(file, timeout=PATIENCE)
    yield tab
    assert said == []
    context.close()


def cells(tab, name):
    return tab.locator(f'[data-cell="{name}"]').all_inner_texts()


def shares_of(tab):
    return tab.evaluate("bimix.control.state.mixture")


def drag(tab, number, share):
    """Move a slider, as a hand does."""
    slider = tab.locator('[data-part="slider"]').nth(number)
    slider.evaluate("(e, x) => { e.value = x; e.dispatchEvent(new Event('input')); }", share)
    tab.evaluate("() => new Promise(requestAnimationFrame)")


def test_sliders_move_the_others_and_change_the_predictions(opened, report):
    before, first = shares_of(opened), cells(opened, "loss")
    drag(opened, 2, 0.2)
    after = shares_of(opened)
    assert abs(after[2] - 0.2) < 1e-12
    assert abs(sum(after) - 1) < 1e-12
    others = [0, 1, 3, 4]
    ratios = [after[i] / before[i] for i in others]
    np.testing.assert_allclose(ratios, ratios[0])
    expected = report.fitted.known_points(np.array([after]), report.optimum.budget)[0]
    assert cells(opened, "loss") == [shown(loss, "loss") for loss in expected]
    assert cells(opened, "loss") != first


def test_held_shares_stay(opened):
    before = shares_of(opened)
    for number in (0, 1):
        opened.locator('[data-part="lock"]').nth(number).check()
    drag(opened, 2, 0.9)
    after = shares_of(opened)
    assert after[:2] == before[:2]
    # The two that are held leave less than 0.9 to the others.
    assert abs(after[2] - (1 - before[0] - before[1])) < 1e-12
    np.testing.assert_allclose(after[3:], 0, atol=1e-12)


def random_points(report, count=12):
    rng = np.random.default_rng(2)
    mixtures = rng.dirichlet(np.ones(5), count)
    mixtures[0], mixtures[1] = report.optimum.mixture, report.optimum.reference
    least, largest = report.fitted.observed_budgets
    return mixtures, rng.uniform(least / 3, 5 * largest, count)


def test_predictions_and_intervals_are_those_of_python(opened, report):
    mixtures, budgets = random_points(report)
    budgets[:6] = report.sweep.budget[:6]
    found = opened.evaluate(
        "(points) => points.map(([m, b]) => bimix.predict(bimix.data, m, b))",
        [[m.tolist(), b] for m, b in zip(mixtures, budgets, strict=True)],
    )
    expected = report.certainty.bootstrap.predict(mixtures, budgets, 0.9)
    for name, key in (("losses", "loss"), ("low", "low"), ("high", "high")):
        np.testing.assert_allclose(
            np.ravel([each[name] for each in found]), expected[key], rtol=1e-9, err_msg=name
        )
    of_first = report.optimum.decision.at(budgets[0]).values_of(mixtures[:1], budgets[0])
    assert abs(found[0]["objective"] / of_first[0] - 1) < 1e-12


def test_the_probability_to_be_better_is_that_of_python(opened, report):
    mixtures, _ = random_points(report)
    near = 0.95 * report.optimum.mixture.to_numpy() + 0.05 * mixtures
    others = np.concatenate([mixtures[1:], near[1:]])
    found = opened.evaluate("(all) => all.map((m) => bimix.probability(bimix.data, m))",
                            others.tolist())  # fmt: skip
    np.testing.assert_allclose(found, report.certainty.beats(others), rtol=1e-7)
    assert np.min(found) < 0.9


def test_warnings_are_those_of_python(opened, report):
    mixtures, budgets = random_points(report, 40)
    fitted = report.fitted
    for mixture, budget in zip(mixtures, budgets, strict=True):
        texts = opened.evaluate(
            "([m, b]) => bimix.warningsOf(bimix.data, m, b)", [mixture.tolist(), budget]
        )
        outside = [d for d, note in zip(fitted.domains, range(5), strict=True)
                   if fitted.notes_on_mixtures(mixture[None])
                   and not fitted.observed_proportions[0][note] - 1e-9
                   <= mixture[note] <= fitted.observed_proportions[1][note] + 1e-9]  # fmt: skip
        assert [d for d in fitted.domains if any(t.startswith(f"{d}: ") for t in texts)] == outside
        far = any("The budget is" in text for text in texts)
        assert far == bool(fitted.notes_on_budget(budget))


def test_blends_are_found_as_in_python(opened, report):
    rng = np.random.default_rng(3)
    measured = report.sweep.mixture[::6]
    points = np.concatenate(
        [rng.dirichlet(np.ones(len(measured)), 15) @ measured, rng.dirichlet(np.ones(5), 15)]
    )
    outside = [outside_hull(point, measured).any() for point in points]
    found = opened.evaluate(
        "([all, points]) => points.map((m) => bimix.nearestBlend(all, m))",
        [measured.tolist(), points.tolist()],
    )
    off = np.abs(np.array(found) - points).max(axis=1)
    assert [bool(x > 0.005) for x in off] == [bool(each) for each in outside]
    assert 5 < sum(outside) < 25


@pytest.mark.parametrize("form", ["megatron", "hf", "olmix", "json"])
def test_a_copy_is_the_file_that_python_writes(opened, report, form):
    mixtures, budgets = random_points(report, 4)
    mixtures[2, 3], mixtures[2, 4] = 0, mixtures[2, 3:].sum()
    mixtures[3] = np.array([1e-7, 0.5, 0.25, 0.125, 0.125 - 1e-7])
    budgets[3] = 3.2e11
    known = json.loads(opened.evaluate("JSON.stringify(bimix.data.recipe.stamp)"))
    for mixture, budget in zip(mixtures, budgets, strict=True):
        text = opened.evaluate(
            "([f, m, b]) => bimix.FORMS[f](bimix.recipeOf(bimix.data, m, b))",
            [form, mixture.tolist(), budget],
        )
        recipe = recipe_of(report, mixture, float(budget))
        stamped = recipe.stamped(known["fit"], known["command"])
        paths = bx.read_paths(report.plan.paths, report.fitted.domains)
        assert text == stamped.emit(form, paths)


def recipe_of(report, mixture, budget):
    """The recipe of a mixture that was not found by an optimiser."""
    at = report.optimum.decision.at(budget)
    solution = dataclasses.replace(report.optimum, decision=at).solution._replace(mixture=mixture)
    return make_recipe(dataclasses.replace(report.optimum, decision=at, solution=solution),
                       report.fitted)  # fmt: skip


def test_a_copy_is_shown_and_follows_the_sliders(opened):
    drag(opened, 0, 0.15)
    opened.get_by_role("button", name="olmix").click()
    text = opened.locator('[data-part="text"]').input_value()
    assert '"</script><b>":\n    weight: 0.15\n' in text
    assert opened.locator('[data-part="copied"]').is_visible()


def test_numbers_are_rounded_as_in_python(opened):
    rng = np.random.default_rng(4)
    values = [*rng.normal(0, 2, 20), *10.0 ** rng.uniform(-9, 13, 40), 0.0, 9999.9, 1.5]
    signed = ("loss", "difference", "change")
    for kind in (*signed, "percent", "share", "epochs", "probability", "quantity"):
        usable = [v for v in values if v >= 0 or kind in signed]
        found = opened.evaluate("([v, k]) => v.map((x) => bimix.shown(x, k))", [usable, kind])
        assert found == [shown(value, kind) for value in usable]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(opened, report):
    for role in ("slider", "spinbutton", "checkbox", "button"):
        controls = opened.get_by_role(role)
        named = [
            c
            for c in controls.all()
            if c.evaluate("(e) => e.labels?.length || e.ariaLabel || e.textContent")
        ]
        assert len(named) == controls.count() > 3
    for name in report.fitted.domains:
        assert opened.get_by_role("slider", name=printable(name), exact=True).count() == 1


def test_the_page_is_whole_without_javascript(started, file, report):
    context = started.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(file, timeout=PATIENCE)
    assert not tab.locator("#explorer").is_visible()
    assert tab.locator("noscript").is_visible()
    assert tab.locator("svg").count() == 8
    context.close()
