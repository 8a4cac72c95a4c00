"""Every command that does a thing has the same options for it, and Python's defaults."""

import dataclasses
import importlib
import inspect
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import FILES, _Commands, app, command
from bimix_jax.cli.fit_options import FitSettings, HeldOut, WeightedByBudget
from bimix_jax.cli.limits import Limits
from bimix_jax.cli.options import Output, SweepOptions, selection
from bimix_jax.design.propose import _Goal as GoalSettings
from bimix_jax.entropy.corpus import _Asked as CorpusSettings
from bimix_jax.entropy.corpus import corpus_entropies
from bimix_jax.fitting.options import FitOptions
from bimix_jax.judging.automatic import AUTO
from bimix_jax.judging.compare import _Settings as CompareSettings
from bimix_jax.logs._settings import Asked as LogSettings
from bimix_jax.mixture.decision import Request
from bimix_jax.sweeps.read import _Asked as TableSettings
from tests.fits import frame

COMMANDS = _Commands(FILES)


def options_of(name):
    """Option → its parameter, of a command."""
    return {p.name: p for p in COMMANDS[name].params if p.param_type_name == "option"}


def fields_of(group):
    """Names of the options of a group, its argument left out."""
    return {f.name for f in dataclasses.fields(group)} - {"file"}


GROUPS = {
    SweepOptions: {
        "check", "fit", "evaluate", "compare", "certainty", "propose", "decide", "predict",
    },
    FitSettings: {"fit", "certainty", "propose"},
    WeightedByBudget: {"batch"},
    HeldOut: {"evaluate", "compare"},
    Limits: {"optimize", "certainty", "path", "tradeoff", "sensitivity", "propose", "decide"},
    Output: {
        "fit", "evaluate", "compare", "certainty", "propose", "optimize", "path", "tradeoff",
        "sensitivity", "entropy",
    },
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_commands_have_all_of_a_group_spelled_and_explained_alike(group):
    shown = {
        name: {
            field: (p.opts, p.default, p.help, p.metavar, p.rich_help_panel)
            for field, p in options_of(name).items() if field in fields_of(group)
        }
        for name in GROUPS[group]
    }  # fmt: skip
    first = next(iter(shown.values()))
    assert set(first) == fields_of(group)
    assert [name for name, options in shown.items() if options != first] == []


@pytest.mark.parametrize("group", [SweepOptions, Limits])
def test_no_command_has_a_part_of_a_group(group):
    own = (
        fields_of(group)
        - {"tokens_per_step", "select", "endpoints_only", "mixture_prefix"}
        - {"exclude", "from_budget"}
    )
    some = {name for name in FILES if len(own & set(options_of(name))) > 1}
    assert some == GROUPS[group]


VERBS = {
    "fit": [FitOptions], "evaluate": [bx.compare, CompareSettings, FitOptions],
    "compare": [bx.compare, CompareSettings],
    "certainty": [bx.certainty, Request, bx.bootstrap, FitOptions],
    "propose": [bx.propose_runs, GoalSettings, FitOptions],
    "optimize": [bx.optimize_mixture], "path": [bx.optimal_path], "tradeoff": [bx.tradeoff],
    "sensitivity": [bx.sensitivity], "batch": [FitOptions], "import": [LogSettings],
    "check": [TableSettings], "entropy": [corpus_entropies, CorpusSettings],
}  # fmt: skip
CALLED = {
    "law": "laws", "split": "splits", "target": "targets", "goal": "goals", "weight": "weights",
    "budget_column": "budget", "run_column": "run", "resamples": "n",
}  # fmt: skip
"""Options that are singular, as they are given several times, or called otherwise in Python."""
SAID_OTHERWISE = {("entropy", "text_field"), ("evaluate", "law"), ("evaluate", "shrinkage")}
"""Options whose default has another form in Python: what the help names is None there."""


@pytest.mark.parametrize("name", VERBS)
def test_defaults_are_those_of_python(name):
    known = {}
    for verb in reversed(VERBS[name]):
        known |= inspect.signature(verb).parameters
    empty = inspect.Parameter.empty
    unlike = {}
    for option, shown in options_of(name).items():
        verbs = known.get(option) or known.get(CALLED.get(option, option))
        if verbs is None or verbs.default is empty or (name, option) in SAID_OTHERWISE:
            continue
        if (shown.default or None) != (verbs.default or None):
            unlike[option] = (shown.default, verbs.default)
    assert unlike == {}


def test_the_law_and_the_steps_that_no_signature_holds():
    fitted = bx.fit(bx.read_sweep(frame()))
    assert options_of("fit")["law"].default == AUTO
    assert fitted.notes[0].startswith(f"{fitted.law.label} was chosen by its error")
    assert options_of("path")["steps"].default == len(bx.optimal_path(fitted).mixtures)


def test_a_name_twice_in_a_command_is_refused():
    def twice(sweep: SweepOptions, again: SweepOptions) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name"):
        command(twice)


# ---- what they do --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    table = frame(noise=0.01)
    table.to_csv(folder / "sweep.csv", index=False)
    table.assign(**{"lr=0.1": 1, "lr": 2, "sched": "a=b"}).to_csv(folder / "marks.csv", index=False)
    bx.fit(bx.read_sweep(table)).save(folder / "fit.json")
    (folder / "mixture.json").write_text('{"web": 0.2, "code": 0.3, "books": 0.5}')
    return folder


@pytest.fixture
def call(inputs, monkeypatch):
    """Run a command beside its inputs."""

    def invoke(*arguments):
        monkeypatch.chdir(inputs)
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return invoke


@pytest.fixture
def document(call):
    """The JSON that a command prints."""

    def invoke(*arguments):
        ended = call(*arguments, "--json")
        assert ended.exception is None, ended.output
        return json.loads(ended.stdout)

    return invoke


LIMITED = ("--lower", "books=40%", "--reference", "mixture.json", "--guardrail", "20")
ASKED = bx.Constraints(lower={"books": 0.4}, guardrail=0.2)
REFERENCE = {"web": 0.2, "code": 0.3, "books": 0.5}


def test_verbs_of_a_fit_keep_limits_and_the_reference_as_python_does(document, inputs):
    fitted = bx.load_fit(inputs / "fit.json")
    held = {"reference": REFERENCE, "constraints": ASKED}
    path = document("path", "fit.json", "--steps", 2, *LIMITED)["mixtures"]
    expected = bx.optimal_path(fitted, fitted.observed_budgets * [1, 2], **held).mixtures
    assert list(path.values())[1] == pytest.approx(expected.iloc[1].to_dict())
    assert min(row["books"] for row in path.values()) >= 0.4 - 1e-9

    front = document("tradeoff", "fit.json", "--first", "web", *LIMITED)
    found = bx.tradeoff(fitted, ["web"], **held)
    assert front["reference"] == pytest.approx(found.reference.to_dict())
    assert found.reference["first"] == pytest.approx(fitted.predict(REFERENCE)["web"])
    assert min(row["books"] for row in front["mixtures"].values()) >= 0.4 - 1e-9

    moves = document("sensitivity", "fit.json", *LIMITED)["mixture"]
    assert moves == pytest.approx(document("optimize", "fit.json", *LIMITED)["mixture"])
    assert moves["books"] >= 0.4 - 1e-9


def test_certainty_keeps_limits_and_reads_as_every_command_does(document):
    sure = document(
        "certainty", "sweep.csv", "--resamples", "20", "--level", "80%", "--upper", "web=30%",
        "--metadata", "tokenizer=bpe", "--shrinkage", "0.5",
    )  # fmt: skip
    assert sure["level"] == 0.8
    assert sure["mixture"]["web"] <= 0.3 + 1e-9
    assert sure["resamples"] == 20


def test_runs_are_proposed_for_the_mixture_within_the_limits(document, inputs):
    found = document("propose", "sweep.csv", "-n", 3, "--resamples", 20, *LIMITED)
    sweep = bx.read_sweep(inputs / "sweep.csv")
    drawn = bx.bootstrap(sweep, bx.fit(sweep, bx.BiMix()), 20)
    goal = {"constraints": ASKED, "reference": REFERENCE}
    expected = bx.propose_runs(drawn.fitted, sweep, 3, bootstrap=drawn, **goal)
    assert found["regret_now"] == pytest.approx(expected.regret_now)
    assert found["law_regret"] == pytest.approx(expected.law_regret)
    alone = document("propose", "sweep.csv", "-n", 3, "--resamples", 0, *LIMITED)
    plain = bx.propose_runs(drawn.fitted, sweep, 3, **goal)
    assert alone["regret_now"] == pytest.approx(plain.regret_now)
    assert alone["law_regret"] is None
    # Limits that limit nothing are another value of the same program.
    wide = bx.Constraints(lower={"books": 0.0}, guardrail=0.99)
    free = bx.propose_runs(
        bx.fit(sweep, bx.BiMix()), sweep, 3, constraints=wide, reference=REFERENCE
    )
    assert found["regret_now"] != pytest.approx(free.regret_now)


def test_laws_are_compared_with_the_settings_of_a_fit(document, inputs):
    options = ("--law", "TransferBiMix", "--split", "mixtures", "--repeats", 1)
    found = document("compare", "sweep.csv", *options, "--huber", "2%", "--shrinkage", "1e-3")
    judged = bx.compare(
        bx.read_sweep(inputs / "sweep.csv"), ["TransferBiMix"], ["mixtures"], repeats=1,
        huber=0.02, shrinkage=1e-3,
    )  # fmt: skip
    row = found["splits"]["mixtures"]["TransferBiMix"]
    assert row["mre"] == pytest.approx(judged.table_of("mixtures").loc["TransferBiMix", "mre"])


@pytest.mark.parametrize("name", ["path", "sensitivity", "tradeoff"])
def test_tokens_that_limit_nothing_are_refused(call, name):
    first = ("--first", "web") if name == "tradeoff" else ()
    ended = call(name, "fit.json", *first, "--available", "web=1e9")
    assert "--available limits nothing without --epochs" in str(ended.exception)


@pytest.mark.parametrize(
    ("given", "column"), [("lr=0.1=1", "lr=0.1"), ("sched=a=b", "sched"), ("none=1=1", "none")]
)
def test_a_column_to_select_and_its_value_may_hold_the_mark(inputs, given, column):
    assert list(selection([given], [inputs / "marks.csv", None])) == [column]
    if column != "none":
        marked = SweepOptions(inputs / "marks.csv", select=[given]).read()
        assert f"96 of 96 rows selected by {column} = " in " ".join(marked.notes)


def test_numbers_are_read_as_people_write_them(call, document):
    plain = document("evaluate", "sweep.csv", "--from-budget", "200000000", "--runs", "0.3")
    assert document("evaluate", "sweep.csv", "--from-budget", "200M", "--runs", "30%") == plain
    for option, value, words in (
        ("--runs", "a third", "expected a share, like 0.25 or 25%"),
        ("--from-budget", "40x", "expected one number, like 0.25, 4e10, 40B or 1,200"),
        ("--seed", "1.5", "expected a whole number, like 4 or 1,200"),
        ("--huber", "0,02", "Write a decimal point"),
    ):
        ended = call("evaluate", "sweep.csv", option, value)
        assert ended.exit_code == 2
        said = " ".join(ended.output.replace("│", " ").split())
        assert option in said
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("path", "fit.json", "--kl", 5, "--kl=0"), "--kl is given twice (5, 0); give it once."),
        (
            ("optimize", "fit.json", "-o", "a", "--output", "b", "-oc"),
            "--output is given 3 times (a, b, c); give it once.",
        ),
        (
            ("check", "sweep.csv", "--metadata", "tokenizer=a", "--metadata", "tokenizer=b"),
            "--metadata tokenizer is given twice (a, b); give it once.",
        ),
        (
            ("sensitivity", "fit.json", "--guardrail", 5, "--guardrail", "web=3"),
            "--guardrail is given several times (5, web=3); several guardrails name a target each",
        ),
        (
            ("entropy", "web=a.txt", "--curve", "--no-curve"),
            "--curve and --no-curve are given; give one.",
        ),
    ],
)
def test_a_second_value_of_an_option_that_takes_one_is_refused(call, arguments, words):
    assert words in str(call(*arguments).exception)


def test_an_option_that_repeats_is_any_list_or_a_flag(call, monkeypatch):
    module = importlib.import_module("bimix_jax.diagnosis.diagnose")
    monkeypatch.setattr(module, "LAWS", {"BiMix": bx.BiMix})  # a program for each law
    several = ("--metadata", "lower_is_better=web", "--metadata", "lower_is_better=code")
    ended = call(
        "check", "sweep.csv", "--exclude", "run00", "--exclude", "run01", *several, *["--json"] * 2
    )
    assert ended.exception is None, ended.output


def test_no_command_writes_over_what_it_reads(call, inputs):
    before = (inputs / "fit.json").read_bytes()
    for arguments in (
        ("fit", "sweep.csv", "-o", "sweep.csv"),
        ("predict", "fit.json", "mixture.json", "-o", "fit.json"),
        ("propose", "sweep.csv", "-o", "sweep.csv"),
        ("optimize", "fit.json", "--available", "web=1", "--emit", "json", "-o", "fit.json"),
        ("optimize", "fit.json", "--available", "sweep.csv", "--emit", "json", "-o", "sweep.csv"),
        ("import", "sweep.csv", "-o", "sweep.csv"),
        ("entropy", "web=mixture.json", "--tokenizer", "bytes", "-o", "mixture.json"),
    ):
        assert "is an input itself" in str(call(*arguments).exception), arguments
    assert (inputs / "fit.json").read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_help_fits_80_columns_in_panels(name):
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown.replace("tokens, step, …", "")
    grouped = [panel for panel in ("How the sweep is read", "Output") if panel in shown]
    assert len(grouped) == (name in GROUPS[SweepOptions]) + (name not in ("demo", "guide"))


def test_an_import_leaves_out_the_runs_and_budgets_that_every_reader_does(call, inputs):
    left_out = ("--exclude", "run03", "--from-budget", "1e9")
    assert call("import", "sweep.csv", "-o", "less.parquet", *left_out).exception is None
    whole = bx.read_sweep(inputs / "sweep.csv")
    expected = whole.without_runs(["run03"]).from_budget(1e9)
    found = bx.read_sweep("less.parquet")
    assert found.runs == expected.runs
    np.testing.assert_array_equal(found.loss, expected.loss)
    assert any("run03" in note for note in found.notes)
    said = str(call("import", "sweep.csv", "-o", "no.parquet", "--exclude", "run3").exception)
    assert "run03" in said
