"""What is stated for the trained decisions agrees with the program that states it."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import stated

ROOT = Path(stated.__file__).parents[1]
ROWS = {
    row["counts"]: row
    for row in json.loads((ROOT / "benchmarks/results/stated.json").read_text("utf-8"))["rows"]
}


def words(path):
    """The text of a page on one line."""
    return re.sub(r"\s+", " ", (ROOT / path).read_text("utf-8"))


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_pages_quote_the_stated_gains(page):
    clear, even = ROWS["C and Python"], ROWS["all seven"]
    text = words(page)
    assert f"{100 * clear['expected']:.1f} %" in text
    assert f"{100 * clear['low']:.1f} to {100 * clear['high']:.1f} %" in text
    assert clear["probability"] > 0.99
    assert f"{100 * clear['trained']:.1f} %" in text
    assert re.search(rf"robability[^.]*{even['probability']:.2f}", text)


def test_trained_gains_are_those_of_the_proofs():
    for counts, (proof, _) in stated.DECISIONS.items():
        assert ROWS[counts]["trained"] == pytest.approx(stated.trained(proof))
