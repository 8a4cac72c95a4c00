"""Sections of a page, in their order: words, tables and pictures of a report.

Numbers come from the report's document, that of decision.json; pictures from its objects.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from bimix_jax.judging.evaluate import Evaluation
from bimix_jax.printable import json_text
from bimix_jax.quantities import quantity_text
from bimix_jax.reading.targets import Target, are_scores, predicted_text
from bimix_jax.report._kept import Kept, fields_of, key_of
from bimix_jax.report._numbers import shown
from bimix_jax.report._section import Numbers, Pictured, Section, Table, column
from bimix_jax.sweeps.splits import SPLIT_TITLES

if TYPE_CHECKING:
    from bimix_jax.fitting.fitted import Fit
    from bimix_jax.mixture.optimum import Optimum
    from bimix_jax.report.report import Report
    from bimix_jax.sweeps.sweep import Sweep
    from bimix_jax.uncertainty.bootstrap import Bootstrap
    from bimix_jax.uncertainty.calibration import Calibration

MOST_POINTS = 8000
"""Most points of a picture, each of which takes a hundred bytes of the page."""
INFLUENTIAL = 5
"""Number of runs in the table of influence."""


def sections_of(
    report: "Report", document: Numbers, explorer: str, command: str, kept: Kept
) -> list[Section]:
    """Return the sections of a report with a recommendation, or of one that lacks data.

    Args:
        report: for the pictures.
        document: of the report, for the numbers.
        explorer: why there is no explorer, "" where there is one.
        command: that made the report.
        kept: where pictures are kept.
    """
    best, sure = report.optimum, report.certainty
    last = [_checks(document), _origin(document, command)]
    if best is None or sure is None:
        return [*_next_runs(report, document, kept), *_law(report, document, None, kept), *last]
    return [
        _mixture(report, best, document, kept),
        _targets(report, document, kept),
        Section(
            "try", "Try another mixture", (explorer,) if explorer else (), explorer=not explorer
        ),
        *_law(report, document, sure.bootstrap, kept),
        _limits(document),
        _flat(report, document, kept),
        *_budgets(report, document, kept),
        *_next_runs(report, document, kept),
        *last,
    ]


def _plots() -> Any:
    """Load the room of pictures, which takes long, where a picture is not kept."""
    from bimix_jax import plots

    return plots


def _mixture(report: "Report", best: "Optimum", document: Numbers, kept: Kept) -> Section:
    found, beside = document["decision"], document["baselines"]
    ends, epochs = found["intervals"], found["epochs"]
    level = f"{100 * found['level']:g} %"
    shares: Any = report.baselines["share"]
    parts = shares, best.intervals, best.observed, best.epochs
    picture = Pictured.of(
        kept,
        parts,
        lambda: _plots().plot_baselines(*parts),
        "mixture",
        f"The recommended share of each domain with its {level} interval, beside other mixtures.",
    )
    names = sorted(found["mixture"], key=found["mixture"].get, reverse=True)
    table = Table.of(
        "Share of the tokens by domain",
        ("domain", names),
        ("recommended", "share", found["mixture"]),
        ("low", "share", column(ends, "low")),
        ("high", "share", column(ends, "high")),
        ("epochs", "epochs", epochs) if epochs else None,
        *((name, "share", beside[name]["share"]) for name in list(beside)[1:]),
    )
    return Section("mixture", "The mixture", figures=(picture,), tables=(table,))


def _targets(report: "Report", document: Numbers, kept: Kept) -> Section:
    found, beside = document["decision"], document["baselines"]
    recommended, reference = list(beside)[:2]
    ours, theirs = beside[recommended], beside[reference]
    described = report.sweep.metadata.described(ours["loss"])
    change = {t.name: _worse(t, ours["loss"][t.name], theirs["loss"][t.name]) for t in described}
    predicted: Any = report.baselines["loss"]
    picture = Pictured.of(
        kept,
        [predicted, repr(described)],
        lambda: _plots().plot_costs(predicted, described),
        "targets",
        f"How much worse each target is predicted to be than with {reference}; left is better.",
    )
    some, points = are_scores(described).any(), are_scores(described).all()
    units = {t.name: "points" if t.is_score else "change" for t in described}
    losses = Table.of(
        f"{predicted_text(described)}, with the {100 * found['level']:g} % interval of one new run",
        ("target", sorted(change, key=lambda name: (change[name] is None, change[name] or 0.0))),
        ("weight", "digits", found["weights"]),
        ("score" if points else "value" if some else "loss", "loss", ours["loss"]),
        ("low", "loss", ours["low"]),
        ("high", "loss", ours["high"]),
        (reference, "loss", theirs["loss"]),
        ("worse by" if some else "change", units, change),
    )
    summary = {name: values["summary"] for name, values in beside.items()}
    gain = "points" if found["objective_unit"] == "points" else "change"
    mixtures = Table.of(
        f"Mixtures by {_objective(found)}; the probability is that the recommended one is better",
        ("mixture", summary),
        (_objective(found), "loss", column(summary, "objective")),
        (f"gain over {reference}", gain, column(summary, "gain")),
        ("probability", "probability", column(summary, "probability")),
    )
    return Section(
        "targets", "What it costs each target", figures=(picture,), tables=(losses, mixtures)
    )


def _worse(target: Target, ours: float | None, theirs: float | None) -> float | None:
    """Relative increase of a loss, or hundredths of the points that a score loses."""
    if ours is None or theirs is None:
        return None
    if target.is_score:
        return target.points(target.distance(ours) - target.distance(theirs)) / 100
    return ours / theirs - 1


def _objective(found: Numbers) -> str:
    what = "score" if found["objective_unit"] == "points" else "loss"
    worst = "least" if what == "score" else "largest"
    named = {"mean": f"mean {what}", "worst": f"{worst} {what}"}
    return named.get(found["objective_name"], "objective")


def _at_size_of_runs(fitted: "Fit", sweep: "Sweep") -> "Fit":
    """The fit at the model size of the sweep that is nearest to its own, to stand beside runs."""
    if sweep.size is None:
        return fitted
    law: Any = fitted.law
    sizes = np.unique(sweep.size)
    return fitted.at_model_size(sizes[np.argmin(np.abs(np.log(sizes / law.size)))])


def _law(
    report: "Report", document: Numbers, drawn: "Bootstrap | None", kept: Kept
) -> list[Section]:
    fitted, laws = report.fitted, document["laws"]
    if fitted is None or laws is None:
        return []
    least, largest = fitted.observed_budgets
    every = are_scores(fitted.described)
    values = "Losses" if not every.any() else "Scores" if every.all() else "Losses and scores"
    draw, along = (
        (_plots().plot_curves, "the budget")
        if least < largest
        else (_plots().plot_proportions, _along(fitted))
    )
    pictures = [
        Pictured.of(
            kept,
            key_of(fitted),
            lambda: draw(_at_size_of_runs(fitted, report.sweep), report.sweep),
            "curves",
            f"{values} of runs along {along} (dots), and {fitted.label} as fitted to all (lines).",
        )
    ]
    if drawn is not None:
        pictures.append(
            Pictured.of(
                kept,
                key_of(fitted),
                lambda: _plots().plot_predicted(_held_out(drawn)),
                "predicted",
                f"{values} beside the predictions of fits that did not see their mixtures.",
            )
        )
    error, more = ("of_range", "points") if every.all() else ("percent", "change")
    tables = [
        Table.of(
            f"Errors of the laws on {SPLIT_TITLES.get(kind, kind)}",
            ("law", split),
            (f"mean {'' if every.any() else 'relative '}error", error, column(split, "mre")),
            ("more than the best", more, column(split, "difference")),
            ("standard error", error, column(split, "se")),
        )
        for kind, split in laws["splits"].items()
    ]
    notes = () if drawn is not None else tuple(document["fit"]["notes"])
    fits = Section(
        "law", "How the law fits", (laws["verdict"],), tuple(pictures), tuple(tables), notes
    )
    return [fits, *_reliability(document, fitted, report.calibration, kept)]


def _reliability(
    document: Numbers, fitted: "Fit", calibration: "Calibration | None", kept: Kept
) -> list[Section]:
    """How intervals and probabilities fare at mixtures that their fits did not see."""
    found = document["calibration"]
    if calibration is None or not np.isfinite(calibration.inside).any():
        return []
    picture = Pictured.of(
        kept,
        [key_of(fitted), found],
        lambda: _plots().plot_calibration(calibration),
        "calibration",
        "Left: the share of measured values inside intervals of 50, 80 and 90 %. Right: pairs of "
        "mixtures, by the probability that one is better, and how often it is; a larger dot "
        "stands for more pairs. Each was predicted without its own values.",
    )
    levels = {f"{100 * float(level):g} %": row for level, row in found["coverage"].items()}
    coverage = Table.of(
        "Measured values inside their intervals",
        ("level of the interval", levels),
        ("inside", "percent", column(levels, "covered")),
        ("least, of one target", "percent", column(levels, "worst")),
        ("target", "", column(levels, "worst_target")),
        (f"half the width, {_width_text(fitted)}", "percent", column(levels, "width")),
    )
    return [
        Section("reliability", "How far to trust it", (found["verdict"],), (picture,), (coverage,))
    ]


def _width_text(fitted: "Fit") -> str:
    """Name the quantity to which the half width of an interval is compared."""
    scores = are_scores(fitted.described)
    distance = "of the distance to the maximum"
    return (
        distance
        if scores.all()
        else f"of the loss or {distance}"
        if scores.any()
        else ("of the loss")
    )


def _held_out(drawn: "Bootstrap") -> Evaluation:
    """Return losses beside the predictions of fits without their mixtures, at some budgets where
    they are many."""
    rows = drawn.held_out_rows.take(drawn.held_out_rows.within)
    budgets = np.unique(rows.budget)
    some = max(1, min(len(budgets), MOST_POINTS * len(budgets) // max(rows.measured.size, 1)))
    picks = np.linspace(len(budgets) - 1, 0, some).round().astype(int)
    rows = rows.take(np.isin(rows.budget, budgets[picks]))
    return Evaluation(
        drawn.fitted.targets,
        rows.unit.astype(str),
        rows.budget,
        np.where(np.isfinite(rows.predicted), rows.measured, np.nan),
        rows.predicted,
        float(rows.budget.max()),
        metadata=drawn.fitted.metadata,
    )


def _limits(document: Numbers) -> Section:
    found = document["decision"]
    binding, guards = found["binding"], found["guardrails"]
    tables = []
    if binding:
        tables.append(
            Table.of(
                f"Limits that hold the mixture, and the gain in {found['objective_unit']} if each "
                "is relaxed by 1 %",
                ("limit", binding),
                ("gain", "difference", column(binding, "gain")),
                ("per unit of the limit", "digits", column(binding, "multiplier")),
            )
        )
        tables.append(
            Table.of(
                "The best mixture without any limit",
                ("domain", found["mixture"]),
                ("recommended", "share", found["mixture"]),
                ("without limits", "share", found["unconstrained"]),
            )
        )
    if guards:
        tables.append(
            Table.of(
                "Targets that may not get worse by more than allowed",
                ("target", guards),
                ("allowed", "change", column(guards, "allowed")),
                ("predicted", "change", column(guards, "increase")),
                ("probability", "probability", column(guards, "probability")),
            )
        )
    text = (
        () if binding else ("No limit of the plan holds the mixture: without any it is the same.",)
    )
    return Section("limits", "What binds, and what relaxing it brings", text, tables=tuple(tables))


def _flat(report: "Report", document: Numbers, kept: Kept) -> Section:
    found = document["decision"]
    flat, same, far = found["flatness"], found["indistinct"], found["alternatives"]
    ranges = Table.of(
        "Range of each share among mixtures as good within 0.1 %, and among those that the data "
        f"cannot tell apart (better with a probability below {found['level']:g})",
        ("domain", found["mixture"]),
        ("recommended", "share", found["mixture"]),
        ("as good: from", "share", column(flat, "flat_low")),
        ("to", "share", column(flat, "flat_high")),
        ("not told apart: from", "share", column(same, "low")),
        ("to", "share", column(same, "high")),
    )
    others = Table.of(
        "Mixtures as good within 0.1 %, as different as possible",
        ("domain", found["mixture"]),
        *(
            (f"alternative {number}", "share", mixture)
            for number, mixture in enumerate(far.values(), 1)
        ),
    )
    moved = dict(list(found["influence"].items())[:INFLUENTIAL])
    runs = Table.of(
        "Runs that move the recommendation most when they are left out",
        ("without", moved),
        ("tokens that move", "share", column(moved, "moved")),
        ("most in", "", column(moved, "domain")),
        ("by", "change", column(moved, "change")),
    )
    tables = [ranges, *([others] if far else []), *([runs] if moved else [])]
    sensitivity = report.sensitivity
    if sensitivity is None:
        return Section("flat", "How flat it is", tables=tuple(tables))
    picture = Pictured.of(
        kept,
        fields_of(sensitivity),
        lambda: _plots().plot_sensitivity(sensitivity),
        "sensitivity",
        "What one more percentage point of a domain does to each target; the others give in "
        "proportion.",
    )
    return Section("flat", "How flat it is", figures=(picture,), tables=tuple(tables))


def _budgets(report: "Report", document: Numbers, kept: Kept) -> list[Section]:
    path, found = report.path, document["path"]
    if path is None:
        return []
    picture = Pictured.of(
        kept,
        found,
        lambda: _plots().plot_path(path),
        "path",
        "The best share of each domain along the budget.",
    )
    budgets = list(found["mixtures"])
    some = [budgets[i] for i in np.linspace(0, len(budgets) - 1, min(len(budgets), 7)).astype(int)]
    table = Table.of(
        f"Best mixtures along the budget ({found['unit']})",
        ("domain", next(iter(found["mixtures"].values()))),
        *((quantity_text(float(at)), "share", found["mixtures"][at]) for at in some),
    )
    notes = _further(found["notes"], document)
    return [
        Section("budgets", "Along the budget", figures=(picture,), tables=(table,), notes=notes)
    ]


def _next_runs(report: "Report", document: Numbers, kept: Kept) -> list[Section]:
    proposal = report.next_runs
    if proposal is None:
        return _why_no_runs(report)
    found = document["next_runs"]
    runs, now = found["mixtures"], found["regret_now"]
    known, unit = now is not None, proposal.regret_unit
    what = "Mixtures whose runs lower the uncertainty of the decision most, the best first."
    picture = Pictured.of(
        kept,
        fields_of(proposal),
        lambda: _plots().plot_proposal(proposal),
        "next",
        what if known else "Mixtures to run.",
    )
    table = Table.of(
        "Runs to do next" + f"; the expected regret is in {unit}" * known,
        ("run", runs),
        *((domain, "share", column(runs, domain)) for domain in next(iter(runs.values()))),
        ("regret left", "small", found["regret_left"]) if known else None,
    )
    text = (f"Expected regret now: {shown(now, 'small')} {unit}.",) if known else ()
    notes = _further(found["notes"], document)
    return [Section("next", "What to run next", text, (picture,), (table,), notes)]


def _along(fitted: "Fit") -> str:
    """Name the axis of the curves of a single budget."""
    others = set(fitted.targets) - set(fitted.domains)
    if not others:
        return "the target's own share"
    largest = "the largest share of the mixture"
    if len(others) == len(fitted.targets):
        return largest
    return f"the target's own share, or {largest} where the target is not a domain"


def _why_no_runs(report: "Report") -> list[Section]:
    """The section without runs, where they were asked for and the law cannot propose any."""
    law = None if report.fitted is None else report.fitted.law
    if law is None or law.of_losses is None or not report.plan.propose:
        return []
    text = (
        f"No runs are proposed: a proposal is for one law, and {law.label} has a law of the losses "
        "and links to the scores. Where a law of the scores themselves is the only one of the "
        "plan, TransferBiMix for example, runs are proposed."
    )
    return [Section("next", "What to run next", (text,))]


def _further(notes: list[str], document: Numbers) -> tuple[str, ...]:
    """Return notes that are not among those of the decision, which the page lists once."""
    said = (document["decision"] or {}).get("notes", ())
    return tuple(note for note in notes if note not in said)


def _checks(document: Numbers) -> Section:
    seen = document["check"]["observations"]
    by_number = {str(i): row for i, row in enumerate(seen, 1)}
    table = Table.of(
        "What the check of the sweep found",
        ("number", by_number),
        ("severity", "", column(by_number, "severity")),
        ("finding", "", column(by_number, "what")),
        ("advice", "", column(by_number, "advice")),
    )
    notes = (document["decision"] or {}).get("notes", ())
    return Section(
        "checks", "Checks and limits", tables=(table,) if seen else (), notes=tuple(notes)
    )


def _origin(document: Numbers, command: str) -> Section:
    sweep, fit = document["sweep"], document["fit"]
    text = [f"{sweep['summary']}. SHA-256 of its numbers: {sweep['digest']}."]
    text.append(f"bimix_jax {document['version']}, {document['made']}, by: {command}")
    texts = [("Plan", _json(document["plan"]))]
    if fit is None:
        return Section("origin", "Data and plan", tuple(text), texts=tuple(texts))
    coefficients = fit["table"]
    table = Table.of(
        f"Coefficients of {fit['law']} by target",
        ("target", coefficients),
        *((n, _kind(n), column(coefficients, n)) for n in next(iter(coefficients.values()))),
    )
    texts.append(("Options of the fit", _json(fit["options"])))
    return Section("origin", "Data, law and plan", tuple(text), (), (table,), texts=tuple(texts))


def _json(document: Numbers) -> str:
    return json_text(document, 1)


def _kind(name: str) -> str:
    return {"code": "", "error": "percent"}.get(name, "digits")
