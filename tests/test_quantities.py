"""Numbers as people write them."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax.quantities import number_of


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (3, 3.0), (0.25, 0.25), (np.float32(0.5), 0.5), (np.int64(7), 7.0), (Decimal("1.5"), 1.5),
        (np.array(2.0), 2.0), ("3", 3.0), (" 4e10 ", 4e10), ("1E-3", 1e-3), (".5", 0.5),
        ("5.", 5.0), ("+2", 2.0), ("-1", -1.0), ("40B", 4e10), ("1.2b", 1.2e9), ("300M", 3e8),
        ("12 k", 12e3), ("2T", 2e12), ("7G", 7e9), ("1,200", 1200.0), ("32,768,000", 32768000.0),
        ("1_000_000", 1e6), ("12,500.5", 12500.5), ("1,200K", 1.2e6),
    ],
)  # fmt: skip
def test_what_can_be_read_in_one_way_is_read(given, value):
    assert number_of(given, "epochs") == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "given",
    [
        True, False, np.True_, np.array(True), None, "", "true", "nan", "inf", float("nan"),
        float("inf"), 10**400, "1e999", "5_1", "1,2", "0,3", "0,200", "1,2,3", "12,34", "1 200",
        "4,586E-01", "1,200e3", "3 apples", "20%", "4x", "0x10", "1.2.3", "--1", [1], {"a": 1},
        b"1", 1j, np.array([1.0]),
    ],
)  # fmt: skip
def test_what_is_no_number_or_could_be_two_is_refused(given):
    with pytest.raises(ValueError, match=r"epochs is .*; expected a number above 0\."):
        number_of(given, "epochs", "a number above 0")


def test_percent_is_read_where_it_may_stand():
    assert number_of("20%", "lower: web", percent=True) == 0.2
    assert number_of("2.5 %", "lower: web", percent=True) == 0.025
    assert number_of("0.2", "lower: web", percent=True) == 0.2
    with pytest.raises(ValueError, match="decimal point"):
        number_of("0,2", "lower: web", percent=True)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ValueError, match=r"epochs is 'x{10,60}\.\.\.; expected"):
        number_of("x" * 10_000, "epochs")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_python_prints_it(value):
    assert number_of(repr(value), "epochs") == number_of(value, "epochs") == value


@given(st.integers(-(10**15), 10**15))
def test_grouped_digits_are_those_without_groups(value):
    assert number_of(f"{value:,}", "tokens") == number_of(f"{value:_}", "tokens") == value


@pytest.mark.parametrize("invisible", ["\x1e", "\u2028", "\x85", "\x0b"])
def test_an_invisible_character_beside_a_number_is_damage(invisible):
    assert number_of("\xa01200 ", "tokens") == 1200
    with pytest.raises(ValueError, match="tokens is"):
        number_of(f"1200{invisible}", "tokens")
