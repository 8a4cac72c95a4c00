"""The choice of a law where none is given, and the sentence on a law that misses something."""

import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.judging.automatic import AUTO, CANDIDATES, missed, pick
from tests.fits import DOMAINS, frame, last_budget
from tests.laws.test_transfer import transfer_points


@pytest.fixture(scope="module")
def plain():
    return bx.read_sweep(frame(noise=0.003))


@pytest.fixture(scope="module")
def crossed():
    """The same runs and budgets, where tokens of other domains count, too."""
    mixture, budget, loss = transfer_points(noise=0.003)[:3]
    table = frame()
    table[[f"r_{d}" for d in DOMAINS]] = mixture
    table["tokens"] = budget
    table[[f"loss_{d}" for d in DOMAINS]] = loss[:, :3]
    return bx.read_sweep(table)


def test_the_law_is_the_one_that_a_comparison_of_the_candidates_picks(plain, crossed):
    for sweep, expected in ((plain, "BiMix"), (crossed, "TransferBiMix")):
        judged = bx.compare(sweep, CANDIDATES, ["both"], repeats=2)
        assert pick(sweep).law.label == judged.best == expected


def test_a_fit_without_a_law_is_that_of_the_chosen_law_and_says_so(crossed):
    fitted, named = bx.fit(crossed), bx.fit(crossed, "TransferBiMix")
    np.testing.assert_array_equal(fitted.coefficients.exponents, named.coefficients.exponents)
    assert fitted.notes[1:] == named.notes
    assert "TransferBiMix was chosen by its error at held-out points" in fitted.notes[0]
    assert "BiMix" in fitted.notes[0].partition("(")[2]
    again = bx.fit(crossed, AUTO, residual="log")
    assert again.options.residual == "log"


def test_few_mixtures_and_targets_without_a_domain_still_get_a_law(plain):
    few = plain.take(np.isin(plain.run, ["run00", "run01", "run02", "run03"]))
    fitted = bx.fit(few)
    assert fitted.law == bx.BiMix()
    assert "fewer than 6 mixtures" in fitted.notes[0]
    renamed = frame(noise=0.003).rename(
        columns={f"loss_{d}": f"loss_exam{i}" for i, d in enumerate(DOMAINS)}
    )
    assert pick(bx.read_sweep(renamed)).law in CANDIDATES[1:]
    assert pick(bx.read_sweep(last_budget(frame(noise=0.003)))).law in CANDIDATES


def test_a_law_that_misses_something_is_told_apart_from_noise(plain, crossed):
    assert missed(bx.fit(plain, "BiMix"), plain) is None
    said = missed(bx.fit(crossed, "BiMix"), crossed)
    assert said is not None
    assert "× the noise of" in said


def test_bad_input_is_refused_before_anything_is_fitted(plain):
    with pytest.raises(ValueError, match="sweep"):
        bx.fit("two.csv")
    with pytest.raises(TypeError, match="huber"):
        bx.fit(plain, hubr=0.1)
