"""The verb: from a sweep and laws to a comparison."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from bimix_jax.fitting.fit import about_collinear
from bimix_jax.fitting.options import LATER, FitOptions
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.task import choose_targets
from bimix_jax.judging._cost import Outlook
from bimix_jax.judging._notes import (
    about_budget_power,
    about_budgets,
    about_dropped,
    about_fits,
    about_lost,
    about_reduced,
    about_stacks,
)
from bimix_jax.judging._race import run
from bimix_jax.judging._trial import Trial
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.linked import linked_laws
from bimix_jax.laws import (
    AdditiveLaw,
    BiMix,
    Law,
    SplitSubstitutionBiMix,
    Stacked,
    SubstitutionBiMix,
    TransferBiMix,
    WithModelSize,
    WithWarmUp,
    around,
    as_law,
)
from bimix_jax.laws.model_size import SIZE_FORMS
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.splits import Split, check_splits, standard_splits
from bimix_jax.sweeps.sweep import CURVE, Sweep

JUDGED: tuple[Law, ...] = (
    BiMix(),
    TransferBiMix(),
    SubstitutionBiMix(),
    WithWarmUp(SubstitutionBiMix()),
    WithWarmUp(SplitSubstitutionBiMix()),
    AdditiveLaw(),
    Stacked(),
)
"""Laws that are compared by default; the members of the stack are among them."""
ALONE = (
    "Scores are predicted directly: the sweep has no losses through which they could be "
    "predicted, too."
)


class _Asked(TypedDict, total=False):
    """How `compare` fits and judges, as keyword arguments."""

    residual: Residual
    huber: float | None
    budget_power: float
    shrinkage: float | None
    race: bool
    progress: Callable[[Outlook], None] | None


@dataclasses.dataclass(frozen=True)
class _Settings:
    """How `compare` fits and judges."""

    residual: Residual = "relative"
    huber: float | None = None
    budget_power: float = LATER
    shrinkage: float | None = None
    race: bool = True
    progress: Callable[[Outlook], None] | None = None

    @property
    def options(self) -> FitOptions:
        """The same as options of a fit; a shrinkage that is not given is chosen."""
        if isinstance(self.shrinkage, str):
            raise ValueError(
                f"shrinkage is {self.shrinkage!r}; expected a strength ≥ 0, or None: compare "
                "chooses the strength for what each split holds out."
            )
        return FitOptions(
            self.residual,
            self.huber,
            budget_power=self.budget_power,
            shrinkage="mixtures" if self.shrinkage is None else self.shrinkage,
        )


def compare(
    sweep: Sweep,
    laws: Sequence[Law | str] | None = None,
    splits: Sequence[str | Split] | None = None,
    *,
    targets: Sequence[str] | None = None,
    repeats: int | None = None,
    runs: float = 0.3,
    budgets: float = 0.5,
    seed: int = 0,
    **settings: Unpack[_Asked],
) -> Comparison:
    """Compare laws on held-out parts of a sweep, all on the same points.

    Args:
        sweep: what was measured.
        laws: laws, or names of the package's; default `JUDGED`, with a model size where the sweep
            has several, in the form "floor", too, where it has three or more. Where it has losses
            and scores, laws of the losses with links to the scores (`ThroughLosses`) are among
            them. `Comparison.best_of` says which one is recommended.
        splits: some of "mixtures", "budgets", "both", or `Split`s of your own; default all three
            where the sweep has four budgets or more.
        targets: the targets to judge on; default those that all the laws can express, without the
            scores in which mixtures differ by no more than the noise.
        repeats: number of draws of held-out mixtures; default as `standard_splits` has it, 5 or
            fewer.
        runs: share of the mixtures held out.
        budgets: share of the budgets held out, the later ones; fewer where a law could not be
            fitted to the others.
        seed: of the first draw.
        settings: `residual`, `huber`, `budget_power` and `shrinkage`, as `fit` takes them.
            `budget_power` is 2 by default and weights the fits where later budgets are held out;
            scores weight all points equally. `shrinkage` is chosen for what is held out unless a
            strength is given. `race`, True by default, drops a law from the further splits of a
            kind once it is clearly worse there, by four standard errors and 30 % of the least
            error; notes and the table say so. False judges every law on every split. `progress` is
            called before the first split and between rounds with an object that prints as "judging
            6 laws on 11 splits, about 3 minutes", and has those `seconds`.

    Returns:
        A `Comparison`; see its `table` and its `verdict`. Each law is scored at all points that it
        can use; the notes count those that it cannot (r = 0 for BiMix).

    Raises:
        ValueError: on an unknown law (with the nearest name) or split, a split that leaves nothing
            to fit or to judge, a target that a law cannot express, a law without any value, or
            later budgets asked of a sweep of three or fewer.
        TypeError: on a setting that does not exist; the message names the nearest one.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> judged = bx.compare(sweep, ["BiMix", "LogLinear"], ["mixtures"], repeats=3)
    >>> judged.best
    'BiMix'
    """
    chosen, unable = _able(sweep, _chosen(sweep, laws), targets, laws is None)
    asked = settings_of(_Settings, compare, settings)
    held_out: dict[str, Any] = {"runs": runs, "budgets": budgets, "seed": seed}
    held_out["least"] = _curve(sweep, chosen)
    parts = _splits(sweep, splits, functools.partial(standard_splits, repeats=repeats, **held_out))
    names, notes = _common_targets(sweep, chosen, targets)
    trial = Trial(sweep, chosen, parts, names, asked.options)
    comparison, found = run(trial, asked.race, asked.progress)
    _check_scored(comparison)
    said = (
        *sweep.notes,
        *unable,
        *notes,
        *about_fits(trial, found),
        *about_budgets(trial, budgets, splits is None),
        *about_collinear(sweep.mixtures, chosen),
        *about_budget_power(trial),
        *about_lost(comparison, chosen),
        *about_reduced(comparison),
        *about_dropped(comparison),
        *about_stacks(chosen),
    )
    return dataclasses.replace(comparison, notes=said)


def _chosen(sweep: Sweep, laws: Sequence[Law | str] | None) -> list[Law]:
    """Prepare the laws for the comparison."""
    check_made(sweep, Sweep, "sweep")
    if laws is None:
        return _judged_by_default(sweep)
    given = [laws] if isinstance(laws, str | Law) else list(laws)
    chosen = [as_law(law) for law in given]
    if not chosen:
        raise ValueError("laws is empty; expected one or more, BiMix() for example.")
    return chosen


def _judged_by_default(sweep: Sweep) -> list[Law]:
    """`JUDGED`, those that are the same at one budget once; with several model sizes around each
    the forms that so many sizes determine."""
    judged = JUDGED
    if sweep.size is not None:
        sizes = len(np.unique(sweep.size))
        beside = [law for law in JUDGED if law.has_floor and sizes >= SIZE_FORMS["floor"]]
        judged = (
            *(around(WithModelSize, law) for law in JUDGED),
            *(WithModelSize(law, "floor") for law in beside),
        )
    else:
        judged = tuple(law.for_sweep(sweep, sweep.largest_budget) for law in JUDGED)
    return list(dict.fromkeys((*judged, *linked_laws(sweep))))


def _able(
    sweep: Sweep, laws: list[Law], targets: Sequence[str] | None, by_default: bool
) -> tuple[list[Law], tuple[str, ...]]:
    """Select the laws that can express the targets, unless the caller named them, with a note.

    Those that need an own domain can where some target is one, and none is a score.
    """
    if not by_default:
        return laws, ()
    asked = sweep.targets if targets is None else targets
    scores = are_scores(sweep.metadata.described([t for t in sweep.targets if t in asked]))
    domains = set(asked) & set(sweep.domains)
    able = [law for law in laws if not law.needs_own or (domains and not scores.any())]
    unable = ", ".join(law.label for law in laws if law not in able)
    why = "they cannot express scores" if domains else "no target is a domain"
    notes = [f"Not compared, as {why}: {unable}."] if unable else []
    if scores.any() and not linked_laws(sweep):
        notes.append(ALONE)
    return able, tuple(notes)


def _splits(
    sweep: Sweep,
    splits: Sequence[str | Split] | None,
    standard: Callable[[Sweep, Sequence[str] | None], list[Split]],
) -> list[Split]:
    """List the caller's own splits, then the standard ones of the named kinds."""
    if isinstance(splits, str | Split):
        splits = [splits]
    own = [split for split in splits or () if isinstance(split, Split)]
    if own:
        check_splits(sweep, own)
    kinds = None if splits is None else [str(s) for s in splits if not isinstance(s, Split)]
    if own and not kinds:
        return own
    return [*own, *standard(sweep, kinds)]


def _curve(sweep: Sweep, laws: Sequence[Law]) -> int:
    """Number of budgets to keep for the fit, so that they determine as many laws as possible."""
    most = len(np.unique(sweep.budget)) - 1
    return max([law.curve for law in laws if law.curve <= most], default=CURVE)


def _common_targets(
    sweep: Sweep, laws: Sequence[Law], targets: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Targets that all laws can express, and notes about the others."""
    # What is a loss, a law of links knows once it has seen the sweep.
    bound = [law.for_sweep(sweep, sweep.largest_budget) if law.of_losses else law for law in laws]
    each = [choose_targets(sweep, law, targets) for law in bound]
    common = tuple(t for t in sweep.targets if all(t in names for names, _ in each))
    notes = tuple(dict.fromkeys(note for _, notes in each for note in notes))
    quiet = _without_signal(sweep, common) if targets is None else ()
    if not quiet:
        return common, notes
    if len(quiet) == len(common):
        return common, (
            *notes,
            "No target carries a signal: mixtures differ by no more than the noise of one run, so "
            "no law can be told from another.",
        )
    said = f"Not judged, as mixtures differ by no more than the noise: {', '.join(quiet)}."
    return tuple(t for t in common if t not in quiet), (*notes, said)


def _without_signal(sweep: Sweep, targets: Sequence[str]) -> tuple[str, ...]:
    """Scores in which mixtures differ by no more than the noise of one run."""
    scores = [t.name for t in sweep.metadata.described(targets) if t.is_score]
    clear: Any = sweep.signal()["clear"] if scores else {}
    return tuple(name for name in scores if not clear[name])


def _check_scored(judged: Comparison) -> None:
    """Raise ValueError where a law has no score for some kind of split; the laws are named."""
    for kind in dict.fromkeys(judged.kinds):
        those = np.array(judged.kinds) == kind
        some = np.asarray(judged.scored[:, those].any(axis=(1, 2, 3)))
        if some.all():
            continue
        without = [name for name, has in zip(judged.laws, some, strict=True) if not has]
        raise ValueError(
            f"laws: no held-out loss of {kind} is predicted by {', '.join(without)}. Leave such a "
            "law out, or measure more of its mixtures."
        )
