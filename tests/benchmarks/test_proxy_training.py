"""The training of the proxy sweep: it learns, it can be killed, and it says what is wrong."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from benchmarks.proxy_sweep import __main__ as command
from benchmarks.proxy_sweep.batches import held_out_sequences, plan
from benchmarks.proxy_sweep.checkpoints import (
    CorruptedCheckpoint,
    OtherSettings,
    load_checkpoint,
    previous,
)
from benchmarks.proxy_sweep.cross_entropy import mean_cross_entropy
from benchmarks.proxy_sweep.groups import Setting
from benchmarks.proxy_sweep.mixtures import FLOOR, entropy_mixtures, pool, sweep_mixtures
from benchmarks.proxy_sweep.model import (
    ModelConfig,
    initial_parameters,
    last_stream,
    mean_loss,
)
from benchmarks.proxy_sweep.runs import run_of, sweep_runs
from benchmarks.proxy_sweep.smoke import build_smoke_corpus
from benchmarks.proxy_sweep.store import CheckpointWarning, Store
from benchmarks.proxy_sweep.sweep import prepared, train
from benchmarks.proxy_sweep.tokens import Tokens, read_tokens
from benchmarks.proxy_sweep.training import (
    TrainingConfig,
    _step_of_all,
    checkpoint_steps,
    learning_rate,
)
from benchmarks.proxy_sweep.unigram import unigram_losses
from bimix_jax.entropy._domain_files import load_tokenizer
from tests.conftest import PLAINLY

pytestmark = pytest.mark.filterwarnings("ignore::bimix_jax.SweepWarning")
DOMAINS = ("a", "b", "c")
SMOKE_DOMAINS = ("documentation", "library", "names")
MODEL = ModelConfig(vocabulary=64, width=16, layers=1, heads=2, sequence=16)
TRAINING = TrainingConfig(steps=60, batch=8, warm_up=4, checkpoints=4, learning_rate=2e-2)
UNIFORM = np.full(3, 1 / 3)
MIXTURES = {"uniform": UNIFORM, "scattered-01": np.array([0.7, 0.2, 0.1])}
RUNS = [run_of(name, mixture, 0, TRAINING) for name, mixture in MIXTURES.items()]


def markov(successor, length, seed):
    """Token ids of which four of five are what the one before says, the others any below 32."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(32, size=length)
    follows = rng.random(length) < 0.8
    for i in range(1, length):
        if follows[i]:
            ids[i] = successor[ids[i - 1]]
    return ids.astype(np.uint16)


def small_setting():
    """Three domains that differ in what follows what."""
    rng = np.random.default_rng(0)
    successors = [rng.permutation(32) for _ in DOMAINS]
    train = tuple(markov(s, 12_000, i) for i, s in enumerate(successors))
    held_out = tuple(markov(s, 3_000, 10 + i) for i, s in enumerate(successors))
    return Setting(Tokens(DOMAINS, train, held_out, 64), MODEL, held_out=64)


@pytest.fixture(scope="module")
def setting():
    return small_setting()


@pytest.fixture(scope="module")
def finished(setting, tmp_path_factory):
    """The folder of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    train(prepared(RUNS, setting, folder))
    return folder


def same_table(folder, finished):
    return (folder / "losses.csv").read_bytes() == (finished / "losses.csv").read_bytes()


def test_uniform_run_beats_the_unigram_model_on_every_domain(setting, finished):
    sweep = bx.read_sweep(finished / "losses.csv")
    last = sweep.loss[np.flatnonzero(np.array(sweep.run) == "uniform")[-1]]
    assert np.all(last < unigram_losses(setting.tokens, 64, 16) - 0.1)


def test_table_reads_as_a_sweep_with_all_checkpoints(finished):
    sweep = bx.read_sweep(finished / "losses.csv")
    assert sweep.domains == sweep.targets == DOMAINS
    assert sweep.unit == "tokens"
    assert list(sweep.budget) == 2 * [s * 8 * 16 for s in checkpoint_steps(TRAINING)]
    assert np.allclose(sweep.mixtures.loc["scattered-01"], [0.7, 0.2, 0.1])


@pytest.mark.parametrize(
    ("method", "saved"), [("save", 0), ("save", 5), ("write_tables", 1), ("write_tables", 4)]
)
def test_interrupted_before_a_checkpoint_or_between_it_and_the_table(
    setting, finished, tmp_path, monkeypatch, method, saved
):
    store, whole, calls = prepared(RUNS, setting, tmp_path), getattr(Store, method), [0]

    def interrupted(self, *arguments):
        calls[0] += 1
        if calls[0] > saved:
            raise KeyboardInterrupt
        whole(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(store)
    assert store.done() == sum(
        8 * 16 * checkpoint_steps(TRAINING)[i] for i in _last_of_runs(saved + (method != "save"))
    )
    train(prepared(RUNS, setting, tmp_path))
    assert same_table(tmp_path, finished)


def _last_of_runs(saved):
    """Number of the last checkpoint of each of the runs, so many being written in all."""
    return [count - 1 for count in (min(saved, 4), saved - 4) if count > 0]


def train_in(folder):
    """What the process does that is killed."""
    train(prepared(RUNS, small_setting(), Path(folder)))


@pytest.mark.slow  # a loop of kill and resume
def test_killed_by_the_system_and_started_again(setting, finished, tmp_path):
    code = "import sys; from tests.benchmarks.test_proxy_training import *; train_in(sys.argv[1])"
    # Compiled as in this process: other instructions may round otherwise.
    flags = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {PLAINLY}"}
    command = [sys.executable, "-c", code, tmp_path]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=flags)
    end = time.monotonic() + 120
    while not (tmp_path / "losses.csv").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert (tmp_path / "losses.csv").exists()
    train(prepared(RUNS, setting, tmp_path))
    assert same_table(tmp_path, finished)


@pytest.mark.filterwarnings("ignore:.*cannot be read as a checkpoint")
@pytest.mark.parametrize("both", [False, True])
def test_corrupted_checkpoint_is_said_and_training_ends_the_same(
    setting, finished, tmp_path, monkeypatch, both
):
    store = prepared(RUNS, setting, tmp_path)
    group = store.groups[0]
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(store)
    path = tmp_path / "runs" / f"{group.name}.npz"
    damage(path)
    if both:
        damage(previous(path))
    since = "its start" if both else "the checkpoint before"
    assert store.standing(group).step == (0 if both else checkpoint_steps(TRAINING)[1])
    with pytest.warns(CheckpointWarning, match=f"goes on from {since} and ends with the same"):
        train(prepared(RUNS, setting, tmp_path))
    assert same_table(tmp_path, finished)
    assert path.with_suffix(".corrupted").exists()


def stop_after(patch, saved):
    whole, calls = Store.save, [0]

    def save(self, *arguments):
        whole(self, *arguments)
        calls[0] += 1
        if calls[0] == saved:
            raise KeyboardInterrupt

    patch.setattr(Store, "save", save)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_that_the_archive_does_not_notice_is_found_by_the_checksum(finished, tmp_path):
    with np.load(finished / "runs" / "uniform.npz") as file:
        arrays = dict(file)
    arrays["losses"] = arrays["losses"] + 1
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(CorruptedCheckpoint, match="does not match its checksum"):
        load_checkpoint(tmp_path / "a.npz", None, {})


def test_other_settings_are_refused_and_touch_nothing(setting, finished):
    before = (finished / "losses.csv").read_bytes()
    other = [
        dataclasses.replace(run, training=dataclasses.replace(TRAINING, batch=4)) for run in RUNS
    ]
    with pytest.raises(OtherSettings, match=r"made with training .*'batch': 8.* name another"):
        prepared(other, setting, finished)
    assert (finished / "losses.csv").read_bytes() == before


def test_a_run_that_another_process_trains_is_left_to_it(setting, finished, tmp_path):
    store, said = prepared(RUNS, setting, tmp_path), []
    with store.claimed(store.groups[0]) as mine:
        assert mine
        table = train(prepared(RUNS, setting, tmp_path), said.append)
    assert set(table["run"]) == {"scattered-01"}
    assert "other processes" in said[-1]
    train(store)
    assert same_table(tmp_path, finished)


def test_several_together_reach_what_each_reaches_alone(setting, finished, tmp_path):
    together = dataclasses.replace(setting, together=2)
    train(prepared(RUNS, together, tmp_path))
    found, alone = (bx.read_sweep(f / "losses.csv") for f in (tmp_path, finished))
    assert found.runs == alone.runs
    assert np.allclose(found.loss, alone.loss, atol=2e-3)


def test_a_model_sees_the_past_alone_and_starts_at_the_logarithm_of_the_vocabulary():
    parameters = initial_parameters(MODEL, 0)
    tokens = np.random.default_rng(0).integers(64, size=(4, 17))
    assert mean_loss(parameters, tokens, MODEL) == pytest.approx(np.log(64), abs=0.05)
    changed = tokens.copy()
    changed[:, 9:] = 0
    before, after = (
        last_stream(parameters, ids[:, :-1], MODEL).reshape(4, 16, -1) for ids in (tokens, changed)
    )
    assert np.allclose(after[:, :9], before[:, :9], atol=1e-6)
    assert not np.allclose(after[:, 9:], before[:, 9:], atol=1e-2)


@pytest.mark.parametrize("tokens", [96, 512])
def test_cross_entropy_and_its_gradient_are_those_of_plain_differentiation(tokens):
    random = np.random.default_rng(0)
    arrays = random.normal(size=(tokens, 8)), random.normal(size=(50, 8))
    targets = random.integers(50, size=tokens)

    def plain(stream, embedding):
        logits = jax.nn.log_softmax(stream @ embedding.T)
        return -logits[np.arange(tokens), targets].mean()

    def ours(stream, embedding):
        return mean_cross_entropy(stream, embedding, targets)

    with jax.enable_x64(True):
        pair = jax.tree.map(jnp.asarray, arrays)
        both = [jax.value_and_grad(lambda p, f=f: 3 * f(*p))(pair) for f in (ours, plain)]
    for found, expected in zip(*map(jax.tree.leaves, both), strict=True):
        assert np.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_products_of_bfloat16_are_close_to_those_of_float32():
    parameters = initial_parameters(MODEL, 0)
    tokens = np.random.default_rng(0).integers(64, size=(4, 17))
    rounded = dataclasses.replace(MODEL, products="bfloat16")
    (exact, slopes), (close, rounded_slopes) = (
        jax.value_and_grad(mean_loss)(parameters, tokens, model) for model in (MODEL, rounded)
    )
    assert float(close) != float(exact)
    assert float(close) == pytest.approx(float(exact), rel=1e-3)
    for name, slope in slopes.items():
        assert rounded_slopes[name].dtype == slope.dtype == jnp.float32
        difference = np.linalg.norm(rounded_slopes[name] - slope)
        assert difference < 0.03 * np.linalg.norm(slope), name


def test_seldom_saved_runs_end_the_same(setting, finished, tmp_path, monkeypatch):
    written, whole = [], Store.save

    def counted(self, group, checkpoint):
        written.append((group.name, checkpoint.step))
        whole(self, group, checkpoint)

    monkeypatch.setattr(Store, "save", counted)
    train(prepared(RUNS, setting, tmp_path), save_every=3600)
    assert written == [("uniform", 60), ("scattered-01", 60)]
    assert same_table(tmp_path, finished)


def test_runs_of_any_length_and_schedule_share_a_compilation(setting, tmp_path):
    decay = dataclasses.replace(TRAINING, steps=40, schedule="decay", checkpoints=3, clip=0.5)
    longer = dataclasses.replace(decay, steps=50, schedule="constant")
    pair = [run_of(f"run-{i}", UNIFORM, 0, config) for i, config in enumerate((decay, longer))]
    before = _step_of_all._cache_size()
    train(prepared(pair, setting, tmp_path))
    assert _step_of_all._cache_size() == before + 1


def test_rate_rises_then_stays_or_falls_to_nothing():
    constant, decay = (
        [float(learning_rate(dataclasses.replace(TRAINING, schedule=s))(i)) for i in range(61)]
        for s in ("constant", "decay")
    )
    assert np.allclose(constant[:4], 2e-2 * np.arange(1, 5) / 4)
    assert np.allclose(constant[4:], 2e-2)
    assert np.allclose(decay[:4], constant[:4])
    assert np.all(np.diff(decay[4:]) < 0)
    assert decay[60] == pytest.approx(0, abs=1e-9)


def test_checkpoints_are_even_in_log_budget():
    steps = np.array(checkpoint_steps(TrainingConfig()))
    assert len(steps) == 12
    assert steps[[0, -1]].tolist() == [128, 1440]
    assert np.allclose(np.diff(np.log(steps)), np.log(1440 / 128) / 11, atol=0.01)


def test_plan_keeps_proportions_repeats_nothing_and_is_the_start_of_a_longer_one(setting):
    mixture = np.array([0.01, 0.39, 0.6])
    long = plan(setting.tokens, mixture, 150, 8, 16, 3)
    counts = np.bincount(long.domain.ravel(), minlength=3)
    assert np.allclose(counts, 1200 * mixture, atol=4)
    for domain in range(3):
        numbers = long.number[long.domain == domain]
        assert len(set(numbers[:749])) == len(numbers[:749])  # 12 000 tokens, 16 each and one
    short = plan(setting.tokens, mixture, 40, 8, 16, 3)
    assert np.array_equal(short.domain, long.domain[:40])
    assert np.array_equal(short.number, long.number[:40])
    other = plan(setting.tokens, mixture, 40, 8, 16, 4)
    assert not np.array_equal(short.number, other.number)
    without = plan(setting.tokens, np.array([0.5, 0.5, 0.0]), 40, 8, 16, 3)
    assert set(without.domain.ravel()) == {0, 1}


def test_batches_are_of_the_training_part_alone():
    train_ids = tuple(np.arange(200, dtype=np.uint16) for _ in DOMAINS)
    held_out = tuple(np.arange(500, 700, dtype=np.uint16) for _ in DOMAINS)
    tokens = Tokens(DOMAINS, train_ids, held_out, 700)
    every = plan(tokens, UNIFORM, 50, 8, 16, 0)
    batches = np.stack([every.batch(tokens, step) for step in range(50)])
    assert batches.shape == (50, 8, 17)
    assert batches.max() < 200
    assert np.all(np.diff(batches, axis=-1) == 1)
    validation = held_out_sequences(tokens, 4, 16)
    assert validation.shape == (3, 4, 17)
    assert validation.min() >= 500
    assert validation[0, -1, -1] == 699


def test_mixtures_span_the_simplex_by_turns_with_those_of_entropies(tmp_path):
    entropies = {name: np.full(3, 1 / 3) for name in ("SE", "VNE")}
    found = sweep_mixtures(DOMAINS, 20, entropies)
    assert list(found)[:5] == ["uniform", "SE", "scattered-01", "VNE", "scattered-02"]
    assert len(found) == 20
    mixtures = np.stack(list(found.values()))
    assert np.allclose(mixtures.sum(axis=1), 1)
    assert mixtures.min() >= FLOOR
    assert np.all(mixtures.max(axis=0) > 0.6)
    chosen = np.stack([m for name, m in found.items() if name.startswith("scattered")])
    assert closest(chosen) > 1.5 * closest(pool(3, 0)[: len(chosen)])
    longer = sweep_mixtures(DOMAINS, 25, entropies)
    assert all(np.array_equal(mixture, longer[name]) for name, mixture in found.items())
    with pytest.raises(ValueError, match="2 mixtures; expected 3 to 67"):
        sweep_mixtures(DOMAINS, 2, entropies)
    assert entropy_mixtures(tmp_path / "none.json", DOMAINS) == {}


def closest(mixtures):
    distances = np.linalg.norm(np.sqrt(mixtures)[:, None] - np.sqrt(mixtures), axis=-1)
    return distances[np.triu_indices(len(mixtures), 1)].min()


def test_runs_begin_with_the_uniform_one_and_end_with_the_decayed_ones():
    runs = sweep_runs(sweep_mixtures(DOMAINS, 10, {}), TRAINING)
    names = [run.name for run in runs]
    assert names[:2] == ["uniform", "scattered-01"]
    assert names[5:9] == [
        "uniform-seed-1", "uniform-seed-2", "scattered-01-seed-1", "scattered-01-seed-2",
    ]  # fmt: skip
    decayed = runs[-4:]
    assert {run.training.schedule for run in decayed} == {"decay"}
    assert [run.training.steps for run in decayed] == [60, 60, 31, 31]
    assert 31 in checkpoint_steps(TRAINING)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_corpus_that_is_missing_empty_or_of_different_parts(tmp_path):
    tokenizer = load_tokenizer("bytes")

    def read():
        return read_tokens(tmp_path, tokenizer, tmp_path / "cache")

    with pytest.raises(ValueError, match="train is missing or empty; expected a file or folder"):
        read()
    write(tmp_path / "train" / "a.txt", "text")
    with pytest.raises(ValueError, match="held_out is missing or empty"):
        read()
    write(tmp_path / "held_out" / "b.txt", "text")
    with pytest.raises(ValueError, match=r"train holds the domains a, .* b; expected the same"):
        read()
    write(tmp_path / "held_out" / "b.txt", "")
    with pytest.raises(ValueError, match=r"b is empty: .*b.txt has no bytes"):
        read()
    (tmp_path / "train" / "c").mkdir()
    with pytest.raises(ValueError, match="c holds no file that can be read"):
        read()
    write(tmp_path / "train" / "c" / "1.txt", "text")
    write(tmp_path / "train" / "c.txt", "text")
    with pytest.raises(ValueError, match="holds c twice"):
        read()


def test_settings_that_cannot_be_trained(setting, tmp_path):
    few = dataclasses.replace(
        setting, tokens=dataclasses.replace(setting.tokens, train=(np.zeros(9, int),) * 3)
    )
    with pytest.raises(ValueError, match="a has 9 tokens to train on; expected at least 129"):
        prepared(RUNS, few, tmp_path)
    with pytest.raises(ValueError, match="a has 3000 tokens held out; expected at least 16001"):
        prepared(RUNS, dataclasses.replace(setting, held_out=1000), tmp_path)
    with pytest.raises(ValueError, match=r"a 0.5, b 0.5, c 0.5 sums to 1.5; expected .* sum to 1"):
        prepared([run_of("r", np.full(3, 0.5), 0, TRAINING)], setting, tmp_path)
    with pytest.raises(ValueError, match="one proportion for each of a, b, c"):
        prepared([run_of("r", np.full(2, 0.5), 0, TRAINING)], setting, tmp_path)
    with pytest.raises(ValueError, match="uniform names several runs"):
        prepared([RUNS[0], RUNS[0]], setting, tmp_path)
    with pytest.raises(ValueError, match="schedule is 'cosine'; expected one of constant, decay"):
        TrainingConfig(schedule="cosine")
    with pytest.raises(ValueError, match="batch is 0; expected more than 0"):
        TrainingConfig(batch=0)
    with pytest.raises(ValueError, match=r"12 checkpoints from step 128.* Train longer"):
        TrainingConfig(steps=130)
    with pytest.raises(ValueError, match="width is 10, heads 4; expected a multiple"):
        ModelConfig(width=10)


def test_command_says_what_is_wrong_in_a_paragraph(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["proxy_sweep", "-o", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert "no corpus. Name the folder" in capsys.readouterr().err


def test_command_describes_the_sweep_and_compares_with_unigrams(tmp_path, monkeypatch, capsys):
    table = pd.DataFrame({"run": ["uniform"]} | {f"loss_{d}": [1.25] for d in SMOKE_DOMAINS})
    monkeypatch.setattr(command, "train", lambda store, *more: table)
    monkeypatch.setattr(sys, "argv", ["proxy_sweep", "--smoke", "-o", str(tmp_path)])
    command.main()
    described = json.loads((tmp_path / "settings.json").read_text())
    assert described["domains"] == list(SMOKE_DOMAINS)
    assert described["model"]["vocabulary"] == 256
    assert described["runs"][0]["name"] == "uniform"
    assert "1.250" in capsys.readouterr().out


def test_smoke_corpus_is_of_python_alone_and_split(tmp_path):
    tokens = read_tokens(build_smoke_corpus(tmp_path), load_tokenizer("bytes"), tmp_path / "cache")
    assert tokens.domains == SMOKE_DOMAINS
    assert min(map(len, tokens.train)) > 100_000
    assert min(map(len, tokens.held_out)) > 64 * 64


def test_same_parameters_for_same_seed_only():
    one, two, other = (initial_parameters(MODEL, seed)["embedding"] for seed in (0, 0, 1))
    assert jax.numpy.array_equal(one, two)
    assert not jax.numpy.array_equal(one, other)
