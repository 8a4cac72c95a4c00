"""Options that limit the mixture `bimix optimize` looks for, and what they turn into."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.named import quantity
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
    float | None,
    typer.Option(parser=quantity, help="How often a token may be seen; default no limit."),
]
PlannedTokens = Annotated[
    float | None,
    typer.Option(parser=quantity, help="Planned, where budgets are not in tokens."),
]
TokensPerStep = Annotated[
    float | None,
    typer.Option(parser=quantity, help="Where budgets are steps, instead of --tokens."),
]
Groups = Annotated[
    list[str] | None, typer.Option(help="A+B=LEAST:MOST, bounds on a sum, either may lack.")
]
Pull = Annotated[
    float | None, typer.Option(parser=quantity, help="Nats per KL divergence from the reference.")
]
Guardrail = Annotated[
    list[str] | None,
    typer.Option(help="PERCENT or TARGET=PERCENT: no worse than the reference by more."),
]


def constraints_of(
    fitted: bx.Fit,
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
    domains = fitted.domains
    given: dict[str, Any] = {
        "lower": named.values("--lower", lower, domains, named.share),
        "upper": named.values("--upper", upper, domains, named.share),
        "fixed": named.values("--fix", fix, domains, named.share),
        "available": {} if epochs is None and file is None else available,
        "epochs": epochs, "tokens": tokens, "tokens_per_step": tokens_per_step,
        "groups": [_group(text, domains) for text in group or []],
        "pull": kl, "guardrail": _guardrail(guardrail, fitted.targets),
    }  # fmt: skip
    asked = bx.Constraints() if file is None else bx.read_constraints(file)
    both = dataclasses.replace(
        asked, **{k: v for k, v in given.items() if v is not None and v not in ({}, [])}
    )
    if epochs is not None and not both.available:
        raise ValueError(
            "--epochs limits how often tokens that exist are seen; give them by --available, or "
            "leave it out."
        )
    return both


def available_tokens(
    given: list[str] | None, domains: tuple[str, ...]
) -> tuple[dict[str, float], Any]:
    """Tokens that exist by domain, and what a recipe is told of them: those, or the table."""
    if given and len(given) == 1 and _is_table(given[0], domains):
        table = bx.read_available(given[0], domains)
        return {str(domain): float(n) for domain, n in table[TOKENS].items()}, given[0]
    tokens = named.values("--available", given, domains)
    return tokens, tokens or None


def _is_table(text: str, domains: Sequence[str]) -> bool:
    """Whether it names a file, which may have = in its name, rather than DOMAIN=TOKENS."""
    return "=" not in text or (
        Path(text).is_file() and not any(text.startswith(f"{d}=") for d in domains)
    )


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
    return [Path(text) for text in available or [] if _is_table(text, ())]


def _group(text: str, domains: Sequence[str]) -> bx.Group:
    """A group from A+B=LEAST:MOST."""
    before, _, after = text.rpartition("=")
    names, bounds = named.split_sum(text, domains) or (before.split("+"), after)
    least, colon, most = bounds.partition(":")
    if not (before and colon):
        raise ValueError(
            f"--group is {text!r}; expected A+B=LEAST:MOST, for instance web+books=:.6"
        )
    where = f"--group {'+'.join(names)}"
    return bx.Group(tuple(names), named.share(where, least or "0"), named.share(where, most or "1"))


def _guardrail(given: list[str] | None, targets: Sequence[str]) -> float | dict[str, float] | None:
    """Percent as fractions: one for all targets, or by target."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return named.percent("--guardrail", given[0])
    return named.values("--guardrail", given, targets, named.percent)
