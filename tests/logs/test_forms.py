"""A sweep exported in each form comes back the same, value for value."""

import numpy as np
import pytest

import bimix_jax as bx
from tests.logs import exports


@pytest.fixture(scope="module")
def measured():
    return exports.measured()


def assert_same(found, expected):
    assert found.domains == expected.domains
    assert found.targets == expected.targets
    assert found.unit == expected.unit
    np.testing.assert_array_equal(found.run, expected.run)
    np.testing.assert_array_equal(found.budget, expected.budget)
    np.testing.assert_array_equal(found.mixture, expected.mixture)
    np.testing.assert_array_equal(found.loss, expected.loss)
    assert found.digest() == expected.digest()


@pytest.mark.parametrize("form", exports.FORMS)
def test_every_form_gives_the_same_sweep(measured, tmp_path, form):
    if form == "tensorboard":
        pytest.importorskip("tensorboard")
    write, options = exports.FORMS[form]
    write(measured, tmp_path)
    found = bx.read_logs(
        tmp_path, exports.mixtures(measured), tokens_per_step=exports.PER_STEP, **options
    )
    assert_same(found, measured)
    assert found.notes == ("Tokens are steps times 4,096 tokens per step.",)
