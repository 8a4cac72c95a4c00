"""The verb: properties of a sweep that limit its fits, found before any fit."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.diagnosis._measurements import (
    FEW_BUDGETS,
    Observation,
    Severity,
    observe_budgets,
    observe_losses,
    observe_mixtures,
    observe_targets,
    rank_and_condition,
    some_of,
)
from bimix_jax.fitting.fit import fit
from bimix_jax.fitting.residual import predict
from bimix_jax.fitting.shrinkage import has_shrinkage
from bimix_jax.laws import LAWS, BiMix, Law, LogLinear
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.settings import check_made
from bimix_jax.sweeps.scores import scores_among
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.xla.compilation import jit

# Derivatives are exact to 1e-16, and what points determine has 1e-3 or so; no measurement shows a
# coefficient that moves losses by 1e-7 of what another does.
NEGLIGIBLE = 1e-6
"""Share of the largest singular value of the scaled Jacobian below which others count as 0."""
UNEVEN = 0.7, 1.3
"""Factors that make starts uneven: even ones make some laws look degenerate that are not."""
MANY_MIXTURES, MANY_BUDGETS = 100, 10
"""Largest number of mixtures, and of budgets, in designs that search for the least."""
MOST_POINTS = 1000
"""Number of points beyond which a design adds no information; more are subsampled."""


def _identifiable_laws(sweep: Sweep) -> pd.DataFrame:
    """Table of `Diagnosis.laws`, from the rank of each law's Jacobian at the start of a fit.

    >>> from bimix_jax import datasets, read_sweep
    >>> table = _identifiable_laws(read_sweep(datasets.proxy_sweep()).from_budget(573_440))
    >>> needs = table.loc["BiMix", ["needs_mixtures", "needs_budgets"]].astype(int)
    >>> needs.tolist(), table.loc["BiMix", "verdict"]
    ([2, 3], 'determined')
    """
    rows = {name: _row(law(), sweep) for name, law in LAWS.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("law")


def _row(law: Law, sweep: Sweep) -> dict[str, Any]:
    able = [t for t in range(len(sweep.targets)) if not law.needs_own or sweep.own_index()[t] >= 0]
    if not able:
        return {
            "coefficients": 0,
            "determined": 0,
            "targets": 0,
            "least_for": "",
            "needs_mixtures": 0,
            "needs_budgets": 0,
            "verdict": "no target is a domain",
        }
    found = [(*_determined(law, sweep, t), sweep.targets[t]) for t in _unlike(sweep, able)]
    # The worst target decides; where all are determined, any of them stands for the rest.
    short = [each for each in found if each[0] < each[1]]
    known, count, worst = min(short or found, key=lambda each: each[0] - each[1])
    held = has_shrinkage(law, len(sweep.domains))
    verdict = "determined" if not short else "held by its shrinkage" if held else "undetermined"
    mixtures, budgets = _needs(law, sweep, able[0])
    return {
        "coefficients": count,
        "determined": known,
        "targets": len(able),
        "least_for": worst if short else "",
        "needs_mixtures": mixtures,
        "needs_budgets": budgets,
        "verdict": verdict,
    }


def _needs(law: Law, sweep: Sweep, target: int) -> tuple[int, int]:
    """Fewest mixtures, and fewest budgets with these, that determine all coefficients."""
    own = _own(sweep, target)
    # Random mixtures are in general position, so that none is spanned by others by chance.
    shares = np.random.default_rng(0).dirichlet(np.ones(len(own)), MANY_MIXTURES)
    times = np.geomspace(0.03, 1.0, MANY_BUDGETS)

    def determined(mixtures: int, budgets: int) -> bool:
        at = times[np.linspace(0, MANY_BUDGETS - 1, budgets).round().astype(int)]
        mixture = np.repeat(shares[:mixtures], budgets, axis=0)
        known, count = _rank(law, _filled(mixture), _filled(np.tile(at, mixtures)), own)
        return known == count

    mixtures = _least(lambda n: determined(n, MANY_BUDGETS), MANY_MIXTURES)
    return mixtures, _least(lambda n: determined(mixtures or MANY_MIXTURES, n), MANY_BUDGETS)


def _least(holds: Callable[[int], bool], most: int) -> int:
    """Least number up to `most` from which on something holds; 0 for none."""
    # Bisection, as more mixtures or budgets do not lower a rank.
    least, enough = 1, most
    if not holds(most):
        return 0
    while least < enough:
        middle = (least + enough) // 2
        least, enough = (least, middle) if holds(middle) else (middle + 1, enough)
    return enough


def _filled(values: np.ndarray) -> np.ndarray:
    """Repeat to MOST_POINTS rows, so that a law compiles once."""
    return np.resize(values, (MOST_POINTS, *values.shape[1:]))


def _unlike(sweep: Sweep, targets: list[int]) -> list[int]:
    """Select one of the targets with the same own domain and the same measured points."""
    own, there = sweep.own_index(), np.isfinite(sweep.loss)
    kinds = {(int(own[t]), there[:, t].tobytes()): t for t in targets}
    return list(kinds.values())


def _determined(law: Law, sweep: Sweep, target: int) -> tuple[int, int]:
    """Number of coefficients that the points of a target determine, and number in all."""
    mixture, budget = _design(sweep, np.isfinite(sweep.loss[:, target]))
    return _rank(law, mixture, budget, _own(sweep, target))


def _own(sweep: Sweep, target: int) -> np.ndarray:
    return (np.arange(len(sweep.domains)) == sweep.own_index()[target]).astype(float)


def _rank(law: Law, mixture: np.ndarray, budget: np.ndarray, own: np.ndarray) -> tuple[int, int]:
    """Number of coefficients that the points determine, and number in all."""
    products, count = map(np.asarray, _products(law, mixture, budget, own))
    # Squares of the singular values. They are exact to 1e-16 of the largest, far below
    # NEGLIGIBLE², and take a hundredth of the time of a decomposition of all points.
    squares = np.linalg.eigvalsh(products)
    rank = int(np.sum(squares > NEGLIGIBLE**2 * max(squares[-1], 1e-300)))
    return min(rank, int(count)), int(count)


def _design(sweep: Sweep, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(MOST_POINTS, domains) and (MOST_POINTS,): distinct points, repeated where there are fewer.

    The shape is the same for all targets and sweeps with this number of domains, so that a law
    compiles once.
    """
    points = np.column_stack([sweep.mixture, sweep.budget / sweep.largest_budget])[measured]
    unlike = np.unique(points, axis=0)
    # Sorted by `unique`, the first points would all be of a few mixtures.
    if len(unlike) > MOST_POINTS:
        unlike = np.random.default_rng(0).permutation(unlike)
    chosen = _filled(unlike)
    return chosen[:, :-1], chosen[:, -1]


@functools.partial(jit, static_argnums=0, x64=True)
def _products(law: Law, mixture: Array, budget: Array, own: Array) -> tuple[Array, Array]:
    """JᵀJ (coefficients, coefficients) of J = ∂L/∂coefficients at a start, whose columns have the
    length 1, or 0 where fixed; and the number of free coefficients."""
    # An even mixture takes the place of unusable ones; their rows are set to 0 below.
    usable = jax.vmap(law.usable, in_axes=(0, None))(mixture, own)
    inside = jnp.where(usable[:, None], mixture, 1.0 / mixture.shape[1])
    features = jax.vmap(law.features, in_axes=(0, None, 0))(inside, own, budget)
    start = jnp.asarray(law.starts(mixture.shape[1]), mixture.dtype)[0]
    exponents = start * jnp.linspace(*UNEVEN, len(start))
    amplitudes = jnp.ones(len(law.amplitude_names), mixture.dtype)
    of_exponents, of_amplitudes = jax.jacfwd(
        lambda e, a: predict(law, e, a, features), argnums=(0, 1)
    )(exponents, amplitudes)
    fixed = law.fixed(own)
    free = jnp.where(fixed, 0.0, of_exponents)
    jacobian = jnp.concatenate([free, of_amplitudes], axis=1)
    there = usable & jnp.all(jnp.isfinite(jacobian), axis=1)  # r = 0 is a corner of some laws
    jacobian = jnp.where(there[:, None], jacobian, 0.0)
    # Columns of unit length, so that units of the coefficients do not decide the rank.
    scale = jnp.linalg.norm(jacobian, axis=0)
    scaled = jacobian / jnp.where(scale > 0, scale, 1.0)
    # A gauge is a direction that no data can determine, so that its coefficient is not counted.
    count = jnp.sum(~fixed) + len(amplitudes) - law.gauges(own)
    return scaled.T @ scaled, count


GAIN, LEAST_GAIN = 1.25, 0.002
"""Factor and amount by which the error has to fall before a cut is advised."""
CLOSE = 1.05
"""Factor of the least error within which the earliest cut is advised."""


def _observe_early(sweep: Sweep) -> Iterator[Observation]:
    """Observe whether the later half of the points fits much better without the first budgets.

    All fits are judged on the same points, those of the later half, so that an error does not fall
    only because there are fewer points.
    """
    cuts, errors = _errors_by_first_budget(sweep)
    if not len(errors):
        return
    # The earliest cut that is about as good, as every cut loses points.
    best = int(np.argmax(errors <= CLOSE * errors.min()))
    if errors[0] < GAIN * errors[best] or errors[0] - errors[best] < LEAST_GAIN:
        return
    law = _law(sweep).label
    yield Observation(
        Severity.WARNING,
        f"Budgets before {quantity_text(cuts[best])} {sweep.unit} do not follow the law: without "
        f"them {law} is "
        f"off by {100 * errors[best]:.2f} % at the later budgets, with them by "
        f"{100 * errors[0]:.2f} %",
        f"Checkpoints inside the warm-up follow no law; leave them out with --from-budget "
        f"{cuts[best]:.10g}, or fit WithWarmUp.",
    )


def _errors_by_first_budget(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """First budgets (cuts,), and the mean error (cuts,) at the later half of fits from each on.

    Both are empty where there are too few budgets, or no target that can be fitted.
    """
    budgets = np.unique(sweep.budget)
    scores = {*scores_among(sweep, sweep.targets), *(t.name for t in sweep.described if t.is_score)}
    law = _law(sweep)
    able = [t for t in sweep.targets if not law.needs_own or t in sweep.domains]
    targets = [t for t in able if t not in scores]
    # At least the later half stays, on which all are judged, and enough budgets for a fit.
    most = min(len(budgets) // 2, len(budgets) - FEW_BUDGETS)
    if most < 1 or not targets or sweep.size is not None:
        return np.zeros(0), np.zeros(0)
    cuts = budgets[: most + 1]
    later = sweep.budget >= budgets[len(budgets) // 2]
    return cuts, np.array([_error(sweep, law, targets, cut, later) for cut in cuts])


def _law(sweep: Sweep) -> Law:
    """Choose the default law, or another where it cannot express a target."""
    return BiMix() if set(sweep.targets) & set(sweep.domains) else LogLinear()


def _error(sweep: Sweep, law: Law, targets: list[str], cut: float, later: np.ndarray) -> float:
    """Mean relative error at the later points of a fit to the points from a budget on."""
    weight = (sweep.budget >= cut).astype(float)
    fitted = fit(sweep, law, targets=targets, weight=weight)
    measured = sweep.loss[:, [sweep.targets.index(t) for t in targets]][later]
    errors = np.abs(fitted.predict_points(sweep.mixture, sweep.budget)[later] / measured - 1)
    known = np.isfinite(errors)
    # A fit without any prediction is the worst one, not a missing one.
    return float(errors[known].mean()) if known.any() else np.inf


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Observations on a sweep, with the laws that it can identify."""

    observations: tuple[Observation, ...]
    """observations, worst first"""
    laws: pd.DataFrame
    """a row per law of the package, with these columns:

    - coefficients: their number per target.
    - determined: the number of coefficients that the mixtures and budgets of the sweep determine,
      for the worst target that the law can express.
    - targets: the number of targets that the law can express.
    - least_for: the worst target, where not all of its coefficients are determined.
    - needs_mixtures: the fewest mixtures that determine all coefficients of a target, with many
      budgets; 0 where none do.
    - needs_budgets: the fewest budgets that do, with so many mixtures; 0 where none do.
    - verdict: "determined", "held by its shrinkage", "undetermined", or "no target is a domain".

    They show what no precision of the losses could mend, not how large the errors are."""
    domains: pd.DataFrame
    """share of every domain over the mixtures: min, median, max, and the number of zeros"""
    rank: int
    """rank of the mixtures: the number of domains they can tell apart"""
    condition: float
    """ratio of their largest singular value to the least; inf where some are collinear"""

    def __repr__(self) -> str:
        seen = counted(len(self.observations), "observation")
        domains = counted(len(self.domains), "domain")
        return (
            f"Diagnosis({seen}, worst {self.severity.name.lower()}; rank {self.rank} of {domains})"
        )

    @property
    def severity(self) -> Severity:
        """Severity of the worst observation."""
        return max((o.severity for o in self.observations), default=Severity.NOTE)

    def table(self) -> pd.DataFrame:
        """Table with a row per observation: severity, what, advice."""
        rows = [(o.severity.name.lower(), o.what, o.advice) for o in self.observations]
        return pd.DataFrame(rows, columns=["severity", "what", "advice"])

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {
            "severity": self.severity.name.lower(),
            "observations": self.table().to_dict("records"),
            "laws": self.laws.to_dict("index"),
            "domains": self.domains.to_dict("index"),
            "rank": self.rank,
            "condition": self.condition,
        }


def diagnose(sweep: Sweep) -> Diagnosis:
    """Look for properties of a sweep that limit the meaning of its fits.

    Targets (domains without losses, scores), mixtures (zeros, ranges, collinear domains), budgets,
    losses (units, gaps, rises, jumps, the noise of replicates), and the laws that the points
    identify.

    >>> import bimix_jax as bx
    >>> found = diagnose(bx.read_sweep(bx.datasets.proxy_sweep()))
    >>> found.severity.name, found.observations[0].what.split(" do not")[0]
    ('WARNING', 'Budgets before 573.4K tokens')
    """
    check_made(sweep, Sweep, "sweep")
    laws = _identifiable_laws(sweep)
    seen = [
        *observe_targets(sweep),
        *observe_losses(sweep),
        *observe_mixtures(sweep),
        *observe_budgets(sweep),
        *_observe_early(sweep),
        *_about_laws(laws),
    ]
    worst_first = sorted(seen, key=lambda o: -o.severity)
    return Diagnosis(tuple(worst_first), laws, _domains(sweep), *rank_and_condition(sweep))


def _about_laws(laws: pd.DataFrame) -> list[Observation]:
    short = laws[laws["verdict"] == "undetermined"]
    if short.empty:
        return []
    names = [
        f"{n} ({r['determined']} of {r['coefficients']} for {r['least_for']})"
        for n, r in short.iterrows()
    ]
    return [
        Observation(
            Severity.NOTE,
            f"Laws with coefficients that these points do not determine: {some_of(names)}",
            "Fit another law, or measure as many mixtures and budgets as the table below lists.",
        )
    ]


def _domains(sweep: Sweep) -> pd.DataFrame:
    shares = sweep.mixtures
    table = shares.describe().T[["min", "50%", "max"]].rename(columns={"50%": "median"})
    return table.assign(zeros=(shares == 0).sum()).rename_axis("domain")
