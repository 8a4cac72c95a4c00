"""Mixtures and weights given by name, in the order of a fit."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax import fit
from bimix_jax.fitting.options import FitOptions
from bimix_jax.reading.names import (
    align_mixtures,
    align_weights,
    as_expected,
    check_names,
    respelled,
    spelling,
)
from bimix_jax.reading.settings import settings_of

DOMAINS = ("web", "code", "prose")
MIXTURE = {"code": 0.3, "prose": 0.5, "web": 0.2}


@pytest.mark.parametrize(
    "mixture",
    [MIXTURE, pd.Series(MIXTURE), [0.2, 0.3, 0.5], np.array([0.2, 0.3, 0.5]), (0.2, 0.3, 0.5)],
)
def test_one_mixture_is_a_row_without_a_label(mixture):
    values, labels = align_mixtures(mixture, DOMAINS)
    np.testing.assert_allclose(values, [[0.2, 0.3, 0.5]], rtol=1e-15)
    assert labels is None


def test_a_table_keeps_its_labels():
    table = pd.DataFrame([MIXTURE, {"web": 1.0, "code": 0.0, "prose": 0.0}], index=["a", "b"])
    values, labels = align_mixtures(table, DOMAINS)
    np.testing.assert_allclose(values, [[0.2, 0.3, 0.5], [1, 0, 0]], rtol=1e-15)
    assert labels.tolist() == ["a", "b"]


def test_a_two_dimensional_array_is_numbered():
    values, labels = align_mixtures([[0.2, 0.3, 0.5]], DOMAINS)
    np.testing.assert_allclose(values, [[0.2, 0.3, 0.5]], rtol=1e-15)
    assert labels.tolist() == [0]


@given(st.permutations(DOMAINS))
def test_the_order_of_names_does_not_matter(order):
    table = pd.DataFrame([MIXTURE])[list(order)]
    np.testing.assert_array_equal(
        align_mixtures(table, DOMAINS)[0], align_mixtures(MIXTURE, DOMAINS)[0]
    )


def test_names_that_are_numbers_are_names():
    for given_as in ({1: 0.25, 2: 0.75}, pd.DataFrame([{2: 0.75, 1: 0.25}])):
        np.testing.assert_array_equal(align_mixtures(given_as, ("1", "2"))[0], [[0.25, 0.75]])


@pytest.mark.parametrize("make", [dict, pd.Series, lambda m: pd.DataFrame([m])])
def test_missing_names_are_listed_with_both_sets(make):
    with pytest.raises(
        ValueError, match=r"no value for web, prose\. It names code; .*of web, code"
    ):
        align_mixtures(make({"code": 1.0}), DOMAINS)


@pytest.mark.parametrize("make", [dict, pd.Series, lambda m: pd.DataFrame([m])])
def test_unknown_names_are_listed(make):
    with pytest.raises(ValueError, match=r"chat, wiki is unknown; expected only web, code, prose"):
        align_mixtures(make({**MIXTURE, "wiki": 0.0, "chat": 0.0}), DOMAINS)


def test_a_name_twice_is_an_error():
    table = pd.DataFrame([[0.2, 0.3, 0.5, 0.0]], columns=["web", "code", "prose", "web"])
    with pytest.raises(ValueError, match="web is there twice"):
        align_mixtures(table, DOMAINS)
    with pytest.raises(ValueError, match="a is there twice"):
        check_names("mixtures", ["a", "b", "a"], ["a", "b"])


@pytest.mark.parametrize("shape", [(2,), (4,), (1, 4), (1, 1, 3), ()])
def test_arrays_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(3,\) or \(mixtures, 3\)"):
        align_mixtures(np.full(shape, 0.25), DOMAINS)


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ([-0.1, 0.6, 0.5], r"-0\.1"),
        ([0.2, 0.3, np.nan], "nan"),
        ([0.2, 0.3, np.inf], "inf"),
        ([0.2, 0.3, 0.4], r"sums to 0\.9"),
        ([20, 30, 50], "sums to 100"),
        ([0, 0, 0], "sums to 0"),
    ],
)
def test_rows_off_the_simplex_are_shown_with_their_number(row, shown):
    with pytest.raises(ValueError, match=rf"row 1 is .*{shown}.*Divide the row by its sum"):
        align_mixtures([[0.2, 0.3, 0.5], row], DOMAINS)


def test_rows_close_to_1_are_normalised_with_a_count():
    with pytest.warns(UserWarning, match="1 of 2 did not sum to 1 and were normalised"):
        values, _ = align_mixtures([[0.2, 0.3, 0.51], [0.2, 0.3, 0.5]], DOMAINS)
    np.testing.assert_allclose(values[0], np.array([0.2, 0.3, 0.51]) / 1.01, rtol=1e-15)


def test_weights_are_1_each_or_0_where_left_out():
    assert align_weights(None, DOMAINS).tolist() == [1, 1, 1]
    assert align_weights({"prose": 2.0}, DOMAINS).tolist() == [0, 0, 2]
    assert align_weights(pd.Series({"code": 1.0, "web": 3.0}), DOMAINS).tolist() == [3, 1, 0]
    assert align_weights([1, 2, 0], DOMAINS).tolist() == [1, 2, 0]
    assert align_weights({1: 2.0}, ("1", "2")).tolist() == [2, 0]


@pytest.mark.parametrize(
    "weights",
    [{"web": -1.0}, {"web": 0.0}, {}, [1, 2], [1, 2, np.nan], [1, np.inf, 0], [[1, 2, 3]], 1.0],
)
def test_weights_that_weigh_nothing_or_too_few_are_refused(weights):
    with pytest.raises(ValueError, match=r"expected 3 numbers ≥ 0 .* for the targets web, code"):
        align_weights(weights, DOMAINS)


def test_weights_of_unknown_targets_are_refused():
    with pytest.raises(
        ValueError, match="weights: wiki is unknown; expected only web, code, prose"
    ):
        align_weights({"web": 1.0, "wiki": 1.0}, DOMAINS)


@pytest.mark.parametrize(
    "given", ["Wiki fr", "wiki fr ", "wiki\u00a0fr", "WIKI  FR", "\ufeffwiki fr", "wiki\u200b fr"]
)
def test_names_that_differ_in_case_or_blanks_are_one(given):
    with pytest.warns(UserWarning, match="taken for one"):
        assert align_weights({given: 2.0}, ["wiki fr", "code"]).tolist() == [2.0, 0.0]


def test_composed_and_decomposed_letters_are_one():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    with pytest.warns(
        UserWarning, match=r"with a decomposed é\) is 'caf\xe9' \(with a composed é\)"
    ):
        values, _ = align_mixtures({decomposed: 0.25, "web": 0.75}, (composed, "web"))
    np.testing.assert_array_equal(values, [[0.25, 0.75]])


def test_names_that_are_there_as_they_stand_are_not_respelled():
    assert respelled("x", ["C", "c"], ["c", "C"]) == {}
    assert respelled("x", ["C", "c", "perl"], ["c"]) == {}
    assert respelled("x", ["C\u00a0", "c"], ["C", "c"]) == {"C\u00a0": "C"}


@pytest.mark.parametrize(
    ("found", "expected"), [(["Java", "JAVA"], ["java"]), (["Java"], ["java", "JAVA"])]
)
def test_a_name_that_may_be_two_is_refused(found, expected):
    with pytest.raises(ValueError, match=r"targets: .* may be .* Spell each exactly"):
        respelled("targets", found, expected)


@given(st.text(min_size=1))
def test_a_name_is_spelled_as_itself_in_any_unicode_form(name):
    for form in ("NFC", "NFD"):
        assert spelling(unicodedata.normalize(form, name)) == spelling(name)


def test_a_mapping_is_spelled_as_expected_and_no_name_may_be_unknown():
    with pytest.warns(UserWarning, match="lower: Names that differ only"):
        assert as_expected("lower", {"CODE": 0.2}, DOMAINS) == {"code": 0.2}
    with pytest.raises(ValueError, match="lower: cod is unknown"):
        as_expected("lower", {"cod": 0.2}, DOMAINS)


def test_a_misspelt_setting_is_refused_with_the_nearest_one():
    with pytest.raises(TypeError, match=r"^fit\(\) got .* 'max_step'; .* mean max_steps\?$"):
        settings_of(FitOptions, fit, {"residual": "log", "max_step": 3})
    assert settings_of(FitOptions, fit, {"max_steps": 3}) == FitOptions(max_steps=3)


def test_a_misspelt_parameter_of_the_verb_itself_is_named_too():
    with pytest.raises(TypeError, match=r"expected some of sweep, law, .* mean sweep\?$"):
        settings_of(FitOptions, fit, {"sweeps": 3})
