"""Kept traced programs: taken where nothing has changed, traced anew where something has."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.fitting.coefficients import predict_losses
from bimix_jax.xla import traced
from bimix_jax.xla.compilation import jit
from tests.xla.test_cache import DAMAGE, in_new_process, plain_jax, programs

BIMIX = bx.BiMix()
MIXTURE, BUDGET = np.array([[0.3, 0.7], [0.6, 0.4]]), np.array([1.0, 2.0])
COEFFICIENTS = bx.Coefficients(
    np.array([[0.2, 0.5]]), np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]), np.ones(1)
)
PLAIN = np.asarray(jit(predict_losses, 0, x64=True)(BIMIX, COEFFICIENTS, MIXTURE, BUDGET))
__all__ = ["plain_jax"]  # a fixture that every test here uses


@pytest.fixture
def place(tmp_path):
    return in_new_process(tmp_path / "programs")


def traces(law=BIMIX, points=2):
    """How often a new process traces the predictions of a law, which are right."""
    jax.clear_caches()
    before = traced_so_far[0]
    program = jit(predict_losses, 0, x64=True)
    for _ in range(2):
        found = program(law, COEFFICIENTS, MIXTURE[:points], BUDGET[:points])
        np.testing.assert_array_equal(found, PLAIN[:points])
    return traced_so_far[0] - before


traced_so_far = [0]
_features = bx.BiMix.features


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    def features(self, *point):
        traced_so_far[0] += 1
        return _features(self, *point)

    monkeypatch.setattr(bx.BiMix, "features", features)


def kept(place):
    return [path for path in programs(place) if path.name.startswith("traced-")]


def test_a_second_process_traces_nothing(place):
    assert (traces(), traces()) == (1, 0)
    assert len(kept(place)) == 1
    # Other shapes are other programs.
    assert (traces(points=1), traces(points=1), traces()) == (1, 0, 0)
    assert len(kept(place)) == 2


def test_without_a_folder_nothing_is_kept():
    assert (traces(), traces()) == (1, 1)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_traced_anew_and_replaced(place, damage):
    traces()
    (path,) = kept(place)
    path.write_bytes(damage(path.read_bytes()))
    assert (traces(), traces()) == (1, 0)


@pytest.mark.parametrize("content", [b"", b"[]\n", b"not a list\nprogram", b'["os:system"]\nx'])
def test_a_sound_file_of_something_else_is_traced_anew_and_replaced(place, content):
    traces()
    (path,) = kept(place)
    traced.kept_programs().put(path.name, content)
    assert (traces(), traces()) == (1, 0)


def test_a_change_of_the_source_or_of_a_setting_is_another_program(place, monkeypatch):
    traces()
    with jax.default_matmul_precision("highest"):
        assert (traces(), traces()) == (1, 0)
    monkeypatch.setattr(traced, "_source", lambda: "other")
    assert (traces(), traces()) == (1, 0)
    assert len(kept(place)) == 3


def test_laws_of_other_fields_are_other_programs():
    laws = [bx.WithModelSize(bx.BiMix(), reference=size) for size in (1.0, 2.0)]
    names = {traced._lasting_name((law,)) for law in [*laws, bx.BiMix(), bx.TransferBiMix()]}
    assert len(names) == 4
    assert None not in names


@dataclasses.dataclass(frozen=True)
class Own(bx.BiMix):
    """A law whose code no name tells."""


def test_programs_of_ones_own_laws_and_of_unnamed_functions_are_not_kept(place):
    for law in (Own(), bx.WithWarmUp(Own())):
        assert traced._lasting_name((law,)) is None
    assert traces(Own()) == 1
    jit(lambda x: x + 1)(1.0)
    jit(functools.partial(predict_losses, BIMIX), x64=True)(COEFFICIENTS, MIXTURE, BUDGET)
    assert kept(place) == []
