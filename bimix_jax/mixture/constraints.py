"""Constraints of a mixture by name: bounds, available tokens, groups, a KL term, guardrails."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture._given import (
    at_least_0,
    guard_scale,
    guardrail_of,
    mixture_of,
    named_numbers,
    positive,
    share_of,
    tokens_of,
    unidentified_among,
)
from bimix_jax.mixture.feasible import FeasibleSet, feasible_set
from bimix_jax.reading.names import as_expected
from bimix_jax.reading.nested import read_json, read_toml
from bimix_jax.reading.settings import refuse_unknown

NEAR = 0.01
"""Relative distance below which planned tokens count as equal to the budget."""
GROUP = ("domains", "least", "most")
"""Entries of a group in a file."""
BY_DOMAIN = {"lower", "upper", "fixed", "available"}
"""Fields with a number by domain."""
TOKENS = "tokens"


@dataclasses.dataclass(frozen=True)
class Group:
    """Bounds on the sum of the proportions of several domains."""

    domains: tuple[str, ...]
    least: float = 0.0
    most: float = 1.0

    def __post_init__(self) -> None:
        """Convert the names to a tuple and the bounds to numbers."""
        given: Any = self.domains
        if not isinstance(given, (list, tuple)) or not all(isinstance(d, str) for d in given):
            raise ValueError(f"groups: domains is {given!r}; expected a list of names.")
        twice = [d for d in dict.fromkeys(given) if given.count(d) > 1]
        if twice or not given:
            raise ValueError(
                f"groups: domains is {list(given)!r}; expected at least one name, each once."
            )
        object.__setattr__(self, "domains", tuple(given))
        for field in ("least", "most"):
            share = share_of(f"groups: {field} of {self.name}", getattr(self, field))
            object.__setattr__(self, field, share)

    @property
    def name(self) -> str:
        """Names of the domains, joined."""
        return " + ".join(self.domains)


@dataclasses.dataclass(frozen=True)
class Constraints:
    """Constraints on a mixture, keyed by the names of a fit; every field is optional.

    >>> both = Constraints(lower={"code": 0.2}, groups=[Group(("web", "books"), most=0.7)])
    >>> Constraints.from_dict(both.to_dict()) == both
    True
    """

    lower: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """least proportion by domain"""
    upper: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """largest proportion by domain"""
    fixed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """proportion by domain"""
    available: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """existing tokens by domain; with `epochs`, r · planned tokens ≤ epochs · available"""
    epochs: float | None = None
    """largest number of times an existing token may be seen; None for no limit"""
    tokens: float | None = None
    """planned tokens of the run; default the budget, or budget · `tokens_per_step`"""
    tokens_per_step: float | None = None
    """tokens per step, for fits whose budgets are not tokens"""
    groups: Sequence[Group] = ()
    """bounds on sums of proportions"""
    kl: float = 0.0
    """κ: the objective, in nats, is increased by κ · KL(mixture ‖ kl_to)"""
    kl_to: Mapping[str, float] | None = None
    """mixture; default the reference"""
    guardrail: "float | Mapping[str, float] | None" = None
    """largest loss increase over the loss at `guarded`, a fraction, or decrease of a score, 0.01
    for a point: for all targets, or by target"""
    guarded: Mapping[str, float] | None = None
    """mixture; default the reference"""
    weights: Mapping[str, float] | None = None
    """weights by target, for a call of `optimize_mixture` without weights"""

    def __post_init__(self) -> None:
        """Copy the mappings, so that later changes outside do nothing; convert groups to
        `Group`."""
        # Frozen dataclasses are set through `object`; afterwards every field is a checked number.
        for field in ("lower", "upper", "fixed"):
            object.__setattr__(self, field, named_numbers(field, getattr(self, field), share_of))
        object.__setattr__(self, "available", named_numbers("available", self.available, tokens_of))
        if not isinstance(self.groups, (list, tuple)):
            raise ValueError(f"groups is {self.groups!r}; expected a list of groups.")
        groups = tuple(g if isinstance(g, Group) else _group(g) for g in self.groups)
        object.__setattr__(self, "groups", groups)
        for field in ("epochs", "tokens", "tokens_per_step"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, positive(field, getattr(self, field)))
        object.__setattr__(self, "kl", at_least_0("kl", self.kl, "nats ≥ 0"))
        if self.guardrail is not None:
            object.__setattr__(self, "guardrail", guardrail_of(self.guardrail))
        for field in ("kl_to", "guarded", "weights"):
            given = getattr(self, field)
            if given is not None:
                check = at_least_0 if field == "weights" else share_of
                object.__setattr__(self, field, named_numbers(field, given, check))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; `from_dict` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Constraints":
        """Build constraints from the document of `to_dict`, or a part of it.

        Raises:
            ValueError: on an unknown entry or a value that does not belong there.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        refuse_unknown("constraints", set(map(str, document)) - set(known), known)
        return cls(**document)

    def planned_tokens(self, unit: str, budget: float) -> float:
        """Number of tokens of the run that the mixture is for.

        Raises:
            ValueError: if budgets are not tokens, and neither tokens nor tokens_per_step is given.
        """
        # Budgets in tokens are steps of 1 token, so that 1 contradicts nothing.
        if self.tokens_per_step not in (None, 1) and (unit == TOKENS or self.tokens is not None):
            why = "budgets are tokens" if unit == TOKENS else "tokens is given, too"
            raise ValueError(
                f"tokens_per_step is {self.tokens_per_step:g}, but {why}; leave it out."
            )
        if self.tokens is not None:
            return self.tokens
        if self.tokens_per_step is not None:
            return budget * self.tokens_per_step
        if unit != TOKENS:
            raise ValueError(
                f"available: budgets are {unit}, so how many tokens the run sees is unknown; give "
                "tokens_per_step, or tokens for the whole run."
            )
        return budget

    def overridden(
        self, other: "Constraints", fields: Sequence[str], targets: Sequence[str]
    ) -> "Constraints":
        """Return the constraints with these `fields` of another on top, per domain and target.

        Both spell names alike (`spelled_as`). The groups of the other replace those of the same
        domains, and a guardrail by target keeps those of the other targets.
        """
        given: dict[str, Any] = {field: getattr(other, field) for field in fields}
        for field in BY_DOMAIN & given.keys():
            given[field] = {**getattr(self, field), **given[field]}
        if "groups" in given:
            replaced = {frozenset(group.domains) for group in other.groups}
            kept = [g for g in self.groups if frozenset(g.domains) not in replaced]
            given["groups"] = (*kept, *other.groups)
        if isinstance(other.guardrail, Mapping) and self.guardrail is not None:
            mine = self.guardrail
            every = mine if isinstance(mine, Mapping) else dict.fromkeys(targets, mine)
            given["guardrail"] = {**every, **other.guardrail}
        return dataclasses.replace(self, **given)

    def tightened(self, lower: Mapping[str, float]) -> "Constraints":
        """Return the constraints with every floor at least as high as these."""
        higher = {d: max(v, self.lower.get(d, 0.0)) for d, v in lower.items()}
        return dataclasses.replace(self, lower={**self.lower, **higher})

    def spelled_as(self, domains: Sequence[str], targets: Sequence[str]) -> "Constraints":
        """Return the constraints with names spelled as given, where `spelling` alone differs.

        Raises:
            ValueError: if a name is unknown.
        """
        of_domains: dict[str, Any] = {
            field: as_expected(field, getattr(self, field), domains) for field in BY_DOMAIN
        }
        groups = [
            dataclasses.replace(g, domains=_names("groups", g.domains, domains))
            for g in self.groups
        ]
        guardrail = self.guardrail
        if isinstance(guardrail, Mapping):
            guardrail = as_expected("guardrail", guardrail, targets)
        return dataclasses.replace(self, **of_domains, groups=groups, guardrail=guardrail)

    def resolve(self, fitted: Fit, budget: float, reference: Any = None) -> FeasibleSet:
        """Build the set of mixtures as arrays, in the order of a fit, for a run of `budget`.

        `reference` is the mixture that the KL term and guardrails refer to unless they name one;
        default uniform.

        Raises:
            InfeasibleError: if there is no such mixture, with the conflicting constraints.
            ValueError: on unknown names, negative tokens or proportions, or mixtures that do not
                sum to 1.
        """
        domains = fitted.domains
        asked = self.spelled_as(domains, fitted.targets)
        beside = mixture_of("reference", reference, domains)
        lower, upper, labels = asked._bounds(fitted, budget)
        members = [[float(d in group.domains) for d in domains] for group in asked.groups]
        guard_limit, guarded = asked.guards(fitted)[0], None
        if guard_limit is not None:
            guarded = mixture_of("guarded", asked.guarded, domains, beside)
            guard_limit = guard_limit / guard_scale(fitted, budget, guarded)
        kl_to = mixture_of("kl_to", asked.kl_to, domains, beside)
        if asked.kl:
            # KL(r ‖ q) is infinite where q = 0 < r.
            upper = np.where(kl_to > 0, upper, 0.0)
        found = feasible_set(
            lower,
            upper,
            np.reshape(members, (len(members), len(domains))),
            np.array([g.least for g in asked.groups]),
            np.array([g.most for g in asked.groups]),
            labels,
            [g.name for g in asked.groups],
        )
        return dataclasses.replace(
            found,
            kl=np.array(asked.kl) if asked.kl else None,
            kl_to=kl_to if asked.kl else None,
            guard_limit=guard_limit,
            guard_reference=guarded,
        )

    def idle(self, unit: str, budget: float) -> tuple[str, ...]:
        """Notes on constraints that have no effect, or a different one from what they suggest."""
        notes = []
        if self.epochs is not None and not self.available:
            notes.append("epochs limits nothing, as no available tokens are given.")
        if self.epochs is None and any(self.available.values()):
            notes.append(
                "The available tokens limit nothing, as epochs, how often one may be seen, is not "
                "given."
            )
        if self.kl_to is not None and not self.kl:
            notes.append("kl_to has no effect, as the KL term is 0.")
        if self.guarded is not None and self.guardrail is None:
            notes.append("guarded has no effect, as no guardrail is given.")
        # The mixture is optimal at the budget alone; `tokens` only sets how often data is repeated.
        far = self.tokens is not None and abs(self.tokens / budget - 1) > NEAR
        if unit == TOKENS and far:
            notes.append(
                f"Tokens are planned for {self.tokens:g}, but the mixture is the best at the "
                f"budget of {budget:g} tokens; give the budget, too."
            )
        return tuple(notes)

    def ceilings(self, fitted: Fit, budget: float) -> dict[str, float]:
        """Largest proportion of each domain in `available`: epochs · available / planned.

        Raises:
            ValueError: if planned tokens are unknown, or the fit's shares are not of tokens.
        """
        available = as_expected("available", self.available, fitted.domains)
        if not available or self.epochs is None:
            # No limit of repetition makes tokens that do not exist trainable.
            return {d: 0.0 for d, count in available.items() if count == 0}
        if not _of_tokens(fitted):
            raise ValueError(
                f"available and epochs: the fit's shares are of {fitted.metadata.share_unit}, and "
                "tokens limit shares of tokens. Leave epochs out to see the epochs, or fit shares "
                "of tokens (bimix_jax.token_shares)."
            )
        planned = self.planned_tokens(fitted.unit, budget)
        # r · planned ≤ epochs · available
        return {d: self.epochs * count / planned for d, count in available.items()}

    def repeats(self, fitted: Fit, budget: float, mixture: pd.Series) -> pd.Series | None:
        """Times each token is seen, by domain, nan where unknown; None where none is known."""
        planned_known = fitted.unit == TOKENS or (self.tokens or self.tokens_per_step) is not None
        if not (self.available and planned_known and _of_tokens(fitted)):
            return None
        known = pd.Series(self.available, dtype=float).reindex(mixture.index)
        planned = self.planned_tokens(fitted.unit, budget)
        # Without any tokens the share is 0, and 0/0 is not a number of epochs.
        return (mixture * planned / known.where(known > 0)).rename("epochs")

    def _bounds(self, fitted: Fit, budget: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
        domains = fitted.domains
        ceilings = self.ceilings(fitted, budget)
        lower, upper, labels = np.zeros(len(domains)), np.ones(len(domains)), []
        for i, domain in enumerate(domains):
            fixed = self.fixed.get(domain)
            lower[i] = max(self.lower.get(domain, 0.0), 0.0 if fixed is None else fixed)
            asked = min(self.upper.get(domain, 1.0), 1.0 if fixed is None else fixed)
            upper[i] = min(asked, ceilings.get(domain, 1.0))
            by_epochs = upper[i] < asked
            labels.append(f"{domain} (by its available tokens)" if by_epochs else domain)
        return lower, upper, labels

    def guards(self, fitted: Fit) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Guardrails (targets,) as stated, and notes on targets without one.

        Raises:
            ValueError: if the mixture's effect on a named target is not identified.
        """
        if self.guardrail is None:
            return None, ()
        by_name = isinstance(self.guardrail, Mapping)
        given: Any = self.guardrail if by_name else dict.fromkeys(fitted.targets, self.guardrail)
        values = np.array([given.get(t, np.inf) for t in fitted.targets], float)
        lost, notes = unidentified_among(fitted, "guarded", np.isfinite(values))
        # A guardrail for all covers the targets that it can; one that was named must hold.
        if by_name and lost.any():
            raise ValueError(f"guardrail: {notes[0]} Leave it out; Fit.messages() says why.")
        return np.where(lost, np.inf, values), notes


def read_constraints(path: str | Path) -> Constraints:
    """Read constraints from a .toml or .json file with the fields of `Constraints`.

    Raises:
        ValueError: if the file cannot be read, or an entry is unknown or of the wrong kind.
        OSError: if there is no such file.
    """
    read = read_json if Path(path).suffix.lower() == ".json" else read_toml
    document = read(path, "constraints, .toml or .json")
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected the fields of Constraints, found no table of them.")
    try:
        return Constraints.from_dict(document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _of_tokens(fitted: Fit) -> bool:
    return fitted.metadata.share_unit in (None, TOKENS)


def _names(field: str, given: Sequence[str], expected: Sequence[str]) -> tuple[str, ...]:
    return tuple(as_expected(field, dict.fromkeys(given), expected))


def _group(given: Any) -> Group:
    if not isinstance(given, Mapping):
        raise ValueError(f"groups: {given!r}; expected domains with least or most.")
    refuse_unknown("groups", set(map(str, given)) - set(GROUP), GROUP)
    if "domains" not in given:
        raise ValueError("groups: a group needs its domains as a list of at least one name.")
    return Group(**given)
