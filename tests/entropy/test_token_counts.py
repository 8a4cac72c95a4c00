"""Counts of shards add up to those of the whole; beyond a limit, errors are as large as stated."""

import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bimix_jax as bx
from bimix_jax.entropy._streams import TokenStream
from bimix_jax.entropy.token_counts import KEY, LEAST_LIMIT

TYPES = 3000


def shard(seed, size=60_000):
    """Tokens of Zipf's law, half of which depend on the one before."""
    rng = np.random.default_rng(seed)
    frequency = np.cumsum(1 / np.arange(1, TYPES + 1) ** 1.1)
    tokens = np.searchsorted(frequency / frequency[-1], rng.random(size))
    tokens[1:] = np.where(rng.random(size - 1) < 0.5, 7 * tokens[:-1] % TYPES, tokens[1:])
    return tokens.astype(np.uint16)


def merged(counts):
    return functools.reduce(lambda one, other: one.merge(other), counts)


def counted(shards, limit, order=None):
    each = [bx.count_tokens(tokens, TYPES, limit=limit) for tokens in shards]
    return merged(each if order is None else [each[i] for i in order])


@settings(max_examples=40)
@given(data=st.data(), end=st.sampled_from([None, 3]), length=st.integers(2, 7))
def test_shards_in_any_order_add_up_to_the_counts_of_all(data, end, length):
    tokens = st.lists(st.integers(0, 9), max_size=30)
    shards = data.draw(st.lists(tokens, min_size=1, max_size=5))
    streams = [TokenStream(np.array(each, np.uint32)) for each in shards if each]
    order = data.draw(st.permutations(range(len(shards))))
    total = merged(
        bx.count_tokens(shards[i], 10, length, end_of_document=end, workers=1) for i in order
    )
    if not total.firsts.sum():
        with pytest.raises(ValueError, match="no two in one sequence"):
            total.entropies()
        return
    expected = bx.token_entropies(streams, 10, length, end_of_document=end, workers=1)
    pd.testing.assert_frame_equal(total.entropies().estimates, expected.estimates, check_exact=True)
    pd.testing.assert_frame_equal(total.entropies().sizes, expected.sizes, check_exact=True)
    assert total.entropies().standard_errors is None


def test_beyond_the_limit_the_errors_are_as_large_as_stated():
    limit, worlds = 1 << 13, 12
    ratios = {label: [] for label in ("plug-in", "miller-madow", "chao-shen")}
    for world in range(worlds):
        shards = [shard(10 * world + k) for k in range(3)]
        total = counted(shards, limit)
        assert len(total.pairs.keys) + len(total.frequent.keys) <= limit < 60_000
        exact, found = counted(shards, 1 << 20).entropies(), total.entropies()
        pd.testing.assert_series_equal(
            found.estimates["plug-in"]["SE"], exact.estimates["plug-in"]["SE"]
        )
        assert "different pairs; CE and JE are estimated" in found.notes[-1]
        for label, each in ratios.items():
            error = found.estimates[label]["CE"] - exact.estimates[label]["CE"]
            assert abs(error.item()) < 0.15
            each.append((error / found.standard_errors[label]["CE"]).item())
    for each in ratios.values():
        # The mean of twelve squares of normal numbers lies here in 99.9 % of cases.
        assert 0.15 < np.mean(np.square(each)) < 3.2


def test_a_higher_limit_gives_a_smaller_error():
    shards = [shard(k) for k in range(3)]
    errors = [
        counted(shards, limit).entropies().standard_errors["plug-in"]["CE"].item()
        for limit in (1 << 11, 1 << 14)
    ]
    assert errors[1] < errors[0] / 3


def test_samples_of_different_levels_and_exact_counts_merge():
    shards = [shard(k) for k in range(4)]
    exact = counted(shards, 1 << 20).entropies().estimates["plug-in"]["CE"].item()
    small = bx.count_tokens(shards[0], TYPES, limit=1 << 12)
    mixed = [small, *(bx.count_tokens(each, TYPES, limit=1 << 20) for each in shards[1:])]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        total = merged([mixed[i] for i in order])
        assert total.limit == 1 << 12
        found = total.entropies()
        error = found.standard_errors["plug-in"]["CE"].item()
        assert abs(found.estimates["plug-in"]["CE"].item() - exact) < 4 * error


@pytest.mark.parametrize("limit", [1 << 11, 1 << 20])
def test_saved_counts_are_those_that_were_saved(tmp_path, limit):
    total = counted([shard(0), shard(1)], limit)
    total.save(tmp_path / "web.parquet")
    found = bx.TokenCounts.load(tmp_path / "web.parquet")
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(total, field.name))
    table = pyarrow.parquet.read_table(tmp_path / "web.parquet").to_pandas()
    assert table.loc[table["kind"] == 0, "count"].sum() == 120_000


def test_files_that_hold_no_counts_are_refused(tmp_path):
    path = tmp_path / "web.parquet"
    bx.count_tokens(shard(0), TYPES).save(path)
    table = pyarrow.parquet.read_table(path)
    newer = json.loads(table.schema.metadata[KEY]) | {"format": 2}
    for metadata, message in ((None, "in format None"), (newer, "in format 2; expected 1")):
        stamped = table.replace_schema_metadata(metadata and {KEY: json.dumps(metadata)})
        pyarrow.parquet.write_table(stamped, path)
        with pytest.raises(ValueError, match=message):
            bx.TokenCounts.load(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"web\.parquet cannot be read"):
        bx.TokenCounts.load(path)


def test_what_does_not_add_up_is_refused():
    one = bx.count_tokens([1, 2], 9)
    assert repr(one) == "TokenCounts(2 tokens, 1 pairs: exact)"
    with pytest.raises(ValueError, match="vocabulary is 9 here and 8 in the other counts"):
        one.merge(bx.count_tokens([1, 2], 8))
    with pytest.raises(ValueError, match="end_of_document is None here and 3"):
        one.merge(bx.count_tokens([1, 2], 9, end_of_document=3))
    with pytest.raises(ValueError, match=f"limit is 5; expected at least {LEAST_LIMIT}"):
        bx.count_tokens([1, 2], 9, limit=5)
    with pytest.raises(ValueError, match="token id 9 at position 1"):
        bx.count_tokens([1, 9], 9)
    with pytest.raises(ValueError, match="no two in one sequence"):
        bx.count_tokens([], 9).entropies()
    with pytest.raises(ValueError, match="domains: there is none"):
        bx.Entropies.of({})
