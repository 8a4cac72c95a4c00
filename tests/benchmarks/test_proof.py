"""The proof: what it chooses from a sweep, in which order it trains, and how it judges."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from benchmarks.proof import __main__ as command
from benchmarks.proof import choices as choosing
from benchmarks.proof.choices import Choice, Choices, chosen_from, in_order
from benchmarks.proof.judged import judged_table, tokens_to_reach
from benchmarks.proof.kept import kept_choices, load_choices
from benchmarks.proof.picture import labels, plot_proof
from benchmarks.proof.recommended import judged_best
from benchmarks.proof.remarks import missing_runs, repeated_run
from benchmarks.proof.training import check_same, proof_runs
from benchmarks.proxy_sweep.groups import Group, Setting
from benchmarks.proxy_sweep.loss_tables import loss_table
from benchmarks.proxy_sweep.model import ModelConfig
from benchmarks.proxy_sweep.runs import run_of
from benchmarks.proxy_sweep.sweep import prepared, train
from benchmarks.proxy_sweep.tokens import Tokens
from benchmarks.proxy_sweep.training import TrainingConfig, checkpoint_steps

pytestmark = pytest.mark.filterwarnings("ignore::bimix_jax.SweepWarning")
DOMAINS = ("a", "b", "c")
MODEL = ModelConfig(vocabulary=32, width=8, layers=1, heads=1, sequence=8)
TRAINING = TrainingConfig(steps=16, batch=4, warm_up=2, checkpoints=3)
LENGTH = 16 * 4 * 8
UNIFORM = (1 / 3, 1 / 3, 1 / 3)


@pytest.fixture(scope="module")
def sweep():
    """Runs whose losses fall with the budget and the own proportion."""
    rng = np.random.default_rng(0)
    mixtures = {"uniform": UNIFORM} | {
        f"scattered-{i:02d}": rng.dirichlet(np.full(3, 2.0)) * 0.97 + 0.01 for i in range(11)
    }
    rows = []
    for name, mixture in mixtures.items():
        for tokens in (LENGTH / 8, LENGTH / 4, LENGTH / 2, LENGTH):
            rest = 3 * (tokens / LENGTH) ** -0.3 * 0.1 + 2.7
            losses = np.array([1.0, 1.0, 1.2]) * np.asarray(mixture) ** [-0.2, -0.1, -0.05] * rest
            row = {"run": name, "tokens": tokens}
            row |= {f"r_{d}": r for d, r in zip(DOMAINS, mixture, strict=True)}
            rows.append(row | {f"loss_{d}": x for d, x in zip(DOMAINS, losses, strict=True)})
    return bx.read_sweep(pd.DataFrame(rows))


class StraightFit:
    """Stands in for a fit, which takes seconds to compile: two targets, 1 nat apart."""

    def predict_points(self, mixture, budgets):
        return (mixture[:, 0] + 100 / budgets)[:, None] + [2.5, 3.5]


def nearly_the_same(fitted, budget):
    """An optimum that moves by .004 as the budget doubles."""
    return SimpleNamespace(mixture=pd.Series(np.array([0.5, 0.3, 0.2]) + OFF * (budget > LENGTH)))


OFF = np.array([0.004, 0, -0.004])


@pytest.fixture(scope="module")
def choices(sweep):
    """With one law that can be fitted, and one that cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bx, "fit", lambda sweep, law: StraightFit())
        patch.setattr(bx, "optimize_mixture", nearly_the_same)
        patch.setattr(choosing, "judged_best", lambda sweep: ("BiMix", ["judged"]))
        sizes = {"c": 1000, "a": 3000, "b": 1000}
        entropies = {"SE": np.array([0.2, 0.3, 0.5]), "CE": np.array([0.334, 0.333, 0.333])}
        return chosen_from(sweep, sizes, entropies, ("BiMix", "NoLaw"))


@pytest.fixture(scope="module")
def setting():
    rng = np.random.default_rng(0)
    train_ids, held_out = (tuple(rng.integers(32, size=(3, n))) for n in (600, 200))
    return Setting(Tokens(DOMAINS, train_ids, held_out, 32), MODEL, held_out=4)


def named(choices):
    return {choice.name: choice for choice in choices.choices}


def test_choices_are_optima_of_every_law_and_what_else_people_do(choices, sweep):
    found = named(choices)
    assert list(found)[:5] == ["uniform", "BiMix-1x", "best-in-sweep", "CE", "BiMix-2x"]
    assert set(found) == {
        "uniform", "BiMix-1x", "BiMix-2x", "best-in-sweep", "corpus-sizes", "SE", "CE",
    }  # fmt: skip
    assert found["corpus-sizes"].mixture == pytest.approx((0.6, 0.2, 0.2))
    assert found["BiMix-1x"].mixture == pytest.approx((0.5, 0.3, 0.2))
    assert found["BiMix-2x"].mixture == pytest.approx((0.504, 0.3, 0.196))
    assert any("NoLaw is left out: law is 'NoLaw'" in note for note in choices.notes)
    assert choices.budget == LENGTH
    assert choices.judged_best == "BiMix"


def test_predictions_are_mean_losses_of_the_optimum_at_both_budgets(choices):
    expected = 0.504 + 100 / LENGTH + 3, 0.504 + 100 / (2 * LENGTH) + 3
    assert named(choices)["BiMix-2x"].predicted == pytest.approx(expected)
    assert named(choices)["SE"].predicted == ()


def test_best_in_sweep_is_by_measured_losses_at_the_last_budget(choices, sweep):
    last = sweep.budget == LENGTH
    run = sweep.run[last][np.argmin(sweep.loss[last].mean(axis=1))]
    assert named(choices)["best-in-sweep"].mixture == pytest.approx(sweep.mixtures.loc[run])


def test_mixtures_closer_than_half_a_percent_share_runs(choices):
    found = named(choices)
    assert found["CE"].trained_as == "uniform"
    assert found["BiMix-2x"].trained_as == "BiMix-1x"
    assert found["SE"].trained_as == "SE"
    assert {"CE", "BiMix-2x"}.isdisjoint(choice.name for choice in choices.trained())


def test_sweep_that_is_too_small_to_judge_by_has_no_pick(sweep):
    name, notes = judged_best(sweep.take(sweep.run == "uniform"))
    assert name == ""
    assert notes[0].startswith("No law was judged the best")
    names = dict.fromkeys(["SE", "LogLinear-2x", "LogLinear-1x", "BiMix-1x", "uniform"], UNIFORM)
    assert in_order(names, name)[:3] == ["uniform", "BiMix-1x", "SE"]
    assert in_order(names, "LogLinear")[2:] == ["LogLinear-1x", "LogLinear-2x", "SE"]


def test_choices_are_made_once_and_not_mixed_with_another_sweep(choices, sweep, tmp_path):
    with pytest.raises(ValueError, match="not there; train first"):
        load_choices(tmp_path, sweep)
    assert kept_choices(tmp_path, sweep, lambda: choices) == choices
    assert kept_choices(tmp_path, sweep, lambda: pytest.fail("made again")) == choices
    with pytest.raises(ValueError, match=r"made of a sweep with digest .* another folder"):
        load_choices(tmp_path, sweep.take(sweep.run != "uniform"))


def test_runs_are_twice_as_long_by_seeds_and_measured_at_the_length_of_the_sweep(choices):
    runs = proof_runs(choices, ("c", "a", "b"), TRAINING, 3)
    names = [choice.name for choice in choices.trained()]
    assert [run.mixture_name for run in runs] == 3 * names
    assert [run.seed for run in runs] == [seed for seed in range(3) for _ in names]
    assert runs[-1].name.endswith("-seed-2")
    steps = checkpoint_steps(runs[0].training)
    assert steps[:3] == checkpoint_steps(TRAINING)
    assert steps[-1] == 32
    assert next(run for run in runs if run.name == "SE").mixture == (0.5, 0.2, 0.3)
    with pytest.raises(ValueError, match="seeds is 0; expected 1 or more"):
        proof_runs(choices, DOMAINS, TRAINING, 0)


def test_checkpoints_go_on_as_densely_and_settings_before_still_match(setting):
    config = TrainingConfig(steps=2880, exactly_at=1440)
    steps = checkpoint_steps(config)
    assert steps[:12] == checkpoint_steps(TrainingConfig())
    assert steps[11:] == [1440, 1814, 2286, 2880]
    with pytest.raises(ValueError, match="exactly_at is 128; expected a step after 128"):
        TrainingConfig(exactly_at=128)
    group = uniform_group(TRAINING)
    assert "exactly_at" not in group.made_by(setting, "")["training"]


def uniform_group(training):
    return Group((run_of("uniform", np.array(UNIFORM), 0, training),))


def test_settings_that_are_not_the_sweeps_are_refused(sweep, setting):
    check_same(sweep, setting, TRAINING)
    with pytest.raises(ValueError, match=r"ends at 512 tokens, .* at 1,024 tokens; expected the"):
        check_same(sweep, setting, dataclasses.replace(TRAINING, steps=32))
    other = dataclasses.replace(setting.tokens, domains=("a", "b", "d"))
    with pytest.raises(ValueError, match="sweep mixes a, b, c, the corpus holds a, b, d"):
        check_same(sweep, dataclasses.replace(setting, tokens=other), TRAINING)


MADE = Choices(
    DOMAINS, 100.0, "", "BiMix",
    (
        Choice("uniform", UNIFORM, "uniform"),
        Choice("BiMix-1x", (0.5, 0.3, 0.2), "BiMix-1x", (3.9, 3.4)),
        Choice("BiMix-2x", (0.5, 0.3, 0.2), "BiMix-1x", (3.91, 3.41)),
        Choice("SE", (0.2, 0.3, 0.5), "SE"),
    ),
)  # fmt: skip
LOSSES = {  # at 50, 100 and 200 tokens, of seeds 0, 1, …
    "uniform": [(5.0, 4.0, 3.5), (5.2, 4.2, 3.7)],
    "BiMix-1x": [(4.9, 3.9, 3.4), (5.2, 4.0, 3.5)],
    "SE": [(5.4, 4.4, 3.6)],
}


def made_losses(losses=LOSSES):
    """As the trainer writes them: two targets, a tenth above and below the mean."""
    return pd.DataFrame([
        {"run": name, "mixture": name, "seed": seed, "tokens": tokens,
         "loss_a": loss + 0.1, "loss_b": loss - 0.1}
        for name, seeds in losses.items() for seed, curve in enumerate(seeds)
        for tokens, loss in zip((50, 100, 200), curve, strict=False)
    ])  # fmt: skip


def test_means_standard_errors_and_regret_are_over_the_same_seeds():
    table = judged_table(made_losses(), MADE).set_index("budget", append=True)
    uniform, best, se = (table.loc[(name, "1x")] for name in ("uniform", "BiMix-1x", "SE"))
    assert uniform["loss"] == pytest.approx(4.1)
    assert uniform["±"] == pytest.approx(0.1)
    assert best["− uniform"] == pytest.approx(-0.15)
    assert best["− uniform ±"] == pytest.approx(0.05)
    assert best["regret"] == 0
    assert best["predicted"] == 3.9
    # By its mean over seeds, 4.4 against 3.95, it would look worse by .05 less.
    assert se["regret"] == pytest.approx(0.4 + 0.15)
    assert np.isnan(se["±"])
    assert (uniform["seeds"], se["seeds"]) == (2, 1)
    assert uniform["regret"] == pytest.approx(0.15)


def test_choices_that_share_runs_are_both_listed_with_their_own_prediction():
    table = judged_table(made_losses(), MADE)
    rows = table[table["budget"] == "2x"]
    assert list(rows.index) == ["BiMix-1x", "BiMix-2x", "uniform", "SE"]
    assert rows.loc["BiMix-2x", "trained as"] == "BiMix-1x"
    assert rows.loc["BiMix-2x", "predicted"] == 3.41
    assert rows.loc["BiMix-2x", "loss"] == rows.loc["BiMix-1x", "loss"]


def test_tokens_needed_are_interpolated_in_log_budget_by_seed():
    table = judged_table(made_losses(), MADE).set_index("budget", append=True)
    needed = 1e6 * table["M tokens needed"]
    assert needed["uniform", "2x"] == pytest.approx(200)
    each = [100 * 2 ** ((3.9 - 3.5) / (3.9 - 3.4)), 100 * 2 ** ((4.0 - 3.7) / (4.0 - 3.5))]
    assert needed["BiMix-1x", "2x"] == pytest.approx(np.mean(each), rel=1e-4)
    assert needed["SE", "1x"] == pytest.approx(100 * 2 ** ((4.4 - 4.0) / (4.4 - 3.6)), rel=1e-4)
    assert np.isnan(needed["SE", "2x"])
    assert tokens_to_reach(pd.Series([3.0, 2.0], index=[50, 100]), 3.5) == 50


def test_unfinished_proof_is_reported_as_far_as_it_is():
    losses = made_losses({"uniform": [(5.0, 4.0)], "BiMix-1x": [(4.9,)]})
    table = judged_table(losses, MADE).set_index("budget", append=True)
    assert table.loc[("uniform", "1x"), "regret"] == 0
    assert table.loc[("uniform", "2x"), "seeds"] == 0
    assert np.isnan(table.loc[("BiMix-1x", "1x"), "loss"])
    assert missing_runs(losses, MADE, 2) == [
        "Still to be trained to the end with seed 0: uniform, BiMix-1x, SE.",
        "Still to be trained to the end with seed 1: uniform, BiMix-1x, SE.",
    ]
    assert missing_runs(made_losses(), MADE, 2) == [
        "Still to be trained to the end with seed 1: SE."
    ]
    for part in (losses, losses[losses["tokens"] < 100], made_losses({"SE": LOSSES["SE"]})):
        assert plot_proof(part, MADE).axes
        assert len(judged_table(part, MADE)) == 8


def test_picture_has_a_row_a_trained_mixture_best_first():
    figure = plot_proof(made_losses(LOSSES | {"SE": [(9.0, 9.0, 9.0)]}), MADE)
    left, right = figure.axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["BiMix 1× 2×", "uniform", "SE"]
    assert right.get_xlim()[1] < 5
    assert "9.000" in [text.get_text() for text in right.texts]
    many = [Choice(f"LongLaw{i}-1x", UNIFORM, "uniform", (1.0, 1.0)) for i in range(4)]
    long = labels(dataclasses.replace(MADE, choices=(MADE.choices[0], *many)))["uniform"]
    assert long == "uniform, LongLaw0 1×,\nLongLaw1 1×, LongLaw2 1×,\nLongLaw3 1×"


def write_losses(store):
    """As if everything had been trained."""
    found = {
        group: np.full((len(group.checkpoints), 1, 3), 4.0) - 0.1 * group.runs[0].seed
        for group in store.groups
    }
    loss_table(found, store.setting, "constant").to_csv(store.folder / "losses.csv", index=False)


def test_command_trains_goes_on_and_reports(sweep, choices, setting, tmp_path, monkeypatch, capsys):
    few = dataclasses.replace(choices, choices=choices.choices[:2])
    path, output, results = tmp_path / "losses.csv", tmp_path / "proof", tmp_path / "results"
    sweep.to_frame().to_csv(path, index=False)
    few = dataclasses.replace(few, sweep=bx.read_sweep(path).digest())
    monkeypatch.setattr(command, "setting_of", lambda arguments: (setting, TRAINING))
    monkeypatch.setattr(command, "chosen_from", lambda *arguments: few)
    monkeypatch.setattr(command, "train", lambda store, *more: write_losses(store))
    line = ["proof", str(path), "--seeds", "2", "-o", str(output), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", [*line, "--report", "--entropies", "none"])
    with pytest.raises(SystemExit):
        command.main()
    assert "not there; train first" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*line, "--entropies", "none"])
    command.main()
    printed = capsys.readouterr().out
    assert "after 1024 tokens" in printed
    assert "Still to be" not in printed
    document = json.loads((results / "proof.json").read_text())
    assert {row["choice"] for row in document["rows"]} == {"uniform", "BiMix-1x"}
    assert all(row["seeds"] == 2 and row["loss"] > 0 for row in document["rows"])
    assert document["settings"]["choices"]["choices"][1]["name"] == "BiMix-1x"
    assert (results / "proof.png").stat().st_size > 1000
    monkeypatch.setattr(command, "train", lambda *arguments: pytest.fail("trained"))
    monkeypatch.setattr(sys, "argv", [*line, "--report"])
    command.main()


def test_one_budget_takes_the_sweeps_own_training_and_one_panel(choices):
    once = dataclasses.replace(
        choices, times=(1,),
        choices=tuple(dataclasses.replace(c, predicted=c.predicted[:1]) for c in choices.choices),
    )  # fmt: skip
    runs = proof_runs(once, DOMAINS, TRAINING, 1)
    assert all(run.training == TRAINING for run in runs)
    assert runs[0] == run_of("uniform", np.full(3, 1 / 3), 0, TRAINING)
    losses = pd.DataFrame(
        {"mixture": run.mixture_name, "seed": 0, "tokens": LENGTH, "loss_a": 2.0 + i}
        for i, run in enumerate(runs)
    )
    assert set(judged_table(losses, once)["budget"]) == {"1x"}
    (axes,) = plot_proof(losses, once).axes
    assert "the sweep's length" in axes.get_title(loc="left")


def test_targets_that_count_are_all_that_is_looked_at(sweep, tmp_path):
    path = tmp_path / "losses.csv"
    sweep.to_frame().to_csv(path, index=False)
    arguments = SimpleNamespace(sweep=path, targets=["c", "a"])
    found = command._sweep(arguments)
    assert set(found.targets) == {"a", "c"}
    assert found.domains == sweep.domains
    assert "loss_b" not in command._losses(tmp_path, found)
    with pytest.raises(ValueError, match=r"has no loss_d; it has loss_a, loss_b, loss_c"):
        command._sweep(SimpleNamespace(sweep=path, targets=["d"]))


def test_uniform_run_repeats_the_sweeps(choices, setting, tmp_path):
    one = dataclasses.replace(choices, choices=choices.choices[:1])
    losses = train(prepared(proof_runs(one, DOMAINS, TRAINING, 1), setting, tmp_path / "proof"))
    uniform = uniform_group(TRAINING).runs[0]
    runs = [uniform, dataclasses.replace(uniform, name="other", mixture=(0.5, 0.3, 0.2))]
    shorter = bx.read_sweep(train(prepared(runs, setting, tmp_path / "sweep")))
    assert repeated_run(losses, shorter) == [
        "The uniform run of seed 0 differs from the sweep's by 0 nats on the mean over 3 "
        "checkpoints and 3 targets, 0 at most: trained alike."
    ]
    losses.loc[0, "loss_a"] += 1
    assert "not trained alike" in repeated_run(losses, shorter)[0]
    assert repeated_run(losses, shorter.take(shorter.run != "uniform")) == []
