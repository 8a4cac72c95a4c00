"""`bimix optimize`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.cli.recipe import check_emission, emit_recipe, recipe_of, show_recipe
from bimix_jax.cli.show import show_json, show_line, show_notes, show_table
from bimix_jax.files import check_apart
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.recipe.available import TOKENS
from bimix_jax.recipe.forms import FORMS


def optimize(
    fit: options.FitFile,
    budget: options.Budget = None,
    weight: options.Weight = None,
    method: Annotated[str, typer.Option(help="auto, exact or gradient.")] = "auto",
    reference: Annotated[
        Path | None, typer.Option(help="Mixture to compare with, JSON or a table of one row.")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="mean, worst, or budget: the least that reaches every --goal.")
    ] = "mean",
    goal: Annotated[list[str] | None, typer.Option(help="TARGET=LOSS to reach.")] = None,
    constraints: Annotated[
        Path | None, typer.Option(help="TOML or JSON of what follows; options come on top.")
    ] = None,
    lower: Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, at least.")] = None,
    upper: Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, at most.")] = None,
    fix: Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, exactly.")] = None,
    available: Annotated[
        list[str] | None,
        typer.Option(
            help="What exists: DOMAIN=TOKENS, several times, or a table of domain, tokens and, if "
            "known, documents. Shown as epochs; --epochs makes it a limit."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="How often a token may be seen; default no limit.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Planned, where budgets are not in tokens.")
    ] = None,
    tokens_per_step: Annotated[
        float | None, typer.Option(help="Where budgets are steps, instead of --tokens.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A+B=LEAST:MOST, bounds on a sum, either may lack.")
    ] = None,
    kl: Annotated[
        float | None, typer.Option(help="Nats per KL divergence from the reference.")
    ] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option(help="PERCENT or TARGET=PERCENT: no worse than the reference by more."),
    ] = None,
    emit: Annotated[
        str | None, typer.Option(help=f"Write it for a training stack: {', '.join(FORMS)}.")
    ] = None,
    paths: Annotated[
        Path | None, typer.Option(help="TOML file of domain = path, for --emit.")
    ] = None,
    digits: Annotated[int | None, typer.Option(help="Decimals of emitted weights.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to emit to; default what is printed, alone.",
            callback=options.writable,
        ),
    ] = None,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Find the best mixture at a budget, within bounds, tokens that exist, and guardrails.

    Example: `bimix optimize fit.json --budget 4e10 --available code=5e9 --epochs 4 --guardrail 1`
    """
    tables = [Path(text) for text in available or [] if "=" not in text]
    check_apart([fit, reference, *tables, paths], [output, plot])
    check_emission(emit, paths, output, json)
    fitted = bx.load_fit(fit)
    beside = None if reference is None else read_mixtures(reference, fitted.domains)
    limited = epochs is not None or constraints is not None
    there, table = _available(available, limited, fitted.domains)
    given: dict[str, Any] = {
        "lower": options.numbers("--lower", lower), "upper": options.numbers("--upper", upper),
        "fixed": options.numbers("--fix", fix),
        "available": there, "epochs": epochs,
        "tokens": tokens, "tokens_per_step": tokens_per_step, "pull": kl,
        "groups": [_group(text) for text in group or []], "guardrail": _guardrail(guardrail),
    }  # fmt: skip
    asked = bx.Constraints() if constraints is None else bx.read_constraints(constraints)
    asked = dataclasses.replace(
        asked, **{k: v for k, v in given.items() if v not in (None, {}, [])}
    )
    best = bx.optimize_mixture(
        fitted, budget, options.numbers("--weight", weight) or None, method, beside,  # type: ignore[arg-type]
        constraints=asked, objective=objective, goals=options.numbers("--goal", goal) or None,
    )  # fmt: skip
    name = "uniform" if reference is None else reference.stem
    recipe = recipe_of(best, fitted, fit, table, digits, emit)
    written = emit_recipe(recipe, emit, paths, output) if recipe and emit else []
    if plot:
        bx.plots.save_figure(bx.plots.plot_mixture(best, name), plot)
    if json:
        return show_json(best.document() | ({"recipe": recipe.table()} if recipe else {}))
    if emit is not None and output is None:
        return None
    show_optimum(best, name)
    return show_recipe(recipe, written)


def show_optimum(best: bx.Optimum, name: str) -> None:
    """Print an optimum beside its reference, with what has to be said about it."""
    show_table(best.table(), f"Recommended mixture at {best.budget:g} {best.unit}")
    what = {"mean": "Mean loss", "worst": "Worst loss", "budget": "Least budget"}
    show_line(
        f"{what.get(best.objective_name, best.objective_name)} {best.objective:.5g}, {name} "
        f"{best.reference_objective:.5g}; {_proof(best)} ({best.method})."
    )
    if best.saved == best.saved:
        more = "less" if best.saved >= 0 else "more"
        show_line(f"As good as {name} with {100 * abs(best.saved):.1f} % {more} budget.")
    if len(best.binding):
        show_table(best.binding, "What holds it, and what 1 % more room would gain")
    if len(best.alternatives):
        show_table(best.alternatives, "As good to .1 %, and as different as possible")
    show_notes(best.notes)


def _proof(best: bx.Optimum) -> str:
    gap = f"{max(best.gap, 0.0):.1g}"
    if best.proven:
        return f"no mixture is better by more than {gap}"
    return f"a local optimum, stationary to {gap}; the law does not exclude a better one elsewhere"


def _available(
    given: list[str] | None, limited: bool, domains: tuple[str, ...]
) -> tuple[dict[str, float], Any]:
    """Tokens that limit the mixture, by domain, and what a recipe is told of them."""
    if not given:
        return {}, None
    if len(given) == 1 and "=" not in given[0]:
        table = bx.read_available(given[0], domains)
        tokens = {str(domain): float(count) for domain, count in table[TOKENS].items()}
        return tokens if limited else {}, given[0]
    tokens = options.numbers("--available", given)
    if limited:
        return tokens, None
    return {}, pd.DataFrame({"domain": list(tokens), TOKENS: list(tokens.values())})


def _group(text: str) -> bx.Group:
    """A group from A+B=LEAST:MOST."""
    names, _, bounds = text.partition("=")
    least, colon, most = bounds.partition(":")
    if not (names and colon):
        raise ValueError(
            f"--group is {text!r}; expected A+B=LEAST:MOST, for instance web+books=:.6"
        )
    return bx.Group(
        tuple(names.split("+")),
        options.number(f"--group {names}", least or 0.0),
        options.number(f"--group {names}", most or 1.0),
    )  # fmt: skip


def _guardrail(given: list[str] | None) -> float | dict[str, float] | None:
    """Percent as fractions: one for all targets, or by target."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return options.number("--guardrail", given[0]) / 100
    return {target: value / 100 for target, value in options.numbers("--guardrail", given).items()}
