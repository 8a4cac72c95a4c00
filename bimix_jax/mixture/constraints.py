"""What a mixture must satisfy, by name: bounds, tokens that exist, groups, a pull, guardrails."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bimix_jax.fitted import Fit
from bimix_jax.mixture.feasible import FeasibleSet, feasible_set
from bimix_jax.names import align_mixtures, as_expected, refuse_unknown

TOKENS = "tokens"


@dataclasses.dataclass(frozen=True)
class Group:
    """Bounds on the sum of the proportions of several domains."""

    domains: tuple[str, ...]
    least: float = 0.0
    most: float = 1.0

    @property
    def name(self) -> str:
        """The domains, joined."""
        return " + ".join(self.domains)


@dataclasses.dataclass(frozen=True)
class Constraints:
    """What a mixture must satisfy, keyed by the names of a fit; everything is optional.

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
    """tokens that exist, by domain; with `epochs`, r · planned tokens ≤ epochs · available"""
    epochs: float = 1.0
    """how often a token may be seen at most"""
    tokens: float | None = None
    """planned tokens of the run; default the budget, or budget · `tokens_per_step`"""
    tokens_per_step: float | None = None
    """for fits whose budgets are no tokens"""
    groups: Sequence[Group] = ()
    """bounds on sums of proportions"""
    pull: float = 0.0
    """κ: the objective, in nats, gets κ · KL(mixture ‖ pull_to)"""
    pull_to: Mapping[str, float] | None = None
    """mixture; default the reference"""
    guardrail: "float | Mapping[str, float] | None" = None
    """how much worse than at `guarded` a loss may be, a fraction: of all targets, or by target"""
    guarded: Mapping[str, float] | None = None
    """mixture; default the reference"""
    weights: Mapping[str, float] | None = None
    """by target, where `optimize_mixture` is given none"""

    def __post_init__(self) -> None:
        """Copies, so that nothing outside changes them; groups as `Group`."""
        for field in ("lower", "upper", "fixed", "available"):
            object.__setattr__(self, field, _numbers(field, getattr(self, field)))
        groups = tuple(g if isinstance(g, Group) else _group(g) for g in self.groups)
        object.__setattr__(self, "groups", groups)
        for field in ("epochs", "tokens", "tokens_per_step"):
            value = getattr(self, field)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{field} is {value}; expected a number above 0.")
        if not 0 <= self.pull < np.inf:
            raise ValueError(f"pull is {self.pull}; expected nats ≥ 0.")

    def to_dict(self) -> dict[str, Any]:
        """Everything, in full, as JSON knows it; read back by `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Constraints":
        """What `to_dict` gave, or a part of it.

        Raises:
            ValueError: on an unknown entry or a value that does not belong there.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        refuse_unknown("constraints", set(document) - set(known), known)
        return cls(**document)

    def planned_tokens(self, unit: str, budget: float) -> float:
        """Tokens of the run that the mixture is for.

        Raises:
            ValueError: if budgets are no tokens, and neither tokens nor tokens_per_step is given.
        """
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

    def tightened(self, lower: Mapping[str, float]) -> "Constraints":
        """The same with floors at least these."""
        higher = {d: max(v, self.lower.get(d, 0.0)) for d, v in lower.items()}
        return dataclasses.replace(self, lower={**self.lower, **higher})

    def spelled_as(self, domains: Sequence[str], targets: Sequence[str]) -> "Constraints":
        """The same with names spelled as these where they differ in `spelling` alone.

        Raises:
            ValueError: if a name is unknown.
        """
        of_domains: dict[str, Any] = {
            field: as_expected(field, getattr(self, field), domains)
            for field in ("lower", "upper", "fixed", "available")
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
        """The set of mixtures as arrays, in the order of a fit, for a run of `budget`.

        `reference` is the mixture that pull and guardrails refer to unless they name one; default
        uniform.

        Raises:
            InfeasibleError: if there is no such mixture, naming what conflicts.
            ValueError: on unknown names, negative tokens or proportions, or mixtures that do not
                sum to 1.
        """
        domains = fitted.domains
        asked = self.spelled_as(domains, fitted.targets)
        beside = mixture_of("reference", reference, domains)
        lower, upper, labels = asked._bounds(fitted, budget)
        members = [[float(d in group.domains) for d in domains] for group in asked.groups]
        allowed = asked._allowed(fitted.targets)
        pull_to = mixture_of("pull_to", asked.pull_to, domains, beside)
        if asked.pull:
            upper = np.where(pull_to > 0, upper, 0.0)
        found = feasible_set(
            lower, upper, np.reshape(members, (len(members), len(domains))),
            np.array([g.least for g in asked.groups]), np.array([g.most for g in asked.groups]),
            labels, [g.name for g in asked.groups],
        )  # fmt: skip
        return dataclasses.replace(
            found,
            pull=np.array(asked.pull) if asked.pull else None,
            pull_to=pull_to if asked.pull else None,
            allowed=allowed,
            guarded=None
            if allowed is None
            else mixture_of("guarded", asked.guarded, domains, beside),
        )

    def ceilings(self, fitted: Fit, budget: float) -> dict[str, float]:
        """The largest proportion of each domain in `available`: epochs · available / planned."""
        if not self.available:
            return {}
        available = as_expected("available", self.available, fitted.domains)
        planned = self.planned_tokens(fitted.unit, budget)
        return {d: self.epochs * count / planned for d, count in available.items()}

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

    def _allowed(self, targets: tuple[str, ...]) -> np.ndarray | None:
        if self.guardrail is None:
            return None
        if not isinstance(self.guardrail, Mapping):
            values = np.full(len(targets), float(self.guardrail))
        else:
            values = np.array([self.guardrail.get(t, np.inf) for t in targets], float)
        if not np.all(values >= 0):
            raise ValueError(f"guardrail is {self.guardrail}; expected fractions ≥ 0, .01 for 1 %.")
        return values


def read_constraints(path: str | Path) -> Constraints:
    """Constraints from a .toml or .json file with the fields of `Constraints`.

    Raises:
        ValueError: if the file cannot be read, or an entry is unknown or of the wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; expected constraints there, .toml or .json.")
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not complete TOML or JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected the fields of Constraints, found no table of them.")
    try:
        return Constraints.from_dict(document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def mixture_of(
    argument: str, mixture: Any, domains: Sequence[str], default: np.ndarray | None = None
) -> np.ndarray:
    """One mixture (domains,) in order; None is the default, or uniform without one.

    Raises:
        ValueError: if names do not match, it does not sum to 1, or there are several.
    """
    if mixture is None:
        return np.full(len(domains), 1 / len(domains)) if default is None else default
    try:
        values = align_mixtures(mixture, domains)[0]
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error
    if len(values) != 1:
        raise ValueError(f"{argument} holds {len(values)} mixtures; expected one.")
    return values[0]


def _numbers(field: str, values: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{field} is {values!r}; expected a number by name.")
    highest = np.inf if field == "available" else 1.0
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise ValueError(f"{field}: {name} is {value!r}; expected a number.")
        if not 0 <= value <= highest or value == np.inf:
            what = "tokens ≥ 0" if field == "available" else "a proportion between 0 and 1"
            raise ValueError(f"{field}: {name} is {value}; expected {what}.")
    return {str(name): float(value) for name, value in values.items()}


def _names(field: str, given: Sequence[str], expected: Sequence[str]) -> tuple[str, ...]:
    return tuple(as_expected(field, dict.fromkeys(given), expected))


def _group(given: Any) -> Group:
    if not isinstance(given, Mapping):
        raise ValueError(f"groups: {given!r}; expected domains with least or most.")
    refuse_unknown(
        "groups", set(given) - {"domains", "least", "most"}, ("domains", "least", "most")
    )
    if not given.get("domains") or isinstance(given["domains"], str):
        raise ValueError("groups: a group needs its domains as a list of at least one name.")
    values = {k: float(given[k]) for k in ("least", "most") if k in given}
    return Group(tuple(given["domains"]), **values)
