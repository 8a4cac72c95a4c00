"""The verb: the runs to do next, by name."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

import jax
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from bimix_jax.design._choice import Picks, mixtures_within
from bimix_jax.design._plan import Candidates, Design, Measured, Noise, Unknowns, plan_runs
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.stacked import member_fits
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.printable import Drawn
from bimix_jax.quantities import counted, number_of, quantity_text
from bimix_jax.reading.names import align_mixtures, as_expected, check_names
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.uncertainty.bootstrap import Bootstrap
from bimix_jax.uncertainty.misfit import Misfit

CANDIDATES = 1024
"""Number of mixtures that are drawn without a pool; a power of two, to which pools are padded."""
NOTHING = 1e-9
"""Nats of expected regret below which it counts as 0."""
SMALL = 1e-4
"""The same below which it is not worth a run: losses are quoted with three decimals."""
LEAST_SHARE, MOST_SHARE = 0.01, 0.6
"""Shares between which mixtures are drawn where a sweep covers less."""
LEAST_POOL = 64
"""Size to which smaller pools are padded."""


@dataclasses.dataclass(frozen=True)
class Proposal(Drawn):
    """Runs to do next, best first, and the expected regret that remains.

    The regret is the loss of the recommended mixture above the best one, in nats of the weighted
    mean loss, or the points of the mean score that it is below, averaged over the uncertainty of
    the coefficients, which runs lower. What errors of the law add is `law_regret`, which they do
    not.
    """

    mixtures: pd.DataFrame
    """(runs, domains) proportions, named as in the pool"""
    regret_now: float
    """expected regret of a decision now"""
    regret_left: pd.Series
    """expected regret after this run and those above it"""
    regret_random: pd.Series
    """expected regret after as many runs drawn at random, mean over sets"""
    noise: pd.DataFrame
    """by target: standard deviations of the relative error within a run and between runs"""
    budget: float
    """budget of the decision"""
    unit: str
    notes: tuple[str, ...]
    law_regret: float = float("nan")
    """expected regret because of errors of the law, and of noise that cannot be told from them; nan
    without resamples, or of fewer than four mixtures"""
    regret_unit: str = "nats"
    """unit of all regrets, "nats" or "points" """

    def __repr__(self) -> str:
        at = f"{quantity_text(self.budget)} {self.unit}"
        return (
            f"Proposal({counted(len(self.mixtures), 'run')} for the decision at {at}; expected "
            f"regret now {self.regret_now:.4g} {self.regret_unit})"
        )

    def table(self) -> pd.DataFrame:
        """Table with a row per run: its proportions, then regret_left and regret_random."""
        return self.mixtures.assign(regret_left=self.regret_left, regret_random=self.regret_random)

    def first_of(self) -> pd.Series:
        """First run of the same mixture, by run: itself, unless it repeats one above it."""
        # Replicates in a pool went through the same division, so that their bytes are equal.
        shares = [row.tobytes() for row in self.mixtures.to_numpy()]
        names = self.mixtures.index
        first = [names[shares.index(row)] for row in shares]
        return pd.Series(first, index=names, name="first of its mixture", dtype=object)

    def document(self) -> dict[str, Any]:
        """All results as nested dictionaries, for JSON."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


class _GoalSettings(TypedDict, total=False):
    """The fields of a `_Goal` as keyword arguments."""

    weights: Any
    constraints: Constraints | None
    reference: Any


@dataclasses.dataclass(frozen=True)
class _Goal:
    """The mixture that the runs serve to find."""

    weights: Any = None
    constraints: Constraints | None = None
    reference: Any = None

    def decision(self, fitted: Fit, budget: float | None, bounded: Iterable[str]) -> Decision:
        """Build the decision; domains that were `bounded` in the runs may get a share of 0."""
        made = Decision.of(fitted, budget, self.weights, Request(self.constraints, self.reference))
        # Whoever gives bounds of a domain knows of it: a floor of 0 tells the decision so.
        made = made.within(made.asked.tightened(dict.fromkeys(bounded, 0.0)))
        made.refuse_unmeasured()
        return made


def propose_runs(
    fitted: Fit,
    sweep: Sweep,
    n: int,
    budget: float | None = None,
    pool: Any = None,
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weight: ArrayLike | None = None,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
    **goal: Unpack[_GoalSettings],
) -> Proposal:
    """Find the n mixtures whose measurement lowers the uncertainty of the decision most.

    The fit is linearised, and the noise of the runs, part of which is common to all points of a
    run, gives the posterior of its coefficients. The expected regret of the recommended mixture is
    ½ tr(M Σ): M from the move of the optimum with the coefficients, Σ their covariance (Bayesian
    linear optimal design, Chaloner & Verdinelli 1995). Runs are picked one after another, with an
    update of Σ after each; each is measured at every budget of the sweep.

    Args:
        fitted: from `fit`.
        sweep: the sweep that was fitted.
        n: number of runs.
        budget: the budget of the decision, in the fit's unit; default the sweep's largest.
        pool: mixtures to choose from, a DataFrame naming every domain or an array in their order;
            default 1024 drawn from the simplex within bounds.
        bounds: least and largest proportion by domain where there is no pool; default the range in
            the sweep, to which the law was fitted.
        weight: (points,) as `fit` took it; points of weight 0 are treated as not measured.
        bootstrap: of the same law and sweep. Runs then count as little as the law misses them when
            they are left out of the fit, regrets are lowered where it exaggerates differences, and
            the regret that its errors cause is stated.
        seed: of the draws.
        goal: `weights`, `constraints` and `reference` of the decision, as `optimize_mixture` takes
            them. The proposed runs need not keep the constraints.

    Raises:
        InfeasibleError: a ValueError, if no mixture satisfies the constraints.
        ValueError: if the sweep is not the one that was fitted, the fit has a budget_power, the law
            needs a model size, n is not between 1 and the size of the pool, bounds name unknown
            domains or fit no mixture, or the bootstrap is of another law or other names.
        TypeError: on an argument that does not exist; the message names the nearest one.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> proposal = bx.propose_runs(bx.fit(sweep, bx.BiMix()), sweep, 2)
    >>> bool(proposal.regret_left.iloc[1] < proposal.regret_random.iloc[1] < proposal.regret_now)
    True
    """
    _check(fitted, sweep)
    within = as_expected("bounds", dict(bounds or {}), fitted.domains)
    asked = settings_of(_Goal, propose_runs, goal)
    misfit = Misfit.of(bootstrap, asked.decision(fitted, budget, within))
    fitted, said = _of_one_law(fitted)
    decision = asked.decision(fitted, budget, within)
    candidates, labels = _candidates(fitted, pool, within, seed)
    if not 1 <= n <= len(candidates):
        raise ValueError(f"n is {n}; expected 1 to {len(candidates)}, the mixtures in the pool.")
    with jax.enable_x64(True):
        picks, noise = plan_runs(
            Design(_unknowns(fitted), len(sweep.runs), n),
            decision.arguments,
            _measured(fitted, sweep, weight, misfit.variance),
            _padded(candidates, np.unique(sweep.budget)),
            jax.random.key(seed),
        )
        order = np.asarray(picks.order)
    nameless = pd.Index([f"next{i + 1}" for i in range(n)], name="run")
    rows = nameless if labels is None else labels[order]
    mixtures = pd.DataFrame(candidates[order], index=rows, columns=list(fitted.domains))
    proposal = _proposal(decision, mixtures, picks, noise, misfit)
    return dataclasses.replace(proposal, notes=(*said, *proposal.notes))


def _of_one_law(fitted: Fit) -> tuple[Fit, tuple[str, ...]]:
    """The fit, or that of the first member of its law, whose coefficients have a posterior."""
    if fitted.law.of_losses:
        raise ValueError(
            f"fitted is by {fitted.law.label}; runs are proposed for one law: fit one to the "
            "scores themselves, TransferBiMix for example."
        )
    if not fitted.law.members:
        return fitted, ()
    first = member_fits(fitted)[0]
    return first, (f"The runs are those that help {first.law.label}, the first law of the stack.",)


def spread_runs(sweep: Sweep, n: int, seed: int = 0) -> Proposal:
    """Find n mixtures far from each other and from those of a sweep, without any law.

    For sweeps that are too small for a fit, where `propose_runs` cannot say which runs serve a
    decision. Of 1024 draws, each pick is the one whose nearest mixture is farthest (maximin design,
    Johnson et al. 1990).

    Args:
        sweep: the runs that are there.
        n: number of mixtures.
        seed: of the draws, which lie within the range in the sweep, or within shares of 1 % to 60 %
            where that is wider.

    Returns:
        A `Proposal` whose regrets are nan.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> spread_runs(sweep, 2).mixtures.sum(axis=1).round(9).tolist()
    [1.0, 1.0]
    """
    check_made(sweep, Sweep, "sweep")
    count = len(sweep.domains)
    lower = np.minimum(sweep.mixture.min(axis=0), min(LEAST_SHARE, 0.5 / count))
    upper = np.maximum(sweep.mixture.max(axis=0), max(MOST_SHARE, 1.5 / count))
    drawn = mixtures_within(lower, upper, max(CANDIDATES, n), seed)
    mixtures = drawn[_far_apart(drawn, np.unique(sweep.mixture, axis=0), n)]
    runs = pd.Index([f"next{i + 1}" for i in range(n)], name="run")
    unknown = pd.Series(np.nan, runs)
    return Proposal(
        mixtures=pd.DataFrame(mixtures, runs, list(sweep.domains)),
        regret_now=float("nan"),
        regret_left=unknown.rename("regret_left"),
        regret_random=unknown.rename("regret_random"),
        noise=pd.DataFrame(index=pd.Index(sweep.targets, name="target")),
        budget=sweep.largest_budget,
        unit=sweep.unit,
        notes=("The runs are those that differ most; no law was asked which of them help most.",),
    )


def _far_apart(drawn: np.ndarray, there: np.ndarray, count: int) -> list[int]:
    """Pick rows of `drawn`, each with the largest distance from `there` and the picks before."""
    nearest = np.min([np.abs(drawn - each).sum(axis=1) for each in there], axis=0)
    picked: list[int] = []
    for _ in range(count):
        picked.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.abs(drawn - drawn[picked[-1]]).sum(axis=1))
    return picked


def _unknowns(fitted: Fit) -> Unknowns:
    tied = fitted.law.ties(fitted.options.tied)
    return Unknowns(fitted.law, len(fitted.domains), len(fitted.targets), tied)


def _proposal(
    decision: Decision, mixtures: pd.DataFrame, picks: Picks, noise: Noise, misfit: Misfit
) -> Proposal:
    """Name the picks, which are `mixtures`, and their expected regrets."""
    fitted, runs, unit = decision.fitted, mixtures.index, decision.objective_unit
    whole = 100.0 if unit == "points" else 1.0
    # A law that exaggerates differences exaggerates regrets, which are such differences.
    factor = whole * misfit.slope
    regret, random = (factor * np.asarray(each) for each in (picks.regret, picks.random))
    # Standard deviations, which are in the unit of relative errors.
    deviations = {name: np.sqrt(value) for name, value in noise._asdict().items()}
    return Proposal(
        mixtures=mixtures,
        regret_now=float(regret[0]),
        regret_left=pd.Series(regret[1:], index=runs, name="regret_left"),
        regret_random=pd.Series(random, index=runs, name="regret_random"),
        noise=pd.DataFrame(deviations, index=pd.Index(fitted.targets, name="target")),
        budget=decision.budget,
        unit=fitted.unit,
        law_regret=whole * misfit.regret,
        regret_unit=unit,
        notes=(
            *_scope(fitted, whole * misfit.regret, unit),
            *_certain(float(regret[0]), unit),
            *fitted.notes_on_budget(decision.budget),
            *decision.notes,
            *fitted.messages(),
        ),
    )


def _certain(regret: float, unit: str) -> tuple[str, ...]:
    points = unit == "points"
    if regret > (100 * SMALL if points else SMALL):
        return ()
    if regret > NOTHING:
        digit = "second decimal of a score" if points else "last digit of a loss"
        return (
            f"The expected regret is {regret:.1g} {unit} now, below the {digit}: if the law "
            "holds, further runs are not worth their cost for this decision.",
        )
    return (
        "The best mixture is the same for all coefficients within their uncertainty: if the law "
        "holds, no further run would change the decision.",
    )


def _check(fitted: Fit, sweep: Sweep) -> None:
    check_made(fitted, Fit, "fitted")
    check_made(sweep, Sweep, "sweep")
    check_names("sweep domains", sweep.domains, fitted.domains)
    if fitted.law.needs_size:
        raise ValueError(
            f"fitted: {fitted.law.label} has several model sizes, and a run to do has one; fit the "
            "sweep of one size."
        )
    if fitted.options.budget_power:
        raise ValueError(
            f"fitted: budget_power={fitted.options.budget_power:g} weights its points, so its "
            "residuals are not noise alone; give a fit with budget_power=0."
        )
    if fitted.sweep_digest and fitted.sweep_digest != sweep.digest():
        raise ValueError(
            "sweep: it is not the one that was fitted (its digest differs); give the sweep that "
            "`fit` was given."
        )


def _scope(fitted: Fit, regret: float, unit: str) -> tuple[str, ...]:
    beside = (
        f"errors of the law cost about {regret:.2g} {unit} more, which runs for this law do not "
        "lower"
        if np.isfinite(regret)
        else "errors of the law itself enter it only as noise"
    )
    return (
        f"The regret comes from the uncertainty of the coefficients of {fitted.label}; {beside}.",
        *fitted.law.assumptions(),
    )


def _measured(fitted: Fit, sweep: Sweep, weight: ArrayLike | None, misfit: np.ndarray) -> Measured:
    order = [sweep.domains.index(d) for d in fitted.domains]
    loss = sweep.loss[:, [sweep.targets.index(t) for t in fitted.targets]]
    inside = np.isfinite(loss)
    if weight is not None:
        inside = (
            inside & (np.broadcast_to(np.asarray(weight, float), sweep.budget.shape) > 0)[:, None]
        )
    run = np.unique(sweep.run, return_inverse=True)[1].reshape(-1)
    mixture, shrinkage = sweep.mixture[:, order], np.asarray(fitted.shrinkage)
    return Measured(mixture, sweep.budget, loss, inside, run, shrinkage, misfit)


def _candidates(
    fitted: Fit, pool: Any, bounds: Mapping[str, tuple[float, float]], seed: int
) -> tuple[np.ndarray, pd.Index | None]:
    """Mixtures in the order of the fit's domains, and the pool's labels."""
    if pool is not None:
        if bounds:
            raise ValueError(
                "bounds: they limit mixtures that are drawn without a pool; leave out the bounds "
                "or the pool."
            )
        return align_mixtures(pool, fitted.domains)
    lower, upper = fitted.observed_proportions.copy()
    for domain, both in bounds.items():
        i = fitted.domains.index(domain)
        lower[i], upper[i] = (
            number_of(end, f"bounds: {domain}", "a proportion", percent=True) for end in both
        )
    drawn = mixtures_within(lower, upper, CANDIDATES, seed)
    return drawn, None


def _padded(mixtures: np.ndarray, budgets: np.ndarray) -> Candidates:
    """Pad to a power of two, so that pools of about one size share a compilation."""
    size = max(LEAST_POOL, 1 << (len(mixtures) - 1).bit_length())
    further = np.repeat(mixtures[:1], size - len(mixtures), axis=0)
    eligible = np.arange(size) < len(mixtures)
    return Candidates(np.concatenate([mixtures, further]), budgets, eligible)
