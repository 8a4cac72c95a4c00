"""The corpus of the proxy sweep: what is held out is never trained on, and text is text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.proxy_sweep.corpus import Split, sizes, split_documents, write_domain
from benchmarks.proxy_sweep.packages import Source, entries, text_of_html, without_roff_comments
from benchmarks.proxy_sweep.word_vectors import WINDOW, cooccurrences, factors

WORDS = st.lists(st.sampled_from(["a", "b", "c", " ", "\n"]), max_size=8).map("".join)


@given(st.lists(WORDS, max_size=30), st.integers(0, 20), st.integers(6, 9), st.randoms())
def test_no_text_is_on_both_sides_and_order_plays_no_part(documents, train, held_out, random):
    documents += [f"only {i}" for i in range(9)]  # enough to hold out
    split = split_documents("d", documents, train, held_out * 5, least=0)
    kept, trained = ({" ".join(t.split()) for t in part} for part in (split.held_out, split.train))
    assert not kept & trained
    assert len(kept | trained) == len(split.held_out) + len(split.train)
    assert kept | trained <= {" ".join(t.split()) for t in documents} - {""}
    shuffled = random.sample(documents, len(documents))
    again = split_documents("d", shuffled, train, held_out * 5, least=0)
    assert [t.split() for t in again.train] == [t.split() for t in split.train]
    assert [t.split() for t in again.held_out] == [t.split() for t in split.held_out]


def test_both_parts_are_as_large_as_asked_and_no_long_document_is_held_out():
    long = "too long to hold out " * 50
    documents = [f"document {i} " * 10 for i in range(200)] + [long]
    split = split_documents("d", documents, 20_000, 900, least=20_000)
    found = sizes(split)
    assert found["train"] >= 20_000
    assert 900 <= found["held_out"] < 900 + 900 / 5
    assert long in split.train
    with pytest.raises(ValueError, match=r"d: \d+ bytes to train on and \d+ to hold out; expected"):
        split_documents("d", documents, 90_000, 900, least=90_000)


def test_files_hold_their_part_and_repeat_their_hash(tmp_path):
    split = Split(["held\nout"], ["über", "train"])
    hashes = write_domain(tmp_path, "d", split)
    lines = (tmp_path / "train" / "d.jsonl").read_text().splitlines()
    read = [json.loads(line)["text"] for line in lines]
    assert read == split.train
    assert hashes == write_domain(tmp_path, "d", split)
    assert hashes != write_domain(tmp_path, "d", Split(["held"], ["train"]))


def test_markup_is_taken_away(tmp_path):
    page = "<html><head><title>t</title></head><body><p>One &amp; two</p><script>x</script></body>"
    assert list(text_of_html(page)) == ["One & two\n"]
    manual = '.\\" comment\n\'\\" t\n.ie \\n(.g .ds Aq x\n.SH NAME\ntext\n'
    assert list(without_roff_comments(manual)) == [".SH NAME\ntext\n"]
    dictionary = "\n\n".join(["entry " * 3000] * 10)
    assert "\n".join(entries(dictionary)).split() == dictionary.split()
    assert len(list(entries(dictionary))) > 1
    (tmp_path / "a.py").write_bytes(b"caf\xe9 = 1\n")
    (tmp_path / "b.py").symlink_to(tmp_path / "a.py")
    assert list(Source((), ".py").documents([tmp_path])) == ["caf = 1\n"]


def test_cooccurrences_are_those_of_the_loop_and_never_across_documents():
    rng = np.random.default_rng(0)
    documents = [rng.integers(-1, 5, 30), rng.integers(-1, 5, 3)]
    expected = np.zeros((5, 5))
    for ids in documents:
        for i, a in enumerate(ids):
            for b in ids[i + 1 : i + 1 + WINDOW]:
                if a >= 0 and b >= 0:
                    expected[a, b] += 1
                    expected[b, a] += 1
    counts = cooccurrences(documents, 5)
    assert np.array_equal(counts.toarray(), expected)
    found = factors(counts, 4)
    assert found.shape == (5, 4)
    assert np.isfinite(found).all()
