"""`bimix optimize`: every option changes the result as it says, and what is wrong is refused."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.cli import main
from tests.fits import DOMAINS, frame

BUDGET = 2e10
REFERENCE = {"web": 0.2, "code": 0.3, "books": 0.5}
AVAILABLE = pd.DataFrame(
    {"domain": DOMAINS, "tokens": [3e9, 5e9, 1e11], "tokens_per_document": [500.0, 2000.0, 1e5]}
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    table = frame(noise=0.01)
    bx.fit(bx.read_sweep(table), bx.BiMix()).save(folder / "fit.json")
    in_steps = table.assign(tokens=table["tokens"] / 1e6).rename(columns={"tokens": "steps"})
    bx.fit(bx.read_sweep(in_steps), bx.BiMix()).save(folder / "steps.json")
    fitted = bx.load_fit(folder / "fit.json")
    of_documents = dataclasses.replace(fitted, metadata=bx.Metadata(share_unit="documents"))
    of_documents.save(folder / "documents.json")
    (folder / "mixture.json").write_text(json.dumps(REFERENCE))
    AVAILABLE.to_csv(folder / "there.csv", index=False)
    (folder / "plan.toml").write_text("lower = { web = 0.3 }\nupper = { books = 0.3 }\n")
    (folder / "sources.toml").write_text("".join(f'{d} = "/data/{d}"\n' for d in DOMAINS))
    return folder


@pytest.fixture
def call(inputs, monkeypatch, capsys):
    """Run `bimix optimize` beside the inputs: exit code, stdout, stderr."""

    def invoke(fit, *arguments):
        monkeypatch.chdir(inputs)
        monkeypatch.setattr(sys, "argv", ["bimix", "optimize", fit, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return invoke


@pytest.fixture
def best(call):
    """The JSON that a call prints."""

    def document(*arguments, fit="fit.json", budget=BUDGET):
        at = [] if budget is None else ["--budget", budget]
        code, printed, error = call(fit, *at, *arguments, "--json")
        assert (code, error) == (0, "")
        return json.loads(printed)

    return document


# ---- limits --------------------------------------------------------------------------------------


def test_bounds_and_fixed_shares_hold(best):
    free = best()
    held = best("--lower", "books=0.4", "--upper", "web=.2", "--fix", "code=0.3")
    assert held["mixture"]["code"] == pytest.approx(0.3, abs=1e-12)
    assert free["mixture"]["books"] < 0.4 - 1e-12 <= held["mixture"]["books"]
    assert free["mixture"]["web"] > 0.2 + 1e-12 >= held["mixture"]["web"]
    assert sum(held["mixture"].values()) == pytest.approx(1, abs=1e-12)
    assert held["objective"] > free["objective"]


@pytest.mark.parametrize(
    ("group", "least", "most"), [("=:0.3", 0, 0.3), ("=0.9:", 0.9, 1), ("=.1:.2", 0.1, 0.2)]
)
def test_sums_of_groups_hold(best, group, least, most):
    mixture = best("--group", f"web+code{group}")["mixture"]
    assert least - 1e-9 <= mixture["web"] + mixture["code"] <= most + 1e-9


def test_options_come_on_top_of_a_file(best):
    both = best("--constraints", "plan.toml")["mixture"]
    assert both["web"] >= 0.3 - 1e-12
    assert both["books"] <= 0.3 + 1e-12
    other = best("--constraints", "plan.toml", "--upper", "books=0.1")["mixture"]
    assert other["web"] >= 0.3 - 1e-12
    assert other["books"] <= 0.1 + 1e-12


def test_guardrails_hold_for_all_or_for_one(best):
    def worse(*options):
        found = best("--reference", "mixture.json", *options)
        return {t: found["losses"][t] / found["reference_losses"][t] - 1 for t in DOMAINS}

    free = worse()
    assert max(free.values()) > 0.001
    assert max(worse("--guardrail", "0.1").values()) <= 0.001 + 1e-6
    suffering = max(free, key=free.get)
    assert worse("--guardrail", f"{suffering}=0")[suffering] <= 1e-6


def test_a_pull_ends_nearer_to_the_reference(best):
    def distance(*options):
        found = best("--reference", "mixture.json", *options)["mixture"]
        return sum(abs(found[d] - REFERENCE[d]) for d in DOMAINS)

    free, pulled, held = distance(), distance("--kl", 0.3), distance("--kl", 100)
    assert free > pulled > held
    assert held < 0.01


def test_options_override_a_file_per_domain_and_target(best, inputs):
    (inputs / "both.toml").write_text(
        "kl = 0.1\nguardrail = 0.2\n[lower]\nweb = 0.3\ncode = 0.1\n"
        '[[groups]]\ndomains = ["web", "code"]\nleast = 0.5\n'
    )
    asked = best(
        "--constraints", "both.toml", "--lower", "code=0.25", "--kl", 0, "--guardrail", "web=10",
        "--group", "code+web=:0.9", "--group", "books+web=:0.9",
    )["constraints"]  # fmt: skip
    assert asked["lower"] == {"web": 0.3, "code": 0.25}
    assert asked["kl"] == 0
    assert asked["guardrail"] == {"web": 0.1, "code": 0.2, "books": 0.2}
    groups = [(g["domains"], g["least"], g["most"]) for g in asked["groups"]]
    assert groups == [(["code", "web"], 0, 0.9), (["books", "web"], 0, 0.9)]


def test_groups_of_the_same_domains_all_hold_beside_other_options(best, call, inputs):
    (inputs / "groups.toml").write_text(
        '[[groups]]\ndomains = ["web"]\nleast = 0.2\n[[groups]]\ndomains = ["web"]\nmost = 0.3\n'
    )
    asked = best("--constraints", "groups.toml", "--group", "code+books=:0.9")["constraints"]
    assert [(g["domains"], g["least"], g["most"]) for g in asked["groups"]] == [
        (["web"], 0.2, 1), (["web"], 0, 0.3), (["code", "books"], 0, 0.9),
    ]  # fmt: skip
    against = ("--group", "web+code=0.6:", "--group", "code+web=:0.5")
    for file in ((), ("--constraints", "groups.toml")):
        code, _, error = call("fit.json", *file, *against)
        assert code == 2
        assert "web + code" in error


def test_objectives(best):
    mean, worst = best(), best("--objective", "worst")
    assert max(worst["losses"].values()) < max(mean["losses"].values())
    goals = {target: 1.01 * loss for target, loss in mean["losses"].items()}
    options = [part for t, loss in goals.items() for part in ("--goal", f"{t}={loss}")]
    least = best(*options, budget=None)
    assert least["objective"] < BUDGET
    assert all(least["losses"][t] <= goals[t] * (1 + 1e-6) for t in DOMAINS)


# ---- tokens --------------------------------------------------------------------------------------


def used(recipe, prefix=""):
    return {d: row[f"{prefix}tokens"] for d, row in recipe.items()}


@pytest.mark.parametrize("given", [["there.csv"], [f"{d}=3e9" for d in DOMAINS[:2]]])
def test_epochs_times_available_is_the_tokens_used_and_epochs_limit_them(best, given):
    options = [part for text in given for part in ("--available", text)]
    shown = best(*options)
    assert shown["mixture"] == best()["mixture"]
    limited = best(*options, "--epochs", 1)
    assert limited["objective"] > shown["objective"]
    assert len(limited["binding"]) > 0
    for document in (shown, limited):
        recipe = document["recipe"]
        for prefix in ("", "rounded_"):
            assert sum(used(recipe, prefix).values()) == pytest.approx(BUDGET, rel=1e-12)
        known = {d: row for d, row in recipe.items() if row["available"] is not None}
        assert len(known) == (3 if given == ["there.csv"] else 2)
        for domain, row in known.items():
            assert row["epochs"] * row["available"] == pytest.approx(row["tokens"], rel=1e-12)
            assert row["tokens"] == pytest.approx(document["mixture"][domain] * BUDGET)
    assert max(row["epochs"] or 0 for row in limited["recipe"].values()) <= 1 + 1e-9


def test_tokens_without_epochs_limit_nothing_as_option_file_and_in_python(best, inputs):
    fitted, free = bx.load_fit(inputs / "fit.json"), best()["mixture"]
    few = bx.Constraints(available={"web": 1e8})
    (inputs / "few.toml").write_text("[available]\nweb = 1e8\n")
    for found in (
        best("--available", "web=100M"),
        best("--constraints", "few.toml"),
        bx.optimize_mixture(fitted, BUDGET, constraints=few).document(),
    ):
        assert found["mixture"] == pytest.approx(free, rel=1e-12)
        assert found["constraints"]["available"] == {"web": 1e8}
        assert found["epochs"]["web"] == pytest.approx(free["web"] * BUDGET / 1e8)
        assert any("available tokens limit nothing" in note for note in found["notes"])
    assert best("--constraints", "few.toml", "--epochs", 2)["mixture"]["web"] == pytest.approx(0.01)


@pytest.mark.parametrize("options", [("--tokens", 1e10), ("--tokens-per-step", 1e6)])
def test_tokens_of_a_fit_in_steps_are_said(best, options):
    vague = best(fit="steps.json", budget=1e4)
    assert "tokens" not in vague["recipe"]["web"]
    planned = best(
        *options, "--available", "there.csv", "--epochs", 1, fit="steps.json", budget=1e4
    )
    assert sum(used(planned["recipe"]).values()) == pytest.approx(1e10)
    assert planned["recipe"]["web"]["epochs"] <= 1 + 1e-9
    assert planned["mixture"]["web"] <= 0.3 + 1e-9


def test_shares_of_documents_are_shown_as_tokens_but_not_limited_by_them(best, call):
    document = best("--available", "there.csv", fit="documents.json")
    lengths = AVAILABLE.set_index("domain")["tokens_per_document"]
    tokens = pd.Series(document["mixture"]) * lengths
    shares = pd.Series({d: row["share"] for d, row in document["recipe"].items()})
    pd.testing.assert_series_equal(shares, tokens / tokens.sum(), check_names=False)
    limit = ("--available", "there.csv", "--epochs", 1)
    code, printed, error = call("documents.json", *limit)
    assert (code, printed) == (2, "")
    assert "the fit's shares are of documents" in error


# ---- what is emitted -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "megatron", "hf", "streaming", "olmix", "text"])
def test_a_form_is_printed_alone_and_its_stamp_is_said_somewhere(call, inputs, tmp_path, form):
    options = ("--budget", BUDGET, "--available", "there.csv", "--emit", form)
    options += ("--paths", "sources.toml", "--digits", 3)
    code, printed, error = call("fit.json", *options)
    assert code == 0
    assert "A prediction for the model size" in error
    assert "Recommended" not in printed + error
    stamp, silent = (printed, error) if form != "megatron" else (error, printed)
    assert "bimix optimize fit.json --budget 20000000000.0" in stamp
    assert bx.__version__ in stamp
    assert "bimix optimize" not in silent
    out = tmp_path / "file"
    assert call("fit.json", *options, "-o", out)[0] == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == ({"file", "file.stamp.json"} if form == "megatron" else {"file"})
    without_command = [line for line in printed.splitlines() if "bimix optimize" not in line]
    assert [line for line in out.read_text().splitlines() if "bimix opt" not in line] == (
        without_command
    )


def test_weights_have_the_digits_asked_for_and_sum_to_one(call):
    for digits in (2, 12):
        text = call("fit.json", "--emit", "text", "--digits", digits)[1]
        weights = [line.split()[0] for line in text.splitlines() if line[0] != "#"]
        assert sum(map(float, weights)) == pytest.approx(1, abs=1e-12)
        assert max(len(w) for w in weights) == len("0.") + digits


def test_the_hash_of_the_constraints_tells_them_apart(call):
    def stamp(*options):
        text = call("fit.json", *options, "--emit", "json")[1]
        return json.loads(text)["stamp"]["constraints"]

    hashes = {
        stamp(),
        stamp("--lower", "web=0.1"),
        stamp("--weight", "web=2", "--weight", "code=1"),
    }
    assert len(hashes) == 3
    assert "none" in hashes


# ---- bad input -----------------------------------------------------------------------------------

BAD = {
    "bound in words": (["--lower", "web=much"], "--lower web is 'much'; expected a share"),
    "half a bound": (["--upper", "web"], "--upper is 'web'; expected NAME=VALUE"),
    "unknown domain": (["--fix", "wiki=0.1"], "wiki is unknown"),
    "floors that do not fit": (["--lower", "web=0.7", "--lower", "code=.6"], "1.3"),
    "half a group": (["--group", "web+code=0.4"], "expected A+B=LEAST:MOST"),
    "unknown member": (["--group", "web+wiki=:0.4"], "wiki is unknown"),
    "epochs of 0": (["--available", "web=1e9", "--epochs", "0"], "epochs is 0.0"),
    "too few tokens": (["--available", "there.csv", "--epochs", "0.01"], "by its available tokens"),
    "unknown source": (["--available", "wiki=1e9"], "wiki is unknown"),
    "no tokens": (["--available", "web=-1"], "available: web is -1.0; expected tokens"),
    "no table": (["--available", "gone.csv"], "gone.csv does not exist"),
    "steps without tokens": (["--available", "there.csv", "--epochs", "1"], "tokens_per_step"),
    "guardrail in words": (["--guardrail", "web=little"], "--guardrail web is 'little'"),
    "unknown objective": (["--objective", "median"], "median"),
    "goals of another objective": (
        ["--objective", "worst", "--goal", "web=2"], "--objective does nothing with --goal"
    ),
    "no plan": (["--constraints", "gone.toml"], "gone.toml does not exist"),
    "epochs of nothing": (["--epochs", "4"], "--epochs limits how often"),
    "a bound twice": (["--lower", "web=0.1", "--lower", "web=0.2"], "web is there twice"),
    "a budget that is found": (
        ["--goal", "web=2", "--budget", "1e9"], "--budget does nothing"
    ),
    "steps of tokens": (
        ["--available", "web=1e9", "--epochs", "1", "--tokens-per-step", "4"], "budgets are tokens"
    ),
    "guardrail beyond 100 %": (["--guardrail", "150"], "guardrail is 1.5"),
    "output is an input": (["--emit", "text", "-o", "plan.toml", "--constraints", "plan.toml"],
                           "plan.toml is an input itself"),
    "output in no folder": (["--emit", "text", "-o", "gone/mix.txt"], "gone does not exist"),
    "path map not TOML": (["--emit", "hf", "--paths", "there.csv"], "is not a complete TOML file"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_a_paragraph_and_leaves_nothing(call, inputs, arguments, words):
    before = {path.name: path.read_bytes() for path in Path(inputs).iterdir()}
    fit = "steps.json" if words == "tokens_per_step" else "fit.json"
    code, printed, error = call(fit, *arguments)
    assert (code, printed) == (2, "")
    assert error.startswith("bimix: ")
    assert words in error
    assert "\n" not in error.rstrip("\n")
    assert {path.name: path.read_bytes() for path in Path(inputs).iterdir()} == before


def test_the_mixture_is_that_of_python(best, inputs):
    found = best(
        "--lower", "books=0.3", "--guardrail", "5", "--weight", "web=1", "--weight", "code=3"
    )
    asked = bx.Constraints(lower={"books": 0.3}, guardrail=0.05)
    fitted = bx.load_fit(inputs / "fit.json")
    expected = bx.optimize_mixture(fitted, BUDGET, {"web": 1, "code": 3}, constraints=asked)
    np.testing.assert_allclose([found["mixture"][d] for d in DOMAINS], expected.mixture)
