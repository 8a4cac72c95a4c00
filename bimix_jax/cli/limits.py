"""Options that limit the recommended mixture, and their conversion to constraints."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

import bimix_jax as bx
from bimix_jax.cli import named
from bimix_jax.cli.app import MAY_NAME_FILES
from bimix_jax.files import as_path
from bimix_jax.mixture._given import RUN, WORDS
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.reading.settings import did_you_mean
from bimix_jax.recipe.available import TOKENS
from bimix_jax.sweeps.sweep import Sweep

SHARES = "DOMAIN=SHARE"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Options of allowed mixtures, and of the reference that some limits use."""

    panel: ClassVar[str] = "Which mixtures are allowed"

    reference: Annotated[
        str | None,
        typer.Option(
            metavar="WORD|FILE",
            help="Mixture to compare with: uniform, available (proportional to the tokens), "
            "best-run, run:NAME, or a file, JSON or a table of one row. Default uniform; of "
            "decide, best-run.",
            show_default=False,
        ),
        MAY_NAME_FILES,
    ] = None
    constraints: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON of what follows; options override it, per domain."),
    ] = None
    lower: Annotated[
        list[str] | None, typer.Option(metavar=SHARES, help="Least proportion of a domain.")
    ] = None
    upper: Annotated[
        list[str] | None, typer.Option(metavar=SHARES, help="Largest proportion of a domain.")
    ] = None
    fix: Annotated[
        list[str] | None, typer.Option(metavar=SHARES, help="Proportion of a domain, fixed.")
    ] = None
    available: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DOMAIN=TOKENS|FILE",
            help="Tokens that exist, by domain, or a table of domain, tokens and, if known, "
            "documents. A "
            "limit with --epochs.",
        ),
        MAY_NAME_FILES,
    ] = None
    epochs: Annotated[
        float | None, typer.Option(help="How often a token may be seen; default any number.")
    ] = None
    tokens: Annotated[
        float | None,
        typer.Option(help="Planned tokens of the training, where budgets are not in tokens."),
    ] = None
    tokens_per_step: Annotated[
        float | None,
        typer.Option(help="Tokens per step, where budgets are steps; instead of --tokens."),
    ] = None
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A+B=LEAST:MOST", help="Bounds on a sum of shares; either may be left out."
        ),
    ] = None
    kl: Annotated[
        float | None,
        typer.Option(help="Price of the KL divergence from the reference, in nats per unit."),
    ] = None
    guardrail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERCENT|TARGET=PERCENT",
            help="Largest loss increase over the reference, for all targets or for one; of scores "
            "the points that they may lose.",
        ),
    ] = None

    def constraints_of(
        self, of: bx.Fit | Sweep, shown: bool = False, base: bx.Constraints | None = None
    ) -> bx.Constraints:
        """Return the constraints of the file; options override them, per domain and target.

        Args:
            of: the fit or sweep with the domains and targets.
            shown: True where the command shows existing tokens even without a limit of epochs.
            base: those that hold without a file, of a plan.

        Raises:
            ValueError: on unknown names, or options without an effect.
        """
        names = of.domains, of.targets
        given = {k: v for k, v in self._given(of).items() if v is not None and v not in ({}, [])}
        both = bx.Constraints(**given).spelled_as(*names)
        if self.constraints is not None:
            base = bx.read_constraints(self.constraints)
        if base is not None:
            both = base.spelled_as(*names).overridden(both, list(given), of.targets)
        self._refuse_idle(both, shown)
        return both

    def mixture_of(self, of: bx.Fit | Sweep) -> Any:
        """Return the reference: a word that Python knows, too, or the mixture of a file."""
        given = self.reference
        if given is None or given in WORDS or given.startswith(RUN):
            return given
        if not as_path(given).exists():
            raise ValueError(
                f"--reference is {given!r}; expected {', '.join(WORDS)}, {RUN}NAME or a file that "
                f"exists.{did_you_mean(given, WORDS)}"
            )
        return read_mixtures(given, of.domains)

    @property
    def name(self) -> str:
        """Name of the reference."""
        given = self.reference or "uniform"
        if given.startswith(RUN):
            return given.removeprefix(RUN)
        return given if given in WORDS else Path(given).stem

    def table_of_tokens(self, domains: tuple[str, ...]) -> str | None:
        """Return the file of existing tokens and documents, if --available names one."""
        given = self.available or []
        return given[0] if len(given) == 1 and _is_table(given[0], domains) else None

    def _tokens(self, domains: tuple[str, ...]) -> dict[str, float]:
        file = self.table_of_tokens(domains)
        if file is None:
            return named.values("--available", self.available, domains)
        table = bx.read_available(file, domains)
        return {str(domain): float(n) for domain, n in table[TOKENS].items()}

    def _given(self, of: bx.Fit | Sweep) -> dict[str, Any]:
        domains = of.domains
        return {
            "lower": named.values("--lower", self.lower, domains, named.share_of),
            "upper": named.values("--upper", self.upper, domains, named.share_of),
            "fixed": named.values("--fix", self.fix, domains, named.share_of),
            "available": self._tokens(domains),
            "epochs": self.epochs,
            "tokens": self.tokens,
            "tokens_per_step": self.tokens_per_step,
            "groups": [_group(text, domains) for text in self.group or []],
            "kl": self.kl,
            "guardrail": _guardrail(self.guardrail, of.targets),
        }

    def _refuse_idle(self, both: bx.Constraints, shown: bool) -> None:
        if self.epochs is not None and not both.available:
            raise ValueError(
                "--epochs limits how often tokens that exist are seen; give them by --available, "
                "or leave it out."
            )
        used = shown or self.reference == "available"
        if self.available and both.epochs is None and not used:
            raise ValueError(
                "--available limits nothing without --epochs, how often a token may be seen; give "
                "that, too, or leave it out."
            )


def _is_table(text: str, domains: Sequence[str]) -> bool:
    """True where the text names a file, perhaps with = in its name, rather than DOMAIN=TOKENS."""
    return "=" not in text or (
        as_path(text).is_file() and not any(text.startswith(f"{d}=") for d in domains)
    )


def _group(text: str, domains: Sequence[str]) -> bx.Group:
    """Parse a group from A+B=LEAST:MOST."""
    before, _, after = text.rpartition("=")
    names, bounds = named.split_sum(text, domains) or (before.split("+"), after)
    least, colon, most = bounds.partition(":")
    if not (before and colon):
        raise ValueError(
            f"--group is {text!r}; expected A+B=LEAST:MOST, for instance web+books=:0.6"
        )
    where = f"--group {'+'.join(names)}"
    ends = [named.share_of(where, end) for end in (least or "0", most or "1")]
    return bx.Group(tuple(names), *ends)


def _guardrail(given: list[str] | None, targets: Sequence[str]) -> float | dict[str, float] | None:
    """Return percentages as fractions: one for all targets, or by target."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return named.percent("--guardrail", given[0])
    if not all("=" in each for each in given):
        raise ValueError(
            f"--guardrail is given several times ({', '.join(given)}); several guardrails name a "
            "target each: --guardrail TARGET=PERCENT."
        )
    return named.values("--guardrail", given, targets, named.percent)
