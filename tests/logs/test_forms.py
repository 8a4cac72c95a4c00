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


def test_the_way_in_which_tables_were_read_is_noted_once_with_the_files(tmp_path):
    (tmp_path / "logs").mkdir()
    for i in range(3):
        losses = {step: f"{3 - i / 10 - step / 1000:.4f}" for step in (100, 200, 300)}
        rows = [f"{step};{loss.replace('.', ',')}" for step, loss in losses.items()]
        (tmp_path / "logs" / f"r{i}.csv").write_text("\n".join(["step;loss_web", *rows]))
    mixtures = {f"r{i}": {"web": 0.3 + i / 10, "code": 0.7 - i / 10} for i in range(3)}
    sweep = bx.read_logs(tmp_path / "logs", mixtures, loss_pattern="loss_{target}")
    np.testing.assert_allclose(sweep.loss[:3, 0], [2.9, 2.8, 2.7])
    assert sweep.notes[:2] == (
        "r0.csv and 2 other files: The cells of the file are separated by semicolons.",
        "r0.csv and 2 other files: Column loss_web holds decimal commas: "
        "2,9000 was read as 2.9000.",
    )
