"""Corpora on disk: every format gives the same tokens, and bad files are refused by name."""

import bz2
import gzip
import json
import lzma
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bimix_jax as bx
from bimix_jax.entropy._token_files import read_token_file
from bimix_jax.entropy.corpus import corpus_bytes

TEXTS = ["the cat sat on the mat", "où est le chat ?", "a" * 40, "def f(x): return x"]


def zstd(data):
    return pa.compress(data, codec="zstd", asbytes=True)


def lines(texts=TEXTS):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def arrow(path, opened):
    table = pa.table({"text": TEXTS})
    with opened(str(path), table.schema) as writer:
        writer.write_table(table)


WRITERS = {
    "a.jsonl": lambda path: path.write_bytes(lines()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines())),
    "a.jsonl.zst": lambda path: path.write_bytes(zstd(lines())),
    "a.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(lines())),
    "a.NDJSON.xz": lambda path: path.write_bytes(lzma.compress(lines())),
    "frames.jsonl.zst": lambda path: path.write_bytes(
        zstd(lines(TEXTS[:3])) + zstd(lines(TEXTS[3:]))
    ),
    "members.jsonl.gz": lambda path: path.write_bytes(
        gzip.compress(lines(TEXTS[:1])) + gzip.compress(lines(TEXTS[1:]))
    ),
    "a.json": lambda path: path.write_text(json.dumps([{"text": t} for t in TEXTS], indent=1)),
    "lines.json.gz": lambda path: path.write_bytes(gzip.compress(lines())),
    "mark.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines()),
    "windows.jsonl": lambda path: path.write_bytes(lines().replace(b"\n", b"\r\n")),
    "dictionary.parquet": lambda path: pd.DataFrame(
        {"text": pd.Series(TEXTS, dtype="category")}
    ).to_parquet(path),
    "a.parquet": lambda path: pd.DataFrame({"text": TEXTS}).to_parquet(path),
    "a.arrow": lambda path: arrow(path, pa.ipc.new_file),
    "stream.arrow": lambda path: arrow(path, pa.ipc.new_stream),
}


@pytest.fixture
def expected():
    """Entropies of the texts as bytes, no pair across documents."""
    encoded = [np.frombuffer(text.encode(), np.uint8) for text in TEXTS]
    tokens = np.concatenate([np.append(e, 256) for e in encoded])
    with_marks = bx.token_entropies(tokens.astype(np.uint16), 257, end_of_document=256)
    pairs = [pair for e in encoded for pair in zip(e[:-1].tolist(), e[1:].tolist(), strict=True)]
    shares = pd.Series(pairs).value_counts(normalize=True)
    assert with_marks.sizes["pairs"].item() != len(pairs)  # those into the mark count there
    return -np.sum(shares * np.log(shares))


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_of_text_gives_the_same_numbers(tmp_path, name, expected):
    WRITERS[name](tmp_path / name)
    found = bx.corpus_entropies([tmp_path / name], tokenizer="bytes")
    assert found.table()["JE"].item() == pytest.approx(expected, abs=1e-12)


def test_a_folder_of_plain_files_is_a_domain_of_documents(tmp_path, expected):
    (tmp_path / "web").mkdir()
    for i, text in enumerate(TEXTS):
        (tmp_path / "web" / f"{i}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "web" / "readme.md").write_text("other")
    with pytest.warns(bx.EntropyWarning, match=r"1 file of another kind left out, such as readme"):
        found = bx.corpus_entropies([tmp_path / "web"], tokenizer="bytes")
    assert found.table().loc["web", "JE"] == pytest.approx(expected, abs=1e-12)
    assert any("readme.md" in note for note in found.notes)


def test_long_plain_files_are_one_document_whatever_the_block(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a line of text\n" * 100)
    whole = bx.corpus_entropies([tmp_path / "a.txt"], tokenizer="bytes").estimates
    monkeypatch.setattr("bimix_jax.entropy._documents.BLOCK", 50)
    monkeypatch.setattr("bimix_jax.entropy._domain_files.BATCH", 120)
    blocks = bx.corpus_entropies([tmp_path / "a.txt"], tokenizer="bytes").estimates
    pd.testing.assert_frame_equal(whole, blocks, check_exact=True)


def test_what_cannot_be_read_is_skipped_and_counted(tmp_path):
    bad = lines(TEXTS[:1]) + b'{"text": "\xff"}\n{"body": "x"}\nno json\n{"text": ""}\n[1]\n'
    (tmp_path / "a.jsonl").write_bytes(bad + b'{"text": "half \\ud800 pair"}\n')
    (tmp_path / "b.txt").write_bytes(b"good line\nbad \xff\xfe line\nanother good one\n")
    found = bx.corpus_entropies(sorted(tmp_path.iterdir()), tokenizer="bytes")
    assert "a: skipped 1 line that is not valid UTF-8." in found.notes
    assert "a: skipped 2 lines that are not JSON objects." in found.notes
    assert "a: skipped 1 record without the key 'text' (found body)." in found.notes
    assert "a: skipped 1 empty document." in found.notes
    assert "a: found 1 document with half of a surrogate pair, read as '?'." in found.notes
    assert "b: skipped 1 line that is not valid UTF-8." in found.notes
    assert found.sizes.loc["b", "tokens"] == len("good line\nanother good one\n")


def test_a_tokenizer_file_is_followed(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(["[UNK]", "a", "b", "c"])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.jsonl").write_bytes(lines(["a b c a", "b ? a"]))
    found = bx.corpus_entropies([tmp_path / "a.jsonl"], tokenizer=tmp_path / "tokenizer.json")
    tokens = np.array([1, 2, 3, 1, 2, 0, 1])
    expected = bx.token_entropies([[1, 2, 3, 1]], 4).sizes["pairs"].item() + 2
    assert found.sizes["pairs"].item() == expected
    shares = np.bincount(tokens)[np.bincount(tokens) > 0] / 7
    assert found.table()["SE"].item() == pytest.approx(-np.sum(shares * np.log(shares)))


def test_a_domain_is_tokenised_once_until_it_changes(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(lines())
    (tmp_path / "b.jsonl").write_bytes(lines(TEXTS[::-1]))
    call = {"tokenizer": "bytes", "cache": tmp_path / "cache"}
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    read = []
    from bimix_jax.entropy._documents import Reader

    parts = Reader.parts
    monkeypatch.setattr(Reader, "parts", lambda self, path: read.append(path) or parts(self, path))
    bx.corpus_entropies(paths[:1], **call)
    whole = bx.corpus_entropies(paths, **call)
    assert read == paths
    again = bx.corpus_entropies(paths, **call)
    assert read == paths
    pd.testing.assert_frame_equal(whole.estimates, again.estimates, check_exact=True)
    paths[0].write_bytes(lines(TEXTS[:2]))
    assert not bx.corpus_entropies(paths, **call).estimates.equals(whole.estimates)
    assert read == [*paths, paths[0]]


TOKENS = np.random.default_rng(0).integers(0, 50_000, 5_000)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.filterwarnings("ignore::bimix_jax.EntropyWarning")
def test_raw_files_are_read_by_dtype_or_by_the_range_of_ids(tmp_path, dtype, given):
    TOKENS.astype(dtype).tofile(tmp_path / "a.bin")
    stream = read_token_file(tmp_path / "a.bin", 50_277, dtype if given else None)
    assert np.array_equal(stream.read(0, len(stream)), TOKENS)


@pytest.mark.parametrize("dtype", ["uint16", "int64", ">u4"])
@pytest.mark.parametrize("shape", [(-1,), (50, 100)])
def test_numpy_files_are_their_arrays(tmp_path, dtype, shape):
    array = TOKENS.astype(dtype).reshape(shape)
    np.save(tmp_path / "a.npy", array)
    found = bx.corpus_entropies([tmp_path / "a.npy"], 50_277, curve=False)
    expected = bx.token_entropies({"a": array}, 50_277)
    pd.testing.assert_frame_equal(found.estimates, expected.estimates, check_exact=True)


def index(lengths, code=8):
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1)
    return header + np.array(lengths, "<i4").tobytes()


def test_an_index_beside_gives_dtype_and_documents(tmp_path):
    TOKENS.astype("<u2").tofile(tmp_path / "a.bin")
    (tmp_path / "a.idx").write_bytes(index([2000, 3000]))
    stream = read_token_file(tmp_path / "a.bin", 50_277)
    assert stream.starts.tolist() == [0, 2000]
    assert np.array_equal(stream.read(1000, 3000), TOKENS[1000:3000])


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.bin", b"", {}, "is empty"),
        ("a.bin", b"123", {}, "3 bytes that are neither uint16 nor uint32"),
        ("a.bin", b"123456", {"dtype": "uint32"}, "not a multiple of 4"),
        ("a.bin", b"\xff" * 8, {}, "neither uint16 nor uint32"),
        ("a.bin", b"\x00" * 8, {}, "only zeros"),
        ("a.bin", b"\x01\x02" * 4, {"dtype": "uint32"}, "beyond .* looks like uint16"),
        ("a.bin", b"\x01\x02" * 4, {"dtype": "float16"}, "dtype is 'float16'"),
        ("a.bin", b"\x01\x02" * 4, {"vocabulary": None}, "give the size of their vocabulary"),
        ("a.npy", b"\x93NUMPY\x01", {}, "cannot be read as .npy"),
        ("a.npy", b"\x01\x02" * 4 + b"\x03", {}, "9 bytes .* no NumPy header"),
        ("a.txt", b"", {"tokenizer": "bytes"}, "a is empty"),
        ("a.txt", b"text", {}, "give a tokenizer.json"),
        ("a.jsonl", b"no json\n", {"tokenizer": "bytes"}, "no line of 1 is a JSON"),
        ("a.jsonl.gz", b"no gzip", {"tokenizer": "bytes"}, "is not packed"),
        ("a.parquet", b"no parquet", {"tokenizer": "bytes"}, "cannot be read"),
        ("a.arrow", b"no arrow", {"tokenizer": "bytes"}, "cannot be read"),
        ("a.md", b"text", {}, "no file that can be read; expected text"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, options, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        bx.corpus_entropies([tmp_path / name], **({"vocabulary": 50_277} | options))


@pytest.mark.parametrize(
    "header", [b"other" * 10, index([1, 2], code=77), index([10, 20]), index([4000, 1000])[:-2]]
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, header):
    TOKENS.astype("<u2").tofile(tmp_path / "a.bin")
    (tmp_path / "a.idx").write_bytes(header)
    with pytest.raises(
        ValueError, match=r"a\.idx is not an index of token sequences that fits a\.bin"
    ):
        read_token_file(tmp_path / "a.bin", 50_277)


def test_domains_that_are_missing_twice_or_of_two_kinds_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    TOKENS.astype("u2").tofile(tmp_path / "a.bin")
    with pytest.raises(ValueError, match="both tokens and text"):
        bx.corpus_entropies([tmp_path], tokenizer="bytes")
    with pytest.raises(ValueError, match="two domains are called a"):
        bx.corpus_entropies([tmp_path / "a.txt", tmp_path / "a.bin"], tokenizer="bytes")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        bx.corpus_entropies([tmp_path / "b"], tokenizer="bytes")
    with pytest.raises(ValueError, match="cannot be a name"):
        bx.corpus_entropies({"../a": tmp_path / "a.txt"}, tokenizer="bytes")


def test_a_column_that_is_missing_is_named(tmp_path):
    WRITERS["a.parquet"](tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'body'; found text"):
        bx.corpus_entropies([tmp_path / "a.parquet"], tokenizer="bytes", text_field="body")


def test_embeddings_and_word_vectors_give_a_fourth_proxy(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(["cat dog", "cat", "cat dog dog"]))
    (tmp_path / "b.txt").write_text("cat cat\n\ncat\n")
    (tmp_path / "w.vec").write_text("2 2\ncat 1 0\ndog 0 1\n")
    paths = [tmp_path / "a.jsonl", tmp_path / "b.txt"]
    found = bx.corpus_entropies(paths, tokenizer="bytes", word_vectors=tmp_path / "w.vec")
    assert found.table().loc["b", "VNE"] == 0 < found.table().loc["a", "VNE"]
    np.save(tmp_path / "e.npy", np.eye(3))
    given = {"a": tmp_path / "e.npy", "b": np.eye(2)}
    found = bx.corpus_entropies(paths, tokenizer="bytes", embeddings=given)
    assert found.mixtures()["VNE"].to_list() == pytest.approx([0.6, 0.4])
    with pytest.raises(ValueError, match="embeddings: none for b"):
        bx.corpus_entropies(paths, tokenizer="bytes", embeddings={"a": np.eye(3)})


def test_progress_goes_over_every_byte_twice(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines()))
    TOKENS.astype("u2").tofile(tmp_path / "b.bin")
    paths, done = sorted(tmp_path.iterdir()), []
    bx.corpus_entropies(paths, 50_277, tokenizer="bytes", dtype="uint16",
                        progress=lambda name, size: done.append(size))  # fmt: skip
    assert sum(done) == pytest.approx(2 * corpus_bytes(paths))
