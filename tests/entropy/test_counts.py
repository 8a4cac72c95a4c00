"""Exact counts against the obvious loop, and the same numbers however they are come by."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimix_jax.entropy._counts import Plan, _Part, count_profiles, split_ranges
from bimix_jax.entropy._profiles import merged, profile_of
from bimix_jax.entropy._streams import TokenStream, sampled, stream_of


def slow(streams, plan):
    """Pairs one by one."""
    singles, pairs = collections.Counter(), collections.Counter()
    for stream in streams:
        starts, tokens = set(stream.starts.tolist()), stream.read(0, len(stream)).tolist()
        singles.update(tokens)
        for i in range(1, len(tokens)):
            ended = tokens[i - 1] == plan.end_of_document
            if i % plan.sequence_length and i not in starts and not ended:
                pairs[tokens[i - 1], tokens[i]] += 1
    return singles, pairs


def check(counts, streams, plan):
    singles, pairs = slow(streams, plan)
    assert {i: n for i, n in enumerate(counts.tokens.tolist()) if n} == singles
    firsts = collections.Counter()
    for (first, _), count in pairs.items():
        firsts[first] += count
    assert {i: n for i, n in enumerate(counts.firsts.tolist()) if n} == firsts
    expected = sorted(collections.Counter(pairs.values()).items())
    found = zip(counts.pairs.counts.tolist(), counts.pairs.types.tolist(), strict=True)
    assert list(found) == expected


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    vocabulary=st.sampled_from([1, 2, 7, 300, 70_000, 200_000]),
    length=st.integers(2, 9),
    chunk=st.integers(1, 40),
    memory=st.sampled_from([64, 640, 10**6]),
    workers=st.integers(1, 3),
)
def test_counts_are_those_of_the_loop(data, vocabulary, length, chunk, memory, workers):
    streams = []
    for _ in range(data.draw(st.integers(1, 3))):
        tokens = data.draw(st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=50))
        starts = data.draw(st.sets(st.integers(0, len(tokens) - 1)))
        dtype = data.draw(st.sampled_from(["u4", "i8", ">u4"] + ["u2"] * (vocabulary < 2**16)))
        streams.append(TokenStream(np.array(tokens, dtype), np.array(sorted(starts), np.int64)))
    end = data.draw(st.sampled_from([None, 0]))
    plan = Plan(vocabulary, length, end, chunk, memory, workers)
    check(count_profiles(streams, plan), streams, plan)


@pytest.mark.parametrize("vocabulary", [50_277, 128_256])
@pytest.mark.parametrize("memory", [1 << 18, 1 << 22, 1 << 30])
def test_a_vocabulary_as_large_as_real_ones(vocabulary, memory):
    rng = np.random.default_rng(0)
    tokens = np.minimum(rng.zipf(1.2, 60_000) - 1, vocabulary - 1).astype(np.uint32)
    plan = Plan(vocabulary, 100, chunk=7_000, memory=memory, workers=2)
    check(count_profiles([stream_of(tokens)], plan), [stream_of(tokens)], plan)


def test_ranges_follow_each_other_and_hold_about_equal_pairs():
    tokens = np.random.default_rng(0).integers(0, 300_000, 1_000_000) // 3 * 3
    plan = Plan(310_000, 10, chunk=10_000, workers=2)
    ranges = split_ranges(
        [[_Part(stream_of(tokens), s, s + 10_000)] for s in range(0, 10**6, 10**4)], plan
    )
    assert (ranges[0][0], ranges[-1][1]) == (0, 310_000)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    pairs = np.array([((begin <= tokens) & (tokens < end)).sum() for begin, end in ranges])
    assert len(ranges) == 15
    assert pairs.max() < 1.1 * pairs.min()


@given(st.lists(st.integers(0, 200_000), max_size=30))
def test_a_profile_is_the_counter_of_counts(occurrences):
    profile = profile_of(np.array(occurrences, np.int64))
    expected = collections.Counter(n for n in occurrences if n)
    assert dict(zip(profile.counts.tolist(), profile.types.tolist(), strict=True)) == expected
    twice = merged([profile, profile])
    assert (twice.total, twice.seen) == (2 * profile.total, 2 * profile.seen)


def test_samples_are_nested_whole_sequences_of_the_source():
    source = TokenStream(np.arange(1000), np.array([0, 13, 500, 995]))
    (small,), (large,) = (sampled([source], n, 10, seed=3) for n in (200, 600))
    assert (len(small), len(large)) == (200, 600)
    assert set(small.rows) < set(large.rows)
    read = large.read(0, 600)
    assert (read.reshape(-1, 10)[:, 0] % 10 == 0).all()
    assert np.array_equal(np.diff(read.reshape(-1, 10), axis=1), np.ones((60, 9)))
    inside = [s for s in (0, 13, 500) if s // 10 in large.rows]
    assert read[large.starts].tolist()[: len(inside)] == inside


def test_a_sample_of_everything_is_everything():
    tokens = np.random.default_rng(0).integers(0, 20, 1000)
    source = [TokenStream(tokens[:400]), TokenStream(tokens[400:], np.array([0, 5, 17]))]
    plan = Plan(20, 10, chunk=70)
    whole, sample = count_profiles(source, plan), count_profiles(sampled(source, 1000, 10), plan)
    assert np.array_equal(whole.pairs.types, sample.pairs.types)
    assert np.array_equal(whole.firsts, sample.firsts)
