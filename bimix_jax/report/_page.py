"""The page of a report: one HTML file that needs no network, readable without JavaScript."""

import base64
import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from bimix_jax.printable import printable
from bimix_jax.quantities import budget_text, counted
from bimix_jax.reading.targets import are_scores
from bimix_jax.report._assets import asset
from bimix_jax.report._explorer import explorer_of
from bimix_jax.report._kept import Kept
from bimix_jax.report._numbers import shown
from bimix_jax.report._pictures import theme
from bimix_jax.report._sections import sections_of

if TYPE_CHECKING:
    from bimix_jax.report.report import Report

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing from anywhere; its script is allowed by its hash."""


def page(report: "Report", command: str = "bimix_jax.decide", stages: Path | None = None) -> str:
    """Return a report as an HTML page.

    It holds everything that it shows: no style, script, font or picture comes from elsewhere. Every
    number is one of `Report.to_dict`, rounded by one function. Pictures follow the light or dark
    theme of the reader. A report without a recommendation gives a page on what to run.

    Args:
        report: from `decide`.
        command: the command line, which the page shows.
        stages: folder of pictures that are kept; None to draw all.
    """
    document, kept = report.to_dict(), Kept(stages, report.sweep)
    explorer, without = explorer_of(report, kept)
    script = "" if explorer is None else explorer["script"]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            d=document,
            title=_title(report),
            lead=document["recommendation"],
            cards=_cards(report, document),
            sections=sections_of(report, document, without, command, kept),
            explorer=explorer,
            policy=_policy(script),
            style=Markup("STYLE"),
        )
    )
    return text.replace("<style>STYLE</style>", f"<style>{_style(text)}</style>", 1)


def _environment() -> jinja2.Environment:
    """Return the templates, in which every text is escaped."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bimix_jax.report", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": _number, "text": printable}
    return made


def _number(value: float | None, kind: str) -> Markup:
    """Return a number as it is shown, together with all its digits."""
    if value is None or not math.isfinite(value):
        return Markup(shown(value))
    return Markup('<data value="{}">{}</data>').format(repr(value), shown(value, kind))


def _title(report: "Report") -> str:
    if report.optimum is None:
        return "Not enough to decide: run these"
    return f"Data mixture for {budget_text(report.optimum.budget, report.optimum.unit)}"


def _cards(report: "Report", document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers at the top of the page."""
    found, laws = document["decision"], document["laws"]
    if found is None:
        return []
    gain = found["gain"]
    kind = "points" if found["objective_unit"] == "points" else "change"
    low, high = (shown(gain[end], kind) for end in ("low", "high"))
    error = laws["splits"][list(laws["splits"])[-1]][laws["best"]]
    described = report.sweep.metadata.described(report.sweep.targets)
    runs = counted(len(document["sweep"]["runs"]), "run")
    return [
        {
            "name": f"Predicted gain over {list(document['baselines'])[1]}",
            "value": gain["value"],
            "kind": kind,
            "note": f"{100 * found['level']:g} % interval {low} to {high}",
        },
        {
            "name": "Probability to be better",
            "value": found["probability"],
            "kind": "probability",
            "note": "from errors at mixtures that were left out",
        },
        {
            "name": "Budget saved",
            "value": found["saved"],
            "kind": "percent",
            "note": f"for the {'score' if kind == 'points' else 'loss'} of the reference",
        },
        {
            "name": "Error of the law",
            "value": error["mre"],
            "kind": "of_range" if are_scores(described).all() else "percent",
            "note": f"{laws['best']} on held-out points, of {runs}",
        },
    ]


def _policy(script: str) -> str:
    if not script:
        return POLICY
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


def _style(text: str) -> str:
    """Return the style of a page, with the colours that its pictures use."""
    light, dark = (theme(text, each) for each in (False, True))
    rules = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return asset("page.css") + rules
