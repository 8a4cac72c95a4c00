"""Folders of data: what counts, what is left out with a note, and what is refused."""

import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bimix_jax as bx
from bimix_jax.entropy._domain_files import domain_name, find_domain
from bimix_jax.entropy.corpus import _check_names

DATA = '{"text": "one two three"}\n'


def fill(folder, *names, content=DATA):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + " " * number)  # no two of one size


def names(domain):
    return [path.name for path in domain.files]


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("._b.jsonl", "1 hidden file or folder left out, such as ._b.jsonl"),
        (".DS_Store", "1 hidden"),
        (".cache/b.jsonl", "1 hidden .* such as .cache"),
        ("__MACOSX/b.jsonl", "1 hidden"),
        ("sub/.ipynb_checkpoints/b.jsonl", "1 hidden"),
        ("b.tmp.jsonl", "1 temporary file"),
        ("b.jsonl.lock", "1 temporary file"),
        ("b.jsonl.incomplete", "1 temporary file"),
        ("README.txt", "1 file of another kind"),
        ("LICENSE", "1 file of another kind"),
        ("cache-0123456789abcdef.arrow", "1 cache file"),
        ("cache-0123456789abcdef_00001_of_00004.arrow", "1 cache file"),
        ("tokenizer.json", "1 file of another kind"),
        ("SHA256SUMS.txt", "1 file of another kind"),
        ("notes.json", "1 JSON file beside other data"),
    ],
)
def test_what_is_no_data_is_left_out_and_counted(tmp_path, name, note):
    fill(tmp_path / "web", "a.jsonl", name)
    found = find_domain(tmp_path / "web")
    assert names(found) == ["a.jsonl"]
    (said,) = found.notes
    assert re.search(note, said), said


def test_data_in_folders_in_order_of_names(tmp_path):
    fill(tmp_path, "b/1.jsonl", "a.jsonl", "b/0.jsonl", "c.JSONL", "text_document.jsonl")
    assert names(find_domain(tmp_path)) == [
        "a.jsonl", "0.jsonl", "1.jsonl", "c.JSONL", "text_document.jsonl",
    ]  # fmt: skip
    assert not find_domain(tmp_path).notes


def test_empty_files_are_counted_but_an_empty_domain_is_an_error(tmp_path):
    fill(tmp_path / "web", "a.jsonl")
    (tmp_path / "web" / "b.jsonl").touch()
    assert find_domain(tmp_path / "web").notes == (
        "web: 1 empty file left out, such as b.jsonl.",
    )  # fmt: skip
    with pytest.raises(ValueError, match="b is empty"):
        find_domain(tmp_path / "web" / "b.jsonl")
    (tmp_path / "web" / "a.jsonl").unlink()
    with pytest.raises(ValueError, match=r"no file that can be read.* 1 empty file"):
        find_domain(tmp_path / "web")


def arrow(path, text):
    with pa.ipc.new_stream(str(path), pa.schema({"text": pa.string()})) as writer:
        writer.write_table(pa.table({"text": [text]}))


def saved(folder, listed=("data-00000-of-00001.arrow",), **more):
    folder.mkdir(parents=True)
    arrow(folder / "data-00000-of-00001.arrow", "aabb")
    arrow(folder / "old.arrow", "zz")
    state = {"_data_files": [{"filename": name} for name in listed]}
    (folder / "state.json").write_text(json.dumps(state | more))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_is_read_by_its_list(tmp_path):
    saved(tmp_path / "law")
    with pytest.warns(bx.EntropyWarning, match="1 entry that state.json does not list"):
        found = bx.corpus_entropies([tmp_path / "law"], tokenizer="bytes", curve=False)
    assert found.sizes.loc["law", "tokens"] == 4
    assert any("1 entry that state.json does not list left out" in note for note in found.notes)


def test_a_list_that_does_not_fit_is_refused(tmp_path):
    saved(tmp_path / "a", listed=("data-00000-of-00002.arrow",))
    with pytest.raises(ValueError, match=r"lists data-00000-of-00002\.arrow, which is not there"):
        find_domain(tmp_path / "a")
    saved(tmp_path / "b", _indices_files=[{"filename": "indices.arrow"}])
    with pytest.raises(ValueError, match="flatten_indices"):
        find_domain(tmp_path / "b")


def test_of_splits_the_training_one_counts(tmp_path):
    saved(tmp_path / "law" / "train")
    saved(tmp_path / "law" / "validation")
    (tmp_path / "law" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    found = find_domain(tmp_path / "law")
    assert [path.parent.name for path in found.files] == ["train"]
    assert any("1 split beside train left out, such as validation" in n for n in found.notes)


@pytest.mark.parametrize(
    ("index", "form"), [({"shards": []}, "MDS"), ({"chunks": [], "config": {}}, "LitData")]
)
def test_streamed_data_sets_are_named(tmp_path, index, form):
    (tmp_path / "index.json").write_text(json.dumps(index))
    fill(tmp_path, "shard.00000.mds")
    with pytest.raises(ValueError, match=form):
        find_domain(tmp_path)


def test_links_are_followed_once(tmp_path):
    fill(tmp_path / "store", "x.jsonl", content=DATA * 2)
    fill(tmp_path / "web", "a.jsonl")
    (tmp_path / "web" / "again.jsonl").symlink_to("a.jsonl")
    (tmp_path / "web" / "far").symlink_to(tmp_path / "store")
    (tmp_path / "web" / "loop").symlink_to(tmp_path / "web")
    found = find_domain(tmp_path / "web")
    assert names(found) == ["a.jsonl", "x.jsonl"]
    assert found.notes == (
        "web: 2 links to what is read already left out, such as again.jsonl.",
    )  # fmt: skip


def test_a_link_to_nothing_is_an_error(tmp_path):
    fill(tmp_path, "a.jsonl")
    (tmp_path / "b.jsonl").symlink_to("gone")
    with pytest.raises(ValueError, match=r"b\.jsonl is a link to a file that cannot be found"):
        find_domain(tmp_path)


def test_pipes_are_never_opened(tmp_path):
    fill(tmp_path, "a.jsonl")
    os.mkfifo(tmp_path / "b.jsonl")
    found = find_domain(tmp_path, "web")
    assert found.notes == ("web: 1 pipe, socket or device left out, such as b.jsonl.",)
    with pytest.raises(OSError, match="is a named pipe"):
        find_domain(tmp_path / "b.jsonl")


def test_packed_and_unpacked_is_one_too_many(tmp_path):
    fill(tmp_path, "a.jsonl", "a.jsonl.gz")
    with pytest.raises(ValueError, match="differ only in how they are packed"):
        find_domain(tmp_path)


def test_copies_and_several_forms_are_said(tmp_path):
    for name in ("a.jsonl", "b.jsonl", "c.txt"):
        (tmp_path / name).write_text(DATA)
    (tmp_path / "c.jsonl").write_text(DATA.replace("one", "six"))
    notes = find_domain(tmp_path, "web").notes
    assert "web: files of several forms are counted together: 3 .jsonl, 1 .txt." in notes
    assert "web: c.jsonl and c.txt differ in their form alone; both are counted." in notes
    assert any(
        "2 files have the content of another, such as b.jsonl that of a.j" in n for n in notes
    )


@pytest.mark.parametrize("held_out", ["val", "web-validation-00000", "test/part"])
def test_held_out_parts_beside_training_parts_are_said(tmp_path, held_out):
    fill(tmp_path / "train_test_web", "contest.jsonl", "train-00000.jsonl")
    assert not find_domain(tmp_path / "train_test_web").notes
    fill(tmp_path / "train_test_web", f"{held_out}.jsonl", content=DATA * 2)
    (note,) = find_domain(tmp_path / "train_test_web", "web").notes
    assert re.fullmatch("web: files called train and (val|validation|test) are .* together.", note)


def test_a_folder_is_called_as_it_was_named(tmp_path, monkeypatch):
    fill(tmp_path / "v1", "a.jsonl")
    (tmp_path / "web").symlink_to("v1")
    monkeypatch.chdir(tmp_path / "v1")
    assert [domain_name(p) for p in (tmp_path / "web", ".", "a.jsonl", "..")] == [
        "web", "v1", "a", tmp_path.name,
    ]  # fmt: skip


@pytest.mark.parametrize("twin", ["Web", "web ", "WEB", "we\N{SOFT HYPHEN}b"])
def test_names_that_are_one_are_refused(twin):
    with pytest.raises(ValueError, match="which are one"):
        _check_names(["web", twin])


@pytest.mark.parametrize("name", ["", " ", "..", "a/b", "a\0b"])
def test_what_cannot_be_a_name(name):
    with pytest.raises(ValueError, match="cannot be a name"):
        _check_names([name])


@pytest.mark.parametrize("name", ["x" * 300, "line\nbreak", "Ünï — 数学", "c++ (1)"])
def test_any_other_name_will_do(tmp_path, name):
    fill(tmp_path, "a.jsonl")
    found = bx.corpus_entropies(
        {name: tmp_path / "a.jsonl"}, tokenizer="bytes", cache=tmp_path / "cache"
    )
    assert found.sizes.index.tolist() == [name]


def test_a_damaged_first_file_is_named_when_it_is_read(tmp_path):
    for name in "ab":
        pq.write_table(pa.table({"text": ["one two three"] * 9}), tmp_path / f"{name}.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    assert find_domain(tmp_path).field == "text"
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read: it is damaged"):
        bx.corpus_entropies({"web": tmp_path}, tokenizer="bytes")
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read: it is damaged"):
        find_domain(tmp_path)
