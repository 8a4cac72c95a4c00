"""Every table at several widths with 2, 7 and 22 domains: no heading and no number is cut."""

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax.cli import decisions, fit, optimize, show
from bimix_jax.cli import decisions as certainty
from bimix_jax.cli import fit as evaluate
from bimix_jax.cli.show import Column, broken, text_table
from bimix_jax.quantities import number_of, number_text, quantity_text, share_text
from bimix_jax.recipe.recipe import Recipe, Stamp
from tests.ready import COUNTS, Ready

WIDTHS = (80, 120, 200)


@pytest.fixture(scope="module", params=COUNTS)
def ready(request):
    return Ready(request.param)


@pytest.fixture(params=WIDTHS)
def width(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def lines_of(capsys, width):
    """Printed text, none of it wider than the tables may be."""
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "…" in line]
    after = [i for i, line in enumerate(lines) if line.startswith("─")]
    assert after
    assert all(len(lines[i]) <= width for i in after)
    return lines


def has_words(lines, heading):
    """Every piece of a heading is there whole, as headings are broken after words only."""
    shown = "\n".join(lines)
    return all(piece in shown for piece in re.split(r"\s", heading.replace("_", "_ ")) if piece)


def has_row(lines, label, *cells):
    """The rows of a label hold all these cells."""
    rows = [line for line in lines if line.startswith(f"{label} ")]
    found = [word for row in rows for word in row.removeprefix(label).split()]
    return all(cell in found for cell in cells)


def test_a_fit_is_shown_whole(ready, width, capsys):
    fit.show_fit(ready.fitted, "BiMix")
    lines = lines_of(capsys, width)
    assert all(has_words(lines, h) for h in ("A", "B", "C", "alpha", "beta", "mean error, %"))
    for target, row in ready.fitted.table().iterrows():
        values = [number_text(row[name]) for name in ("A", "B", "C", "alpha", "beta")]
        assert has_row(lines, target, *values, number_text(100 * row["error"]), "converged")


@pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning")
def test_an_evaluation_is_shown_whole(ready, width, capsys):
    result = ready.evaluation()
    evaluate.show_evaluation(result, "Error")
    lines = lines_of(capsys, width)
    assert all(has_words(lines, h) for h in ("worst error, %", "R² of mixtures", "points"))
    for target, row in result.table().iterrows():
        shown = [number_text(100 * row[name]) for name in ("mre", "worst")]
        assert has_row(lines, target, *shown, number_text(row["spearman"]), str(int(row["points"])))


def test_an_optimum_is_shown_whole(ready, width, capsys):
    best = ready.optimum()
    optimize.show_optimum(best, "uniform")
    lines = lines_of(capsys, width)
    assert "Recommended mixture at 400B tokens" in lines
    headings = ("without constraints", "as good within 0.1 %", "range in the sweep", "epochs")
    assert all(has_words(lines, heading) for heading in headings)
    for domain, value in best.mixture.items():
        assert has_row(lines, domain, share_text(value), number_text(best.losses[domain]))
        ends = best.observed.loc[domain]
        assert has_row(lines, domain, f"{share_text(ends['min'])}–{share_text(ends['max'])}")
    assert not any("e-11" in line for line in lines)


def test_how_sure_it_is_is_shown_whole(ready, width, capsys):
    sure, others = ready.certainty(), ready.between_laws()
    certainty._show(sure, others, "uniform")
    lines = lines_of(capsys, width)
    words = "\n".join(lines).split()
    assert all(words.count(number_text(100 * gain)) for gain in others.gains.to_numpy().ravel())
    assert all(words.count(share_text(value)) for value in others.mixtures.to_numpy().ravel())
    names = (*others.mixtures.index, *others.mixtures.columns)
    assert all(has_words(lines, name) for name in names)


def test_a_proposal_is_shown_whole_and_says_what_repeats(ready, width, capsys):
    found = ready.proposal()
    decisions.show_proposal(found)
    lines = lines_of(capsys, width)
    for domain, row in found.mixtures.T.iterrows():
        assert has_row(lines, domain, *map(share_text, row))
    assert "With another seed: next3 repeats next1." in lines
    assert has_row(lines, "next4", number_text(found.regret_left["next4"]))


def test_matrices_are_shown_whole(ready, width, capsys):
    table = ready.sensitivity().table().rename_axis(columns="loss")
    show.show_table(table, "title", form=show.change)
    lines = lines_of(capsys, width)
    assert all(has_words(lines, name) for name in table.columns)
    for domain, row in table.iterrows():
        assert has_row(lines, domain, *map(show.change, row))


def test_a_path_is_shown_whole_either_way_round(ready, width, capsys):
    shares = ready.path().mixtures.rename(index=show.quantity).rename_axis(columns="domain")
    show.show_table(shares, "title", form=show.share)
    lines = lines_of(capsys, width)
    assert all(has_words(lines, name) for name in (*shares.columns, *shares.index))
    words = "\n".join(lines).split()
    assert all(words.count(share_text(value)) for value in shares.to_numpy().ravel())


def test_tokens_and_epochs_are_shown_whole(ready, width, capsys):
    share = ready.shares(1).iloc[0]
    there = pd.DataFrame({"tokens": 3865376694.8021803, "tokens_per_document": 512.0}, share.index)
    made = Recipe(share, share.round(2), 4e11, there, Stamp("", "", "", ""))
    optimize.show_recipe(made, [])
    lines = lines_of(capsys, width)
    assert "Tokens needed, 400B in all" in lines
    table = made.table()
    for domain, row in table.iterrows():
        cells = [show.quantity(row["tokens"]), "3.865B", show.amount(row["epochs"])]
        assert has_row(lines, domain, share_text(row["share"]), *cells)
    rounded = (table["rounded"] - table["share"]).abs().max() > 1e-3
    assert has_words(lines, "weight emitted") == rounded


def test_without_a_width_a_table_is_one_block(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Ready(22).sensitivity().table()
    show.show_table(table, "title", form=show.change)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("─") for line in lines) == 1
    assert len(lines) == len(table) + 4


@given(
    st.lists(st.text("ab c_-Größe数", min_size=1, max_size=70), min_size=1, max_size=6),
    st.integers(1, 40), st.sampled_from(WIDTHS),
)  # fmt: skip
def test_any_label_is_there_to_the_last_letter(names, columns, width):
    labels = Column("domain", names, right=False)
    blocks = text_table(
        labels, [Column(f"c{i}", ["0.25"] * len(names)) for i in range(columns)], width
    )
    text = "".join("".join(lines) for lines in blocks)
    assert text.count("0.25") == columns * len(names)
    letters = re.sub(r"\s", "", text)
    for name in names:
        assert "".join(broken(name, 10)).replace(" ", "") == name.replace(" ", "")
        assert len(name.strip()) > width // 2 or re.sub(r"\s", "", name) in letters


@given(st.floats(1e-6, 9e14))
def test_a_quantity_is_read_back_to_four_digits(value):
    assert number_of(quantity_text(value), "budget") == pytest.approx(value, rel=5.1e-4)


@given(st.floats(-1e12, 1e12))
def test_a_number_has_four_digits(value):
    assert float(number_text(value)) == pytest.approx(value, rel=5.1e-4, abs=0)
