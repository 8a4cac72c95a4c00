"""Options whose names hold the option's own marks."""

import types

import pytest
import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.limits import Limits, _group, _guardrail

NAMES = ("f", "f#", "f++", "go=1", "go", "a:b", "x+y")


@pytest.mark.parametrize(
    ("item", "pair"),
    [
        ("f=0.1", ("f", "0.1")), ("f++=0.1", ("f++", "0.1")), ("go=1=0.2", ("go=1", "0.2")),
        ("go=1", ("go", "1")), ("a:b=0.3", ("a:b", "0.3")), ("x+y=1", ("x+y", "1")),
        ("GO=1=0.2", ("GO=1", "0.2")), ("new=0.5", ("new", "0.5")),
    ],
)  # fmt: skip
def test_the_longest_name_that_fits_is_meant(item, pair):
    assert named.split_name("--lower", item, NAMES) == pair


@pytest.mark.parametrize("item", ["f", "=1", "f=", ""])
def test_half_a_pair_is_refused(item):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        named.split_name("--lower", item, NAMES)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("f+++f#=:0.3", bx.Group(("f++", "f#"), most=0.3)),
        ("f+f#=0.1:", bx.Group(("f", "f#"), least=0.1)),
        ("go=1+go=10%:50%", bx.Group(("go=1", "go"), 0.1, 0.5)),
        ("a:b+x+y=0.1:0.4", bx.Group(("a:b", "x+y"), 0.1, 0.4)),
        ("f+new=:0.4", bx.Group(("f", "new"), most=0.4)),
    ],
)
def test_groups_of_such_names(text, group):
    assert _group(text, NAMES) == group


def test_numbers_of_options():
    assert named.values("--lower", ["f=20%"], NAMES, named.share_of) == {"f": 0.2}
    assert _guardrail(["1%"], NAMES) == _guardrail(["1"], NAMES) == 0.01
    assert _guardrail(["go=1=2"], NAMES) == {"go=1": 0.02}
    with pytest.raises(ValueError, match="--lower f is there twice"):
        named.values("--lower", ["f=1", "f=2"], NAMES)


def test_an_option_of_numbers_takes_them_as_people_write_them():
    number, whole = named.number_parser(), named.whole_parser(least=2)
    assert (number("40B"), number("1,200"), number(0.5)) == (4e10, 1200, 0.5)
    assert (whole("1,200"), whole("2k"), whole("9007199254740993")) == (1200, 2000, 2**53 + 1)
    assert named.share("90%") == named.share("0.9") == named.share(0.9) == 0.9
    for read, text, words in (
        (number, "40x", "the value is '40x'; expected one number"),
        (number, "90%", "the value is '90%'; expected one number"),
        (whole, "2.5", "the value is '2.5'; expected a whole number"),
        (whole, "1", "the value is 1; expected 2 or more"),
        (named.share, "0,9", "the value is '0,9'; expected a share, like 0.25 or 25%"),
    ):
        with pytest.raises(typer.BadParameter, match=words):
            read(text)


def test_a_table_may_have_a_mark_in_its_name(tmp_path):
    path = tmp_path / "data=1.csv"
    path.write_text("domain,tokens\nf,1B\n")
    fitted = types.SimpleNamespace(domains=("f",), targets=("f",))
    for given, tokens, table in ((str(path), 1e9, str(path)), ("f=1.5M", 1.5e6, None)):
        limits = Limits(available=[given])
        assert limits.constraints_of(fitted, shown=True).available == {"f": tokens}
        assert limits.table_of_tokens(("f",)) == table


def test_a_law_by_name_has_no_tokens_to_repeat():
    for name in ("WithRepetition(BiMix)", "withwarmup(WithRepetition(BiMix))"):
        with pytest.raises(ValueError, match="WithRepetition needs the tokens that exist"):
            bx.law_named(name)
