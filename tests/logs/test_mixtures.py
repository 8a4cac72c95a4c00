"""Tables of runs: which columns are domains, and every form that they come in."""

import json

import numpy as np
import pandas as pd
import pyarrow
import pytest

import bimix_jax as bx
from bimix_jax import SweepError

RUNS = ("p", "q", "r", "s", "t")
DOMAINS = ("news", "chat", "math")
SHARES = np.array([[50, 30, 20], [20, 45, 35], [31, 32, 37], [62, 11, 27], [7, 58, 35]]) / 100
WIDE = pd.DataFrame(SHARES, columns=list(DOMAINS)).assign(run=RUNS)
LONG = WIDE.melt("run", var_name="domain", value_name="share")
BY_RUN = WIDE.set_index("run").to_dict("index")
SETTINGS = {"lr": 3e-4, "batch_size": 512, "wall_clock": [10.0, 11, 12, 13, 14], "all": 1.0}
VARYING = np.array([1.0, 2, 3, 4, 5])[:, None] * 1e9


def folder_of(place, targets=DOMAINS):
    """A log per run: losses of the targets at two steps."""
    place.mkdir(exist_ok=True)
    for i, run in enumerate(RUNS):
        # Squares, so that no target is a copy or the mean of others.
        apart = {t: i / 10 + k**2 / 100 for k, t in enumerate(targets)}
        columns = {f"eval/{t}/loss": [3.0 + off, 2.5 + off] for t, off in apart.items()}
        pd.DataFrame({"_step": [10, 20], **columns}).to_csv(place / f"{run}.csv", index=False)
    return place


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "logs")


def assert_right(sweep, domains=DOMAINS, notes=()):
    assert sweep.runs == RUNS
    assert set(sweep.domains) == set(domains)
    np.testing.assert_allclose(sweep.mixtures[list(domains)], SHARES, atol=1e-12)
    assert sweep.notes == tuple(notes)


def others(*columns):
    return (
        f"Columns of numbers that were not taken for domains: {', '.join(columns)} (domains= or "
        "--domain lists the domains)."
    )


# ---- which columns are domains -------------------------------------------------------------------


def test_numbers_that_no_loss_has_and_that_do_not_sum_alike_are_no_domains(folder):
    assert_right(bx.read_logs(folder, WIDE.assign(**SETTINGS)), notes=[others(*SETTINGS)])
    small = {"eta": 6e-4, "warm": 0.01}  # within what sums may be off
    assert_right(bx.read_logs(folder, WIDE.assign(**small)), notes=[others(*small)])


def test_settings_stay_columns_of_the_sweep(folder):
    sweep = bx.read_logs(folder, WIDE.assign(eta=[1, 2, 3, 4, 5], seed=7))
    assert sweep.extra["eta"].tolist() == np.repeat([1, 2, 3, 4, 5], 2).tolist()
    assert set(sweep.extra["seed"]) == {7}


def test_a_domain_without_a_loss_is_one_by_its_amounts(tmp_path):
    folder = folder_of(tmp_path / "two", DOMAINS[:2])
    assert_right(bx.read_logs(folder, WIDE.assign(eta=3e-4)), notes=[others("eta")])
    tokens = WIDE.assign(**{d: WIDE[d] * 4e9 for d in DOMAINS}, eta=3e-4)
    divided = "Mixtures given as weights that sum to 4e+09 per run were divided by their sums."
    assert_right(bx.read_logs(folder, tokens), notes=[others("eta"), divided])


def test_a_total_of_tokens_is_no_domain(folder):
    tokens = pd.DataFrame(SHARES * VARYING, columns=list(DOMAINS)).assign(run=RUNS)
    sweep = bx.read_logs(folder, tokens.assign(everything=VARYING))
    assert_right(sweep, notes=[others("everything"), sweep.notes[1]])
    assert "that sum to 1e+09 to 5e+09 per run" in sweep.notes[1]


def test_where_values_do_not_tell_the_domains_they_are_asked_for(folder):
    tokens = pd.DataFrame(SHARES * VARYING, columns=list(DOMAINS)).assign(run=RUNS)
    doubtful = tokens.assign(mystery=[3e8, 1e8, 2e8, 4e8, 1e8])
    with pytest.raises(SweepError, match="not clear which columns") as caught:
        bx.read_logs(folder, doubtful)
    assert "news, chat, math are named like targets and mystery may be domains" in str(caught.value)
    assert "--domain" in str(caught.value)
    assert_right(bx.read_logs(folder, doubtful, domains=DOMAINS), notes=[
        "Mixtures given as weights that sum to 1e+09 to 5e+09 per run were divided by their sums."
    ])  # fmt: skip
    with pytest.raises(SweepError, match="has no column maths"):
        bx.read_logs(folder, doubtful, domains=["news", "maths"])


@pytest.mark.parametrize(
    "label",
    ["id", "name", "index", "step", "steps", "seed", "tokens", "budget", "run_id", "display_name",
     "model", "params", "size", "lr", "total", "domain", "epoch", "NA", "null"],
)  # fmt: skip
@pytest.mark.parametrize("factor", [1.0, VARYING])
def test_a_domain_that_is_called_like_a_label_is_one(tmp_path, label, factor):
    domains = ("news", "chat", label)
    folder = folder_of(tmp_path / "logs", domains)
    table = pd.DataFrame(SHARES * factor, columns=list(domains))
    table.insert(0, "run", RUNS)
    table.to_csv(tmp_path / "runs.csv", index=False)
    sweep = bx.read_logs(folder, tmp_path / "runs.csv")
    assert (sweep.unit, set(sweep.budget)) == ("steps", {10, 20})
    assert set(sweep.targets) == set(domains)
    np.testing.assert_allclose(sweep.mixtures[list(domains)], SHARES, atol=1e-12)


@pytest.mark.parametrize("label", ["run", "total"])
def test_a_domain_that_is_named_like_a_label_and_like_no_target_is_noted(folder, label):
    sweep = bx.read_logs(folder, WIDE.rename(columns={"run": "news", "news": label}))
    np.testing.assert_array_equal(sweep.mixtures[[label, "chat", "math"]], SHARES)
    assert sweep.notes == (
        "Columns that were taken for domains, though they are named like labels: "
        f"{label} (domains= or --domain lists the domains).",
    )


@pytest.mark.parametrize(
    "called", ["mix/{}", "{}_weight", "config.data.{}.share", "train_{}_ratio", "r_{}"]
)
def test_names_of_domains_stand_within_what_all_columns_share(folder, called):
    names = {d: called.format(d) for d in DOMAINS}
    losses = {f"eval/{d}/loss": [2.0, 2.1, 2.2, 2.3, 2.4] for d in DOMAINS}
    sweep = bx.read_logs(folder, WIDE.rename(columns=names).assign(**losses))
    assert_right(sweep, notes=sweep.notes)


def test_text_where_a_target_has_its_domain_is_an_error(folder):
    with pytest.raises(SweepError, match=r"run p has news = github \(5 cells are so\)"):
        bx.read_logs(folder, WIDE.assign(news="github"))
    with pytest.raises(SweepError, match="run q has chat = True"):
        bx.read_logs(folder, WIDE.assign(chat=pd.Series([0.3, True, 0.3, 0.1, 0.5], dtype=object)))


# ---- forms ---------------------------------------------------------------------------------------


def document(value):
    return lambda path: path.with_suffix(".json").write_text(json.dumps(value))


SOURCES = [{"name": run, "sources": [{"name": d, "ratio": x} for d, x in m.items()]}
           for run, m in BY_RUN.items()]  # fmt: skip
FORMS = {
    "run to shares": document(BY_RUN),
    "within an object": document({"version": 3, "runs": BY_RUN}),
    "list of runs": document(WIDE.to_dict("records")),
    "list of sources": document(SOURCES),
    "nested": document({run: {"data": {"mixture": m}, "tag": "x"} for run, m in BY_RUN.items()}),
    "columns": document(WIDE.to_dict("list")),
    "json lines": lambda path: path.with_suffix(".jsonl").write_text(
        "\n".join(json.dumps({"run": run, "mixture": m}) for run, m in BY_RUN.items())
    ),
    "toml": lambda path: path.with_suffix(".toml").write_text(
        "\n".join(
            f"[{run}]\n" + "\n".join(f"{d} = {x}" for d, x in m.items())
            for run, m in BY_RUN.items()
        )
    ),
    "structures in Parquet": lambda path: pd.DataFrame(
        {"run": RUNS, "mixture": list(BY_RUN.values())}
    ).to_parquet(path.with_suffix(".parquet")),
    "text with %": lambda path: WIDE.assign(
        **{d: [f"{100 * x:.0f} %" for x in WIDE[d]] for d in DOMAINS}
    ).to_csv(path.with_suffix(".csv"), index=False),
    "a column per run": lambda path: WIDE.set_index("run").T.to_csv(path.with_suffix(".csv")),
    "JSON of a frame": lambda path: path.with_suffix(".json").write_text(WIDE.to_json()),
    "with its index": lambda path: WIDE.to_csv(path.with_suffix(".csv")),
    "spare rows and columns": lambda path: path.with_suffix(".csv").write_text(
        "\n".join(f"{line},," for line in WIDE.to_csv(index=False).splitlines())
        + "\n,,,,,\n,,,,,\n"
    ),
    "long": lambda path: LONG.to_csv(path.with_suffix(".csv"), index=False),
    "long with other names": lambda path: LONG.rename(
        columns={"domain": "Source", "share": "Weight"}
    ).to_csv(path.with_suffix(".csv"), index=False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_table_gives_the_same_mixtures(folder, tmp_path, form):
    FORMS[form](tmp_path / "table")
    (path,) = tmp_path.glob("table.*")
    sweep = bx.read_logs(folder, path)
    turned = [f"{path} has a column per run; it was read with a row per run."]
    kept = [note for note in sweep.notes if "without any cell" in note]
    assert_right(sweep, notes=turned if form in ("a column per run", "JSON of a frame") else kept)


def test_yaml_is_read_where_its_reader_is_installed(folder, tmp_path, monkeypatch):
    path = tmp_path / "table.yaml"
    lines = [f"{run}:\n" + "".join(f"  {d}: {x}\n" for d, x in m.items())
             for run, m in BY_RUN.items()]  # fmt: skip
    path.write_text("".join(lines))
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(SweepError, match="is read with PyYAML, which is not installed"):
        bx.read_logs(folder, path)
    monkeypatch.undo()
    pytest.importorskip("yaml")
    assert_right(bx.read_logs(folder, path))


def test_frames_and_mappings_are_tables_too(folder):
    assert_right(bx.read_logs(folder, BY_RUN))
    assert_right(bx.read_logs(folder, WIDE.set_index("run").rename_axis(None)))
    nested = pd.DataFrame({"run": RUNS, "mixture": list(BY_RUN.values())})
    assert_right(bx.read_logs(folder, nested))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3", "expected an object of run → {domain: amount}, or a list of runs, but found 3"),
        ("{}", "but found an object of nothing"),
        ('{"p": {"news": null, "chat": 1, "math": 0}, "q": {"news": 1}}', "run p has news = null"),
        ('{"p": {"news": 1', "not complete JSON"),
    ],
)
def test_documents_without_mixtures_are_refused(folder, tmp_path, text, words):
    (tmp_path / "runs.json").write_text(text)
    with pytest.raises(SweepError) as caught:
        bx.read_logs(folder, tmp_path / "runs.json")
    assert words in str(caught.value)


# ---- long tables and names of domains ------------------------------------------------------------


def test_spellings_of_a_domain_are_one_where_no_run_has_both(folder):
    spelled = LONG.assign(domain=LONG["domain"].mask(LONG.index == 1, "News\N{NO-BREAK SPACE}"))
    sweep = bx.read_logs(folder, spelled)
    note = "Names that differ only in case, blanks or Unicode form are taken for one: {}."
    assert_right(sweep, notes=[note.format(r"'News\xa0' is 'news'")])
    two = WIDE.assign(NEWS=WIDE["news"].where(WIDE.index < 2, 0.0))
    two["news"] = two["news"].where(two.index >= 2, 0.0)
    assert_right(bx.read_logs(folder, two), notes=[note.format("'NEWS' is 'news'")])


ALONE = (
    "{} alone {} the domain {}, and only there math is missing; if both are one domain, call it "
    "math in the table of mixtures."
)


def spelled(runs, name):
    """The mixtures with a domain called otherwise in some runs."""
    return {
        run: {(name if d == "math" and run in runs else d): x for d, x in mixture.items()}
        for run, mixture in BY_RUN.items()
    }


def test_a_domain_that_just_those_runs_have_which_lack_another(folder):
    (note,) = bx.read_logs(folder, spelled("s", "algebra")).notes
    assert note == ALONE.format("Run s", "has", "algebra")
    (note,) = bx.read_logs(folder, spelled("ps", "maths")).notes
    assert note == ALONE.format("Runs p, s", "have", "maths")
    assert bx.read_logs(folder, spelled("ps", "algebra")).notes == ()
    zeros = pd.DataFrame(spelled("s", "maths")).T.fillna(0.0)
    assert bx.read_logs(folder, zeros).notes[0] == ALONE.format("Run s", "has", "maths")


def test_long_tables_name_run_and_domain_once_in_every_row(folder):
    with pytest.raises(SweepError, match="run q has domain chat twice, in rows 7, 16"):
        bx.read_logs(folder, pd.concat([LONG, LONG[6:7]], ignore_index=True))
    with pytest.raises(SweepError, match="column domain does not name a domain in row 3"):
        bx.read_logs(folder, LONG.assign(domain=LONG["domain"].mask(LONG.index == 2)))
    with pytest.raises(SweepError, match="column share is empty in row 3; 0 is a value"):
        bx.read_logs(folder, LONG.assign(share=LONG["share"].mask(LONG.index == 2)))


def test_runs_whose_proportions_do_not_sum_to_1_are_named(folder):
    wrong = WIDE.assign(news=[0.5, 0.2, 0.9, 0.62, 0.07])
    with pytest.raises(SweepError, match=r"of 1 of 5 runs do not sum to 1 \(r 1.59\)"):
        bx.read_logs(folder, wrong)


def test_lists_and_tables_without_rows_or_with_other_columns_of_the_usual_prefix(folder):
    assert_right(bx.read_logs(folder, WIDE.to_dict("records")))
    assert_right(bx.read_logs(folder, WIDE.assign(r_squared=0.9)), notes=[others("r_squared")])
    with pytest.raises(SweepError, match="has no rows; expected one per run"):
        bx.read_logs(folder, WIDE[:0])
    with pytest.raises(SweepError, match=r"domains \(--domain\): the list is empty"):
        bx.read_logs(folder, WIDE, domains=[])


# ---- refusals that name the way out --------------------------------------------------------------


@pytest.mark.parametrize("cell", ["{:.2f} of all", "{}/1"])
def test_cells_of_text_in_domains_are_named(folder, cell):
    table = WIDE.assign(**{d: WIDE[d].map(cell.format) for d in DOMAINS})
    with pytest.raises(SweepError, match="not clear") as caught:
        bx.read_logs(folder, table)
    first = cell.format(SHARES[0, 0])
    assert f"Row 1 holds news = {first!r} (15 cells are so); expected a number" in str(caught.value)


def test_a_title_above_the_header_is_named(folder, tmp_path):
    path = tmp_path / "titled.csv"
    path.write_text("Our plan,,,\n" + WIDE[["run", *DOMAINS]].to_csv(index=False))
    with pytest.raises(SweepError, match="the header seems not to be in line 1"):
        bx.read_logs(folder, path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("plan.xlsx", "is a workbook; save its sheet as CSV"), ("plan.md", r"\.tsv\.gz, \.json, ")],
)
def test_files_that_hold_no_table_are_told_what_to_give(folder, tmp_path, name, said):
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(SweepError, match=said):
        bx.read_logs(folder, path)


def test_a_table_of_arrow_is_a_table_of_runs(folder):
    assert_right(bx.read_logs(folder, pyarrow.Table.from_pandas(WIDE)))
