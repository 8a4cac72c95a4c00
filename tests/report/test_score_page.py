"""The page of a decision on scores that are predicted through losses."""

import re

import pytest

import bimix_jax as bx
from bimix_jax.report._page import page
from tests.laws.test_through_losses import LAW, TESTS, read, table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report():
    weights = {"weights": dict.fromkeys(TESTS, 1.0)}
    plan = bx.Plan(laws=[LAW.label], resamples=20, constraints=bx.Constraints(**weights))
    return bx.decide(read(table()), plan)


@pytest.fixture(scope="module")
def text(report):
    return page(report)


def test_it_says_why_no_runs_are_proposed(report, text):
    assert report.next_runs is None
    assert "No runs are proposed" in text
    assert "a law of the losses and links to the scores" in text


def test_scores_lose_points_and_losses_percent(report, text):
    rows = text.partition("Predicted losses, nats, and scores")[2].partition("</table>")[0]
    last = {
        name: re.sub("<[^>]+>", "", row.rpartition('<td class="number">')[2]).strip()
        for name, row in re.findall(r'<th scope="row">(\w+)</th>(.*?)</tr>', rows, re.DOTALL)
    }
    assert set(last) == set(report.fitted.targets)
    assert all(cell.endswith("points") == (name in TESTS) for name, cell in last.items())
    assert all(cell.endswith("%") == (name not in TESTS) for name, cell in last.items())
