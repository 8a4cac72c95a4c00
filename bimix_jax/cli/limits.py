"""Options that limit the mixture `bimix optimize` looks for, and what they turn into."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

import bimix_jax as bx
from bimix_jax.cli import options
from bimix_jax.recipe.available import TOKENS

ConstraintsFile = Annotated[
    Path | None, typer.Option(help="TOML or JSON of what follows; options come on top.")
]
Lower = Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, at least.")]
Upper = Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, at most.")]
Fix = Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, exactly.")]
Available = Annotated[
    list[str] | None,
    typer.Option(
        help="What exists: DOMAIN=TOKENS, several times, or a table of domain, tokens and, if "
        "known, documents. Shown as epochs; with --epochs or --constraints also a limit."
    ),
]
Epochs = Annotated[
    float | None, typer.Option(help="How often a token may be seen; default no limit.")
]
PlannedTokens = Annotated[
    float | None, typer.Option(help="Planned, where budgets are not in tokens.")
]
TokensPerStep = Annotated[
    float | None, typer.Option(help="Where budgets are steps, instead of --tokens.")
]
Groups = Annotated[
    list[str] | None, typer.Option(help="A+B=LEAST:MOST, bounds on a sum, either may lack.")
]
Pull = Annotated[float | None, typer.Option(help="Nats per KL divergence from the reference.")]
Guardrail = Annotated[
    list[str] | None,
    typer.Option(help="PERCENT or TARGET=PERCENT: no worse than the reference by more."),
]


def constraints_of(
    file: Path | None,
    lower: list[str] | None,
    upper: list[str] | None,
    fix: list[str] | None,
    available: dict[str, float],
    epochs: float | None,
    tokens: float | None,
    tokens_per_step: float | None,
    group: list[str] | None,
    kl: float | None,
    guardrail: list[str] | None,
) -> bx.Constraints:
    """The constraints of a file, those of the options instead where both are given."""
    given: dict[str, Any] = {
        "lower": options.numbers("--lower", lower), "upper": options.numbers("--upper", upper),
        "fixed": options.numbers("--fix", fix), "epochs": epochs, "tokens": tokens,
        "available": {} if epochs is None and file is None else available,
        "tokens_per_step": tokens_per_step, "groups": [_group(text) for text in group or []],
        "pull": kl, "guardrail": _guardrail(guardrail),
    }  # fmt: skip
    asked = bx.Constraints() if file is None else bx.read_constraints(file)
    return dataclasses.replace(asked, **{k: v for k, v in given.items() if v not in (None, {}, [])})


def available_tokens(
    given: list[str] | None, domains: tuple[str, ...]
) -> tuple[dict[str, float], Any]:
    """Tokens that exist by domain, and what a recipe is told of them: those, or the table."""
    if given and len(given) == 1 and "=" not in given[0]:
        table = bx.read_available(given[0], domains)
        return {str(domain): float(n) for domain, n in table[TOKENS].items()}, given[0]
    tokens = options.numbers("--available", given)
    return tokens, tokens or None


def check_shares_of_tokens(asked: bx.Constraints, fitted: bx.Fit) -> None:
    """Raise ValueError where tokens that exist would limit shares of something else."""
    unit = fitted.meaning.share_unit
    if asked.available and unit not in (None, TOKENS):
        raise ValueError(
            f"--available with a limit: the fit's shares are of {unit}, and tokens limit shares of "
            "tokens. Leave --epochs out to see the epochs, or fit shares of tokens "
            "(bimix_jax.token_shares)."
        )


def tables_of(available: list[str] | None) -> list[Path]:
    """The files among what --available was given."""
    return [Path(text) for text in available or [] if "=" not in text]


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
