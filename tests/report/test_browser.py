"""Pages in a headless browser, which is started once; left out where there is none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.laws import LAWS
from bimix_jax.report._explorer import law_in_javascript
from bimix_jax.report._javascript import javascript

from . import browser

pytestmark = pytest.mark.skipif(browser.path_of_browser() is None, reason="no browser")
DOMAINS = 3


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
        bx.WithWarmUp(bx.TransferBiMix()),
        dataclasses.replace(repeated, capacities=capacities),
        dataclasses.replace(sized, reference=2.0, size=3.0),
    ]


def random_fit(law, rng):
    """A fit with random coefficients within the law's bounds, and one target that is no domain."""
    low, high = np.clip(np.asarray(law.bounds(DOMAINS), float), -2, 2).T
    count = DOMAINS + (not law.needs_own)
    exponents = rng.uniform(low, high, (count, len(low)))
    amplitudes = rng.uniform(0.2, 3, (count, len(law.amplitude_names)))
    own = np.eye(DOMAINS + 1)[:count, :DOMAINS]
    return bx.Coefficients(exponents, amplitudes, own, np.full(count, 6.4e9))


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
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-12)
    assert np.isfinite(found).sum() > len(mixtures)


def a_fit(law, coefficients, targets):
    """A fit of nothing, with these coefficients."""
    count, domains = len(targets), [f"d{i}" for i in range(DOMAINS)]
    return bx.Fit(
        coefficients=coefficients,
        code=np.zeros(count, int),
        identified=np.ones(coefficients.exponents.shape, bool),
        points=np.full(count, 99),
        sum_of_squares=np.ones(count),
        error=np.full(count, 0.01),
        observed_proportions=np.array([[0.0] * DOMAINS, [1.0] * DOMAINS]),
        observed_budgets=np.array([1e8, 6.4e9]),
        shrinkage=np.zeros(count),
        agreement=np.ones(count),
        law=law,
        domains=tuple(domains),
        targets=tuple(targets),
        unit="tokens",
    )


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
