"""Fits without a fold: by steps from the fit to all folds, against searches of each."""

import jax
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax import FitOptions
from bimix_jax.fitting import _folds, _left_out
from bimix_jax.fitting.searches import Drawn, Searches, Solved
from bimix_jax.fitting.shrinkage import TOLERANCE
from bimix_jax.fitting.task import FitTask, choose_folds

PLAIN = FitOptions()
TIED = FitOptions(tied="beta", residual="log", huber=0.02)


class Folds:
    """Fits to all runs of a sweep and to some of them, and predictions of their folds."""

    def __init__(self, options):
        sweep = bx.read_sweep(bx.datasets.proxy_sweep())
        self.task = FitTask.of(sweep, bx.TransferBiMix(), options)
        self.search = Searches.of(self.task)
        factor = np.ones((2, len(sweep.budget)))
        factor[1, sweep.mixture_group == 2] = 0.0
        number = [choose_folds(sweep, each > 0, "mixtures").number for each in factor]
        folds = np.arange(max(map(max, number)) + 1)[:, None]
        self.inside = np.stack([each == folds for each in number])
        self.whole = Drawn.of_points(factor)
        rest = (factor[:, None] * ~self.inside).reshape(-1, len(sweep.budget))
        self.rest = Drawn.of_points(rest)

    def end(self, strength):
        """The fit to all folds, as close as the choice of a strength needs it."""
        start = np.asarray(self.task.law.starts(len(self.task.sweep.domains)))[-1]
        begin = np.broadcast_to(start, (2, len(self.task.targets), len(start)))
        return self.search(self.whole, begin, np.full(2, strength), TOLERANCE, False).fit

    def predicted(self, monkeypatch, worth, strength, end, tolerance):
        """Losses (fits, points, targets)."""
        given = {"WORTH": worth, "LOOSE": tolerance, "ENOUGH": 0}
        for name, value in given.items():
            monkeypatch.setattr(_folds, name, value)
        predict = _folds.predictor_of_folds(self.search, self.whole, self.rest, self.inside)
        before = end.coefficients.exponents
        near = np.repeat(before, self.inside.shape[1], axis=0)
        return predict(end, strength, before, near)[0]


@pytest.fixture(scope="module", params=[PLAIN, TIED], ids=["plain", "tied log huber"])
def folds(request):
    # So many steps that the end can be compared, not only whether it is close enough.
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(_left_out, "STEPS", 100)
        _folds.program_of_steps.cache_clear()
        yield Folds(request.param)
    _folds.program_of_steps.cache_clear()


@pytest.mark.parametrize("strength", [np.inf, 1e-2])
def test_steps_end_where_a_search_without_the_fold_ends(folds, monkeypatch, strength):
    end = folds.end(strength)

    def not_searched(search, pairs, *_):
        shape = len(pairs[0]), search.loss.shape[2], len(search.task.sweep.budget)
        return Solved(None, np.full(shape, np.nan))

    # Folds for which the steps do not do are searched anew; here they stay nan.
    monkeypatch.setattr(Searches, "of_pairs", not_searched)
    stepped = folds.predicted(monkeypatch, 0, strength, end, 1e-6)
    monkeypatch.undo()
    searched = folds.predicted(monkeypatch, np.inf, strength, end, 1e-7)
    inside = folds.inside.any(axis=1)
    assert np.isnan(stepped[~inside]).all()
    assert np.isfinite(searched[inside]).all()
    done = np.isfinite(stepped)
    assert done[inside].mean() > 0.7
    np.testing.assert_allclose(stepped[done], searched[done], rtol=1e-5)
    # The folds change the fits: what is compared are not the losses of the fit to all.
    assert np.abs(searched[done] / end_losses(folds, end)[done] - 1).max() > 1e-3


def end_losses(folds, end):
    """Losses (fits, points, targets) of the fit to all folds."""
    starts = end.coefficients.exponents
    strength = end.shrinkage[:, 0]
    return np.moveaxis(folds.search(folds.whole, starts, strength, 1e-7).predicted, 1, 2)


def test_folds_without_an_end_are_searched_one_by_one(folds, monkeypatch):
    end = folds.end(1e-2)
    # Nothing is ever this close, so that no fold is done after its steps.
    each = [folds.predicted(monkeypatch, worth, 1e-2, end, 1e-30) for worth in (0, np.inf)]
    np.testing.assert_allclose(*each, rtol=1e-12)
    assert np.isfinite(each[0][folds.inside.any(axis=1)]).all()
