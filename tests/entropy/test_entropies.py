"""Entropies of known sources, the chain rule, the published tables, and what is refused."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import bimix_jax as bx
from bimix_jax.entropy._profiles import chao_shen, miller_madow, plug_in, profile_of

# BIMIX (arXiv 2405.14908), mixtures by SE, CE, JE of a domain a row.
SLIMPAJAMA = """.0738 .0710 .0339|.1474 .1669 .1592|.1619 .2079 .2179|.1863 .2175 .2623
.0952 .0902 .0556|.1152 .1177 .0878|.2202 .1287 .1834"""
PILE = """.0336 .0350 .0236|.0349 .0461 .0323|.0544 .0697 .0763|.0047 .0078 .0007|.0416 .0272 .0228
.0681 .0314 .0431|.0375 .0394 .0297|.0382 .0451 .0346|.0348 .0535 .0375|.0343 .0474 .0328
.0437 .0406 .0357|.0161 .0202 .0065|.0719 .0761 .1101|.0772 .0603 .0936|.0549 .0841 .0928
.0541 .0497 .0541|.0536 .0462 .0498|.0431 .0506 .0439|.0362 .0423 .0308|.0374 .0281 .0212
.0626 .0639 .0804|.0670 .0353 .0476"""


@pytest.mark.parametrize(("table", "domains"), [(SLIMPAJAMA, 7), (PILE, 22)])
def test_published_joint_mixture_is_the_normalised_product_of_the_other_two(table, domains):
    rows = [row.split() for row in table.replace("\n", "|").split("|")]
    shannon, conditional, joint = np.array(rows, float).T
    assert len(joint) == domains
    product = shannon * conditional
    assert np.abs(product / product.sum() - joint).max() < 1e-4


def slow(tokens, length):
    """SE, CE, JE by SciPy; the conditional one from its own definition."""
    pairs = [(a, b) for row in rows(tokens, length) for a, b in itertools.pairwise(row)]
    joint = pd.Series(pairs).value_counts()
    firsts = pd.Series([a for a, _ in pairs]).value_counts()
    share = joint / joint.sum()
    given_first = joint.to_numpy() / firsts[[a for a, _ in joint.index]].to_numpy()
    return (
        scipy.stats.entropy(pd.Series(tokens).value_counts()),
        -np.sum(share * np.log(given_first)),
        scipy.stats.entropy(joint),
        scipy.stats.entropy(firsts),
    )


def rows(tokens, length):
    return [tokens[i : i + length] for i in range(0, len(tokens), length)]


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=80),
    st.integers(2, 12),
    st.integers(1, 30),
)
def test_entropies_are_those_of_scipy_and_obey_the_chain_rule(tokens, length, chunk):
    array = np.array(tokens, np.uint16)
    found = bx.token_entropies(array, 7, length, chunk=chunk, memory=640).table().loc["tokens"]
    shannon, conditional, joint, firsts = slow(tokens, length)
    expected = [shannon, conditional, joint]
    assert found[["SE", "CE", "JE"]].to_numpy(float) == pytest.approx(expected, abs=1e-12)
    assert found["JE"] == pytest.approx(firsts + found["CE"], abs=1e-10)


def test_chunks_memory_and_workers_change_no_bit():
    tokens = np.random.default_rng(0).zipf(1.3, 50_000) % 3000
    tables = [
        bx.token_entropies(tokens, 3000, 128, **options).estimates
        for options in ({}, {"chunk": 5000, "workers": 1}, {"memory": 1 << 18, "workers": 3})
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


def test_uniform_tokens():
    tokens = np.random.default_rng(0).integers(0, 16, 400_000)
    table = bx.token_entropies(tokens, 16).table()
    expected = [np.log(16), np.log(16), 2 * np.log(16)]
    assert table.loc["tokens", ["SE", "CE", "JE"]].to_numpy(float) == pytest.approx(
        expected, abs=2e-3
    )


def test_a_markov_chain_has_its_entropy_rate():
    rng = np.random.default_rng(0)
    step = rng.dirichlet(np.full(5, 0.5), 5)
    chain = np.zeros((1000, 400), int)
    for i in range(1, 400):
        chain[:, i] = (rng.random((1000, 1)) > np.cumsum(step[chain[:, i - 1]], axis=1)).sum(axis=1)
    stationary = np.linalg.matrix_power(step, 500)[0]
    rate = stationary @ scipy.stats.entropy(step, axis=1)
    found = bx.token_entropies(chain[:, 100:], 5).table().loc["tokens"]
    assert found["CE"] == pytest.approx(rate, abs=5e-3)
    assert found["SE"] == pytest.approx(scipy.stats.entropy(stationary), abs=5e-3)


def test_a_constant_has_none():
    found = bx.token_entropies({"same": np.zeros(500, np.uint16), "two": np.arange(500) % 2}, 2)
    assert found.estimates.loc["same"].abs().max() < 1e-12
    assert np.isfinite(found.estimates.to_numpy()).all()
    assert np.isfinite(found.mixtures().to_numpy()).all()


@pytest.mark.parametrize("types", [300, 3000])
def test_corrected_estimates_are_nearer_to_the_truth(types):
    rng, shares = np.random.default_rng(0), 1 / np.arange(1, types + 1)
    shares /= shares.sum()
    truth = scipy.stats.entropy(shares)
    samples = [profile_of(rng.multinomial(1000, shares)) for _ in range(20)]
    bias = [np.mean([estimate(s) for s in samples]) - truth for estimate in
            (plug_in, miller_madow, chao_shen)]  # fmt: skip
    assert bias[0] < -0.1
    assert abs(bias[1]) < abs(bias[0])
    assert abs(bias[2]) < abs(bias[0])
    if types > 1000:  # most were never seen, which only coverage can tell
        assert abs(bias[2]) < abs(bias[1])


def test_chao_shen_is_its_formula():
    counts = np.array([1, 1, 2, 5, 9])
    n, share = counts.sum(), (1 - 2 / counts.sum()) * counts / counts.sum()
    expected = -np.sum(share * np.log(share) / (1 - (1 - share) ** n))
    assert chao_shen(profile_of(counts)) == pytest.approx(expected, abs=1e-12)
    assert np.isfinite(chao_shen(profile_of(np.ones(10, int))))
    assert chao_shen(profile_of(np.array([7]))) == 0


def test_the_curve_rises_to_the_whole_and_equal_sizes_are_equal():
    rng = np.random.default_rng(0)
    tokens = {"large": rng.integers(0, 500, 200_000), "small": rng.integers(0, 500, 20_480)}
    found = bx.token_entropies(tokens, 500, curve=True)
    large = found.curve[found.curve["domain"] == "large"]
    assert large["tokens"].tolist() == [4096, 16384, 20480, 65536]
    assert large["CE"].is_monotonic_increasing
    assert found.equal.loc["small"].equals(found.estimates.loc["small", "plug-in"])
    assert abs(found.equal["CE"].diff().iloc[-1]) < 0.02 < abs(found.table()["CE"].diff().iloc[-1])
    assert found.mixtures("equal").sum().to_numpy() == pytest.approx(np.ones(3))
    assert any("more text would change it" in note for note in found.notes)


def test_a_mixture_is_the_softmax():
    found = bx.entropy_mixture({"a": 1000.0, "b": 1000.0 + np.log(3)})
    assert found.to_numpy() == pytest.approx([0.25, 0.75])
    assert bx.entropy_mixture({"a": 1.0, "b": 9.0}, 1e9).to_numpy() == pytest.approx([0.5, 0.5])
    assert bx.entropy_mixture({"a": 0.0, "b": 9.0}, 1e-3).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("entropies", "temperature", "message"),
    [
        ({}, 1.0, "entropies: none; expected"),
        ({"a": np.nan, "b": 1.0}, 1.0, "a: nan; expected a finite number"),
        ({"a": -1.0}, 1.0, "a: -1"),
        ({"a": 1.0}, 0.0, "temperature is 0"),
        ({"a": 1.0}, np.nan, "temperature is nan"),
        (pd.Series([1.0, 2.0], ["a", "a"]), 1.0, "a is there twice"),
    ],
)
def test_what_is_no_mixture_is_refused(entropies, temperature, message):
    with pytest.raises(ValueError, match=message):
        bx.entropy_mixture(entropies, temperature)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ({}, {}, "no domain"),
        ({"web": []}, {}, "web is empty"),
        ({"web": np.array([], np.uint16)}, {}, "web is empty"),
        ({"web": [3]}, {}, "web: 1 tokens, but no two"),
        ({"web": [[3], [4]]}, {}, "web: 2 tokens, but no two"),
        ({"web": [1, 2, 10, 3]}, {}, "web: token id 10 at position 2; expected ids from 0 to 9"),
        ({"web": [1, -2]}, {}, "token id -2 at position 1"),
        ({"web": [0.5, 1.0]}, {}, "array of float64"),
        ({"web": np.zeros((2, 2, 2), int)}, {}, r"shape \(2, 2, 2\)"),
        ([1, 2], {"sequence_length": 1}, "sequence_length is 1"),
        ([1, 2], {"vocabulary": 0}, "vocabulary is 0"),
        ([1, 2], {"workers": 0}, "workers is 0"),
        ([1, 2], {"end_of_document": 10}, "end_of_document is 10; expected a token id from 0 to 9"),
        ([1, 2], {"end_of_document": -1}, "end_of_document is -1"),
    ],
)
def test_bad_tokens_are_refused(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        bx.token_entropies(tokens, **({"vocabulary": 10} | options))


def test_an_end_of_documents_that_is_nowhere_is_said():
    tokens = {"web": [1, 2, 0, 1, 2], "code": [3, 2, 3]}
    said = "The token 4, after which documents end, is in no domain."
    assert said in bx.token_entropies(tokens, 10, end_of_document=4).notes
    for end in (0, None):
        found = bx.token_entropies(tokens, 10, end_of_document=end)
        assert not any("after which documents end" in note for note in found.notes)


def test_a_single_sequence_is_enough():
    found = bx.token_entropies({"one": [1, 2, 1, 3]}, 10, curve=True)
    assert found.table().loc["one", "CE"] == pytest.approx(2 / 3 * np.log(2))
    assert np.isfinite(found.mixtures("equal").to_numpy()).all()


def test_unknown_estimators_are_refused():
    found = bx.token_entropies([1, 2], 10)
    with pytest.raises(ValueError, match="'best'; expected one of plug-in, miller-madow"):
        found.mixtures("best")
    with pytest.raises(ValueError, match="curve=True"):
        found.mixtures("equal")


@pytest.mark.parametrize(
    ("call", "given", "near"),
    [
        (lambda **given: bx.token_entropies([1, 2], 10, **given), "workrs", "workers"),
        (lambda **given: bx.corpus_entropies(["a.txt"], **given), "tokeniser", "tokenizer"),
    ],
)
def test_a_misspelt_setting_names_the_nearest_one(call, given, near):
    with pytest.raises(TypeError, match=rf"argument '{given}'; .* Did you mean {near}\?"):
        call(**{given: 2})
