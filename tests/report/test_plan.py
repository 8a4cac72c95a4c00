"""Plans: what they hold, their TOML, and how they are refused."""

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bimix_jax as bx
from bimix_jax.quantities import quantity_text
from bimix_jax.report._template import template
from bimix_jax.report.plan import Plan
from tests.fits import DOMAINS, frame

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
SHARES = st.dictionaries(NAMES, st.floats(0, 1), max_size=3)
PLANS = st.builds(
    Plan,
    sweep=st.lists(NAMES.map(lambda name: name.replace("/", "-").strip(".") or "x"), max_size=2),
    read=st.dictionaries(st.sampled_from(["run", "budget"]), NAMES, max_size=2),
    exclude=st.lists(NAMES, max_size=2),
    budget=st.none() | st.floats(1, 1e15),
    constraints=st.builds(
        bx.Constraints,
        lower=SHARES,
        available=st.dictionaries(NAMES, st.floats(0, 1e13), max_size=3),
        epochs=st.none() | st.floats(0.1, 10),
        groups=st.lists(
            st.builds(
                bx.Group, st.lists(NAMES, min_size=1, max_size=2, unique=True), most=st.floats(0, 1)
            ),
            max_size=2,
        ),
        guardrail=st.none() | st.floats(0, 0.5) | st.dictionaries(NAMES, st.floats(0, 0.5)),
        weights=st.none() | SHARES,
    ),
    reference=st.none() | st.sampled_from(["uniform", "run:a/b"]) | SHARES,
    laws=st.lists(st.sampled_from(["BiMix", "WithWarmUp(BiMix)"]), max_size=2),
    seed=st.integers(0, 2**31),
    emit=st.lists(st.sampled_from(["json", "hf"]), max_size=2),
)


@given(PLANS)
def test_the_file_of_a_plan_holds_all_of_it(plan):
    assert Plan.from_dict(plan.to_dict()) == plan
    assert Plan.from_dict(tomllib.loads(plan.to_toml())) == plan


def test_a_table_of_tokens_is_a_file_and_tokens_by_domain_are_a_constraint():
    named = Plan.from_dict({"available": "tokens.csv", "epochs": 4})
    listed = Plan.from_dict({"available": {"web": "1.5T"}, "epochs": 4})
    assert (named.available, dict(named.constraints.available)) == ("tokens.csv", {})
    assert (listed.available, dict(listed.constraints.available)) == (None, {"web": 1.5e12})
    assert Plan.from_dict(named.to_dict()) == named


def test_files_are_relative_to_the_folder_of_the_plan(tmp_path, monkeypatch):
    frame().to_csv(tmp_path / "sweep.csv", index=False)
    (tmp_path / "plans").mkdir()
    monkeypatch.chdir(tmp_path)
    plan = Plan(sweep="sweep.csv", reference="uniform", budget="12.8B")
    (tmp_path / "plans" / "p.toml").write_text(plan.to_toml("plans"))
    assert 'sweep = ["../sweep.csv"]' in plan.to_toml("plans")
    assert Plan.load("plans/p.toml") == plan
    monkeypatch.chdir(tmp_path / "plans")
    assert Plan.load("p.toml").read_measured().domains == DOMAINS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bugdet = 1e9", "plan: bugdet is unknown.*Did you mean budget"),
        ("budget = -1", "budget is -1; expected a number above 0"),
        ("web/en = 0.1", 'Write such a name in quotes: "web/en" = …'),
        ("[lower]\nweb = 7", "lower: web is 7; expected a proportion"),
        ("laws = 3", "laws is 3; expected a text, or a list of texts"),
        ("resamples = 1.5", "resamples is 1.5; expected a whole number, 2 or more"),
        ("level = 1", "level is 1; expected a share between 0 and 1"),
        ('emit = ["megatorn"]', "form is 'megatorn'; expected one of json"),
        ("read = 4", "read is 4; expected a table"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_file(tmp_path, text, words):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        Plan.load(tmp_path / "plan.toml")
    assert str(tmp_path / "plan.toml") in str(caught.value)


def test_options_of_reading_are_those_of_the_readers(tmp_path):
    frame().to_csv(tmp_path / "sweep.csv", index=False)
    plan = Plan(sweep=str(tmp_path / "sweep.csv"), read={"buget": "tokens"})
    with pytest.raises(ValueError, match=r"read: read_sweep\(\).*Did you mean budget"):
        plan.read_measured()
    with pytest.raises(ValueError, match="the plan names no table of runs"):
        Plan().read_measured()
    whole = Plan(sweep=str(tmp_path / "sweep.csv"), exclude="run03", from_budget=2e8)
    measured = whole.read_measured()
    assert len(measured.runs) == 11
    assert measured.budget.min() >= 2e8


def test_a_sweep_in_steps_is_not_asked_about_tokens():
    steps = bx.read_sweep(frame().rename(columns={"tokens": "step"}))
    most = f"{quantity_text(steps.largest_budget)} steps"
    with pytest.raises(ValueError, match=f"the largest of the sweep, {most}. If it is in tokens"):
        Plan(budget=2e4 * steps.largest_budget).for_sweep(steps)
    assert Plan(budget=2e3 * steps.largest_budget).for_sweep(steps).budget > 0
    # Proxies of some million tokens stand for models of trillions.
    tokens = bx.read_sweep(frame())
    assert Plan(budget=2e4 * tokens.largest_budget).for_sweep(tokens).budget > 0


def test_the_template_is_a_plan_with_and_without_its_comments():
    sweep = bx.read_sweep(frame().rename(columns={"r_web": "r_web/en", "loss_web": "loss_web/en"}))
    plan = Plan(sweep="sweep.csv", exclude="run01", read={"run": "run"})
    text = template(plan, sweep)
    assert Plan.from_dict(tomllib.loads(text)) == plan
    entries = [line.removeprefix("# ") for line in text.splitlines()]
    bare = "\n".join(e for e in entries if re.match(r'("[^"]+"|\w+) = |\[.*\]$', e))
    filled = Plan.from_dict(tomllib.loads(bare.replace('available = "available.csv"\n', "")))
    assert set(filled.constraints.lower) == {"web/en", "code", "books"}
    assert filled.reference == "best-run"
    assert len(filled.constraints.groups) == 1
