"""Token ids in columns, in records, behind headers and in Python: read as documents, or refused."""

import itertools
import json
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bimix_jax as bx
from bimix_jax.entropy._token_files import read_token_file

RNG = np.random.default_rng(3)
ROWS = [RNG.integers(0, 60, n).tolist() for n in (40, 1, 70, 33)]
VOCABULARY = 60


@pytest.fixture(scope="module")
def expected():
    """By the count of the pairs of every document."""
    pairs = [pair for row in ROWS for pair in itertools.pairwise(row)]
    joint = pd.Series(pairs).value_counts(normalize=True)
    single = pd.Series(np.concatenate(ROWS)).value_counts(normalize=True)
    return [-(single * np.log(single)).sum(), -(joint * np.log(joint)).sum()]


def measured(found):
    return found.table()[["SE", "JE"]].to_numpy()[0]


def lists(kind):
    return pa.array(ROWS, kind)


TYPES = {
    "uint16": pa.list_(pa.uint16()),
    "int32": pa.list_(pa.int32()),
    "int64": pa.large_list(pa.int64()),
    "uint8": pa.list_(pa.uint8()),
}


@pytest.mark.filterwarnings("ignore:.*token ids were read from:bimix_jax.EntropyWarning")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_column_of_lists(tmp_path, kind, suffix, expected):
    path = tmp_path / f"web{suffix}"
    column = pa.concat_arrays([lists(TYPES[kind]), pa.array([None, []], TYPES[kind])])
    table = pa.table({"id": range(len(column)), "token_ids": column})
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    for options in ({}, {"text_field": "token_ids"}):
        found = bx.corpus_entropies([path], VOCABULARY, **options)
        assert measured(found) == pytest.approx(expected, abs=1e-12)
        assert "web: skipped 2 empty documents." in found.notes
    assert found.sizes.loc["web", "pairs"] == sum(map(len, ROWS)) - len(ROWS)


@pytest.mark.filterwarnings("ignore:.*token ids were read from:bimix_jax.EntropyWarning")
def test_lists_of_one_size_and_padding(tmp_path, expected):
    width = max(map(len, ROWS))
    padded = [row + [0] * (width - len(row)) for row in ROWS]
    masks = [[1] * len(row) + [0] * (width - len(row)) for row in ROWS]
    fixed = pa.array(padded, pa.list_(pa.int32(), width))
    pq.write_table(pa.table({"input_ids": fixed, "attention_mask": masks}), tmp_path / "a.parquet")
    records = [{"input_ids": p, "attention_mask": m} for p, m in zip(padded, masks, strict=True)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    found = bx.corpus_entropies(sorted(tmp_path.iterdir()), VOCABULARY)
    for row in found.table()[["SE", "JE"]].to_numpy():
        assert row == pytest.approx(expected, abs=1e-12)
    left_out = sum(width - len(row) for row in ROWS)
    for name in "ab":
        assert (
            f"{name}: skipped {left_out} token ids that attention_mask marks as padding."
            in found.notes
        )


@pytest.mark.filterwarnings("ignore:.*token ids were read from:bimix_jax.EntropyWarning")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lists_in_records(tmp_path, name, expected):
    records = [{"tokens": row, "labels": row} for row in ROWS]
    text = "".join(json.dumps(r) + "\n" for r in records)
    (tmp_path / name).write_text(text if name == "a.jsonl" else json.dumps(records, indent=2))
    found = bx.corpus_entropies([tmp_path / name], VOCABULARY)
    assert measured(found) == pytest.approx(expected, abs=1e-12)
    assert "a: no 'text' there; token ids were read from 'tokens'." in found.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, -100], "line 2 holds the token id -100; .* Negative ids mark padding"),
        ([1, 60], "line 2 holds the token id 60; expected ids from 0 to 59"),
        ([1, 2**70], "line 2 holds the token id 1180591620717411303424"),
        ([1, 2.0], "line 2 holds 2.0 among its token ids"),
        ([1, True], "line 2 holds True among"),
        ([1, None], "line 2 holds None among"),
        (["a"], "line 2 holds 'a' among"),
        ([[1, 2]], r"line 2 holds \[1, 2\] among"),
        ("text", "line 2 holds str as 'input_ids'; expected a list"),
    ],
)
def test_wrong_ids_in_records_are_named(tmp_path, row, message):
    rows = [{"input_ids": [1, 2]}, {"input_ids": row}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(ValueError, match=message):
        bx.corpus_entropies([tmp_path / "a.jsonl"], VOCABULARY)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1, 2], [3, 99]]), "row 1 holds the token id 99"),
        (pa.array([[1, 2], [3, -1]]), "row 1 holds the token id -1"),
        (pa.array([[1, 2], [3, None]]), "row 1 holds an empty value"),
        (pa.array([[1.0, 2.0]]), "'input_ids' holds list<.*double>; expected text, or lists"),
        (pa.array([[[1, 2]]]), "'input_ids' holds list<.*list"),
        (pa.array([1, 2]), "'input_ids' holds int64"),
        (pa.array([b"\x01\x00"]), "'input_ids' holds binary"),
    ],
)
def test_wrong_columns_are_named(tmp_path, column, message):
    pq.write_table(pa.table({"input_ids": column}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        bx.corpus_entropies([tmp_path / "a.parquet"], VOCABULARY, text_field="input_ids")


def test_two_columns_of_one_name_are_refused(tmp_path):
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="two columns are called 'text'"):
        bx.corpus_entropies([tmp_path / "a.parquet"], tokenizer="bytes")


@pytest.mark.parametrize("vocabulary", [0, -5])
def test_a_vocabulary_below_one_is_refused(tmp_path, vocabulary):
    IDS.tofile(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=f"vocabulary is {vocabulary}; expected"):
        bx.corpus_entropies([tmp_path / "a.bin"], vocabulary)


def test_ids_and_tokenizers(tmp_path):
    table = pa.table({"text": ["ab", "ba"], "input_ids": [[1, 2], [2, 1]]})
    pq.write_table(table, tmp_path / "a.parquet")
    call = {"domains": [tmp_path / "a.parquet"], "curve": False}
    with pytest.raises(ValueError, match="'input_ids'; 'bytes' is a tokenizer of text"):
        bx.corpus_entropies(**call, tokenizer="bytes", text_field="input_ids")
    with pytest.raises(ValueError, match=r"holds text; give a tokenizer.* name it instead"):
        bx.corpus_entropies(**call, vocabulary=3)
    found = bx.corpus_entropies(
        **call, tokenizer="bytes", text_field="input_ids", vocabulary=3, dtype="uint16"
    )
    assert "The tokenizer bytes was not used, as no domain holds text." in found.notes
    assert "The dtype uint16 was not used, as no domain is a file of token ids." in found.notes


IDS = RNG.integers(0, 900, 3000)


def llm_c(magic=20240520, version=1, count=3000, dtype="<u2"):
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, count
    return header.tobytes() + IDS.astype(dtype).tobytes()


def lit(code=8, dtype="<u2", version=1):
    return b"LITPKDS" + struct.pack("<QBQ", version, code, len(IDS)) + IDS.astype(dtype).tobytes()


@pytest.mark.parametrize(
    ("content", "dtype"),
    [
        (llm_c(), "uint16"),
        (llm_c(20240801, 7, dtype="<u4"), "uint32"),
        (lit(), "uint16"),
        (lit(4, "<i4"), "int32"),
    ],
)
@pytest.mark.parametrize("vocabulary", [900, 65_536, 151_936])
def test_headers_are_no_tokens(tmp_path, content, dtype, vocabulary):
    (tmp_path / "a.bin").write_bytes(content)
    stream = read_token_file(tmp_path / "a.bin", vocabulary)
    assert np.array_equal(stream.read(0, len(stream)), IDS)
    assert stream.dtype.name == dtype
    with pytest.warns(bx.EntropyWarning, match=f"read as {dtype}, as the file itself states, not"):
        assert read_token_file(tmp_path / "a.bin", vocabulary, "int64").dtype == stream.dtype


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (llm_c()[:-2], r"header \(llm.c\) states 3000 ids of uint16, which are 7024 bytes"),
        (llm_c() + b"\0\0", "but the file has 7026"),
        (llm_c(count=-1), "states -1 ids"),
        (llm_c(version=4), "magic number 20240520 and version 4; known are"),
        (llm_c(magic=20251101), "magic number 20251101"),
        (lit()[:-1], r"header \(LitGPT\) states 3000"),
        (lit(code=6), "dtype code 6"),
        (b"MMIDIDX\x00\x00" + bytes(40), "index of a Megatron file"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "packed by gzip"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, content, message):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_token_file(tmp_path / "a.bin", 65_536)


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_documents_end_as_the_index_beside_says(tmp_path, dtype):
    path = tmp_path / "00000_shuffled.ds"
    IDS.astype(dtype).tofile(path)
    index = tmp_path / "00000_shuffled.ds.index"
    np.array([1000, 1000, 3000], "<u8").tofile(index)
    stream = read_token_file(path, 900)
    assert stream.starts.tolist() == [0, 1000]
    assert np.array_equal(stream.read(0, len(stream)), IDS)
    np.array([1000, 2999], "<u8").tofile(index)
    with pytest.raises(ValueError, match="documents end after 2999 tokens"):
        read_token_file(path, 900)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64"])
@pytest.mark.parametrize("suffix", [".npy", ".bin"])
@pytest.mark.filterwarnings("ignore::bimix_jax.EntropyWarning")
def test_raw_ids_by_the_range_of_ids(tmp_path, dtype, suffix):
    path = tmp_path / f"part-0{suffix}"
    IDS.astype(dtype).tofile(path)
    for given in (None, dtype):
        stream = read_token_file(path, 900, given)
        assert np.array_equal(stream.read(0, len(stream)), IDS)
    if suffix == ".npy":
        with pytest.warns(bx.EntropyWarning, match="no NumPy header"):
            read_token_file(path, 900)


def test_a_numpy_file_is_told_by_its_header_whatever_its_name(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    (tmp_path / "a.npy").rename(tmp_path / "a.bin")
    assert len(read_token_file(tmp_path / "a.bin", 900)) == len(IDS)
    with open(tmp_path / "two.npy", "wb") as out:
        np.save(out, IDS)
        np.save(out, IDS)
    with pytest.raises(ValueError, match="bytes follow the array"):
        read_token_file(tmp_path / "two.npy", 900)


def test_16_bits_do_not_reach_a_large_vocabulary(tmp_path):
    ids = RNG.integers(0, 65_536, 40_001)
    ids.astype("<u2").tofile(tmp_path / "a.bin")
    with pytest.raises(ValueError, match="16-bit numbers, which reach a vocabulary of 65536"):
        read_token_file(tmp_path / "a.bin", 128_256)
    stream = read_token_file(tmp_path / "a.bin", 128_256, "uint16")
    found = bx.token_entropies({"a": [stream]}, 128_256, memory=1 << 20)
    assert found.estimates.equals(bx.token_entropies({"a": ids}, 128_256).estimates)
    assert found.sizes.loc["a", "pairs"] == 40_001 - 40


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        [np.array(row, "u2") for row in ROWS],
        tuple(
            np.array(row, kind) for row, kind in zip(ROWS, ["u8", "i8", "u2", "i4"], strict=True)
        ),
        pd.Series(ROWS),
        np.array([*ROWS, []], object),
        pa.array(ROWS),
        pa.chunked_array([ROWS[:1], ROWS[1:]]),
    ],
)
def test_ragged_lists_are_documents(given, expected):
    found = bx.token_entropies({"web": given}, VOCABULARY)
    assert measured(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2], [0.5]], "web: document 1: an array of float64"),
        ([[1, 2], 3], r"web: document 1: an array of int64 with shape \(\)"),
        ([[1, 2], [True, 1]], "web: document 1"),
        ([[[1], [2]]], r"web: document 0: an array of int64 with shape \(2, 1\)"),
        ([[1, 2], [-100]], "token id -100"),
        ([[], []], "web is empty"),
        ([[1, 2], "abc"], "web: document 1: an array of <U3"),
        ([1, [2, 3]], "inhomogeneous|expected integer token ids"),
        ([1, True], "array of int64"),
        (iter([1, 2]), "'list_iterator' has no length"),
        (None, "'NoneType' has no length"),
        ("text", "expected integer token ids"),
    ],
)
def test_what_is_no_list_of_documents_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        bx.token_entropies({"web": given}, VOCABULARY)


def test_a_vocabulary_far_above_the_largest_id_costs_nothing():
    import tracemalloc

    ids = RNG.integers(0, 300, 50_000)
    expected = bx.token_entropies(ids, 300).estimates
    tracemalloc.start()
    found = bx.token_entropies(ids, 2**31 - 1, curve=True).estimates
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.equals(expected)
    assert peak < 50e6
