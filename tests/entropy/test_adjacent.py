"""Two ways to count pairs of adjacent tokens, beside a count one by one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax import token_entropies
from bimix_jax.entropy import _adjacent
from bimix_jax.entropy._adjacent import WAYS, adjacent_pairs, sorting_is_quicker

streams = st.integers(1, 9).flatmap(
    lambda types: st.lists(st.integers(0, types - 1), min_size=1, max_size=60)
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
@given(stream=streams, data=st.data())
def test_pairs_are_those_counted_one_by_one(way, kind, stream, data):
    last, types = len(stream) - 1, max(stream) + 1
    cuts = sorted({*data.draw(st.lists(st.integers(0, last))), last})
    found = way(np.array(stream, kind), np.array(cuts), types)
    expected = Counter((a, stream[i + 1]) for i, a in enumerate(stream[:-1]) if i not in cuts)
    assert {(int(i), int(j)): int(n) for i, j, n in zip(*_entries(found), strict=True)} == expected
    assert found.shape == (types, types)
    assert found.nnz == len(expected)


def _entries(found):
    entries = found.tocoo()
    return *entries.coords, entries.data


@pytest.mark.parametrize("types", [2**16 - 1, 2**16, 2**16 + 1])
def test_the_largest_pair_is_told_from_the_places_that_begin_none(monkeypatch, types):
    monkeypatch.setattr(_adjacent, "sorting_is_quicker", lambda: True)
    monkeypatch.setattr(_adjacent, "TRIED", 1)
    tokens = np.array([types - 1, types - 1, 0, types - 1, types - 1], np.uint32)
    found = adjacent_pairs(tokens, np.array([1, 4]), types)
    assert found[types - 1, types - 1] == 2
    assert found[0, types - 1] == 1
    assert found.sum() == 3


def test_entropies_do_not_depend_on_the_way(monkeypatch):
    tokens = np.random.default_rng(0).zipf(1.5, 4096).clip(max=500).astype(np.uint16)
    monkeypatch.setattr(_adjacent, "TRIED", 1)
    tables = []
    for quick in (True, False):
        monkeypatch.setattr(_adjacent, "sorting_is_quicker", lambda quick=quick: quick)
        tables.append(token_entropies(tokens, 501, 64, chunk=512).table())
    assert tables[0].equals(tables[1])


def test_the_quicker_way_is_found():
    assert sorting_is_quicker() in (True, False)
