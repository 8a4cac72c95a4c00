"""Constrained optima against SciPy on 500 random problems of mixed constraints, and their rate.

    python -m benchmarks.constrained

Every problem draws its law (BiMix or TransferBiMix), its objective (mean or worst), bounds, fixed
shares, groups (disjoint or not), a KL term and guardrails at random, around a mixture that
satisfies them all. SciPy's SLSQP starts there.
"""

import argparse
import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.optimize import minimize

from benchmarks.mixture import random_laws
from benchmarks.report import report
from bimix_jax import BiMix, Coefficients, TransferBiMix, feasible_set, optimal_proportions
from bimix_jax.mixture._certificate import certify
from bimix_jax.mixture.feasible import FeasibleSet
from bimix_jax.mixture.proportions import MixtureArguments, MixtureProblem, resolve_method

SIZES = (4, 12)
KINDS = [(law, objective) for law in (BiMix(), TransferBiMix()) for objective in ("mean", "worst")]
RATE_BATCH, RATE_CHUNK = 20_000, 1_000


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with jax.enable_x64(True):
        rows = [measure(asked.seed + i) for i in range(asked.problems)]
        table = summary(pd.DataFrame(rows))
        report("constrained", table, "Random constrained optima", problems=asked.problems,
               optima_per_second=rate(), domains_of_rate=20)  # fmt: skip


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per law, objective and method: the worst of each number."""
    groups = rows.groupby(["law", "objective", "method"])
    table = groups.agg(
        problems=("size", "size"), infeasibility=("infeasible", "max"), gap=("gap", "max"),
        above_scipy=("above", "max"), compared=("above", "count"), milliseconds=("ms", "median"),
        scipy_ms=("scipy_ms", "median"),
    ).reset_index()  # fmt: skip
    table.index = pd.Index(table.pop("law") + ", " + table.pop("objective"), name="problem")
    return table


def measure(seed: int) -> dict[str, Any]:
    """One problem: feasibility, gap and objective of ours, relative to SciPy's best."""
    rng = np.random.default_rng(seed)
    law, objective = KINDS[seed % len(KINDS)]
    problem, arguments = random_problem(rng, law, objective, SIZES[seed // len(KINDS) % 2])
    method = resolve_method(law, "auto", False, arguments.feasible, objective)
    solve(problem, method, arguments)
    started = time.perf_counter()
    ours = np.asarray(solve(problem, method, arguments))
    seconds = time.perf_counter() - started
    value = total(problem, ours, arguments)
    started = time.perf_counter()
    theirs = scipy_best(problem, arguments)
    theirs_seconds = time.perf_counter() - started
    return {
        "law": law.name, "objective": objective, "method": method, "size": len(ours),
        "infeasible": violation(problem, ours, arguments),
        "gap": certify(problem, ours, arguments).gap / abs(value),
        "above": (value - theirs) / abs(theirs), "ms": 1e3 * seconds,
        "scipy_ms": 1e3 * theirs_seconds,
    }  # fmt: skip


def random_problem(
    rng: np.random.Generator, law: Any, objective: Any, domains: int
) -> tuple[MixtureProblem, MixtureArguments]:
    """A problem around a random mixture, with each kind of constraint in about half of them."""
    coefficients = jax.tree.map(
        lambda leaf: leaf[0], random_laws(domains, 1, rng.integers(1 << 30))
    )
    if law.name == "TransferBiMix":
        transfer = rng.uniform(0, 0.3, (domains, domains)) * (rng.random((domains, domains)) < 0.5)
        coefficients = coefficients._replace(
            exponents=np.concatenate([coefficients.exponents, transfer], axis=1)
        )
    inside = rng.dirichlet(np.full(domains, 2.0))
    feasible = random_set(rng, inside)
    if rng.random() < 0.4:
        allowed = np.where(rng.random(domains) < 0.5, rng.uniform(0.0, 0.1, domains), np.inf)
        feasible = dataclasses.replace(feasible, guard_limit=allowed, guard_reference=inside)
    else:
        free = np.full(domains, np.inf)
        feasible = dataclasses.replace(feasible, guard_limit=free, guard_reference=inside)
    if rng.random() < 0.3 and objective == "mean":
        feasible = dataclasses.replace(
            feasible, kl=np.array(rng.uniform(0.01, 1.0)),
            kl_to=rng.dirichlet(np.full(domains, 2.0)),
        )  # fmt: skip
    weights = rng.uniform(0.5, 2.0, domains)
    return (
        MixtureProblem(law, objective),
        MixtureArguments(coefficients, np.asarray(1.0), weights, feasible),
    )


def random_set(rng: np.random.Generator, inside: np.ndarray) -> FeasibleSet:
    """Bounds, fixed shares and two groups, disjoint or not, that a mixture satisfies."""
    domains = len(inside)
    lower = np.where(rng.random(domains) < 0.4, inside * rng.uniform(0, 1, domains), 0.0)
    upper = np.where(rng.random(domains) < 0.4, inside * rng.uniform(1, 3, domains), 1.0)
    if domains > 3 and rng.random() < 0.3:
        fixed = rng.integers(domains)
        lower[fixed] = upper[fixed] = inside[fixed]
    if rng.random() < 0.6:
        groups = np.equal.outer(np.arange(2), rng.permutation(np.arange(domains) % 3)).astype(float)
    else:
        groups = (rng.random((2, domains)) < 0.5).astype(float)
        groups[:, 0] = 1.0
    sums = groups @ inside
    idle = rng.random(2) < 0.3
    least = np.where(idle, 0.0, sums * rng.uniform(0.5, 1.0, 2))
    most = np.where(idle, 1.0, np.minimum(1, sums * rng.uniform(1.0, 1.5, 2)))
    return feasible_set(lower, upper, groups, least, most)


@functools.partial(jax.jit, static_argnums=(0, 1))
def solve(problem: MixtureProblem, method: Any, arguments: MixtureArguments) -> jax.Array:
    """Solve for the package's mixture."""
    coefficients, budget, weights, feasible = arguments
    return optimal_proportions(
        problem.law, coefficients, budget, weights, method=method, constraints=feasible,
        objective=problem.objective,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=0)
def parts(problem: MixtureProblem, variables: Any, arguments: MixtureArguments) -> tuple:
    """Value, gradient, rows and their Jacobian, for SciPy."""
    value, gradient = jax.value_and_grad(problem.value)(variables, arguments)
    rows = problem.rows(variables, arguments)
    return value, gradient, rows, jax.jacfwd(problem.rows)(variables, arguments)


def total(problem: MixtureProblem, mixture: np.ndarray, arguments: MixtureArguments) -> float:
    """The objective with its KL term."""
    variables = with_worst(problem, mixture, arguments)
    return float(problem.value(jnp.asarray(variables), arguments))


def with_worst(problem: MixtureProblem, mixture: Any, arguments: MixtureArguments) -> np.ndarray:
    """The mixture, and its worst loss where that is a variable."""
    worst = float(problem.objective_of(jnp.asarray(mixture), arguments))
    return np.append(mixture, worst) if problem.extra else np.asarray(mixture)


def violation(problem: MixtureProblem, mixture: np.ndarray, arguments: MixtureArguments) -> float:
    """The largest violation of bounds, the sum, groups and guardrails (these relative)."""
    feasible = arguments.feasible
    variables = with_worst(problem, mixture, arguments)
    rows = np.asarray(parts(problem, variables, arguments)[2])
    exact = feasible.most <= feasible.least
    off = np.abs(feasible.groups[exact] @ mixture - feasible.most[exact])
    return float(max(
        abs(mixture.sum() - 1), np.max(feasible.lower - mixture), np.max(mixture - feasible.upper),
        np.max(rows), np.max(off, initial=0.0),
    ))  # fmt: skip


def scipy_best(problem: MixtureProblem, arguments: MixtureArguments) -> float:
    """SciPy's best objective among mixtures feasible to 1e-8; nan if there is none.

    It starts from the start inside the set, and, if that ends outside, from a perturbed one.
    """
    start, *rest = stated(problem, arguments)
    found = [slsqp(problem, arguments, start, *rest)]
    if not np.isfinite(found[0]):
        shaken = start * np.random.default_rng(0).uniform(0.9, 1.1, len(start))
        found.append(slsqp(problem, arguments, shaken, *rest))
    return float(np.nanmin(found)) if np.isfinite(found).any() else np.nan


def slsqp(
    problem: MixtureProblem, arguments: MixtureArguments, start: np.ndarray, bounds: Any,
    equal: np.ndarray, equal_to: np.ndarray,
) -> float:  # fmt: skip
    """Minimise by sequential least squares."""
    result = minimize(
        lambda x: as_numpy(parts(problem, x, arguments)[:2]), start, jac=True, method="SLSQP",
        bounds=bounds, options={"ftol": 1e-13, "maxiter": 500},
        constraints=[
            {"type": "eq", "fun": lambda x: equal @ x - equal_to, "jac": lambda x: equal},
            {"type": "ineq", "fun": lambda x: -np.asarray(parts(problem, x, arguments)[2]),
             "jac": lambda x: -np.asarray(parts(problem, x, arguments)[3])},
        ],
    )  # fmt: skip
    return accepted(problem, arguments, result.x)


def stated(problem: MixtureProblem, arguments: MixtureArguments) -> tuple:
    """Start, bounds and equations as SciPy takes them."""
    feasible, extra = arguments.feasible, problem.extra
    start = with_worst(problem, feasible.start, arguments)
    floors = np.minimum(np.maximum(feasible.lower, 1e-9), feasible.upper)
    bounds = [*zip(floors, feasible.upper, strict=True), *[(None, None)] * extra]
    used = np.any(feasible.equal != 0, axis=1)
    equal = np.pad(feasible.equal[used], ((0, 0), (0, extra)))
    return start, bounds, equal, feasible.equal_to[used]


def accepted(problem: MixtureProblem, arguments: MixtureArguments, variables: np.ndarray) -> float:
    """The objective, nan where the mixture is not feasible."""
    mixture = variables[: len(variables) - problem.extra]
    ok = np.all(np.isfinite(mixture)) and violation(problem, mixture, arguments) <= 1e-8
    return total(problem, mixture, arguments) if ok else np.nan


def as_numpy(values: Any) -> tuple[float, np.ndarray]:
    """Value and gradient as SciPy takes them."""
    return float(values[0]), np.asarray(values[1])


def rate() -> float:
    """Optima per second of 20-domain BiMix laws within bounds and epochs, after compilation."""
    laws: Coefficients = jax.tree.map(jnp.asarray, random_laws(20, RATE_BATCH, seed=1))
    rng = np.random.default_rng(0)
    bounds = feasible_set(np.full(20, 0.01), rng.uniform(0.05, 0.12, 20))
    run = jax.jit(lambda many: jax.lax.map(
        lambda c: optimal_proportions(BiMix(), c, 2.0, constraints=bounds), many,
        batch_size=RATE_CHUNK,
    ))  # fmt: skip
    jax.block_until_ready(run(laws))
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        jax.block_until_ready(run(laws))
        seconds.append(time.perf_counter() - started)
    return RATE_BATCH / float(np.median(seconds))


if __name__ == "__main__":
    main()
