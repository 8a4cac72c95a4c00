"""Slopes of every law, forward and backward, against JAX's forward Jacobian."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.fitting._arranged import arranged
from bimix_jax.fitting._linear import linearized, on_grid
from bimix_jax.fitting.measured import usable_points
from bimix_jax.fitting.residual import predict
from bimix_jax.laws import LAWS
from bimix_jax.xla.compilation import jit
from bimix_jax.xla.small_systems import rows_of
from tests.fits import frame, without_web

pytestmark = pytest.mark.usefixtures("float64")


@dataclasses.dataclass(frozen=True)
class Threshold(bx.TransferBiMix):
    """What goes forward only: nothing below a tenth, where the branch not taken is not finite."""

    name = "Threshold"

    def basis(self, exponents, features):
        """As the law it is of, for a share above a threshold."""
        mixture, *_ = features
        above = jnp.where(mixture[0] > 0.1, (mixture[0] - 0.1) ** exponents[0], 0.0)
        return jnp.exp(-exponents[1] * features[-1]), 1.0 + above


EVERY = [
    *(law() for law in LAWS.values()),
    bx.WithWarmUp(bx.SplitSubstitutionBiMix()),
    bx.WithWarmUp(bx.AdditiveLaw()),
]


def points_of(law):
    sweep = bx.read_sweep(without_web(frame(noise=0.01)))
    points, _ = jit(usable_points, static_argnums=0)(
        law, sweep.mixture, sweep.budget / sweep.largest_budget, None, sweep.loss[:, 1],
        np.ones(len(sweep.budget)), np.eye(3)[1],
    )  # fmt: skip
    return points


@functools.partial(jit, static_argnums=0)
def slopes_both_ways(law, exponents, amplitudes, points):
    def losses(x):
        return predict(law, x, amplitudes, points.features)

    linear = linearized(law, exponents, points.features)
    found = jnp.vstack(linear.slopes([jnp.full(points.loss.shape, a) for a in amplitudes])).T
    return found, jax.jacfwd(losses)(exponents), losses(exponents)


@pytest.mark.parametrize(
    "law", [*(law() for law in LAWS.values()), Threshold()], ids=lambda x: x.name
)
def test_slopes_are_those_of_the_forward_jacobian(law):
    points, exponents = points_of(law), np.asarray(law.starts(3), float)[0]
    amplitudes = np.linspace(0.5, 1.5, len(law.amplitude_names))
    found, expected, losses = slopes_both_ways(law, exponents, amplitudes, points)
    counted = np.isfinite(losses) & (np.asarray(points.weight) > 0)
    assert counted.sum() >= 80
    np.testing.assert_allclose(found[counted], expected[counted], rtol=1e-9, atol=1e-12)
    assert np.isfinite(found[counted]).all()


@functools.partial(jit, static_argnums=0)
def products_of_slopes(law, exponents, amplitudes, points):
    linear = linearized(law, exponents, points.features, points.slots)
    root = jnp.sqrt(points.weight)
    factors, others = [root * a for a in amplitudes], [root * c for c in linear.columns]
    return linear.products(factors, others), rows_of([*linear.slopes(factors), *others])


@pytest.mark.parametrize("law", [law for law in EVERY if law.has_log_worth], ids=lambda x: x.label)
def test_products_through_the_worth_of_mixtures_are_those_of_all_slopes(law):
    points, exponents = points_of(law), np.asarray(law.starts(3), float)[0]
    mixture = bx.read_sweep(without_web(frame(noise=0.01))).mixture
    at, amplitudes = arranged(mixture, True), np.linspace(0.5, 1.5, len(law.amplitude_names))
    assert at.slots > 1
    points = jax.tree.map(lambda leaf: leaf[at.rows], points)
    points = points._replace(weight=points.weight * at.counted)
    every = functools.partial(products_of_slopes, law, exponents, amplitudes)
    (found, rows), (expected, dense) = every(on_grid(points, at.slots)), every(points)
    np.testing.assert_allclose(rows, dense, rtol=1e-9, atol=1e-12)
    scale = np.sqrt(np.outer(*2 * [np.diag(expected)]))
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-12)
    np.testing.assert_allclose(dense @ dense.T / scale, expected / scale, atol=1e-12)


def test_a_basis_of_ones_own_goes_forward_until_it_states_otherwise():
    assert bx.TransferBiMix().goes_backward
    assert bx.SubstitutionBiMix().goes_backward
    assert bx.WithModelSize(bx.TransferBiMix()).goes_backward
    assert not Threshold().goes_backward
