"""The page of a report: one HTML file that needs no network, readable without JavaScript."""

import base64
import hashlib
import json
import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from bimix_jax.printable import plain, printable
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.recipe.available import read_paths
from bimix_jax.recipe.recipe import Recipe, make_recipe
from bimix_jax.report._explorer import explorer_data, law_in_javascript
from bimix_jax.report._javascript import NotCoveredError
from bimix_jax.report._numbers import shown
from bimix_jax.report._pictures import theme
from bimix_jax.report._sections import sections_of

if TYPE_CHECKING:
    from bimix_jax.report.report import Report

SCRIPTS = ("numbers.js", "forms.js", "law.js", "explorer.js")
"""Files of the page's script, in the order in which they use each other."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What the page may load: nothing from anywhere; its script is allowed by its hash."""
FORMS = {"megatron": "Megatron-LM", "hf": "Hugging Face", "olmix": "olmix", "json": "JSON"}


def page(report: "Report") -> str:
    """Return a report as an HTML page.

    It holds everything that it shows: no style, script, font or picture comes from elsewhere. Every
    number is one of `Report.to_dict`, rounded by one function. Pictures follow the light or dark
    theme of the reader. A report without a recommendation gives a page on what to run.
    """
    document = report.to_dict()
    explorer, without = _explorer(report, document)
    script = "" if explorer is None else explorer["script"]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            d=document,
            title=_title(report),
            lead=document["recommendation"],
            cards=_cards(document),
            sections=sections_of(report, document, without),
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
    return f"Data mixture for {quantity_text(report.optimum.budget)} {report.optimum.unit}"


def _cards(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the numbers at the top of the page."""
    found, laws = document["decision"], document["laws"]
    if found is None:
        return []
    gain = found["gain"]
    low, high = (shown(gain[end], "change") for end in ("low", "high"))
    error = laws["splits"][list(laws["splits"])[-1]][laws["best"]]
    runs = counted(len(document["sweep"]["runs"]), "run")
    return [
        {
            "name": f"Predicted gain over {list(document['baselines'])[1]}",
            "value": gain["value"],
            "kind": "change",
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
            "note": "for the loss of the reference",
        },
        {
            "name": f"Error of {laws['best']}",
            "value": error["mre"],
            "kind": "percent",
            "note": f"on held-out points, of {runs}",
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
    return _asset("page.css") + rules


def _asset(name: str) -> str:
    return (files("bimix_jax.report") / "assets" / name).read_text(encoding="utf-8")


def _explorer(report: "Report", document: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Return what the explorer's template needs; or None, and why there is no explorer."""
    best, sure = report.optimum, report.certainty
    if best is None or sure is None:
        return None, ""
    try:
        law = law_in_javascript(report.fitted)
    except NotCoveredError as error:
        return None, f"There is no explorer for {report.fitted.label}: {error}."
    recipe, paths, missing = _recipe(report)
    shares = report.baselines["share"]
    starts = {str(name): row for name, row in shares.iterrows()}
    data = explorer_data(best, sure.bootstrap, starts, recipe, sure.level)
    if recipe is not None:
        data["recipe"]["paths"] = paths and [list(paths[d]) for d in data["domains"]]
    # An opening bracket in a name must not end the element.
    text = json.dumps(plain(data), ensure_ascii=False).replace("<", "\\u003c")
    parts = [f"const lossOf = {law};", *map(_asset, SCRIPTS)]
    return {
        "data": Markup(text),
        "script": Markup('"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"),
        "starts": list(starts),
        "reference": list(starts)[1],
        "targets": data["targets"],
        "level": f"{100 * sure.level:g} %",
        "objective": "Mean loss" if data["objective"] == "mean" else "Objective",
        "forms": []
        if recipe is None
        else [(f, n) for f, n in FORMS.items() if paths or f in ("olmix", "json")],
        "missing_forms": missing,
        **_sliders(report),
    }, ""


def _sliders(report: "Report") -> dict[str, Any]:
    """Return the ends of the sliders, and the marks on them as fractions of these."""
    best: Any = report.optimum
    observed, shares = best.observed, best.mixture
    most = min(1.0, 1.25 * max(float(observed["max"].max()), float(shares.max())))
    domains = [
        {
            "name": name,
            "low": f"{observed['min'][name] / most:.4f}",
            "high": f"{min(observed['max'][name] / most, 1):.4f}",
            "best": f"{share / most:.4f}",
            "share": repr(float(share)),
            "percent": f"{100 * share:.1f}",
        }
        for name, share in shares.items()
    ]
    least, largest = map(float, report.fitted.observed_budgets)
    ends = (least / 2, 2 * max(2 * largest, best.budget))
    logs = {
        name: repr(math.log(at))
        for name, at in zip(("low", "high", "at"), (*ends, best.budget), strict=True)
    }
    return {
        "domains": domains,
        "most": repr(most),
        "budgets": logs if least < largest else None,
        "epochs": best.epochs is not None,
    }


def _recipe(report: "Report") -> tuple[Recipe | None, Any, str]:
    """Return the recipe of the recommendation, paths by domain, and what copies cannot be made."""
    best, fitted = report.optimum, report.fitted
    if best is None or fitted.metadata.share_unit not in (None, "tokens"):
        return None, None, "Copies as files need shares of tokens."
    recipe = make_recipe(best, fitted)
    made = recipe.stamped(recipe.stamp.fit, "the explorer of a page by bimix_jax")
    if report.plan.paths is None:
        return made, None, "Megatron-LM and Hugging Face need the plan to name paths."
    paths = read_paths(report.plan.paths, fitted.domains)
    if any(isinstance(where, dict) for where in paths.values()):
        return made, None, "Megatron-LM, Hugging Face and olmix take paths, not streams."
    return made, paths, ""
