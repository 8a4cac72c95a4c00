import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bimix_jax.fitting.search import Evaluated, gauss_newton, minimize

pytestmark = pytest.mark.usefixtures("float64")

OPTIMIZERS = {
    "gauss_newton": (gauss_newton(), 200),
    "adam": (optax.adam(0.05), 5000),
    "lbfgs": (optax.lbfgs(), 500),
    "chain": (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.5)), 20_000),
}


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def bowl(x):
    return jnp.stack([2 * (x[0] - 1.0), x[1] - x[0]])


def as_objective(residual, lower=-jnp.inf, upper=jnp.inf):
    def objective(x):
        rest, slopes = residual(x), jax.jacfwd(residual)(x)
        gradient, hessian = slopes.T @ rest, slopes.T @ slopes
        held = jnp.where(gradient > 0, x <= lower, x >= upper)
        gradient = jnp.where(held, 0.0, gradient)
        hessian = jnp.where(held[:, None] | held, jnp.eye(len(x)), hessian)
        return Evaluated(rest @ rest / 2, gradient, hessian, jnp.max(jnp.abs(gradient)))

    return objective


@pytest.mark.parametrize(
    ("name", "problem"),
    [(name, bowl) for name in OPTIMIZERS]
    + [(name, rosenbrock) for name in ("gauss_newton", "adam", "lbfgs")],
)
def test_every_optimizer_reaches_the_minimum(name, problem):
    optimizer, steps = OPTIMIZERS[name]
    wide = jnp.full(2, jnp.inf)
    objective = as_objective(problem)
    start = jnp.array([-0.5, 0.5])
    found = minimize(objective, start, (-wide, wide), optimizer, 1e-6, steps)
    np.testing.assert_allclose(found.params, [1.0, 1.0], atol=1e-3)
    assert found.evaluation.measure <= 1e-6


def test_bounds_hold_and_the_bounded_minimum_is_found():
    lower, upper = jnp.array([-1.0, -1.0]), jnp.array([0.5, 3.0])
    found = minimize(
        as_objective(bowl, lower, upper), jnp.zeros(2), (lower, upper), gauss_newton(), 1e-9, 100
    )
    np.testing.assert_allclose(found.params, [0.5, 0.5], atol=1e-8)


def test_gauss_newton_takes_few_steps_on_rosenbrock():
    wide = jnp.full(2, jnp.inf)
    found = minimize(
        as_objective(rosenbrock), jnp.array([-1.2, 1.0]), (-wide, wide), gauss_newton(), 1e-10, 200
    )
    assert found.steps < 60


def test_a_start_that_is_not_finite_ends_at_once():
    wide = jnp.full(1, jnp.inf)
    nowhere = as_objective(lambda x: jnp.log(x - 10.0))
    found = minimize(nowhere, jnp.zeros(1), (-wide, wide), gauss_newton(), 1e-9, 100)
    assert found.steps == 1
    assert not jnp.isfinite(found.evaluation.value)


def test_a_step_into_nowhere_is_undone():
    wide = jnp.full(1, jnp.inf)
    objective = as_objective(lambda x: jnp.where(x < 3.0, jnp.log(x), jnp.nan))
    found = minimize(objective, jnp.array([2.9]), (-wide, wide), gauss_newton(), 1e-9, 200)
    np.testing.assert_allclose(found.params, [1.0], atol=1e-7)


def test_the_best_point_is_kept_when_steps_run_out():
    wide = jnp.full(2, jnp.inf)
    objective = as_objective(rosenbrock)
    start = jnp.array([-0.5, 0.5])
    found = minimize(objective, start, (-wide, wide), optax.sgd(1.0), 1e-9, 3)
    assert found.evaluation.value <= objective(start).value
    assert found.steps == 3
