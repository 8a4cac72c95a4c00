"""JSON and TOML of others: deep, damaged, in other encodings."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax.reading.nested import DEEPEST, _nesting, parse_json, read_json, read_toml

DEEP = {
    "lists.json": "[" * 200_000,
    "objects.json": '{"a":' * 30_000 + "1" + "}" * 30_000,
    "after_text.json": '{"a": "]]]]]]", "b": ' + "[" * 5000 + "]" * 5000 + "}",
    "lists.toml": "guardrail = " + "[" * 20_000 + "]" * 20_000,
    "tables.toml": "x = " + "{a = " * 3000 + "1" + "}" * 3000,
    "dotted.toml": ".".join("a" * 20_000) + " = 1",
    "headers.toml": "[" + " . ".join(["part"] * 5000) + "]\nx = 1",
    "after_text.toml": 'a = "]]]]" # ]]]]\nb = ' + "[" * 3000,
}


@pytest.mark.parametrize("name", DEEP)
def test_what_is_nested_too_deep_is_refused_before_it_is_parsed(tmp_path, name):
    path = tmp_path / name
    path.write_text(DEEP[name])
    read = read_json if path.suffix == ".json" else read_toml
    with pytest.raises(ValueError, match=f"{name} is nested deeper than 100 levels"):
        read(path, "numbers")


def test_brackets_in_text_and_comments_are_not_levels(tmp_path):
    many = "[{" * 500
    document = {"text": many, "quoted": f'"{many}\\', "deep": [[[[1]]]]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert read_json(tmp_path / "a.json", "numbers") == document
    dots = ".".join("x" * 500)
    text = (
        f"# {many} \" '\na = '{many}'\nb = \"{dots}\\\"{many}\"\nc = '''\n{many}\n'''\n[a-b]\nx.y=1"
    )
    (tmp_path / "a.toml").write_text(text)
    assert read_toml(tmp_path / "a.toml", "numbers") == tomllib.loads(text)


@given(
    st.recursive(
        st.one_of(st.text(), st.integers(), st.booleans()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    )
)
def test_the_depth_is_that_of_the_value(value):
    def depth(found):
        inner = found.values() if isinstance(found, dict) else found
        return 1 + max(map(depth, inner), default=0) if isinstance(found, (list, dict)) else 0

    for as_ascii in (True, False):
        text = json.dumps(value, ensure_ascii=as_ascii)
        assert _nesting(text.encode("utf-8", "surrogatepass")) == depth(value)
        assert parse_json(text, "here") == value


def test_the_depth_is_counted_across_pieces(monkeypatch):
    text = json.dumps({"text": '[["', "list": [[], [{"a": [1]}]]}).encode()
    for piece in range(1, len(text) + 1):
        monkeypatch.setattr("bimix_jax.reading.nested.PIECE", piece)
        assert _nesting(text) == 5


def test_as_many_levels_as_allowed_are_read():
    text = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(parse_json(text, "here")) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', r"a.json is not complete JSON: .* line 1 column 8"),
        (b'{"a": 1,\n "b": "\xff"}', r"a.json is not text in UTF-8: line 2 holds the byte 0xff"),
        (b'{"a": {"b": 1, "b": 2}}', r"a.json .* names 'b' twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"a.json is not complete JSON: Exceeds the limit"),
        (b"", r"a.json is not complete JSON"),
        (b"\xff\xfea", r"a.json is not text"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json", "numbers")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_the_byte_order_are_no_part_of_the_text(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"é": 1}'.encode(encoding))
    (tmp_path / "a.toml").write_bytes('"é" = 1'.encode(encoding))
    assert read_json(tmp_path / "a.json", "numbers") == {"é": 1}
    assert read_toml(tmp_path / "a.toml", "numbers") == {"é": 1}


def test_a_folder_is_called_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; expected a file with numbers"):
        read_toml(tmp_path, "numbers")
