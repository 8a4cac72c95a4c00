"""Stacks before the judge: their errors are those of their members' predictions."""

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax import BiMix, LogLinear, Stacked, TransferBiMix
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.stacked import combined
from bimix_jax.judging import _trial, compare
from bimix_jax.judging.comparison import CERTAIN, Comparison
from bimix_jax.judging.noise import NoiseFloor
from tests.fits import frame

LAWS = (BiMix(), TransferBiMix(), LogLinear())


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame(noise=0.001))


def test_a_stack_is_judged_by_the_predictions_of_its_members_without_a_fit(sweep, monkeypatch):
    fitted = []

    def counted(sweep, law, *further):
        fitted.append(law)
        return predict(sweep, law, *further)

    predict = _trial.predict_splits
    monkeypatch.setattr(_trial, "predict_splits", counted)
    stack = Stacked(LAWS)
    judged = bx.compare(sweep, [stack, *LAWS], ["mixtures", "both"], repeats=3)
    assert {law.label for law in fitted} == {law.label for law in LAWS}
    # LogLinear is far behind, but the stack needs it on every split.
    assert judged.judged.all()
    expected = combined(stack, judged.predicted[1:])
    np.testing.assert_array_equal(judged.predicted[0], expected)
    alone = bx.compare(sweep, [stack, BiMix()], ["mixtures", "both"], repeats=3)
    np.testing.assert_allclose(alone.predicted[0], judged.predicted[0], rtol=1e-9)
    assert judged.laws[0] in judged.table_of("both").index
    assert any(
        note.startswith(f"{stack.label} predicts the centre of BiMix") for note in judged.notes
    )


def two(apart, spread, stacks=(False, True)):
    """A law and a stack whose errors differ by `apart` ± `spread` of the standard error."""
    rng, mixtures = np.random.default_rng(0), 40
    noise = rng.standard_normal(mixtures)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * spread * np.sqrt(mixtures)
    errors = np.stack([np.full(mixtures, 0.05), 0.05 + apart + noise])[:, None, :, None]
    return Comparison(
        laws=("one", "several"),
        targets=("web",),
        kinds=("mixtures",),
        test=np.ones((1, mixtures), bool),
        measured=np.ones((mixtures, 1)),
        predicted=1 + errors,
        unidentified=np.zeros((2, 1, 1), bool),
        budget=np.ones(mixtures),
        group=np.arange(mixtures),
        noise=NoiseFloor(np.nan, np.nan),
        coefficients=(4, 40),
        stacks=stacks,
    )


@pytest.mark.parametrize(
    ("apart", "best"),
    [(0.9 * CERTAIN, "several"), (1.1 * CERTAIN, "one"), (0.0, "one"), (-0.1, "several")],
)
def test_a_stack_is_recommended_unless_a_law_is_surely_better_or_the_same(apart, best):
    spread = 0.001
    judged = two(apart * spread, spread)
    row = judged.table_of("mixtures").loc["several"]
    assert row["mre"] - 0.05 == pytest.approx(apart * spread, abs=1e-12)
    assert judged.best == best
    # Of two single laws, the simplest one that is close.
    assert two(apart * spread, spread, ()).best == ("one" if apart > -0.5 else "several")


def test_the_usual_stack_is_among_the_laws_that_are_judged_with_all_its_members():
    assert Stacked() in compare.JUDGED
    assert set(Stacked().members) < set(compare.JUDGED)
    table = pd.concat([frame(noise=0.001).assign(model_size=size) for size in (1e8, 2e8)])
    several = compare._judged_by_default(bx.read_sweep(table, model_size="model_size"))
    (stack,) = (law for law in several if law.members)
    assert set(stack.members) < set(several)
    assert stack.label == "WithModelSize(Stacked)"


def test_a_stack_is_judged_by_its_members_though_one_can_express_no_target():
    named = {"loss_web": "loss_quiz", "loss_code": "loss_exam", "loss_books": "loss_riddle"}
    sweep = bx.read_sweep(frame(noise=0.01).rename(columns=named))
    laws = [LogLinear(), TransferBiMix(), Stacked(LAWS)]
    splits = bx.standard_splits(sweep, ["mixtures"], repeats=1)
    trial = _trial.Trial(sweep, laws, splits, sweep.targets, FitOptions())
    assert trial.stacks == {2: [1, 0]}
    found = {place: trial.fitted(law, np.array([0])) for place, law in enumerate(laws)}
    whole = trial.with_stacks({place: found[place] for place in (0, 1)})[2]
    np.testing.assert_allclose(whole.predicted, found[2].predicted, rtol=1e-9)
    np.testing.assert_array_equal(whole.code, found[2].code)
