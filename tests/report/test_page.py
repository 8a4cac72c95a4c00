"""The page of a report: what it says, and that it needs nothing else."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.printable import printable
from bimix_jax.report._explorer import explorer_of
from bimix_jax.report._kept import Kept
from bimix_jax.report._numbers import shown
from bimix_jax.report._page import page
from bimix_jax.report._pictures import dark_of

from . import reports

ORDER = [
    "The mixture",
    "What it costs each target",
    "Try another mixture",
    "How the law fits",
    "How far to trust it",
    "What binds, and what relaxing it brings",
    "How flat it is",
    "Along the budget",
    "What to run next",
    "Checks and limits",
    "Data, law and plan",
]
VOID = {"meta", "input", "br", "hr", "img", "link"}


class Elements(HTMLParser):
    """Elements of a page with their attributes and text; refuses what is not nested well."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.found.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.found if element["tag"] == tag]


@pytest.fixture(scope="module")
def report():
    return reports.decided()


@pytest.fixture(scope="module")
def text(report):
    return page(report)


@pytest.fixture(scope="module")
def elements(text):
    return Elements(text)


def numbers_in(document):
    """Every number of a document, however deep."""
    if isinstance(document, dict):
        return {each for value in document.values() for each in numbers_in(value)}
    if isinstance(document, list):
        return {each for value in document for each in numbers_in(value)}
    return {document} if isinstance(document, (int, float)) else set()


def test_sections_are_in_their_order_and_linked(elements):
    assert [element["text"] for element in elements.all("h2")] == ORDER
    links = [element["href"] for element in elements.all("a")]
    assert links == [f"#{element['id']}" for element in elements.all("section")]


def test_nothing_is_loaded_from_elsewhere(text, elements):
    policy = next(e["content"] for e in elements.all("meta") if "http-equiv" in e)
    assert policy.startswith("default-src 'none'")
    targets = {e[name] for e in elements.found for name in ("src", "href") if name in e}
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"url\((?!#)|@import|http:|https:", text)
    assert len(text.encode()) < 6e6


def test_ids_are_unique_and_references_lead_to_them(elements):
    ids = [element["id"] for element in elements.found if "id" in element]
    assert len(ids) == len(set(ids))
    used = {e[name] for e in elements.found for name in ("for", "aria-labelledby") if name in e}
    used |= {target[1:] for e in elements.found for target in [e.get("href", "#mixture")]}
    assert used <= set(ids)


def test_names_cannot_break_the_page(text, elements):
    assert "</script><b>" not in text.replace("</script>\n", "")
    assert not elements.all("b")
    assert "\u202e" not in text
    for name in reports.HARMFUL:
        assert any(element["text"] == printable(name) for element in elements.all("th")), name
    data = next(e["text"] for e in elements.all("script") if e.get("id") == "explorer-data")
    assert json.loads(data)["domains"] == list(reports.HARMFUL)


def test_every_number_is_one_of_the_document(report, elements):
    document = report.to_dict()
    known = numbers_in(document)
    beside = list(document["baselines"].values())
    ours, theirs = (mixture["loss"] for mixture in beside[:2])
    known |= {ours[target] / theirs[target] - 1 for target in ours}
    found = [element["value"] for element in elements.all("data")]
    assert len(found) > 200
    assert {float(value) for value in found} <= {float(number) for number in known}


def test_pictures_have_words_and_the_colours_of_both_themes(text, elements):
    pictures = elements.all("svg")
    assert len(pictures) == 8
    assert all(len(picture["aria-label"]) > 20 for picture in pictures)
    assert len(pictures) == len(elements.all("figcaption"))
    assert "<image" not in text
    used = set(re.findall(r"var\(--(c\w{6})\)", text))
    light, dark = (set(re.findall(rule, text)) for rule in (r"--(c\w{6}):#", r";--(c\w{6}):#"))
    assert used == light
    assert text.count("--c1b6ca8:") == 2
    assert dark <= light


def test_dark_colours_are_as_far_from_the_page_as_light_ones():
    assert dark_of("#ffffff") == "#181818"
    for colour in ("#1b6ca8", "#c8553d", "#262626", "#440154", "#2ca02c"):
        assert contrast(dark_of(colour), "#181818") > 0.75 * min(contrast(colour, "#ffffff"), 6)
    assert contrast(dark_of("#fde725"), "#181818") > contrast("#fde725", "#ffffff")


def contrast(one, other):
    """Contrast ratio of WCAG."""

    def luminance(colour):
        shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_an_equal_report_gives_equal_bytes(report, text):
    assert page(dataclasses.replace(report)) == text


def test_a_sweep_that_is_not_enough_gives_a_page_on_what_to_run():
    report = reports.undecided()
    found = Elements(page(report))
    assert found.all("h1")[0]["text"] == "Not enough to decide: run these"
    assert report.missing in found.all("header")[0]["text"]
    titles = [element["text"] for element in found.all("h2")]
    assert titles == ["What to run next", "Checks and limits", "Data and plan"]
    assert not found.all("script")
    assert not found.all("input")


@dataclasses.dataclass(frozen=True)
class Looped(bx.BiMix):
    """BiMix through a loop of unknown length, which has no JavaScript."""

    name = "Looped"

    def basis(self, exponents, features):
        start = super().basis(exponents, features)
        return jax.lax.while_loop(lambda x: x[0] < 0, lambda x: x, start)


def test_a_law_without_javascript_has_no_explorer_and_says_why(report):
    looped = dataclasses.replace(report.fitted, law=Looped())
    drawn = dataclasses.replace(report.certainty.bootstrap, fitted=looped)
    sure = dataclasses.replace(report.certainty, bootstrap=drawn)
    found, why = explorer_of(dataclasses.replace(report, certainty=sure), Kept(None, report.sweep))
    assert found is None
    assert why == "There is no explorer for Looped: it contains the operation while."


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3.45216, "loss", "3.4522"),
        (-0.00001, "difference", "0.0000"),
        (0.02314, "percent", "2.31\xa0%"),
        (-0.0123, "change", "−1.23\xa0%"),
        (0.0004, "share", "<0.1\xa0%"),
        (0.0, "share", "0.0\xa0%"),
        (0.999, "probability", "above 0.99"),
        (0.63, "probability", "0.63"),
        (2_867_200.0, "quantity", "2.867M"),
        (float("nan"), "loss", "–"),
        (None, "share", "–"),
    ],
)
def test_numbers_are_rounded_by_their_kind(value, kind, expected):
    assert shown(value, kind) == expected
