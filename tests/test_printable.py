"""Names that hold anything are shown, drawn and emitted harmlessly."""

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bimix_jax.cli import show
from bimix_jax.printable import json_text, picture_text, printable

HOSTILE = [
    "a\nb",
    "\x1b[31mred",
    "x\u2028y",
    "[bold]loud[/bold]",
    "$x^{",
    "$a$",
    "_hidden",
    "\x9bm",
    "\u202egnp.exe",
    "tab\tbed",
    "nul\0",
    "\ud800half",
    "C++ = 'best' #1: \"yes\"",
]


@given(st.text())
def test_text_of_letters_stays_and_nothing_else_acts_on_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable() or all(c.isprintable() or c not in "\n\r\t\x1b\x9b" for c in shown)
    assert len(shown.splitlines()) <= 1
    if text.isprintable():
        assert shown == text


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)))
def test_json_reads_back_to_the_same_names_and_numbers(document):
    text = json_text(document)
    assert json.loads(text) == document
    assert len(text.splitlines()) <= 1


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
                       st.floats(1e-300, 1e300), max_size=5))  # fmt: skip
def test_yaml_reads_json_text_alike(document):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(json_text(document)) == document


@pytest.mark.parametrize("name", HOSTILE)
def test_a_picture_draws_every_name(name):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], label=picture_text(name))
    axes.set_title(picture_text(name))
    axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    assert len(axes.get_legend().get_texts()) == 1


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\ud800" not in name])
def test_a_table_holds_every_name_in_one_row(name, capsys):
    import pandas as pd

    table = pd.DataFrame({name: [0.5]}, index=pd.Index([name], name=name))
    show.show_table(table, name)
    show.show_notes([name], "Notes")
    show.show_line(name)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert len(shown.splitlines()) == len(shown.split("\n")) - 1 == 9
    assert shown.count(printable(name)) >= 5
