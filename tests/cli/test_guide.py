"""The guide: its pages print, are found by near names, and all they name and command exists."""

import ast
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import bimix_jax as bx
from bimix_jax.cli.app import app
from bimix_jax.cli.guide import COLUMNS, PAGES, title_of

ROOT = Path(__file__).parents[2]
TOPICS = {page.stem: page for page in sorted(PAGES.glob("*.md"))}
DOCUMENTS = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *TOPICS.values()]


def guide(*arguments, **environment):
    return CliRunner().invoke(app, ["guide", *arguments], env=environment)


def commands_of(page):
    """The commands that a page shows, a list of arguments each."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    bimix (.*)$", text, re.M)]


# ---- printed -------------------------------------------------------------------------------------


def test_without_a_topic_every_page_has_one_line():
    lines = guide().output.splitlines()
    assert [line.split()[0] for line in lines] == list(TOPICS)
    for line, page in zip(lines, TOPICS.values(), strict=True):
        assert line.endswith(title_of(page))
        assert len(line) <= COLUMNS


@pytest.mark.parametrize("topic", TOPICS)
def test_a_pipe_gets_the_page_as_it_is_written(topic):
    assert guide(topic).output == TOPICS[topic].read_text(encoding="utf-8")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_terminal_gets_whole_words_within_its_width(topic):
    shown = guide(topic, FORCE_COLOR="1", COLUMNS="80", TERM="xterm").output
    plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\", "", shown)
    assert max(map(len, plain.splitlines())) <= 80
    assert "…" not in plain.replace("…", "", TOPICS[topic].read_text(encoding="utf-8").count("…"))
    for line in re.findall(r"^    (bimix .*)$", TOPICS[topic].read_text(encoding="utf-8"), re.M):
        assert line in plain


def test_a_misspelt_topic_names_the_near_one():
    result = guide("certanty")
    assert isinstance(result.exception, ValueError)
    assert "certanty is unknown" in str(result.exception)
    assert "Did you mean certainty?" in str(result.exception)


@pytest.mark.parametrize("page", TOPICS.values(), ids=TOPICS)
def test_pages_fit_a_terminal_and_begin_with_their_title(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert max(map(len, lines)) <= COLUMNS


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


# ---- what they name exists -----------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (document.parent / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_names_that_are_quoted_exist(document):
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:bimix_jax|tests|benchmarks)/[\w/.]+)`", text):
        named = ROOT / path
        assert (named.parent if named.stem.lstrip("_") in ("NAME", "TOPIC") else named).exists(), (
            path
        )
    for name in re.findall(r"`bx\.(\w+)", text):
        assert name in bx.__all__, name
    for module in re.findall(r"python -m (benchmarks[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
    for topic in re.findall(r"`bimix guide ([a-z-]+)`", text):
        assert topic in TOPICS, topic


# ---- the commands run ----------------------------------------------------------------------------

LESS = {
    "compare": ["--law", "BiMix", "--split", "mixtures"],
    "certainty": ["--resamples", "200"],
    "decide": ["--law", "BiMix", "--propose", "0", "--quiet"],
}
"""What a command is told besides, so that it has less to do."""
SHOWN = {
    f"{topic}: {' '.join(command)}": command
    for topic, page in TOPICS.items()
    for command in commands_of(page)
    if topic != "logs" and "logs/" not in command  # those are run by test_example.py
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder in which every command of the guide finds its files."""
    folder = tmp_path_factory.mktemp("world")
    sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    sweep.save(folder / "sweep.parquet")
    bx.fit(sweep, bx.BiMix()).save(folder / "fit.json")
    small, large = (bx.read_sweep(bx.datasets.debian_sweep(size)) for size in ("1.3M", "11.5M"))
    bx.fit(small, bx.BiMix()).save(folder / "small.json")
    few = large.take(large.run < "scattered-04")
    few.to_frame().to_csv(folder / "large.csv", index=False)
    scores = with_scores(sweep)
    scores.to_csv(folder / "scores.csv", index=False)
    (folder / "targets.toml").write_text(plan("scores"), encoding="utf-8")
    described = {"targets": str(folder / "targets.toml")}
    read = bx.read_sweep(scores, metadata=described)
    bx.fit(read, bx.LogLinear()).save(folder / "scores.json")
    scores.rename(columns={"score_math": "loss_quiz"}).to_csv(folder / "quiz.csv", index=False)
    sweep.mixtures.iloc[:2].to_csv(folder / "mixtures.csv")
    (folder / "now.json").write_text(sweep.mixtures.iloc[1].to_json(), encoding="utf-8")
    (folder / "plan.toml").write_text(plan(), encoding="utf-8")
    (folder / "question.toml").write_text('sweep = "sweep.parquet"', encoding="utf-8")
    (folder / "sweeps").mkdir()
    sweep.split_runs(0.5, seed=0)[0].to_frame().assign(sweep="half").to_csv(
        folder / "sweeps" / "a.csv", index=False
    )
    (folder / "web.jsonl").write_text('{"text": "one two three"}\n' * 50)
    (folder / "code").mkdir()
    (folder / "code" / "a.txt").write_text("def one():\n    return 1\n" * 50)
    (folder / "b.txt").write_text("It was the best of times.\n" * 50)
    return folder


def with_scores(sweep):
    """A table of the runs with one score, which is better the lower the loss on latex is."""
    table = sweep.to_frame()
    losses = [column for column in table if column.startswith("loss_")]
    rest = table.drop(columns=losses)
    return rest.assign(score_math=0.25 + 0.75 / (1 + np.exp(2 * (table["loss_latex"] - 5))))


def plan(topic="constraints"):
    """The file of constraints, or of targets, that a page shows."""
    text = TOPICS[topic].read_text(encoding="utf-8")
    return re.search(r"```toml\n(.*?)```", text, re.S)[1]


@pytest.mark.parametrize("shown", SHOWN)
def test_commands_of_the_guide_run(shown, world, tmp_path, monkeypatch):
    if any("://" in word for word in SHOWN[shown]):
        pytest.skip("needs a network")
    if "--engine" in SHOWN[shown]:
        pytest.importorskip(SHOWN[shown][SHOWN[shown].index("--engine") + 1])
    folder = tmp_path / "copy"  # a command may write over what the next one reads
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    command = [*SHOWN[shown], *LESS.get(SHOWN[shown][0], [])]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output or result.exception


def test_a_plan_of_the_guide_says_what_its_python_says():
    read = bx.Constraints.from_dict(tomllib.loads(plan()))
    few = bx.Constraints(
        lower={"c": 0.2},
        available={"latex": 4e5},
        epochs=2,
        groups=[bx.Group(("german", "python"), most=0.2)],
        guardrail=0.05,
    )
    assert read == few


# ---- the notebook --------------------------------------------------------------------------------


def run_cell(source, scope):
    """Run a cell as a notebook does, and return the value of a last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    if last is not None:
        tree.body.append(ast.Assign([ast.Name("_", ast.Store())], last.value))
    exec(compile(ast.fix_missing_locations(tree), "cell", "exec"), scope)
    return None if last is None else scope["_"]


def test_the_notebook_runs_and_shows_tables(capsys):
    notebook = json.loads((PAGES / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    scope = {}
    shown = [run_cell("".join(cell["source"]), scope) for cell in cells]
    assert [type(value).__name__ for value in shown if hasattr(value, "_repr_html_")] == [
        "Sweep", "DataFrame", "Fit", "DataFrame", "Optimum", "Certainty",
    ]  # fmt: skip
    assert scope["best"].mixture["german"] >= 0.05 - 1e-9
    assert scope["sure"].probability > 0.99
    assert "german" in capsys.readouterr().out
