"""Tokens, epochs and weights of a recipe, and the files it is emitted as."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bimix_jax as bx
from bimix_jax.printable import json_text
from bimix_jax.recipe.forms import RECIPE_FORMS, WITH_PATHS
from bimix_jax.recipe.recipe import Stamp, _rounded
from tests.fits import DOMAINS, frame, without_web

BUDGET = 2e10
LENGTHS = {"web": 500.0, "code": 2000.0, "books": 100_000.0}
AVAILABLE = pd.DataFrame(
    {"domain": DOMAINS, "tokens": [3e9, 5e9, 1e11], "tokens_per_document": LENGTHS.values()}
)
PATHS = {domain: (f"/data/{domain}_text_document",) for domain in DOMAINS}


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame(noise=0.01)), bx.BiMix())


@pytest.fixture(scope="module")
def best(fitted):
    return bx.optimize_mixture(fitted, BUDGET)


@pytest.fixture(scope="module")
def recipe(best, fitted):
    return bx.make_recipe(best, fitted, AVAILABLE)


def domain_of(path):
    return path.removeprefix("/data/").removesuffix("_text_document")


def read_back(form, text):
    """Domain → share of the tokens, as the training stack would take the file."""
    if form == "megatron":
        words = text.split()
        return {domain_of(p): float(w) for w, p in zip(words[::2], words[1::2], strict=True)}
    if form == "hf":
        document = json.loads(text)
        shares = document["interleave_datasets"]["probabilities"]
        by_domain = pd.Series(shares, index=document["domains"])
        return bx.token_shares(by_domain, pd.Series(LENGTHS)).to_dict()
    if form == "json":
        return json.loads(text)["mixture"]
    if form == "text":
        lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
        return {line[1]: float(line[0]) for line in lines}
    if form == "ray":
        document = json.loads(text)
        by_domain = pd.Series(document["mix"]["weights"], index=document["domains"])
        return bx.token_shares(by_domain, pd.Series(LENGTHS)).to_dict()
    if form == "nemo":
        zipped = json.loads(text)["paths"]
        return {
            domain_of(path): float(w) for w, path in zip(zipped[::2], zipped[1::2], strict=True)
        }
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(text)
    if form == "nanotron":
        dataset = document["data_stages"][0]["data"]["dataset"]
        pairs = zip(dataset["dataset_folder"], dataset["dataset_weights"], strict=True)
        return {domain_of(path): weight for path, weight in pairs}
    if form == "levanter":
        return document["data"]["train_weights"]
    if form == "streaming":
        return {name: stream["proportion"] for name, stream in document["streams"].items()}
    return {name: entry["weight"] for name, entry in document["mix"].items()}


@pytest.mark.parametrize("form", RECIPE_FORMS)
def test_every_form_reads_back_to_the_mixture(recipe, best, form):
    shares = read_back(form, recipe.emit(form, PATHS))
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert shares == pytest.approx(best.mixture.to_dict(), abs=1e-6)


@pytest.mark.parametrize("form", RECIPE_FORMS)
def test_every_file_says_where_it_comes_from(recipe, fitted, tmp_path, form):
    written = recipe.save(tmp_path / "recipe", form, PATHS)
    fitted.save(tmp_path / "fit.json")
    fit = hashlib.sha256((tmp_path / "fit.json").read_bytes()).hexdigest()
    text = "".join(path.read_text() for path in written)
    for part in (fit, "2e+10 tokens", "bimix_jax.make_recipe", bx.__version__, "constraints"):
        assert part in text


HOSTILE = {"a\nb": 0.5, "on": 0.2, "1e5": 0.1, "x\u2028y": 0.1, "two  blanks": 0.05,
           "\x1b[31m#": 0.04998, "'q': \"r\"": 1e-5, "tiny": 1e-5}  # fmt: skip


def recipe_of(shares):
    stamp = Stamp("f", "none", "1 tokens", "bimix optimize --lower 'a\nmix: {evil: 1}'")
    weights = pd.Series(shares)
    return bx.Recipe(weights, weights, 1e6, None, stamp)


@pytest.mark.parametrize("form", [form for form in RECIPE_FORMS if form != "megatron"])
def test_every_form_gives_back_hostile_names_and_small_weights(form):
    paths = {domain: (f"/data/{i}",) for i, domain in enumerate(HOSTILE)}
    text = recipe_of(HOSTILE).emit(form, paths)
    if form == "hf":
        document = json.loads(text)
        found = dict(
            zip(document["domains"], document["interleave_datasets"]["probabilities"], strict=True)
        )
    elif form == "ray":
        document = json.loads(text)
        found = dict(zip(document["domains"], document["mix"]["weights"], strict=True))
    elif form == "text":
        lines = [line.split("  ", 1) for line in text.split("\n") if line and line[0] != "#"]
        cells = {rest: float(weight) for weight, rest in lines}
        names = {json_text(name): name for name in HOSTILE} | {name: name for name in HOSTILE}
        found = {names[rest.rsplit("  ", 1)[0]]: weight for rest, weight in cells.items()}
    else:
        found = read_back(form, text)
    if form in ("nemo", "nanotron"):  # they name paths alone
        names = list(HOSTILE)
        found = {names[int(place)]: weight for place, weight in found.items()}
    assert found == pytest.approx(HOSTILE)
    assert all(type(weight) is float for weight in found.values())


def test_streams_of_several_paths_take_no_domains_name():
    yaml = pytest.importorskip("yaml")
    shares = {"web": 0.4, "web_0": 0.3, "web__1": 0.3}
    paths = {"web": ("/a", "/b"), "web_0": ("/c",), "web__1": ("/d",)}
    streams = yaml.safe_load(recipe_of(shares).emit("streaming", paths))["streams"]
    assert {stream["local"]: stream["proportion"] for stream in streams.values()} == {
        "/a": 0.2, "/b": 0.2, "/c": 0.3, "/d": 0.3,
    }  # fmt: skip


def test_epochs_times_available_is_what_is_used(recipe, best):
    table = recipe.table()
    for prefix, shares in (("", best.mixture), ("rounded_", recipe.weights)):
        used = table[f"{prefix}epochs"] * table["available"]
        np.testing.assert_allclose(used, table[f"{prefix}tokens"], rtol=1e-14)
        np.testing.assert_allclose(used, shares * BUDGET, rtol=1e-14)
        assert used.sum() == pytest.approx(BUDGET, rel=1e-14)


def test_tokens_need_no_table_and_epochs_do(best, fitted):
    table = bx.make_recipe(best, fitted).table()
    assert list(table) == ["share", "tokens", "rounded", "rounded_tokens"]
    assert table["tokens"].sum() == pytest.approx(BUDGET)


def test_planned_tokens_are_asked_for_where_budgets_are_steps(best, fitted):
    import dataclasses

    asked = best.decision
    in_steps = dataclasses.replace(
        best,
        decision=dataclasses.replace(asked, fitted=dataclasses.replace(asked.fitted, unit="steps")),
    )
    vague = bx.make_recipe(in_steps, fitted)
    assert "tokens" not in vague.table()
    assert "--tokens" in vague.notes[0]
    assert bx.make_recipe(in_steps, fitted, tokens=1e9).table()["tokens"].sum() == pytest.approx(
        1e9, rel=1e-15
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda v: sum(v) > 0.1),
       st.integers(2, 12))  # fmt: skip
def test_rounded_shares_sum_to_one_and_stay_close(values, digits):
    shares = pd.Series(values) / sum(values)
    near = _rounded(shares, digits)
    assert abs(near.sum() - 1) <= 1e-12
    assert np.all(near >= 0)
    assert np.max(np.abs(near - shares)) < 10.0**-digits * (1 + 1e-6)
    np.testing.assert_allclose(near * 10**digits, np.round(near * 10**digits), atol=1e-3)


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(1, 1e6)), min_size=1, max_size=8))
def test_document_shares_are_undone_by_token_shares(pairs):
    shares = pd.Series([share for share, _ in pairs]) / sum(share for share, _ in pairs)
    lengths = pd.Series([length for _, length in pairs])
    documents = bx.document_shares(shares, lengths)
    assert documents.sum() == pytest.approx(1, abs=1e-12)
    # A corpus of that many documents has those shares of tokens.
    np.testing.assert_allclose(documents * lengths / (documents * lengths).sum(), shares)
    np.testing.assert_allclose(bx.token_shares(documents, lengths), shares)


def test_shares_of_documents_become_shares_of_tokens(best, fitted):
    import dataclasses

    of_documents = dataclasses.replace(fitted, metadata=bx.Metadata(share_unit="documents"))
    shares = bx.make_recipe(best, of_documents, AVAILABLE).shares
    expected = best.mixture * pd.Series(LENGTHS)
    pd.testing.assert_series_equal(shares, expected / expected.sum(), check_names=False)
    with pytest.raises(ValueError, match="tokens_per_document"):
        bx.make_recipe(best, of_documents)


def test_a_source_without_a_share_is_left_out(fitted, best):
    import dataclasses

    solution = best.solution._replace(mixture=np.array([0.0, 0.25, 0.75]))
    without = bx.make_recipe(dataclasses.replace(best, solution=solution), fitted)
    assert without.emit("megatron", PATHS).split()[::2] == ["0.25", "0.75"]
    assert json.loads(without.emit("hf", PATHS))["domains"] == ["code", "books"]


def test_the_stopping_rule_follows_from_epochs(fitted, best):
    def rule(tokens):
        there = AVAILABLE.assign(tokens=tokens)
        text = bx.make_recipe(best, fitted, there).emit("hf", PATHS)
        document = json.loads(text)
        return document["interleave_datasets"]["stopping_strategy"], document["why"][1]

    assert rule(1e12)[0] == "first_exhausted"
    strategy, why = rule([1e9, 1e12, 1e12])
    assert strategy == "all_exhausted"
    assert "epochs" in why
    assert "must be repeated" in rule(1e8)[1]


def test_weights_of_targets_change_the_hash(fitted, recipe):
    weighted = bx.make_recipe(bx.optimize_mixture(fitted, BUDGET, {"web": 2, "code": 1}), fitted)
    assert recipe.stamp.constraints == "none"
    assert len(weighted.stamp.constraints) == 64


def test_several_paths_share_the_weight(recipe):
    paths = {**PATHS, "web": ("/data/web_0", "/data/web_1")}
    words = recipe.emit("megatron", paths).split()
    assert words[0] == words[2]
    assert sum(map(float, words[::2])) == pytest.approx(1, abs=1e-12)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('web = "a"\ncode = "b"', "no value for books"),
        ('web = "a"\ncode = "b"\nbooks = "c"\nwiki = "d"', "wiki is unknown"),
        ('web = "a"\ncode = "b"\nbooks = 3', "books is 3; expected a path"),
        ("web = ", "is not a complete TOML file"),
    ],
)
def test_bad_paths_are_refused(tmp_path, text, words):
    path = tmp_path / "sources.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        bx.read_paths(path, DOMAINS)


@pytest.mark.parametrize(
    ("form", "paths", "words"),
    [
        ("yaml", PATHS, "form is 'yaml'; expected one of json, megatron"),
        ("megatron", None, "megatron names the data of every domain"),
        ("megatron", {**PATHS, "web": ("/my data",)}, "white space"),
        ("megatron", {**PATHS, "web": {"remote": "s3://web"}}, "megatron takes paths"),
    ],
)
def test_bad_emissions_are_refused(recipe, form, paths, words):
    with pytest.raises(ValueError, match=words):
        recipe.emit(form, paths)


def test_forms_that_need_paths_are_those_that_are_listed(recipe):
    def needs(form):
        try:
            recipe.emit(form)
        except ValueError:
            return True
        return False

    assert tuple(filter(needs, RECIPE_FORMS)) == WITH_PATHS


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (AVAILABLE.drop(columns="tokens"), "expected domain, tokens"),
        (AVAILABLE.iloc[:2], "no value for books"),
        (AVAILABLE.assign(tokens=[1e9, 0, 1e9]), "code has tokens = 0"),
        (AVAILABLE.assign(tokens=["much", 1, 1]), "web has tokens = much"),
    ],
)
def test_bad_tables_of_tokens_are_refused(table, words):
    with pytest.raises(ValueError, match=words):
        bx.read_available(table, DOMAINS)


def test_documents_give_the_tokens_of_one():
    table = AVAILABLE.drop(columns="tokens_per_document").assign(documents=[1e6, 1e6, 1e6])
    assert bx.read_available(table)["tokens_per_document"].tolist() == [3000, 5000, 100000]


def test_zero_shares_survive_the_whole_way():
    sweep = bx.read_sweep(without_web(frame(noise=0.01)))
    fitted = bx.fit(sweep, bx.BiMix())
    recipe = bx.make_recipe(bx.optimize_mixture(fitted), fitted)
    assert recipe.weights.sum() == pytest.approx(1, abs=1e-12)


def test_constraints_give_tokens_and_epochs_and_enter_the_hash(fitted, recipe):
    asked = bx.Constraints(available={"books": 4e9}, epochs=2, tokens_per_step=1.0, tokens=1e10)
    best = bx.optimize_mixture(fitted, BUDGET, constraints=asked)
    held = bx.make_recipe(best, fitted)
    table = held.table()
    assert table["tokens"].sum() == pytest.approx(1e10)
    assert table["epochs"].isna().tolist() == [True, True, False]
    assert table.loc["books", "epochs"] <= 2 + 1e-6
    assert table.loc["books", "epochs"] == pytest.approx(best.epochs["books"], rel=1e-9)
    assert held.stamp.constraints != recipe.stamp.constraints
    assert "all_exhausted" in held.emit("hf", PATHS)


def test_numbers_with_suffixes_and_names_like_missing_ones_are_read():
    given = pd.DataFrame(
        {
            "domain": ["NA", "null", "plain"],
            "tokens": ["1.2B", "300,000", 5e7],
            "documents": [None, "3K", 10],
        }
    )
    with pytest.warns(UserWarning, match="300,000 was read as 300000"):
        table = bx.read_available(given, ("plain", "null", "NA"))
    assert table.loc[["NA", "null", "plain"], "tokens"].tolist() == [1.2e9, 3e5, 5e7]
    assert table.loc["null", "tokens_per_document"] == 100.0
    with pytest.raises(ValueError, match="NA has tokens = many; expected a number above 0"):
        bx.read_available(given.assign(tokens="many"))


def test_repetition_that_nothing_limits_is_said(fitted):
    few = dict.fromkeys(fitted.domains, 1e3)
    free = bx.make_recipe(bx.optimize_mixture(fitted), fitted, few)
    assert any("Nothing limits repetition" in note and "times" in note for note in free.notes)
    asked = bx.Constraints(available=few, epochs=1e9)
    held = bx.make_recipe(bx.optimize_mixture(fitted, constraints=asked), fitted, few)
    assert not any("repetition" in note for note in held.notes)


def test_a_table_of_what_exists_that_was_cut_is_said(tmp_path):
    path = tmp_path / "there.csv"
    path.write_text("domain,tokens,documents\nlaw,3e9,10\nprose,1.")
    with pytest.warns(UserWarning, match=r"there\.csv: The last row has 2 of 3 cells"):
        bx.read_available(path)


def test_a_document_of_what_exists_is_told_what_a_table_holds(tmp_path):
    (tmp_path / "priors.yaml").write_text("token_counts:\n  web: 1000\n")
    with pytest.raises(ValueError, match=r"priors\.yaml is not a table.*domain and tokens"):
        bx.read_available(tmp_path / "priors.yaml")


def test_columns_of_what_exists_that_are_not_used_are_named():
    table = pd.DataFrame({"domain": ["web"], "tokens": [1e9], "documents (M)": [1.0]})
    with pytest.warns(UserWarning, match=r"columns that are not used: documents \(M\)"):
        assert bx.read_available(table)["tokens_per_document"].isna().all()
