"""The best mixture by name, beside a reference, with what has to be said about it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bimix_jax.fitted import Fit
from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.certificate import Certificate, certify
from bimix_jax.mixture.constraints import Constraints, mixture_of
from bimix_jax.mixture.feasible import FeasibleSet, InfeasibleError, simplex
from bimix_jax.mixture.flatness import as_good, far_apart
from bimix_jax.mixture.hull import outside_hull
from bimix_jax.mixture.objective import MixtureArguments, MixtureProblem, Objective, guarded_rows
from bimix_jax.mixture.proportions import (
    Method,
    least_budget,
    optimal_proportions,
    resolve_method,
)
from bimix_jax.names import align_weights

SCOPE = (
    "A prediction for the model size and tokeniser of the sweep; "
    "for a larger model it carries over as a ranking of mixtures only."
)


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The mixture with the least predicted loss at a budget, and what it rests on."""

    mixture: pd.Series
    """proportion by domain"""
    losses: pd.Series
    """predicted loss by target"""
    objective: float
    """the weighted mean of the losses, or what the objective is"""
    reference_objective: float
    """the same of the reference"""
    gap: float
    """no mixture is better by more than this, if `proven`"""
    proven: bool
    """the law is convex in the mixture, so that the gap proves the optimum global"""
    budget: float
    unit: str
    method: Method
    weights: pd.Series
    """by target"""
    reference: pd.Series
    """the mixture it is compared with, by domain"""
    reference_losses: pd.Series
    """predicted, by target"""
    observed: pd.DataFrame
    """least and largest proportion in the sweep (columns min, max), by domain"""
    unconstrained: pd.Series
    """the best mixture without constraints, for the same objective, by domain"""
    binding: pd.DataFrame
    """what holds the optimum, by constraint: bound, multiplier, and gain, by how much the objective
    would fall if the bound were relaxed by 1 % of itself"""
    epochs: pd.Series | None
    """how often each token of a domain is seen, by domain with known tokens; None if none is"""
    saved: float
    """fraction of the budget saved: the recommended mixture reaches the reference's objective with
    so much less (for the objective "budget": the goals); negative if it needs more, nan if no
    budget within a factor of 1000 does or the sweep has a single one"""
    flatness: pd.DataFrame
    """low and high by domain: how far each proportion can go within .1 % of the best objective;
    nan where that was not found"""
    alternatives: pd.DataFrame
    """mixtures as different as possible that are within .1 %, one a row"""
    constraints: Constraints
    notes: tuple[str, ...]
    """what has to be said beside the number: scope, extrapolation, targets not counted"""
    objective_name: str = "mean"
    """mean, worst, budget, or the name of a function"""
    intervals: pd.DataFrame | None = None
    """low and high of the optimal proportion by domain, where `bootstrap` has filled them in"""

    def document(self) -> dict[str, Any]:
        """Everything as nested dictionaries, for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items()}

    def table(self) -> pd.DataFrame:
        """One row a domain, then one a target that is no domain.

        Columns: proportion (with low and high, where intervals are known), reference and
        unconstrained (shares), flat_low and flat_high (how far it can go within .1 % of the best
        objective), epochs where tokens are known, observed_min and observed_max in the sweep, flag
        where the proportion lies outside of them ("below", "above") or of the hull of the sweep's
        mixtures ("hull"), and the predicted loss and reference_loss of the target of that name.
        """
        table = pd.DataFrame({"proportion": self.mixture})
        if self.intervals is not None:
            table[["low", "high"]] = self.intervals[["low", "high"]]
        table["reference"] = self.reference
        if len(self.binding):
            table["unconstrained"] = self.unconstrained
        table[["flat_low", "flat_high"]] = self.flatness
        if self.epochs is not None:
            table["epochs"] = self.epochs
        table[["observed_min", "observed_max"]] = self.observed[["min", "max"]]
        table["flag"] = self.observed["flag"]
        names = [*table.index, *(t for t in self.losses.index if t not in table.index)]
        table = table.reindex(pd.Index(names, name="domain"))
        table["flag"] = table["flag"].fillna("")
        table["loss"] = self.losses.reindex(names)
        table["reference_loss"] = self.reference_losses.reindex(names)
        return table


def optimize_mixture(
    fitted: Fit,
    budget: float | None = None,
    weights: Any = None,
    method: Method = "auto",
    reference: Any = None,
    *,
    constraints: Constraints | None = None,
    objective: Objective | str = "mean",
    goals: Mapping[str, float] | None = None,
) -> Optimum:
    """The best mixture among those that the constraints allow.

    Args:
        fitted: from `fit`; targets whose fit failed do not count, which is noted.
        budget: in the fit's unit; default the sweep's largest. Found, not given, for "budget".
        weights: by target, a mapping, Series or array, ≥ 0; names left out count 0. Default those
            of the constraints, or 1.
        method: "exact" (scalar roots; laws of the form K·r_own^−α), "gradient" (any law), or
            "auto", which picks.
        reference: one mixture to compare with, naming every domain; default uniform.
        constraints: bounds, tokens, groups, a pull, guardrails; default none.
        objective: "mean", the weighted mean of the losses; "worst", the largest weight · loss;
            "budget", the least budget at which every goal is reached; or a function of the losses
            (targets,) that JAX can differentiate.
        goals: losses to reach, by target, for the objective "budget".

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints (what conflicts is
            named), or no budget reaches the goals.
        ValueError: on unknown names, a budget that is not positive, several references, or a
            method the law lacks.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()))
    >>> few = bx.Constraints(available={"latex": 4e5}, epochs=2, lower={"c": 0.2})
    >>> best = bx.optimize_mixture(fitted, 2 * 2867200, constraints=few)
    >>> round(float(best.mixture["latex"]), 4), best.binding.index.tolist()
    (0.1395, ['c ≥ 0.2', 'latex ≤ 0.1395 (2 epochs of 4e+05 tokens)'])
    """
    asked = constraints or Constraints()
    beside = mixture_of("reference", reference, fitted.domains)
    weights = asked.weights if weights is None else weights
    if objective == "budget":
        counted, uncounted = _goal_weights(fitted, goals)
        kind: Objective = "worst"
    else:
        counted, uncounted = counted_weights(fitted, weights)
        kind = objective  # type: ignore[assignment]
    at = float(fitted.check_budget(budget))
    problem = MixtureProblem(fitted.law, kind)
    coefficients = _counted_coefficients(fitted, counted, asked)
    feasible = _resolved(fitted, asked, at, beside)
    chosen = resolve_method(fitted.law, method, False, feasible, kind)
    if objective == "budget":
        at = _least_budget(fitted, coefficients, counted, chosen, feasible)
        feasible = _resolved(fitted, asked, at, beside)
    arguments = MixtureArguments(coefficients, np.asarray(at), counted, feasible)
    mixture = _solve(problem, chosen, arguments)
    _refuse_infeasible(fitted, asked, problem, arguments, mixture)
    return _described(
        fitted, asked, problem, arguments, chosen, mixture, beside, uncounted,
        getattr(objective, "__name__", str(objective)),
    )  # fmt: skip


def _described(
    fitted: Fit, asked: Constraints, problem: MixtureProblem, arguments: MixtureArguments,
    method: Method, mixture: np.ndarray, beside: np.ndarray, uncounted: tuple[str, ...], name: str,
) -> Optimum:  # fmt: skip
    """Everything that belongs beside the best mixture."""
    domains, targets, at = list(fitted.domains), list(fitted.targets), float(arguments.budget)
    weights = np.asarray(arguments.weights)
    proof = certify(problem, mixture, arguments)
    binding = binding_table(fitted, asked, arguments, proof, mixture)
    alone = arguments._replace(feasible=simplex(len(domains)))
    free = _solve(problem, resolve_method(problem.law, "auto", objective=problem.objective), alone)
    losses, reference_losses = fitted.predict_points(np.stack([mixture, beside]), at)
    value, reference_value = _values(problem, np.stack([losses, reference_losses]), weights)
    saved = _saved(fitted, problem, weights, mixture, beside, at, name == "budget")
    shares = pd.Series(mixture, index=domains, name="proportion")
    observed = _observed(fitted, shares)
    flatness, alternatives = _flatness(problem, arguments, mixture, domains)
    return Optimum(
        mixture=shares,
        losses=pd.Series(losses, index=targets, name="loss"),
        objective=at if name == "budget" else value,
        reference_objective=at / (1 - saved) if name == "budget" else reference_value,
        gap=proof.gap,
        proven=problem.convex,
        budget=at,
        unit=fitted.unit,
        method=method,
        weights=pd.Series(weights, index=targets, name="weight"),
        reference=pd.Series(beside, index=domains, name="reference"),
        reference_losses=pd.Series(reference_losses, index=targets, name="reference_loss"),
        observed=observed,
        unconstrained=pd.Series(free, index=domains, name="unconstrained"),
        binding=binding,
        epochs=_epochs(fitted, asked, at, shares),
        saved=saved,
        flatness=flatness,
        alternatives=alternatives,
        constraints=asked,
        objective_name=name,
        notes=(
            *([] if fitted.law.needs_size else [SCOPE]), *fitted.law.assumptions(),
            *fitted.notes_on_budget(at), *_outside_note(shares, observed), *uncounted,
            *_gain_note(fitted, weights, value, reference_value), *_proof_note(problem),
            *_flatness_note(flatness),
            *fitted.messages(),
        ),
    )  # fmt: skip


def _mean(losses: Any, weights: Any) -> float:
    """Weighted mean; where the weight is 0 the loss may be infinite or unknown."""
    losses, weights = np.asarray(losses), np.asarray(weights)
    return float(np.average(losses[weights > 0], weights=weights[weights > 0]))


def _plain(value: Any) -> Any:
    if isinstance(value, Constraints):
        return value.to_dict()
    if isinstance(value, pd.DataFrame):
        return value.to_dict("index")
    return value.to_dict() if isinstance(value, pd.Series) else value


def outside(mixture: pd.Series, observed: pd.DataFrame) -> pd.Series:
    """ "below" or "above" where a proportion leaves the range the sweep covered, else ""."""
    below, above = mixture < observed["min"] - 1e-9, mixture > observed["max"] + 1e-9
    return pd.Series(np.select([below, above], ["below", "above"], ""), index=mixture.index)


def counted_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 where the fit of a target failed, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    failed = np.isin(fitted.code, [Code.BAD_DATA, Code.NONFINITE]) & (asked > 0)
    vague = ~fitted.known_in_mixture() & (asked > 0) & ~failed
    failed |= vague
    if np.all(failed | (asked == 0)):
        raise ValueError(
            "fitted: no target with a weight above 0 has a fit that knows what its proportion "
            "does; see Fit.messages() for why."
        )
    reasons = {"their fit failed": failed & ~vague, "the runs do not show their α": vague}
    notes = tuple(
        f"Not counted, as {reason}: {', '.join(np.array(fitted.targets)[lost])}."
        for reason, lost in reasons.items() if lost.any()
    )  # fmt: skip
    return np.where(failed, 0.0, asked), notes


def _goal_weights(
    fitted: Fit, goals: Mapping[str, float] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """1 / goal by target, 0 without one: the largest ratio of loss to goal is to be 1."""
    if not goals or not all(0 < value < np.inf for value in goals.values()):
        raise ValueError(f"goals are {goals}; expected a loss above 0 for at least one target.")
    return counted_weights(fitted, {target: 1 / value for target, value in goals.items()})


def _counted_coefficients(fitted: Fit, weights: np.ndarray, asked: Constraints) -> Coefficients:
    """Coefficients in which a failed or uncounted fit is no obstacle: its loss is 0."""
    guarded = asked.guardrail is not None
    used = (weights > 0) | (guarded & ~np.isin(fitted.code, [Code.BAD_DATA, Code.NONFINITE]))
    c: Any = fitted.coefficients
    return c._replace(
        amplitudes=np.where(used[:, None], c.amplitudes, 0.0),
        exponents=np.where(used[:, None], c.exponents, 0.1),
    )


def _resolved(fitted: Fit, asked: Constraints, budget: float, reference: np.ndarray) -> FeasibleSet:
    """The set allowed; guardrails on targets that know no proportion are an error."""
    feasible = asked.resolve(fitted, budget, reference)
    if feasible.allowed is None or not fitted.law.is_power_of_own:
        return feasible
    alpha = np.asarray(fitted.coefficients.exponents)[:, 0]
    floors = {
        target: float(feasible.guarded[fitted.domains.index(target)] * (1 + more) ** (-1 / a))
        for target, more, a in zip(fitted.targets, feasible.allowed, alpha, strict=True)
        if np.isfinite(more) and a > 0
    }
    try:
        asked.tightened(floors).resolve(fitted, budget, reference)
    except InfeasibleError as error:
        raise InfeasibleError(f"with the floors that the guardrails come to, {error}") from error
    return feasible


def _solve(problem: MixtureProblem, method: Method, arguments: MixtureArguments) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(_optimum(problem.law, method, problem.objective, arguments))


def _best(law: Law, method: Method, objective: Objective, arguments: MixtureArguments) -> Any:
    coefficients, budget, weights, feasible = arguments
    return optimal_proportions(
        law, coefficients, budget, weights, method=method, constraints=feasible,
        objective=objective,
    )  # fmt: skip


_optimum = jax.jit(_best, static_argnums=(0, 1, 2))


def _least_budget(
    fitted: Fit, coefficients: Coefficients, weights: np.ndarray, method: Method,
    feasible: FeasibleSet,
) -> float:  # fmt: skip
    with np.errstate(divide="ignore"):
        goals = 1 / weights
    with jax.enable_x64(True):
        found = _reaching(fitted.law, method, coefficients, goals, feasible)
    if not np.isfinite(found.budget):
        raise InfeasibleError(
            "goals: no budget reaches all of them, even without end, with any mixture allowed; "
            "raise some, or relax the constraints."
        )
    return float(fitted.check_budget(float(found.budget)))


def _reach(law: Law, method: Method, coefficients: Coefficients, goals: Any, feasible: Any) -> Any:
    return least_budget(law, coefficients, goals, method=method, constraints=feasible)


_reaching = jax.jit(_reach, static_argnums=(0, 1))


def _refuse_infeasible(
    fitted: Fit, asked: Constraints, problem: MixtureProblem, arguments: MixtureArguments,
    mixture: np.ndarray,
) -> None:  # fmt: skip
    """Raise unless there is a mixture, naming the guardrails that cannot be kept together."""
    if np.all(np.isfinite(mixture)):
        return
    if arguments.feasible.allowed is None:
        raise ValueError("no finite optimum: a counted target has no finite loss in the set.")
    losses = fitted.predict_points(np.asarray(arguments.feasible.guarded)[None], arguments.budget)
    counted = np.isfinite(arguments.feasible.allowed)
    limit = np.where(counted, losses[0] * (1 + np.where(counted, arguments.feasible.allowed, 0)), 1)
    closest = _solve(
        MixtureProblem(fitted.law, "worst"), "gradient",
        arguments._replace(
            weights=np.where(counted, 1 / limit, 0.0),
            feasible=dataclasses.replace(arguments.feasible, allowed=None, guarded=None, pull=None,
                                         pull_to=None),
        ),
    )  # fmt: skip
    with jax.enable_x64(True):
        rows = np.asarray(guarded_rows(fitted.law, jnp.asarray(closest), arguments))
    broken = [f"{t} {100 * r:.2g} %" for t, r in zip(fitted.targets, rows, strict=True) if r > 1e-9]
    raise InfeasibleError(
        "guardrail: no mixture within the other constraints keeps them all; the closest exceeds "
        f"what is allowed of {', '.join(broken)}. Allow more, or relax the other constraints."
    )


def binding_table(
    fitted: Fit, asked: Constraints, arguments: MixtureArguments, proof: Certificate,
    mixture: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """Constraints with a multiplier: bound, multiplier, and gain by 1 % more of the bound."""
    feasible, budget = arguments.feasible, float(arguments.budget)
    rows: list[tuple[str, float, float]] = []
    ceilings = asked.ceilings(fitted, budget)
    for i, domain in enumerate(fitted.domains):
        low, high = float(feasible.lower[i]), float(feasible.upper[i])
        rows.append((f"{domain} ≥ {low:.4g}", low, proof.at_lower[i]))
        tokens = domain in ceilings and ceilings[domain] <= high * (1 + 1e-9)
        supply = (
            f" ({asked.epochs:g} epochs of {asked.available[domain]:.3g} tokens)" if tokens else ""
        )
        rows.append((f"{domain} ≤ {high:.4g}{supply}", high, proof.at_upper[i]))
    count = len(asked.groups)
    for i, group in enumerate(asked.groups):
        most, least = float(feasible.most[i]), float(feasible.least[i])
        rows.append((f"{group.name} ≤ {most:.4g}", most, proof.rows[i]))
        rows.append((f"{group.name} ≥ {least:.4g}", least, proof.rows[count + i]))
    if feasible.allowed is not None:
        for target, more, price in zip(
            fitted.targets, feasible.allowed, proof.rows[2 * count :], strict=False
        ):
            rows.append((f"loss of {target} ≤ {1 + more:.4g} × guarded", 1.0, price))
    scale = max(abs(float(p)) for _, _, p in rows)
    kept = [r for r in rows if r[1] > 0 and r[2] > 1e-7 * max(1.0, scale)]
    table = pd.DataFrame(
        {"bound": [r[1] for r in kept], "multiplier": [float(r[2]) for r in kept]},
        index=pd.Index([r[0] for r in kept], name="constraint"), dtype=float,
    )  # fmt: skip
    return table.assign(gain=0.01 * table["bound"] * table["multiplier"])


def _values(problem: MixtureProblem, losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(mixtures,) objectives of losses (mixtures, targets); those of weight 0 may be infinite."""
    if callable(problem.objective):
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(problem.objective)(jnp.asarray(losses)))
    counted = weights > 0
    if problem.objective == "worst":
        return np.max(weights[counted] * losses[:, counted], axis=1)
    return losses[:, counted] @ weights[counted] / weights.sum()


def _epochs(fitted: Fit, asked: Constraints, budget: float, mixture: pd.Series) -> pd.Series | None:
    if not asked.available:
        return None
    planned = asked.planned_tokens(fitted.unit, budget)
    known = pd.Series(asked.available, dtype=float).reindex(mixture.index)
    return (mixture * planned / known.where(known > 0)).rename("epochs")


def _saved(
    fitted: Fit, problem: MixtureProblem, weights: np.ndarray, mixture: np.ndarray,
    beside: np.ndarray, at: float, to_goals: bool,
) -> float:  # fmt: skip
    """1 − the budget at which the mixture is as good as the reference, over the reference's.

    What they reach is the reference's objective at the budget, or, for goals, the goals.
    """
    if fitted.observed_budgets[0] == fitted.observed_budgets[1]:
        return float("nan")
    factors = np.geomspace(1e-3, 1e3, 1201)

    def along(r: np.ndarray) -> np.ndarray:
        losses = fitted.predict_points(np.repeat(r[None], len(factors), axis=0), at * factors)
        return _values(problem, losses, weights)

    ours, theirs = along(mixture), along(beside)
    goal = 1.0 if to_goals else theirs[len(factors) // 2]
    return float(1 - _crossing(factors, ours, goal) / _crossing(factors, theirs, goal))


def _crossing(factors: np.ndarray, values: np.ndarray, goal: float) -> float:
    """Where falling values reach a goal, by interpolation in the logarithm; nan if nowhere."""
    enough = values <= goal
    first = int(np.argmax(enough))
    if not first:
        return float("nan")
    before, after = values[first - 1], values[first]
    part = (before - goal) / (before - after)
    return float(factors[first - 1] * (factors[first] / factors[first - 1]) ** part)


def _observed(fitted: Fit, mixture: pd.Series) -> pd.DataFrame:
    domains = list(fitted.domains)
    observed = pd.DataFrame(fitted.observed_proportions.T, index=domains, columns=["min", "max"])
    flags = outside(mixture, observed)
    off = outside_hull(mixture.to_numpy(), fitted.observed_mixtures)
    observed["flag"] = flags.where((flags != "") | ~off, "hull")
    return observed


def _flatness(
    problem: MixtureProblem, arguments: MixtureArguments, mixture: np.ndarray, domains: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with jax.enable_x64(True):
        best = float(problem.value(
            jnp.append(mixture, problem.objective_of(jnp.asarray(mixture), arguments))[
                : len(mixture) + problem.extra], arguments))  # fmt: skip
        ends = as_good(problem, arguments, best)
    count = len(domains)
    own = np.stack([np.diag(ends[:count]), np.diag(ends[count:])], axis=1)
    # The best mixture is as good as itself, so that no range excludes it.
    low, high = np.minimum(own[:, 0], mixture), np.maximum(own[:, 1], mixture)
    flatness = pd.DataFrame({"flat_low": low, "flat_high": high}, index=domains)
    others = pd.DataFrame(far_apart(mixture, ends), columns=domains)
    return flatness, others


def _flatness_note(flatness: pd.DataFrame) -> tuple[str, ...]:
    unknown = flatness.index[flatness.isna().any(axis=1)]
    if not len(unknown):
        return ()
    return (
        f"How far these can go within .1 % was not found, as its search did not converge: "
        f"{', '.join(unknown)}.",
    )


def _proof_note(problem: MixtureProblem) -> tuple[str, ...]:
    if problem.convex:
        return ()
    what = "An objective of your own" if callable(problem.objective) else problem.law.name
    return (f"{what} need not be convex in the mixture: the optimum is a local one, unproven.",)


def _gain_note(
    fitted: Fit, weights: np.ndarray, value: float, reference_value: float
) -> tuple[str, ...]:
    """A gain smaller than the errors of the fit is no reason to prefer a mixture."""
    gain = 1 - value / reference_value
    error = _mean(fitted.error, weights)
    if not gain < error:
        return ()
    return (
        f"The predicted gain over the reference is {100 * gain:.2f} %, less than the fit's mean "
        f"error of {100 * error:.2f} %: the reference may be as good.",
    )


def _outside_note(mixture: pd.Series, observed: pd.DataFrame) -> tuple[str, ...]:
    flags = outside(mixture, observed)
    parts = [
        f"{d} {mixture[d]:.3f} ({observed['min'][d]:.3f}-{observed['max'][d]:.3f} observed)"
        for d in mixture.index[flags != ""]
    ]
    return ("Outside the range the sweep covered: " + ", ".join(parts) + ".",) if parts else ()
