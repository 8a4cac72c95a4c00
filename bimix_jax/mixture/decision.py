"""The decision of a best mixture at a budget, used by every verb that needs one."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.coefficients import FAILED, Coefficients, predict_losses
from bimix_jax.fitting.fitted import Fit, has_values
from bimix_jax.mixture._given import (
    decision_weights,
    guard_scale,
    reference_of,
    stated_weights,
)
from bimix_jax.mixture._near import near_mixture
from bimix_jax.mixture._single import best_single, kl_term, objective_of, single_powers
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.feasible import FeasibleSet, InfeasibleError
from bimix_jax.mixture.proportions import (
    GUARD_TOLERANCE,
    Method,
    MixtureArguments,
    MixtureProblem,
    Objective,
    optimal_proportions,
    resolve_method,
)
from bimix_jax.reading.settings import check_made
from bimix_jax.reading.targets import Target, are_scores
from bimix_jax.xla.compilation import jit

CHUNK = 64
"""Number of optima that are searched side by side; they wait for the slowest of them."""
# The interior search leaves 1e-11 over the multiplier of a share that is to be 0.
NOTHING = 1e-6
"""Proportion below which a domain counts as absent."""
# Such terms are 1e-15 beside coefficients of about 1 (`UNSEEN` of a law), and rounding is less.
FELT = 1e-9
"""Least slope by a proportion that counts, relative to the target's steepest; smaller slopes come
from the terms that keep a law finite."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The request of a verb, beside its budget and weights."""

    constraints: Constraints | None = None
    reference: Any = None
    """the mixture to compare with, naming every domain, or a word (`reference_of`); None for the
    uniform one"""
    objective: Objective = "mean"
    method: Method = "auto"

    def __post_init__(self) -> None:
        """Refuse constraints of another kind."""
        given: Any = self.constraints
        if not isinstance(given, Constraints | None):
            raise ValueError(
                f"constraints is a {type(given).__name__}; expected Constraints, for instance "
                "Constraints(lower={'code': 0.2}), or Constraints.from_dict of a mapping."
            )


PLAIN = Request()


class Solution(NamedTuple):
    """A best mixture beside some others; a leading axis holds several."""

    mixture: Any
    """(domains,); nan where no mixture keeps the guardrails, or the fit of a weighted target
    failed"""
    losses: Any
    """(1 + others, targets) predicted at the mixture, then at the others; inf where the law is
    undefined (`Law.has_value`)"""
    values: Any
    """(1 + others,) their objectives, without a KL term"""


@dataclasses.dataclass(frozen=True)
class Decision:
    """A fit and everything that ranks mixtures at a budget; made by `Decision.of`.

    Every verb that looks for a best mixture uses this object, so that all of them weight the same
    targets, search the same mixtures and find the same optimum.
    """

    fitted: Fit
    asked: Constraints
    """constraints with names as the fit spells them"""
    budget: float
    weights: np.ndarray
    """(targets,), 0 for targets that the decision ignores"""
    reference: np.ndarray
    """(domains,) the mixture that the KL term and guardrails refer to unless they name one"""
    feasible: FeasibleSet
    """set of the feasible mixtures at the budget"""
    objective: Objective
    asked_method: Method
    left_out: tuple[str, ...]
    """targets without a weight, by choice of the caller"""
    notes: tuple[str, ...]
    """reasons why targets have no weight or no guardrail"""

    @classmethod
    def of(
        cls,
        fitted: Fit,
        budget: float | None = None,
        weights: Any = None,
        request: Request = PLAIN,
    ) -> "Decision":
        """Check the arguments of `optimize_mixture` and bring them into the order of the fit.

        Raises:
            InfeasibleError: if no mixture satisfies the bounds, sums and tokens.
            ValueError: as `optimize_mixture`.
        """
        check_made(fitted, Fit, "fitted")
        _refuse_damaged(fitted)
        asked = (request.constraints or Constraints()).spelled_as(fitted.domains, fitted.targets)
        given = asked.weights if weights is None else weights
        shares = stated_weights(fitted, given)
        beside, said = reference_of(request.reference, fitted, asked.available, shares)
        used, unidentified = decision_weights(fitted, given)
        at = float(fitted.check_budget(budget))
        # Notes and `left_out` are about the request, which later weights or budgets do not change.
        return cls(
            fitted,
            asked,
            at,
            used,
            beside,
            asked.resolve(fitted, at, beside),
            request.objective,
            request.method,
            left_out=_without_weight(fitted, shares),
            notes=(*said, *unidentified, *asked.guards(fitted)[1], *asked.idle(fitted.unit, at)),
        )

    def at(self, budget: float) -> "Decision":
        """Return the decision at another budget, on which the feasible mixtures may depend."""
        feasible = self.asked.resolve(self.fitted, budget, self.reference)
        return dataclasses.replace(self, budget=budget, feasible=feasible)

    def within(self, constraints: Constraints) -> "Decision":
        """Return the decision with other constraints."""
        return dataclasses.replace(self, asked=constraints).at(self.budget)

    def with_weights(self, weights: np.ndarray) -> "Decision":
        """Return the decision with other weights (targets,), which the caller chose."""
        left_out = _without_weight(self.fitted, weights)
        return dataclasses.replace(self, weights=weights, left_out=left_out)

    @property
    def problem(self) -> MixtureProblem:
        """Problem that is minimised."""
        return MixtureProblem(self.fitted.law, self.objective)

    @property
    def arguments(self) -> MixtureArguments:
        """Arguments of the problem besides the mixture."""
        return self._arguments(self.fitted.coefficients, self.weights)

    def _arguments(self, coefficients: Coefficients, weights: Any) -> MixtureArguments:
        return MixtureArguments(coefficients, np.asarray(self.budget), weights, self.feasible)

    @property
    def method(self) -> Method:
        """Method that finds the minimum: "exact" or "gradient"."""
        return resolve_method(
            self.fitted.law, self.asked_method, False, self.feasible, self.objective
        )

    def solve(self) -> Solution:
        """Find the best mixture; evaluate the reference and the guardrails' reference beside it.

        Raises:
            InfeasibleError: if no mixture keeps the guardrails.
            ValueError: if no mixture has a finite objective, or a domain would get nothing only
                because no target that counts depends on it.
        """
        found = self.over(self.fitted.coefficients)
        self._check(found)
        return found

    def over(self, coefficients: Coefficients, weights: Any = None, others: Any = None) -> Solution:
        """Find the best mixtures for other coefficients or weights, without checks.

        Args:
            coefficients: of the law, with axes (targets,) or (…, targets).
            weights: (targets,), or (points, targets) with coefficients of one fit; default those
                of the decision.
            others: (others, domains) mixtures; default the reference and the one of guardrails.
        """
        if others is None:
            others = np.stack([self.reference, self.guard_reference])
        weights = self.weights if weights is None else weights
        if np.ndim(coefficients.exponents) == 3:
            arguments = self._arguments(coefficients, weights)
            found = _solved(self.problem, self.method, arguments, others)
            return Solution(*map(np.asarray, found))
        fitted = dataclasses.replace(self.fitted, coefficients=coefficients)
        if np.ndim(weights) == 1:
            return self._one(fitted, weights, others)
        every = [self._one(fitted, each, others) for each in weights]
        return Solution(*map(np.stack, zip(*every, strict=True)))

    def _one(self, fitted: Fit, weights: np.ndarray, others: np.ndarray) -> Solution:
        """Find the best mixture of one fit for weights (targets,)."""
        arguments = self._arguments(fitted.coefficients, weights)
        mixture = best_single(self.problem, self.method, arguments)
        losses = fitted.known_points(np.concatenate([mixture[None], others]), self.budget)
        return Solution(mixture, losses, objective_of(self.problem, losses, weights))

    def along(self, weights: np.ndarray) -> Solution:
        """Find the best mixtures for weights (points, targets), with checks."""
        found = self.over(self.fitted.coefficients, weights)
        for i, of_point in enumerate(weights):
            self.with_weights(of_point)._check(Solution(*(part[i] for part in found)))
        return found

    @property
    def of_scores(self) -> bool:
        """True where every target that counts is a score, and the objective is not a function."""
        scores = are_scores(self.fitted.described)[self.weights > 0].all()
        return bool(scores) and not callable(self.objective)

    @property
    def objective_unit(self) -> str:
        """Unit of objectives and gains as people read them: "points" of scores, else "nats"."""
        return "points" if self.of_scores else "nats"

    @property
    def mean_text(self) -> str:
        """Name and unit of the mean: "mean loss, nats" or "mean score, points"."""
        return f"mean {'score' if self.of_scores else 'loss'}, {self.objective_unit}"

    def shown(self, values: Any) -> Any:
        """Objectives (…) as people read them: a mean of losses, or of scores in points.

        Scores are centred: 0 at chance and 100 at the maximum, so that more is better.
        """
        return 100 - self.shown_gain(values) if self.of_scores else values

    def shown_gain(self, decreases: Any) -> Any:
        """Decreases (…) of the objective as gains in its unit."""
        if not self.of_scores:
            return decreases
        # A mean is divided by the weights, and the worst is not.
        return 100 * decreases / (self.weights.max() if self.objective == "worst" else 1.0)

    def least_value(self, solution: Solution) -> float:
        """Minimised value of one of its solutions: the objective, with the KL term."""
        return float(solution.values[0] + kl_term(self.feasible, solution.mixture)[0])

    def values_of(self, mixtures: np.ndarray, budgets: Any) -> np.ndarray:
        """Objectives (points,) of mixtures (points, domains) at budgets (points,)."""
        losses = self.fitted.predict_points(mixtures, budgets)
        return objective_of(self.problem, losses, self.weights)

    def objectives(self, losses: np.ndarray) -> np.ndarray:
        """Objectives (…) of any losses (…, targets), measured ones for example."""
        flat = np.reshape(losses, (-1, losses.shape[-1]))
        return objective_of(self.problem, flat, self.weights).reshape(losses.shape[:-1])

    @property
    def guard_reference(self) -> np.ndarray:
        """(domains,) mixture over which guarded losses may not increase too much."""
        given = self.feasible.guard_reference
        return self.reference if given is None else np.asarray(given)

    @property
    def guard_limits(self) -> np.ndarray:
        """(targets,) largest relative increase over that mixture; infinite where not guarded."""
        limit = self.feasible.guard_limit
        return np.full(len(self.weights), np.inf) if limit is None else np.asarray(limit)

    @property
    def guard_scale(self) -> np.ndarray:
        """(targets,) unit of those limits in which guardrails are stated: 1 of losses, points of
        scores."""
        return guard_scale(self.fitted, self.budget, self.guard_reference)

    @property
    def _limited(self) -> np.ndarray:
        """(targets,) bool: True for targets with a guardrail."""
        return np.isfinite(self.guard_limits)

    def _check(self, found: Solution) -> None:
        """Raise if the solution is not an optimum, with the reasons that `solve` gives."""
        # In this order, as each reason would otherwise look like one of those below it.
        self._refuse_lost_guards(found.losses[2])
        if not np.all(np.isfinite(found.mixture)):
            raise self._why_not(found.losses[2])
        self._refuse_infinite(found.losses[0])
        self.refuse_unmeasured(found.mixture)

    def _refuse_lost_guards(self, losses: np.ndarray) -> None:
        """Raise ValueError where the reference loss (targets,) of a guardrail is infinite."""
        lost = self._limited & ~np.isfinite(losses)
        if lost.any():
            raise ValueError(
                f"guardrail: {self.fitted.law.label} has no finite loss for "
                f"{', '.join(np.array(self.fitted.targets)[lost])} at the mixture that is guarded, "
                "where the share of a domain that they depend on is 0. Guard a mixture without "
                "such a 0 (guarded, or --reference), or name the targets to guard."
            )

    def _refuse_infinite(self, losses: np.ndarray) -> None:
        lost = ~np.isfinite(losses) & (self.weights > 0)
        if lost.any():
            raise ValueError(
                f"no finite optimum: within the constraints {self.fitted.law.label} has no finite "
                f"loss for {', '.join(np.array(self.fitted.targets)[lost])}, as a share of 0 is "
                "all that they leave. Leave a share to each, or leave these targets out of the "
                "weights."
            )

    def _why_not(self, reference: np.ndarray) -> ValueError:
        """Name the guardrails that conflict, from their reference losses (targets,)."""
        feasible, limited = self.feasible, self._limited
        if not limited.any():
            return ValueError("no finite optimum: a weighted target has no finite loss in the set.")
        if self.fitted.law.is_power_of_own:
            self._refuse_floors()
        # Ratio of each loss to its limit: minimising the worst shows which cannot be kept.
        limit = np.where(limited, reference * (1 + np.where(limited, feasible.guard_limit, 0)), 1)
        free = dataclasses.replace(
            feasible, guard_limit=None, guard_reference=None, kl=None, kl_to=None
        )
        # By gradient, which exists for every law and set.
        closest = dataclasses.replace(
            self,
            weights=np.where(limited, 1 / limit, 0.0),
            feasible=free,
            objective="worst",
            asked_method="gradient",
        ).over(self.fitted.coefficients)
        above = np.where(limited, closest.losses[0] / limit - 1, -1.0)
        each = zip(self.fitted.described, above, limit, strict=True)
        broken = [_excess(*one) for one in each if one[1] > GUARD_TOLERANCE]
        return InfeasibleError(
            "guardrail: no mixture within the other constraints keeps them all; the closest "
            f"exceeds what is allowed of {', '.join(broken)}. Allow more, or relax the other "
            "constraints."
        )

    def _refuse_floors(self) -> None:
        """Raise with the floors that conflict: a guardrail on a power of a share is a floor."""
        fitted, feasible = self.fitted, self.feasible
        alpha = single_powers(self.problem, self.arguments)[1]
        # K r^−α ≤ (1 + x) K q^−α is r ≥ q (1 + x)^(−1/α).
        floors = {
            target: float(
                feasible.guard_reference[fitted.domains.index(target)] * (1 + more) ** (-1 / a)
            )
            for target, more, a in zip(fitted.targets, feasible.guard_limit, alpha, strict=True)
            if np.isfinite(more) and a > 0
        }
        try:
            self.asked.tightened(floors).resolve(fitted, self.budget, self.reference)
        except InfeasibleError as error:
            required = ", ".join(f"{target} ≥ {floor:.4g}" for target, floor in floors.items())
            raise InfeasibleError(
                f"the guardrails require {required}, which the other constraints exclude: {error}"
            ) from error

    def refuse_unmeasured(self, mixture: np.ndarray | None = None) -> None:
        """Raise ValueError if a domain gets a share of 0 only because no target depends on it.

        Args:
            mixture: (domains,) the optimum; None where every domain that nothing measures gets
                nothing.

        A share of 0 is accepted where it is bounded or fixed, where the caller left the domain's
        own target out of the weights, and where there is a KL term.
        """
        asked, fitted = self.asked, self.fitted
        chosen = {*asked.lower, *asked.upper, *asked.fixed, *self.left_out}
        blind = np.array([domain not in chosen for domain in fitted.domains])
        if mixture is not None:
            blind &= mixture < NOTHING
        if asked.kl or not blind.any():
            return
        needed = (self.weights > 0) | self._limited
        nothing = np.array(fitted.domains)[blind & ~_measured_domains(fitted, self.budget, needed)]
        if len(nothing):
            raise ValueError(
                f"{', '.join(nothing)}: no target that counts depends on this share, so the "
                "optimum would give it 0 whatever it is worth. The fit has the targets "
                f"{', '.join(fitted.targets)}: measure a loss for each domain, correct the name of "
                "a loss column, or use a law in which other losses depend on it. If 0 is meant, "
                f"bound its share (--lower {nothing[0]}=0, or lower= of the constraints)."
            )


def _excess(target: Target, by: float, limit: float) -> str:
    """Text of a relative excess over a limit: in percent of a loss, in points of a score."""
    size = f"{target.points(by * limit):.2g} points" if target.is_score else f"{100 * by:.2g} %"
    return f"{target.name} {size}"


def _refuse_damaged(fitted: Fit) -> None:
    """Refuse coefficients that give no loss where every law is finite, whatever their weight."""
    domains = len(fitted.domains)
    even = np.full((1, domains), 1 / domains)
    losses = fitted.predict_points(even, fitted.observed_budgets[1])[0]
    lost = ~np.isfinite(losses) & ~np.isin(fitted.code, FAILED)
    if lost.any():
        raise ValueError(
            f"fitted: the coefficients of {', '.join(np.array(fitted.targets)[lost])} give no "
            "finite loss at the uniform mixture, though no code says that the fit failed: they "
            "were changed or damaged. Fit the sweep again."
        )


def _without_weight(fitted: Fit, weights: np.ndarray) -> tuple[str, ...]:
    return tuple(t for t, weight in zip(fitted.targets, weights, strict=True) if weight == 0)


def _measured_domains(fitted: Fit, budget: float, needed: np.ndarray) -> np.ndarray:
    """(domains,) bool: True where the loss of a target in `needed` (targets,) depends on it."""
    own = np.asarray(fitted.coefficients.own)
    # Exactly so, whatever α is: a small one must not look like no dependence.
    if fitted.law.is_power_of_own:
        return own[needed].any(axis=0)
    # At the uniform mixture, where every law is finite.
    even = np.full(own.shape[1], 1 / own.shape[1])
    slopes = near_mixture(fitted.law, fitted.coefficients, budget, even).slopes
    steepest = np.abs(slopes).max(axis=1, keepdims=True)
    return np.any((np.abs(slopes) > FELT * steepest)[needed], axis=0)


@functools.partial(jit, static_argnums=(0, 1), x64=True)
def _solved(
    problem: MixtureProblem,
    method: Method,
    arguments: MixtureArguments,
    others: Array,
) -> Solution:
    coefficients, budget, weights, feasible = arguments

    def best(one: Coefficients) -> Solution:
        mixture = optimal_proportions(
            problem.law,
            one,
            budget,
            weights,
            method=method,
            constraints=feasible,
            objective=problem.objective,
        )
        every = jnp.concatenate([mixture[None], others])
        losses = predict_losses(problem.law, one, every, budget)
        # A failed target stays nan, so that it is not mistaken for an infinite loss.
        known = has_values(problem.law, one, every) | jnp.isnan(losses)
        losses = jnp.where(known, losses, jnp.inf)
        values = jax.vmap(lambda each: problem.of_losses(each, weights))(losses)
        return Solution(mixture, losses, values)

    return _in_chunks(best, coefficients)


def _in_chunks(function: Callable[[Any], Solution], batch: Any) -> Solution:
    """Apply a function over the leading axis of a batch, `CHUNK` at a time."""
    count = len(jax.tree.leaves(batch)[0])
    if count <= CHUNK:
        return jax.vmap(function)(batch)
    # Filled up, because a last chunk of its own size would be compiled a second time.
    # −count // CHUNK · −CHUNK rounds up to whole chunks; the rest repeats the last member.
    rows = jnp.minimum(jnp.arange(-count // CHUNK * -CHUNK), count - 1)
    found = jax.lax.map(
        function, jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], batch), batch_size=CHUNK
    )
    return jax.tree.map(lambda leaf: leaf[:count], found)
