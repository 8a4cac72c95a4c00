"""Observations on measurements: budgets, targets, mixtures and losses."""

import dataclasses
import enum
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from bimix_jax.judging.noise import between_replicates
from bimix_jax.laws import LAWS
from bimix_jax.quantities import counted, quantity_text
from bimix_jax.reading.column_names import SO_NAMED
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.doubts import (
    COUNTED_TWICE,
    NEGLIGIBLE,
    RISE,
    collinear_domains,
    near_misses,
    perplexities,
    split_targets,
)
from bimix_jax.sweeps.scores import about_scores, scores_among
from bimix_jax.sweeps.sweep import (
    COMMON_SHARE,
    MOSTLY,
    NOT_FINITE,
    PERCENTAGES,
    Sweep,
    common_points,
)

SHOWN = 6
"""Number of names that an observation lists before it counts the rest."""


class Severity(enum.IntEnum):
    """Severity of an observation; the exit code of `bimix check` is the worst one."""

    NOTE = 0
    """worth knowing"""
    WARNING = 1
    """some results will mislead"""
    ERROR = 2
    """a fit to this sweep is meaningless"""


@dataclasses.dataclass(frozen=True)
class Observation:
    """One observation on a sweep."""

    severity: Severity
    what: str
    """finding, with the numbers"""
    advice: str
    """one line of advice"""


def some_of(names: Iterable[object]) -> str:
    """Join the first of many names.

    >>> some_of(range(8))
    '0, 1, 2, 3, 4, 5 and 2 more'
    """
    every = [str(name) for name in names]
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


# B s^−β + C has three coefficients: three budgets are met exactly by whatever noise they have.
FEW_BUDGETS = 4
"""Number of budgets below which a curve of three coefficients leaves no residuals."""
# Over a factor of 4 a term s^−0.5 falls to a half.
SPAN = 4.0
"""Least ratio of the last budget to the first that identifies an exponent."""


def observe_budgets(sweep: Sweep) -> Iterator[Observation]:
    """Observe the number and range of budgets, whether runs share them, and missing metadata."""
    budgets = np.unique(sweep.budget)
    if len(budgets) == 1:
        yield Observation(
            Severity.WARNING,
            f"A single budget ({quantity_text(budgets[0])} {sweep.unit})",
            "Losses at other budgets cannot be predicted; log losses along the runs.",
        )
    elif len(budgets) < FEW_BUDGETS or budgets[-1] < SPAN * budgets[0]:
        yield Observation(
            Severity.WARNING,
            f"{len(budgets)} budgets, {quantity_text(budgets[0])} to {quantity_text(budgets[-1])} "
            f"{sweep.unit}",
            f"Exponents of the budget will be uncertain; log {FEW_BUDGETS} or more over a factor "
            "of "
            f"{SPAN:g}.",
        )
    yield from _shared(sweep)
    for note in sweep.metadata.note_of_absent(() if sweep.size is None else ("model_size",)):
        yield Observation(
            Severity.NOTE, note.rstrip("."), "State it with --metadata ENTRY=VALUE when importing."
        )


def _shared(sweep: Sweep) -> Iterator[Observation]:
    codes = pd.factorize(sweep.run)[0]
    share = common_points(codes, sweep.budget) / len(sweep.budget)
    if share < MOSTLY:
        yield Observation(
            Severity.WARNING,
            f"Only {100 * share:.0f} % of the points lie at budgets that runs share",
            "Mixtures are hard to compare; import again with --align interpolate.",
        )
    ends = pd.Series(sweep.budget).groupby(sweep.run).max()
    early = [str(run) for run in ends.index if ends[run] < sweep.last_common_budget()]
    # Where many runs end early, that is the design and not a crash.
    if early and len(early) <= (1 - COMMON_SHARE) * len(ends):
        yield Observation(
            Severity.NOTE,
            f"Runs that end before the others ({quantity_text(sweep.last_common_budget())} "
            f"{sweep.unit}): "
            f"{some_of(early)}",
            "Make sure that they did not diverge.",
        )


def observe_targets(sweep: Sweep) -> Iterator[Observation]:
    """Observe the names of targets; domains without a target come first."""
    scores = scores_among(sweep, sweep.targets)
    losses = [target for target in sweep.targets if target not in scores]
    if set(sweep.targets) & set(sweep.domains):
        yield from _unmeasured(sweep, losses)
    else:
        yield from _none_a_domain(sweep, losses)
    split = [f"{target} may be {other}" for target, other in split_targets(sweep, losses)]
    if split:
        yield Observation(
            Severity.WARNING,
            "Targets with losses only where another of nearly the same name has none: "
            + some_of(split),
            "If they are one, correct the name of the loss column, and import again.",
        )
    yield from _averages(sweep)
    yield from _others(sweep)
    yield from _quiet(sweep)
    if scores:
        seen, advice = about_scores(scores)
        yield Observation(Severity.ERROR, seen.rstrip("."), advice.rstrip("."))


def _averages(sweep: Sweep) -> Iterator[Observation]:
    """Observe the targets of which reading found that they are means of others."""
    for note in sweep.notes:
        found, twice, _ = note.partition(COUNTED_TWICE)
        if twice:
            yield Observation(
                Severity.WARNING, found + twice, "Leave it out, or give it a weight of 0."
            )


def _others(sweep: Sweep) -> Iterator[Observation]:
    """Observe the columns besides proportions, losses, budgets and the names of runs."""
    columns = list(sweep.extra.columns)
    if columns:
        yield Observation(
            Severity.NOTE,
            f"Other columns, neither proportions nor losses: {some_of(columns)}",
            "Names of proportions begin with r_, those of losses with loss_; --mixture-prefix and "
            "--loss-prefix take other beginnings.",
        )


def _quiet(sweep: Sweep) -> Iterator[Observation]:
    """Observe the scores in which mixtures differ by no more than the noise of one run."""
    table = sweep.signal()[are_scores(sweep.described)]
    quiet = list(table.index[~table["clear"].to_numpy(bool)])
    if not quiet:
        return
    every = len(quiet) == len(sweep.targets)
    yield Observation(
        Severity.ERROR if every else Severity.WARNING,
        f"Scores in which mixtures differ by no more than the noise of one run: {some_of(quiet)}"
        + (", which are all targets" if every else ""),
        "They say nothing about mixtures here, and count only where they are named; evaluate on "
        "more examples, or train longer or larger models.",
    )


def _unmeasured(sweep: Sweep, losses: list[str]) -> Iterator[Observation]:
    trained = sweep.mixture.max(axis=0) > 0
    without = [
        d for d, seen in zip(sweep.domains, trained, strict=True) if seen and d not in sweep.targets
    ]
    if not without:
        return
    # A domain without a target and a target without a domain of nearly one name are often the same.
    near = [f"{t} may be {d}" for t, d in near_misses(sweep.domains, losses) if d in without]
    strangers = [t for t in losses if t not in sweep.domains]
    yield Observation(
        Severity.WARNING,
        f"Domains that no target measures: {some_of(without)}"
        + (f"; targets that are not a domain: {some_of(strangers)}" if strangers else "")
        + (f"; {some_of(near)}" if near else ""),
        "An optimum gives such a domain a share of 0 only because nothing measures it: correct the "
        "name of its loss column, measure its loss, or set its share yourself (--lower, --fix).",
    )


def _none_a_domain(sweep: Sweep, losses: list[str]) -> Iterator[Observation]:
    near = [f"{t} may be {d}" for t, d in near_misses(sweep.domains, losses)]
    able = [name for name, law in LAWS.items() if not law.needs_own]
    yield Observation(
        Severity.WARNING if near else Severity.NOTE,
        f"No target is a domain ({some_of(losses or list(sweep.targets))})"
        + (f"; {some_of(near)}" if near else ""),
        f"Laws of a domain's own share cannot express them; {', '.join(able)} can. Call a target "
        "as the domain that it measures.",
    )


NARROW = 1.5
"""Ratio of a domain's largest share to its least below which it hardly varies."""
ILL_CONDITIONED = 100.0
"""Ratio of singular values above which the domains of the least one nearly move together."""
INVOLVED = 0.3
"""Share of the largest entry above which a domain takes part in that direction."""


def observe_mixtures(sweep: Sweep) -> Iterator[Observation]:
    """Observe zeros, ranges, rank and conditioning of the mixtures, and converted percentages."""
    mixtures = distinct_mixtures(sweep)
    if PERCENTAGES in sweep.notes:
        yield Observation(
            Severity.NOTE,
            PERCENTAGES.rstrip("."),
            "Check that they are percentages; write shares that sum to 1 to be sure.",
        )
    yield from _few(mixtures)
    yield from _zeros(mixtures)
    yield from _narrow(mixtures)
    yield from _collinear(mixtures)


def distinct_mixtures(sweep: Sweep) -> pd.DataFrame:
    """Table with a row per mixture and a column per domain."""
    first = pd.Series(sweep.mixture_group).drop_duplicates().index
    return pd.DataFrame(sweep.mixture[first], columns=list(sweep.domains))


def rank_and_condition(sweep: Sweep) -> tuple[int, float]:
    """Rank of the matrix of mixtures and domains, and the ratio of its largest singular value to
    the least, of the domains that were trained on; inf where it has not full rank.
    """
    mixtures = distinct_mixtures(sweep)
    used = mixtures.loc[:, mixtures.max() > 0]
    # A domain that no run was trained on has a column of zeros, of which `_zeros` tells already.
    singular = np.linalg.svd(used.to_numpy(float), compute_uv=False)
    rank = int(np.sum(singular > NEGLIGIBLE * singular[0]))
    return rank, float(singular[0] / singular[-1]) if rank == used.shape[1] else float("inf")


def _few(mixtures: pd.DataFrame) -> Iterator[Observation]:
    runs, domains = mixtures.shape
    # A law with a coefficient per domain and a level has domains + 1 unknowns in the mixtures.
    if runs <= domains:
        yield Observation(
            Severity.WARNING,
            f"{counted(runs, 'mixture')} of {counted(domains, 'domain')}",
            f"Measure {counted(domains + 1 - runs, 'more mixture')} at least, or fit BiMix alone, "
            "which looks at one domain at a time.",
        )


def _zeros(mixtures: pd.DataFrame) -> Iterator[Observation]:
    zero = {str(d): int(n) for d, n in (mixtures == 0).sum().items()}
    never = [d for d, n in zero.items() if n == len(mixtures)]
    some = [f"{d} in {n} of {len(mixtures)}" for d, n in zero.items() if 0 < n < len(mixtures)]
    if never:
        yield Observation(
            Severity.WARNING,
            f"Domains that no run was trained on: {some_of(never)}",
            "Leave their columns out, or measure mixtures that hold them.",
        )
    if some:
        yield Observation(
            Severity.NOTE,
            f"Shares of exactly 0: {some_of(some)}",
            "BiMix leaves such points out of that target's fit; TransferBiMix uses them.",
        )


def _narrow(mixtures: pd.DataFrame) -> Iterator[Observation]:
    ends = zip(mixtures, mixtures.min(), mixtures.max(), strict=True)
    # A share of 0 in some run is a range without end, and noted above.
    ranges = [f"{d} {low:.3g} to {high:.3g}" for d, low, high in ends if 0 < high < NARROW * low]
    if ranges:
        yield Observation(
            Severity.WARNING,
            f"Shares that hardly vary: {some_of(ranges)}",
            f"Their effect on a loss is not identified; vary them by a factor of {NARROW:g}.",
        )


def _collinear(mixtures: pd.DataFrame) -> Iterator[Observation]:
    used = mixtures.loc[:, mixtures.max() > 0]
    groups = collinear_domains(used)
    if groups:
        yield Observation(
            Severity.WARNING,
            "Domains whose shares are tied in every mixture: "
            + "; ".join(some_of(group) for group in groups),
            "Laws with one coefficient per domain cannot separate them; measure mixtures in which "
            "their ratio differs.",
        )
        return
    values = used.to_numpy(float)
    _, singular, directions = np.linalg.svd(values, full_matrices=False)
    # The last right singular vector is the combination of shares that varies least.
    if singular[0] > ILL_CONDITIONED * singular[-1]:
        weak = np.abs(directions[-1])
        names = [str(d) for d, w in zip(used, weak, strict=True) if w > INVOLVED * weak.max()]
        yield Observation(
            Severity.WARNING,
            f"Mixtures nearly tied (condition number {singular[0] / singular[-1]:.3g}): "
            f"{some_of(names)}",
            "Their coefficients will have wide errors; measure mixtures in which their ratio "
            "differs.",
        )


MANY_EMPTY = 0.1
"""Share of empty cells of a target from which on the observation is a warning."""
OTHER_UNIT = 0.3
"""Log ratio to the other runs beyond which losses have another unit: ln 1.44 is 0.37."""
JUMP, BEYOND = 0.05, 10.0
"""Difference from the step of the other runs that counts as a jump: more than 5 %, and more than
ten times the usual difference between runs at that budget."""
RUNS_TO_COMPARE = 4
"""Least number of runs at a budget whose median one bad run cannot move far."""


def observe_losses(sweep: Sweep) -> Iterator[Observation]:
    """Observe gaps, units, rises, jumps and noise of the losses."""
    losses = _losses_of(sweep)
    if losses.targets:
        yield from _unit(losses)
    yield from _not_finite(sweep)
    yield from _empty(sweep)
    if losses.targets:
        yield from _rising(losses)
        yield from _jumps(losses)
    yield from _replicates(sweep)


def _losses_of(sweep: Sweep) -> Sweep:
    """The sweep with its losses alone: scores have no unit of losses, and noise at chance."""
    kept = ~are_scores(sweep.described)
    names = tuple(np.array(sweep.targets, object)[kept])
    return dataclasses.replace(sweep, targets=names, loss=sweep.loss[:, kept])


def _unit(sweep: Sweep) -> Iterator[Observation]:
    scores = scores_among(sweep, sweep.targets)
    for note in sweep.notes:
        if note.startswith(SO_NAMED):
            seen, _, advice = note.partition(": ")
            yield Observation(Severity.ERROR, seen, advice[:1].upper() + advice[1:])
    high = perplexities(sweep, [t for t in sweep.targets if t not in scores])
    if high:
        yield Observation(
            Severity.ERROR,
            f"The median loss of {some_of(list(high))} is {np.median(list(high.values())):.3g}, "
            "which looks like perplexities",
            "State the unit, --metadata loss_unit=perplexity, and losses are converted.",
        )
    # In logarithms another unit is a shift, the same for every target and budget of a run.
    away = _away_from_others(sweep, np.log(sweep.loss))
    level = pd.DataFrame(away).median(axis=1).groupby(sweep.run).median()
    other = [f"{run} ({np.exp(v):.2f} ×)" for run, v in level.items() if abs(v) > OTHER_UNIT]
    if other:
        yield Observation(
            Severity.WARNING,
            f"Runs whose losses are far from those of the others: {some_of(other)}",
            "Check that all are in one unit (bits are 1.44 × nats) and trained alike.",
        )


def _not_finite(sweep: Sweep) -> Iterator[Observation]:
    for note in sweep.notes:
        if NOT_FINITE in note:
            yield Observation(
                Severity.WARNING,
                note.rstrip("."),
                "Look whether these runs diverged; --exclude RUN leaves one out.",
            )


def _empty(sweep: Sweep) -> Iterator[Observation]:
    gone = np.isnan(sweep.loss)
    if not gone.any():
        return
    share = gone.mean(axis=0)
    worst = [f"{t} {100 * s:.0f} %" for t, s in zip(sweep.targets, share, strict=True) if s > 0]
    yield Observation(
        Severity.WARNING if share.max() > MANY_EMPTY else Severity.NOTE,
        f"{gone.sum()} of {gone.size} loss cells are empty ({some_of(worst)})",
        "They are left out of the fit; evaluate every target at every checkpoint.",
    )


def _rising(sweep: Sweep) -> Iterator[Observation]:
    order = np.argsort(sweep.budget, kind="stable")
    curves = pd.DataFrame(sweep.loss[order], columns=list(sweep.targets)).groupby(sweep.run[order])
    last, least = curves.last(), curves.min()
    scores = scores_among(sweep, sweep.targets)  # another observation is about them
    high = (last > (1 + RISE) * least) & ~last.columns.isin(list(scores))
    rising = np.argwhere(high.to_numpy())
    if len(rising):
        names = [f"{last.columns[t]} in {last.index[r]}" for r, t in rising]
        yield Observation(
            Severity.WARNING,
            f"{len(names)} of {last.size} curves end more than {100 * RISE:g} % above their least "
            f"loss: {some_of(names)}",
            "No law here lets a loss rise; look for diverged or overfitted runs, and leave each "
            "out by --exclude RUN.",
        )


def _jumps(sweep: Sweep) -> Iterator[Observation]:
    """Observe steps between neighbouring budgets of a run that the other runs do not have."""
    order = np.lexsort((sweep.budget, sweep.run))
    run, budget = sweep.run[order], sweep.budget[order]
    logs = np.log(sweep.loss[order])
    same = run[1:] == run[:-1]
    steps = (logs[1:] - logs[:-1])[same]
    at = pd.Index(budget[1:][same])
    table = pd.DataFrame(steps, index=at, columns=list(sweep.targets))
    middle = table.groupby(level=0).transform("median")
    several = pd.Series(at).groupby(at).transform("size").to_numpy() >= RUNS_TO_COMPARE
    away = (table - middle).abs().to_numpy()
    # The usual difference changes along training: early on, mixtures part.
    usual = pd.DataFrame(away).median(axis=1).groupby(at).transform("median").to_numpy()
    unlike = (away > np.maximum(JUMP, BEYOND * usual)[:, None]) & several[:, None]
    # A curve may well fall at another time than the others; it does not rise, or halve.
    jumps = np.argwhere(unlike & ((steps > 0) | (away > OTHER_UNIT)))
    if len(jumps):
        names = [
            f"{sweep.targets[t]} in {run[1:][same][r]} at {quantity_text(at[r])}" for r, t in jumps
        ]
        yield Observation(
            Severity.WARNING,
            f"{counted(len(names), 'loss jumps', 'losses jump')} where those of other runs do "
            f"not: {some_of(names)}",
            "Look for loss spikes, restarts, or a changed evaluation set; leave a run out by "
            "--exclude RUN, or fit with --huber 2%, so that such points count less.",
        )


def _replicates(sweep: Sweep) -> Iterator[Observation]:
    noise = between_replicates(sweep)
    if np.isnan(noise):
        yield Observation(
            Severity.NOTE,
            "No mixture was run twice",
            "Repeat one with another seed: it shows the noise, below which no gain counts.",
        )
    else:
        yield Observation(
            Severity.NOTE,
            f"Replicates of a mixture differ by {100 * noise:.2f} % per run",
            "A smaller predicted gain does not count.",
        )


def _away_from_others(sweep: Sweep, values: np.ndarray) -> np.ndarray:
    """Values (points, targets) minus the median of the points at their budget."""
    table = pd.DataFrame(values)
    groups = table.groupby(sweep.budget)
    away = (table - groups.transform("median")).to_numpy()
    few = groups[0].transform("size").to_numpy() < RUNS_TO_COMPARE
    # Of few runs the median is one of them, and "far from the others" has no meaning.
    return np.where(few[:, None], 0.0, away)
