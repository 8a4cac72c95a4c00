"""What a JAX function becomes in JavaScript; `test_browser.py` runs it."""

import jax
import jax.numpy as jnp
import pytest

from bimix_jax.report._javascript import LARGEST, NotCoveredError, javascript


def test_moves_of_numbers_leave_no_statement():
    def moved(x):
        return jnp.concatenate([x[::-1].reshape(2, 2).T, jnp.zeros((2, 2))]).ravel()[1]

    assert javascript(moved, x=(4,)) == "(x) => {\n  return x[1];\n}"


def test_constants_are_computed_and_unused_statements_dropped():
    def mixed(x):
        unused = jnp.exp(x)
        return jnp.where(jnp.sum(jnp.ones(3)) > 2, 3 * jnp.log(x[0]), unused[1])

    assert javascript(mixed, x=(2,)) == (
        "(x) => {\n  const t2 = Math.log(x[0]);\n  const t3 = 3.0 * t2;\n  return t3;\n}"
    )


def test_numbers_that_are_not_finite_are_written():
    limits = jnp.array([jnp.inf, -jnp.inf, jnp.nan])
    text = javascript(lambda x: jnp.sum(jnp.where(x > 0, limits, x)), x=(3,))
    assert "t0 ? (Infinity) : x[0]" in text
    assert "t1 ? (-Infinity) : x[1]" in text
    assert "t2 ? NaN : x[2]" in text


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: jax.lax.while_loop(lambda y: y < 9, lambda y: 2 * y, x), "the operation while"),
        (lambda x: jax.scipy.special.erf(x), "the operation erf"),
        (lambda x: x.astype(jnp.float32) * 2, "computes in float32"),
        (lambda x: jnp.arange(4.0)[x.astype(int)], "places that depend on the mixture"),
        (lambda x: jnp.sum(jnp.outer(*[x + jnp.arange(200.0)] * 2)), f"more than {LARGEST}"),
    ],
)
def test_what_is_not_covered_is_named(function, reason):
    with pytest.raises(NotCoveredError, match=reason):
        javascript(function, x=())
