from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.batching import _compiled as compiled
from bimix_jax.batching import _rows as rows_module
from bimix_jax.batching import _run as run
from bimix_jax.batching._compiled import BatchMethod, block_length, compiled_chunk
from bimix_jax.batching._rows import SweepRows, filled_chunk, padded_length
from bimix_jax.batching._table import _sweeps_of, _WideTable, fit_frame
from bimix_jax.batching.rates import synthetic_rows
from bimix_jax.fitting.options import FitOptions
from tests.batching.tables import table_of_sweeps

NUMBERS = ["A", "B", "C", "alpha", "beta", "error"]


def sweeps_of(table):
    return {
        label: bx.read_sweep(part.drop(columns="sweep"))
        for label, part in table.groupby("sweep", sort=False)
    }


@pytest.fixture(scope="module")
def sizes():
    """Sweeps of 16 and of 9 points, in turns."""
    sweeps = sweeps_of(table_of_sweeps(6))
    return {
        label: sweep.take(np.arange(9)) if i % 2 else sweep
        for i, (label, sweep) in enumerate(sweeps.items())
    }


@pytest.fixture(scope="module")
def padded():
    """Sweeps of 16 and of 13 points, which are padded to 16, so that one program fits them all."""
    sweeps = sweeps_of(table_of_sweeps(4))
    return {
        label: sweep.take(np.arange(13)) if i % 2 else sweep
        for i, (label, sweep) in enumerate(sweeps.items())
    }


@pytest.fixture(scope="module")
def fits(sizes):
    return bx.fit_many(sizes)


def test_every_fit_is_the_one_that_fit_finds_alone(sizes, fits):
    assert list(fits) == list(sizes)
    for label, sweep in sizes.items():
        alone, found = bx.fit(sweep, bx.BiMix()), fits[label]
        np.testing.assert_allclose(found.sum_of_squares, alone.sum_of_squares, rtol=1e-9)
        np.testing.assert_array_equal(found.code, alone.code)
        np.testing.assert_array_equal(found.points, alone.points)
        np.testing.assert_allclose(found.error, alone.error, rtol=1e-5)
        assert found.sweep_digest == sweep.digest()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "options",
    # Batches choose their shrinkage in three programs, which take a minute of a loaded machine.
    [{}, {"residual": "log"}, pytest.param({"law": bx.TransferBiMix()}, marks=SLOW)],
)
def test_points_count_by_their_budget_as_in_fit(padded, options):
    if "residual" in options:  # whose sums by budget are a program of their own
        padded = {label: sweep for label, sweep in padded.items() if len(sweep.budget) == 16}
    fits = bx.fit_many(padded, budget_power=2.0, **options)
    for label in list(padded)[:2]:
        alone, found = bx.fit(padded[label], budget_power=2.0, **options), fits[label]
        np.testing.assert_allclose(found.sum_of_squares, alone.sum_of_squares, rtol=1e-9)
        np.testing.assert_array_equal(found.points, alone.points)
        assert found.options.budget_power == 2
        assert any("weighted by budget^2" in note for note in found.notes)
    table = pd.concat(sweep.to_frame().assign(sweep=label) for label, sweep in padded.items())
    method = BatchMethod(
        options.get("law", bx.BiMix()),
        FitOptions(options.get("residual", "relative"), budget_power=2.0),
    )
    found = fit_frame(table, method, tuple(jax.local_devices()))
    pd.testing.assert_frame_equal(found, fits.table(), rtol=1e-6)


def test_a_table_gives_what_its_sweeps_give_in_their_order(sizes, fits):
    frames = [sweep.to_frame().assign(sweep=label) for label, sweep in sizes.items()]
    found = bx.fit_many(pd.concat(frames)).table()
    pd.testing.assert_frame_equal(found, fits.table(), rtol=1e-12)


def test_a_second_call_with_known_sizes_compiles_nothing(sizes):
    calls = [compiled_chunk(BatchMethod(bx.BiMix()), tuple(jax.local_devices()), kernel)
             for kernel in (True, False)]  # fmt: skip
    bx.fit_many(sizes)
    known = [call.compilations() for call in calls]
    assert known[0] > 0
    bx.fit_many(list(sizes.values())[::-1] * 2)
    assert [call.compilations() for call in calls] == known


@pytest.fixture
def few_blocks(monkeypatch):
    """Chunks of three blocks of 256 sweeps of 64 points, so that one program is compiled."""
    monkeypatch.setattr(compiled, "BLOCKS", 3)


@pytest.mark.parametrize("sweeps", [1, 100, 600, 3000, 10_000, 30_000])
def test_a_processor_has_blocks_of_one_shape_and_every_core_as_many(sweeps):
    devices, method = tuple(jax.local_devices()), BatchMethod(bx.BiMix())
    rows = synthetic_rows(sweeps, 64)
    parts = run.parts_of(rows, np.arange(sweeps), method, devices, kernel=True)
    block = compiled.CELLS["cpu"] // 64
    assert {part.shape for part in parts} == {(compiled.BLOCKS, block)}
    np.testing.assert_array_equal(np.concatenate([p.sweeps for p in parts]), np.arange(sweeps))
    counts = [-(-len(part.sweeps) // block) for part in parts]
    assert max(counts) <= compiled.BLOCKS
    assert len(counts) % compiled.cores() == 0 or max(counts) == 1
    fair = -(-sum(counts) // len(counts))
    assert counts[:-1] == [fair] * (len(counts) - 1)
    assert block_length(1 << 20, 1, devices, 1) == 1


def test_blocks_beyond_those_that_there_are_take_no_part(few_blocks):
    rows, devices = synthetic_rows(300, 64), tuple(jax.local_devices())
    call = compiled_chunk(BatchMethod(bx.BiMix()), devices, True)
    with jax.enable_x64(True):
        chunk = filled_chunk(rows, np.arange(300), 64, (compiled.BLOCKS, 256)).chunk
        chunk.loss[2:] = -1.0
        chunk.budget[2:] = np.inf
        found, errors, settled = call(chunk, 16, (0, 2))
    assert np.all(np.asarray(settled).reshape(-1)[:300])
    assert not np.asarray(settled)[2:].any()
    whole, same = run.fit_rows(rows, BatchMethod(bx.BiMix()), devices)
    np.testing.assert_array_equal(np.asarray(errors).reshape(-1)[:300], same[:, 0])
    np.testing.assert_array_equal(
        np.asarray(found.sum_of_squares).reshape(-1)[:300], whole.sum_of_squares[:, 0]
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_neighbours_of_one_length_are_not_copied_and_end_the_same(monkeypatch, few_blocks, dtype):
    rows, devices = synthetic_rows(1300, 64), tuple(jax.local_devices())
    first, *_, last = run.parts_of(
        rows, np.arange(1300), BatchMethod(bx.BiMix()), devices, kernel=True
    )
    for part in (first, last):
        filled = part.filled(rows)
        assert np.shares_memory(filled.chunk.loss, rows.loss)
        assert not any(np.shares_memory(lent, rows.loss) for lent in filled.lent)
        held = filled.chunk.loss.reshape(-1, 64)[filled.first :][: len(part.sweeps)]
        np.testing.assert_array_equal(held, rows.loss.reshape(-1, 64)[part.sweeps])
    few = filled_chunk(rows, np.arange(100, 110), 64, (compiled.BLOCKS, 256))
    assert np.isnan(few.chunk.loss.reshape(-1, 64)[10:256]).all()
    method = BatchMethod(bx.BiMix(), FitOptions(dtype=dtype))
    fits, errors = run.fit_rows(rows, method, devices)
    assert errors.dtype == dtype
    monkeypatch.setattr(rows_module, "_window", lambda *_: None)
    copied = run.fit_rows(rows, method, devices)
    jax.tree.map(np.testing.assert_array_equal, (fits, errors), copied)


@pytest.mark.parametrize("devices", [1, 4])
def test_large_chunks_are_shorter_for_few_sweeps_and_of_few_lengths(devices):
    of_gpu = [SimpleNamespace(platform="gpu")] * devices
    lengths = {block_length(64, 1, of_gpu, n) for n in range(1, 3_000_000, 999)}
    assert lengths == {devices * (1 << 18 >> 2 * k) for k in range(4)}
    for sweeps in (5_000, 70_000, 200_000):
        assert block_length(64, 1, of_gpu, sweeps) <= max(sweeps, 4096 * devices)
        assert 4 * block_length(64, 1, of_gpu, sweeps) > sweeps


def test_sweeps_that_take_long_are_searched_again_and_end_the_same(monkeypatch):
    rows = synthetic_rows(600, 12, noise=0.05)
    method, devices = BatchMethod(bx.BiMix()), tuple(jax.local_devices())
    whole, same = run.fit_rows(rows, method, devices)
    # Of the same blocks, as those of another shape round otherwise in single precision.
    monkeypatch.setattr(run, "has_large_chunks", lambda devices: True)
    assert len(run._stages(rows, method, devices)) == 3
    told = []
    found, errors = run.fit_rows(rows, method, devices, told.append)
    assert sum(told) == 600
    assert 5 < told[0] < 595
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, whole)
    np.testing.assert_allclose(errors, same, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 8, 9, 100, 1000, 5000])
def test_padding_is_at_most_half_and_sizes_are_few(count):
    assert max(8, count) <= padded_length(count) <= max(8, 1.5 * count)
    lengths = {padded_length(n) for n in range(1, count + 1)}
    assert len(lengths) <= 2 * np.log2(count + 8)


def test_a_bad_sweep_gets_its_reason_and_harms_no_other(sizes, fits):
    table = table_of_sweeps(4)
    table.loc[table["sweep"] == "s1", "loss_web"] = -1.0
    table.loc[table["sweep"] == "s2", ["r_web", "r_code"]] = 0.5
    found = bx.fit_many(table)
    assert found.labels == ("s0", "s1", "s2", "s3")
    assert set(found.failed) == {"s1", "s2"}
    assert "not positive" in found.failed["s1"]
    assert "one mixture" in found.failed["s2"]
    good = found.table().query("reason == ''")
    alone = bx.fit_many(
        {k: v for k, v in sweeps_of(table_of_sweeps(4)).items() if k in good["sweep"].values}
    )
    pd.testing.assert_frame_equal(good.reset_index(drop=True), alone.table(), rtol=1e-12)
    with pytest.raises(KeyError, match="s1 could not be fitted"):
        found["s1"]


def test_whole_columns_are_judged_as_single_sweeps_are():
    table = table_of_sweeps(6)
    at = {label: table.index[table["sweep"] == label][3] for label in table["sweep"].unique()}
    table.loc[at["s0"], "loss_web"] = np.nan
    table.loc[at["s1"], "tokens"] = 0.0
    table.loc[at["s2"], "r_web"] += 0.2
    table.loc[at["s3"], "tokens"] = table["tokens"].iloc[at["s3"] - 1]
    table.loc[at["s4"], "run"] = None
    devices = tuple(jax.local_devices())
    found = fit_frame(table, BatchMethod(bx.BiMix()), devices)
    singly = bx.fit_many(table)
    assert set(singly.failed) >= {"s1", "s2", "s3"}
    pd.testing.assert_frame_equal(found, singly.table(), rtol=1e-9, check_dtype=False)


@pytest.mark.parametrize("kind", ["uint8", "int64", "float64"])
@pytest.mark.parametrize("seed", range(30))
def test_runs_in_order_are_those_of_any_order(seed, kind):
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(3), rng.integers(1, 7, 3))
    run, budget = rng.integers(0, 4, (2, len(number)))
    if seed % 3:
        run, budget = (values[np.lexsort([budget, run, number])] for values in (run, budget))
    nothing = np.zeros((len(number), 0))
    found, expected = (
        _WideTable((), (), nothing, budget.astype(float), nothing, labels).runs(number)
        for labels in (run.astype(kind), run.astype(str).astype(object))
    )
    np.testing.assert_array_equal(found[1], expected[1])
    same = found[0][:, None] == found[0]
    np.testing.assert_array_equal(same, expected[0][:, None] == expected[0])


@pytest.mark.parametrize("kind", [object, "str", "string[pyarrow]", "category", "int64"])
def test_labels_of_any_kind_part_the_sweeps(kind):
    labels = pd.Series(["3", "3", "1", "1", "1", "3"]).astype("int64" if kind == "int64" else kind)
    found, number = _sweeps_of(pd.DataFrame({"sweep": labels}))
    np.testing.assert_array_equal(number, [0, 0, 1, 1, 1, 2])
    assert [str(label) for label in found] == ["3", "1", "3"]


def test_rows_of_a_sweep_that_stand_apart_are_not_fitted_from_parts():
    table = table_of_sweeps(2)
    table = pd.concat([table, table[:4]], ignore_index=True)
    found = fit_frame(table, BatchMethod(bx.BiMix()), tuple(jax.local_devices()))
    assert found.query("sweep == 's0'")["reason"].str.contains("not adjacent").all()
    assert (found.query("sweep == 's1'")["reason"] == "").all()


def test_options_are_named():
    with pytest.raises(ValueError, match="expected a column sweep"):
        bx.fit_many(pd.DataFrame({"run": ["a"]}))
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        bx.fit_many([], dtype="float16")


@pytest.mark.parametrize("counts", [[8] * 9, [11] * 9, [9, 12, 10, 11, 12, 9, 9, 10, 12]])
@pytest.mark.parametrize("sweeps", [range(9), range(2, 7), [5, 0, 8]])
def test_chunks_hold_the_points_of_their_sweeps_and_padding(counts, sweeps):
    rng, points = np.random.default_rng(0), sum(counts)
    rows = SweepRows(("a", "b"), ("a", "b", "c"), np.array(counts), rng.random((points, 2)),
                rng.random(points), rng.random((points, 3)))  # fmt: skip
    blocks = filled_chunk(rows, np.array(sweeps), 16, (4, 4)).chunk
    filled = 4 * -(-len(sweeps) // 4)
    chunk = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:filled], blocks)
    assert blocks.loss.shape == (4, 4, 16, 4)
    for found, sweep in enumerate(sweeps):
        of_sweep = slice(rows.first[sweep], rows.first[sweep] + counts[sweep])
        for held, given in [(chunk.loss[..., :3], rows.loss), (chunk.mixture, rows.mixture),
                            (chunk.budget, rows.budget)]:  # fmt: skip
            np.testing.assert_array_equal(held[found, : counts[sweep]], given[of_sweep])
        assert np.isnan(chunk.loss[found, counts[sweep] :]).all()
        assert np.all(chunk.mixture[found, counts[sweep] :] == 0.5)
    assert np.isnan(chunk.loss[len(sweeps) :]).all()
    assert np.isnan(chunk.loss[..., 3]).all()
