"""Memory of chunks is used again, and results do not depend on what it held."""

import jax
import numpy as np

import bimix_jax as bx
from bimix_jax.batching import _compiled as compiled
from bimix_jax.batching import _run as run
from bimix_jax.batching._compiled import ALIGNMENT, BatchMethod, Memory
from bimix_jax.batching.rates import synthetic_rows


def test_arrays_are_aligned_and_of_the_shape_and_type_asked_for():
    memory = Memory()
    for dtype in ("float64", "float32", "int64"):
        taken = memory.take((3, 5), dtype)
        assert taken.shape == (3, 5)
        assert taken.dtype == dtype
        assert taken.ctypes.data % ALIGNMENT == 0
        memory.give([taken])
        assert memory.take((5, 3), dtype) is not taken
        assert memory.take((3, 5), dtype) is taken


def test_no_more_is_kept_than_allowed():
    memory = Memory(most=1000)
    first, second, large = (memory.take((n,), "float64") for n in (100, 101, 200))
    memory.give([first])
    assert memory.kept == 800
    memory.give([second])
    assert memory.kept == 808
    assert memory.take((100,), "float64") is not first
    memory.give([large])
    assert memory.kept == 0


def test_fits_do_not_depend_on_what_was_fitted_before(monkeypatch):
    monkeypatch.setattr(compiled, "BLOCKS", 3)  # a program that other tests of batches compile
    method, devices = BatchMethod(bx.BiMix()), tuple(jax.local_devices())
    few, many = synthetic_rows(30, 64), synthetic_rows(900, 64, seed=1)
    before = run.fit_rows(few, method, devices)
    run.fit_rows(many, method, devices)
    jax.tree.map(np.testing.assert_array_equal, run.fit_rows(few, method, devices), before)
