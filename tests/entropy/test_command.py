"""`bimix entropy`: from text to a mixture that the other commands take."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from tests.fits import DOMAINS, frame


@pytest.fixture
def corpus(tmp_path):
    """A domain of text for each domain of the synthetic sweep."""
    (tmp_path / "corpus").mkdir()
    rng = np.random.default_rng(0)
    for i, name in enumerate(DOMAINS):
        letters = rng.choice(list("abcdefghijklmnop ")[: 4 + 6 * i], 20_000)
        (tmp_path / "corpus" / f"{name}.txt").write_text("".join(letters))
    return tmp_path / "corpus"


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None, result.exception
    return result.stdout


def test_text_becomes_a_mixture_that_goes_into_predict_and_optimize(corpus, tmp_path):
    mixture, picture = tmp_path / "mixture.json", tmp_path / "entropy.png"
    shown = invoke("entropy", *corpus.iterdir(), "--tokenizer", "bytes", "-o", mixture,
                   "--plot", picture)  # fmt: skip
    assert all(word in shown for word in ("SE", "CE", "JE", "Entropies", "Mixture", *DOMAINS))
    document = json.loads(mixture.read_text())
    assert sum(document["mixture"].values()) == pytest.approx(1)
    assert picture.stat().st_size > 10_000
    bx.fit(bx.read_sweep(frame()), bx.BiMix()).save(tmp_path / "fit.json")
    invoke("predict", tmp_path / "fit.json", mixture)
    assert "mixture" in invoke("optimize", tmp_path / "fit.json", "--reference", mixture)


def test_json_holds_the_mixtures_of_all_proxies(corpus):
    shown = invoke("entropy", *corpus.iterdir(), "--tokenizer", "bytes", "--json", "--no-curve",
                   "--proxy", "se", "--temperature", "2")  # fmt: skip
    document = json.loads(shown)
    entropies = {d: row["SE"] for d, row in document["entropies"]["plug-in"].items()}
    assert document["mixture"] == pytest.approx(bx.entropy_mixture(entropies, 2.0).to_dict())
    assert set(document["mixtures"][DOMAINS[0]]) == {"SE", "CE", "JE"}


def test_tokens_and_embeddings_by_name(tmp_path):
    for i, name in enumerate(("a", "b")):
        np.arange(5000, dtype=np.uint16).tofile(tmp_path / f"{name}.bin")
        np.save(tmp_path / f"{name}.npy", np.eye(3 + i))
    shown = invoke("entropy", f"x={tmp_path / 'a.bin'}", f"y={tmp_path / 'b.bin'}", "--vocabulary",
                   "5000", "--proxy", "vne", "--embeddings", f"x={tmp_path / 'a.npy'}",
                   "--embeddings", f"y={tmp_path / 'b.npy'}", "--json")  # fmt: skip
    assert json.loads(shown)["mixture"] == pytest.approx({"x": 3 / 7, "y": 4 / 7})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give a tokenizer.json"),
        (["--tokenizer", "bytes", "--proxy", "me"], "--proxy is 'me'"),
        (["--tokenizer", "bytes", "--proxy", "vne"], "--proxy vne needs --embeddings"),
        (["--tokenizer", "bytes", "--estimator", "best"], "estimator is 'best'"),
        (["--tokenizer", "bytes", "--temperature", "0"], "temperature is 0"),
    ],
)
def test_what_cannot_be_is_refused(corpus, options, message):
    result = CliRunner().invoke(app, ["entropy", *map(str, corpus.iterdir()), *options])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


def test_every_domain_may_have_its_own_field(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "abab"}\n')
    (tmp_path / "b.jsonl").write_text('{"content": "abc abc"}\n')
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--tokenizer", "bytes", "--json"]
    both = ["--text-field", "content", "--text-field", "a=body"]
    found = json.loads(invoke("entropy", *paths, *both))["entropies"]["plug-in"]
    assert [found[name]["tokens"] for name in "ab"] == [4, 7]
    for wrong, message in (
        (["--text-field", "body"], "no record of 1 has the key 'body'; found content"),
        (["--text-field", "body", "--text-field", "content"], "expected one of them"),
        (["--text-field", "c=body"], "no record of 1 has the key 'c=body'"),
    ):
        result = CliRunner().invoke(app, ["entropy", *map(str, paths), *wrong])
        assert message in str(result.exception)
    with pytest.raises(ValueError, match="text_field: 'c' is not a domain; expected a"):
        bx.corpus_entropies([tmp_path / "a.jsonl"], tokenizer="bytes", text_field={"c": "body"})
