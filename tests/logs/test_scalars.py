"""Trainer's logs by Arrow against the JSON reader: the same, or left to it."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bimix_jax.logs._numbers import numbers
from bimix_jax.logs._scalars import _of_anything, _of_numbers, _parsed
from bimix_jax.reading.nested import once

names = st.one_of(
    st.sampled_from(["step", "epoch", "eval_web_loss", "eval_web page_loss", " step", "step "]),
    st.text(alphabet='ab ,:{}[]"\\\n\té\u2028', max_size=6),
)
cells = st.one_of(
    st.floats(), st.integers(-(10**20), 10**20), st.none(), st.booleans(),
    st.sampled_from(["high", "1", "a,b", '"', "}", [], [1.5], {}, {"step": 3}]),
)  # fmt: skip
plain = st.dictionaries(
    st.sampled_from(["step", "loss", "é", "a b"]), st.floats(-1e9, 1e9), min_size=1
)
DAMAGE = ["", *'}{,":]x0.-+e\n\t', "nan", "}, {"]
styles = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def written(entries, style, **around):
    return json.dumps({"best": None, "log_history": entries, "steps": [1, 2]} | around, **style)


def same(found, expected):
    assert found.names == expected.names
    np.testing.assert_array_equal(found.name, expected.name)
    np.testing.assert_array_equal(found.entry, expected.entry)
    np.testing.assert_array_equal(numbers(found.value).values, numbers(expected.value).values)


@given(st.lists(plain, min_size=1), styles)
def test_entries_of_numbers_are_read_by_arrow_as_json_has_them(entries, style):
    text = written(entries, style).encode()
    same(_of_numbers(text), _of_anything(json.loads(text)))


@given(st.lists(st.dictionaries(names, cells)), styles)
@example([{"a": 1}, {"log_history": 2, "step": 3}], {})
@example([{'a}, {"b': 1.0}], {})
@example([{"{x}": 1.0}, {"}": 2.0, "{": 3.0}], {})
def test_whatever_is_logged_is_read_as_json_has_it(entries, style):
    text = written(entries, style, note='"log_history": [{"step": 1}]').encode()
    same(_parsed(text), _of_anything(json.loads(text)))


def test_two_entries_that_damage_joins_are_refused_with_the_name():
    text = b'{"log_history": [{"step": 1, "loss": 3.5, "step": 2, "loss": 3.0}]}'
    with pytest.raises(ValueError, match=r"JSON: an object names 'step' twice"):
        _parsed(text)


@given(st.lists(plain, min_size=1), styles, st.data())
def test_damage_is_never_read(entries, style, data):
    text = written(entries, style)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from(DAMAGE)) + (
        text[at + data.draw(st.integers(0, 3)) :]
    )  # fmt: skip
    try:
        expected = json.loads(damaged, object_pairs_hook=once)
    except ValueError:
        with pytest.raises(ValueError, match=r"JSON|UTF-8"):
            _parsed(damaged.encode())
    else:
        if isinstance(expected.get("log_history"), list):
            same(_parsed(damaged.encode()), _of_anything(expected))


@pytest.mark.parametrize(
    "cell",
    ["1.", ".5", "-.5", "007", "-01.5", "+1", "1.e5", "nan", "inf", "1e", "0x1", "1 2", "", "1.+5"],
)
def test_what_json_takes_for_no_number_is_not_read(cell):
    with pytest.raises(ValueError, match=r"JSON|UTF-8"):
        _parsed(b'{"log_history": [{"step": 1, "loss": ' + cell.encode() + b"}]}")


@pytest.mark.parametrize("cell", ["0", "-0.0", "1e-05", "1E+05", "10.05", "100", "-1.5e007"])
def test_every_json_number_is_read_by_arrow(cell):
    found = _of_numbers(b'{"log_history": [{"step": 1, "loss": ' + cell.encode() + b"}]}")
    assert found.value.tolist() == [1.0, float(cell)]


@pytest.mark.parametrize("text", ["[]", "{}", '{"log_history": 3}', '{"log_history": [3]}'])
def test_no_log_is_told_from_damage(text):
    with pytest.raises(LookupError):
        _parsed(text.encode())


def test_a_number_beyond_the_range_of_floats_is_named():
    text = '{"log_history": [{"step": 1, "loss": ' + "9" * 400 + "}]}"
    with pytest.raises(ValueError, match=r"state\.json holds a number beyond the range of floats"):
        _parsed(text.encode(), "state.json")
