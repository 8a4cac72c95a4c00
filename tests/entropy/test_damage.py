"""Files that are cut, damaged or in another encoding: an error that names them, never less text."""

import bz2
import gzip
import json
import lzma
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bimix_jax as bx

LINES = "".join(
    json.dumps({"text": " ".join(random.Random(i).choices(["red", "blue", "x"], k=60))}) + "\n"
    for i in range(400)
).encode()
PACK = {
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def read(path, **options):
    return bx.corpus_entropies([path], curve=False, **({"tokenizer": "bytes"} | options))


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("keep", [0.3, 0.9, -1])
def test_a_packed_file_that_is_cut(tmp_path, packed, keep):
    data = PACK[packed](LINES)
    cut = data[: keep if keep < 0 else int(keep * len(data))]
    for content in (cut, data + cut):  # the first part, and the second of two
        (tmp_path / f"a.jsonl{packed}").write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.jsonl{packed} .* is damaged or incomplete"):
            read(tmp_path / f"a.jsonl{packed}")


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz"])  # zstd has no check sum here
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_packed_file_with_a_flipped_byte(tmp_path, packed, place):
    data = bytearray(PACK[packed](LINES))
    data[int(place * len(data))] ^= 0xFF
    (tmp_path / f"a.txt{packed}").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged or incomplete"):
        read(tmp_path / f"a.txt{packed}")


def tables(path):
    table = pa.table({"text": [json.loads(line)["text"] for line in LINES.splitlines()]})
    if path.suffix == ".parquet":
        pq.write_table(table, path, write_page_checksum=True, row_group_size=100)
    elif "stream" in path.name:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
@pytest.mark.parametrize("keep", [0, 5, 0.4, 0.9])
def test_a_table_that_is_cut(tmp_path, name, keep):
    data = tables(tmp_path / name)
    (tmp_path / name).write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(ValueError, match=r"damaged or incomplete|is empty"):
        read(tmp_path / name)


def test_a_stream_that_ends_between_batches_is_said(tmp_path):
    table = pa.table({"text": ["abc", "abd"]})
    with open(tmp_path / "a.arrow", "wb") as out:
        writer = pa.ipc.new_stream(out, table.schema)
        writer.write_table(table)
        out.truncate()
    found = read(tmp_path / "a.arrow")
    assert "a: found 1 arrow stream without the mark of its end, which may be incomplete." in (
        found.notes
    )


def test_flipped_bytes_of_parquet_change_nothing_silently(tmp_path):
    data, rng = tables(tmp_path / "a.parquet"), np.random.default_rng(0)
    whole = read(tmp_path / "a.parquet").estimates
    for place in rng.integers(4, len(data) - 8, 60):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.parquet").write_bytes(bytes(flipped))
        try:
            found, said = read(tmp_path / "a.parquet").estimates, ""
        except ValueError as error:
            found, said = None, str(error)
        assert "a.parquet" in said or found.equals(whole)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "naïve ’".encode("utf-16"), "mark of UTF-16"),
        ("a.jsonl", '{"text": "é"}'.encode("utf-32"), "mark of UTF-32"),
        ("a.txt", ("some text\n" * 90).encode("utf-16-le"), "NUL bytes, as UTF-16"),
        ("a.jsonl", LINES.decode().encode("utf-16-be"), "NUL bytes, as UTF-16"),
        ("a.txt", "déjà vu\n".encode("latin-1") * 5, "5 of 5 lines hold bytes"),
        ("a.txt", b"plain\n" * 90 + "müde\n".encode("cp1252") * 9, "9 of 99 lines hold bytes"),
        ("a.jsonl", LINES.replace(b"blue", b"bl\xfce"), "400 of 400 lines"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.jsonl", gzip.compress(LINES), "packed by gzip; rename"),
        ("a.txt.gz", LINES, r"is not packed, .* rename it so that it ends in .txt"),
        ("b.jsonl.xz", gzip.compress(LINES), r"packed by gzip; rename .* in .gz"),
        ("c.txt.zst", b"\x80\x81\x82" * 9, "damaged or incomplete"),
        ("a.json", json.dumps([{"text": "x"}])[:-1].encode(), "not complete JSON"),
        ("a.json", b"[" * 5000, "nested deeper"),
        ("a.json", b'{"data": [\n{"text": "a"}\n]}', "no record of 1 .* 'text'; found data"),
        ("a.json", b'{"text": "abc"\n', "not complete JSON"),
        ("a.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "no line of 1 is a JSON object"),
    ],
)
def test_what_is_no_text_in_utf8_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_mark_and_windows_line_ends_change_no_text(tmp_path):
    (tmp_path / "plain.txt").write_bytes(b"first line\nsecond\n" * 50)
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbf" + b"first line\r\nsecond\r\n" * 50)
    plain, other = read(tmp_path / "plain.txt"), read(tmp_path / "windows.txt")
    assert plain.estimates.to_numpy().tolist() == other.estimates.to_numpy().tolist()
    assert "windows: found 100 line ends of Windows (CRLF), read as LF." in other.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINES.replace(b'"text"', b'"body"'), "no record of 400 has the key 'text'; found body"),
        (b'{"text": 3}\n{"text": 4}\n', "holds text under the key 'text'; found numbers"),
        (b'{"text": ["a", "b"]}\n', "holds text under the key 'text'; found lists"),
        (b'"text"\n"more"\n', "no line of 2 is a JSON object"),
    ],
)
def test_a_domain_of_which_every_line_was_skipped(tmp_path, content, message):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.jsonl").write_bytes(LINES)
    (tmp_path / "web" / "b.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "web")


def test_one_object_over_several_lines_is_a_document(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"id": 1, "text": "abcd"}, indent=2))
    assert read(tmp_path / "a.json").sizes.loc["a", "tokens"] == 4


def test_what_is_kept_is_whole_or_made_again(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    call = {"cache": tmp_path / "cache"}
    whole = read(tmp_path / "a.jsonl", **call).estimates
    kept = tmp_path / "cache" / "a.bin"
    kept.write_bytes(kept.read_bytes()[:1000])
    assert read(tmp_path / "a.jsonl", **call).estimates.equals(whole)
    (tmp_path / "cache" / "a.starts.npy").unlink()
    assert read(tmp_path / "a.jsonl", **call).estimates.equals(whole)


def test_a_document_that_names_an_entry_twice_is_left_out_with_a_note(tmp_path):
    lines = ['{"text": "one two", "id": 1}', '{"text": "three", "id": 2, "id": 3}'] * 3
    (tmp_path / "web.jsonl").write_text("\n".join(lines) + "\n")
    found = bx.corpus_entropies([tmp_path / "web.jsonl"], tokenizer="bytes", curve=False)
    assert "web: skipped 3 lines that are not JSON objects." in found.notes
    assert found.table().loc["web", "tokens"] == 3 * len("one two")
