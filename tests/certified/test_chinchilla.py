"""The points of Hoffmann et al. 2022 as read off by Besiroglu et al. 2024 (arXiv 2404.10102)."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from bimix_jax import Code, Law
from tests.programs import fit_points

POINTS = Path(__file__).parents[3] / "shared" / "data" / "chinchilla_points.csv"

PUBLISHED = [0.3478, 0.3658, 1.8172]
"""α, β and E, where the Huber sum is 0.0010228."""
LEAST = [0.3473105, 0.3671724, 1.8172181]
"""Where SciPy's Nelder-Mead, from the published coefficients, ends with 0.0010183."""


@dataclasses.dataclass(frozen=True)
class Chinchilla(Law):
    """L = E + A·N^−α + B·D^−β."""

    name = "Chinchilla"
    exponent_names = ("alpha", "beta")
    amplitude_names = ("E", "A", "B")
    needs_size = True

    def bounds(self, domains):
        return [(0.01, 3.0)] * 2

    def starts(self, domains):
        return [[0.3, 0.3], [0.5, 0.5]]

    def features(self, mixture, own, budget):
        raise NotImplementedError("needs a size")

    def features_at_size(self, mixture, own, budget, size):
        return jnp.log(size / 1e9), jnp.log(budget)

    def basis(self, exponents, features):
        return 1.0, *(jnp.exp(-x * f) for x, f in zip(exponents, features, strict=True))


@pytest.mark.skipif(not POINTS.exists(), reason="no licence is stated, so they are not copied")
@pytest.mark.usefixtures("float64")
def test_the_least_huber_sum_is_found_beside_the_published_coefficients():
    table = pd.read_csv(POINTS)
    size, loss = table["Model Size"].to_numpy(), table["loss"].to_numpy()
    tokens = table["Training FLOP"].to_numpy() / (6 * size)
    kept = np.argsort(tokens / size)[5:]
    found = fit_points(
        Chinchilla(), np.ones((len(kept), 1)), tokens[kept], loss[kept], own=-1, size=size[kept],
        residual="log", huber=1e-3,
    )  # fmt: skip
    assert found.code == Code.CONVERGED
    got = [*found.coefficients.exponents, found.coefficients.amplitudes[0]]
    np.testing.assert_allclose(got, PUBLISHED, rtol=5e-3)
    np.testing.assert_allclose(got, LEAST, rtol=1e-5)
