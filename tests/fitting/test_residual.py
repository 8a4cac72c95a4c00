"""Slopes of every law, forward and backward, against JAX's forward Jacobian."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.fitting.arrays import usable_points
from bimix_jax.fitting.residual import _slopes_of_loss, predict
from bimix_jax.laws import LAWS
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


def points_of(law):
    sweep = bx.read_sweep(without_web(frame(noise=0.01)))
    own = jnp.eye(3)[1]
    points, _ = usable_points(
        law, jnp.asarray(sweep.mixture), jnp.asarray(sweep.budget / sweep.largest_budget), None,
        jnp.asarray(sweep.loss[:, 1]), jnp.ones(len(sweep.budget)), own,
    )  # fmt: skip
    return points


@pytest.mark.parametrize(
    "law", [*(law() for law in LAWS.values()), Threshold()], ids=lambda x: x.name
)
def test_slopes_are_those_of_the_forward_jacobian(law):
    points, exponents = points_of(law), jnp.asarray(law.starts(3), float)[0]
    amplitudes = jnp.linspace(0.5, 1.5, len(law.amplitude_names))
    found = jnp.stack(_slopes_of_loss(law, exponents, amplitudes, points), axis=1)
    expected = jax.jacfwd(lambda x: predict(law, x, amplitudes, points.features))(exponents)
    counted = np.isfinite(predict(law, exponents, amplitudes, points.features))
    counted &= np.asarray(points.weight) > 0
    assert counted.sum() >= 80
    np.testing.assert_allclose(found[counted], expected[counted], rtol=1e-9, atol=1e-12)
    assert np.isfinite(found[counted]).all()


def test_a_basis_of_ones_own_goes_forward_until_it_states_otherwise():
    assert bx.TransferBiMix().goes_backward
    assert bx.SubstitutionBiMix().goes_backward
    assert bx.WithModelSize(bx.TransferBiMix()).goes_backward
    assert not Threshold().goes_backward
