"""The verb: from a sweep and laws to a comparison."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypedDict, Unpack

import numpy as np

from bimix_jax.fitting.coefficients import FAILED, Code
from bimix_jax.fitting.fit import about_collinear
from bimix_jax.fitting.options import LATER, FitOptions
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.task import choose_targets
from bimix_jax.judging._searches import HeldOut, later_held_out, predict_splits
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import NoiseFloor, noise_floor
from bimix_jax.laws import (
    AdditiveLaw,
    BiMix,
    Law,
    SplitSubstitutionBiMix,
    SubstitutionBiMix,
    TransferBiMix,
    WithModelSize,
    WithWarmUp,
    as_law,
)
from bimix_jax.laws.model_size import SIZE_FORMS
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.sweeps.splits import Split, check_splits, standard_splits
from bimix_jax.sweeps.sweep import CURVE, Sweep

JUDGED: tuple[Law, ...] = (
    BiMix(),
    TransferBiMix(),
    SubstitutionBiMix(),
    WithWarmUp(SubstitutionBiMix()),
    SplitSubstitutionBiMix(),
    AdditiveLaw(),
)
"""Laws that are compared by default."""
AGREE = 0.5
AT_ONCE = 2
"""Number of laws at a time: compilation uses one core, and more than two wait for Python's lock."""


class _FitSettings(TypedDict, total=False):
    """How `compare` fits, as keyword arguments."""

    residual: Residual
    huber: float | None
    budget_power: float
    shrinkage: float | None


@dataclasses.dataclass(frozen=True)
class _Fits:
    """How `compare` fits."""

    residual: Residual = "relative"
    huber: float | None = None
    budget_power: float = LATER
    shrinkage: float | None = None

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
    repeats: int = 5,
    runs: float = 0.3,
    budgets: float = 0.5,
    seed: int = 0,
    **settings: Unpack[_FitSettings],
) -> Comparison:
    """Compare laws on held-out parts of a sweep, all on the same points.

    Args:
        sweep: what was measured.
        laws: laws, or names of the package's; default `JUDGED`, with a model size where the sweep
            has several, in the form "floor", too, where it has three or more. Of equally good laws
            the one with the fewest coefficients is recommended.
        splits: some of "mixtures", "budgets", "both", or `Split`s of your own; default all three
            where the sweep has four budgets or more.
        targets: the targets to judge on; default those that all the laws can express.
        repeats: number of draws of held-out mixtures.
        runs: share of the mixtures held out.
        budgets: share of the budgets held out, the later ones; fewer where a law could not be
            fitted to the others.
        seed: of the first draw.
        settings: `residual`, `huber`, `budget_power` and `shrinkage`, as `fit` takes them.
            `budget_power` is 2 by default and weights the fits where later budgets are held out;
            scores weight all points equally. `shrinkage` is chosen for what is held out unless a
            strength is given.

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
    options = settings_of(_Fits, compare, settings).options
    held_out: dict[str, Any] = {"runs": runs, "budgets": budgets, "seed": seed}
    held_out["least"] = _curve(sweep, chosen)
    parts = _splits(sweep, splits, functools.partial(standard_splits, repeats=repeats, **held_out))
    names, notes = _common_targets(sweep, chosen, targets)
    found, noise = _judged(sweep, chosen, parts, names, options)
    comparison = _comparison(sweep, _labels(chosen), names, parts, found, noise)
    _check_scored(comparison)
    said = (
        *sweep.notes,
        *unable,
        *notes,
        *_about_fits(sweep, chosen, parts, found),
        *_about_budgets(sweep, chosen, parts, budgets, splits is None),
        *about_collinear(sweep.mixtures, chosen),
        *_note_of_budget_power(sweep, parts, options.budget_power),
        *_about_lost(comparison, chosen),
        *_about_reduced(comparison),
    )
    counts = tuple(_count(sweep, law) for law in chosen)
    return dataclasses.replace(comparison, notes=said, coefficients=counts)


def _comparison(
    sweep: Sweep,
    labels: tuple[str, ...],
    targets: tuple[str, ...],
    parts: Sequence[Split],
    found: Sequence[HeldOut],
    noise: NoiseFloor,
) -> Comparison:
    """Collect the predictions of laws on the points of a sweep."""
    return Comparison(
        laws=labels,
        targets=targets,
        kinds=tuple(part.kind for part in parts),
        test=np.stack([part.test for part in parts]),
        measured=sweep.loss[:, [sweep.targets.index(name) for name in targets]],
        predicted=np.stack([held_out.predicted for held_out in found]),
        unidentified=np.stack([held_out.code == Code.UNIDENTIFIED for held_out in found]),
        usable=np.stack([held_out.usable for held_out in found]),
        called=tuple(held_out.called for held_out in found),
        budget=sweep.budget,
        group=sweep.mixture_group,
        noise=noise,
        size=sweep.size,
    )


def _judged(
    sweep: Sweep,
    laws: Sequence[Law],
    parts: Sequence[Split],
    targets: tuple[str, ...],
    options: FitOptions,
) -> tuple[list[HeldOut], NoiseFloor]:
    """Fit every law to every split, and estimate the noise beside them."""

    def judged(law: Law) -> HeldOut:
        return predict_splits(sweep, law, parts, targets, options)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = _largest_first(pool, sweep, laws, judged)
        noise = pool.submit(noise_floor, sweep, targets)
        return [held_out.result() for held_out in begun], noise.result()


def _largest_first(
    pool: ThreadPoolExecutor, sweep: Sweep, laws: Sequence[Law], judged: Callable[[Law], HeldOut]
) -> list[Future[HeldOut]]:
    """Start one task per law, in order of exponents, and list the results in that of laws.

    The longest task then does not run alone at the end.
    """
    sizes = [len(law.names(sweep.domains)) for law in laws]
    begun = {i: pool.submit(judged, laws[i]) for i in np.argsort(sizes)[::-1]}
    return [begun[i] for i in range(len(laws))]


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
    """`JUDGED`; with several model sizes around each the forms that so many sizes determine."""
    if sweep.size is None:
        return list(JUDGED)
    sizes = len(np.unique(sweep.size))
    beside = [law for law in JUDGED if law.has_floor and sizes >= SIZE_FORMS["floor"]]
    return [*map(WithModelSize, JUDGED), *(WithModelSize(law, "floor") for law in beside)]


def _able(
    sweep: Sweep, laws: list[Law], targets: Sequence[str] | None, by_default: bool
) -> tuple[list[Law], tuple[str, ...]]:
    """Select the laws that can express some target, unless the caller named them, with a note."""
    asked = sweep.targets if targets is None else targets
    able = [law for law in laws if not law.needs_own or set(asked) & set(sweep.domains)]
    unable = [law.label for law in laws if law not in able]
    if not (unable and by_default):
        return laws, ()
    return able, (f"Not compared, as no target is a domain: {', '.join(unable)}.",)


def _labels(laws: Sequence[Law]) -> tuple[str, ...]:
    """Labels of the laws; laws of one label are numbered."""
    labels = [law.label for law in laws]
    before = [labels[:i].count(label) for i, label in enumerate(labels)]
    return tuple(f"{n} #{k + 1}" if k else n for n, k in zip(labels, before, strict=True))


def _count(sweep: Sweep, law: Law) -> int:
    """Number of coefficients per target."""
    return len(law.names(sweep.domains)) + len(law.amplitude_names)


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


def _about_budgets(
    sweep: Sweep, laws: Sequence[Law], parts: Sequence[Split], asked: float, named: bool
) -> list[str]:
    """Notes where later budgets cannot be judged, or fewer are held out than requested."""
    count = len(np.unique(sweep.budget))
    if named and 1 < count <= CURVE:
        return [
            f"Later budgets are not judged: the sweep has {count} budgets, and a curve along the "
            f"budget needs {CURVE} beside those held out."
        ]
    later = [part for part in parts if part.kind in ("budgets", "both")]
    if not later:
        return []
    held = len(np.unique(sweep.budget[later[0].test]))
    wanted = max(1, round(asked * count))
    notes = (
        []
        if held >= wanted
        else [
            f"The last {held} of {count} budgets {'is' if held == 1 else 'are'} held out, not "
            f"{wanted}, so that all laws can be fitted to the others."
        ]
    )
    short = [law for law in laws if law.curve > count - held]
    return notes + [
        f"{law.label}: its errors on later budgets are those of fits that are not identified, as "
        f"{count - held} budgets are left to fit and its curve needs {law.curve}."
        for law in short
    ]


def _common_targets(
    sweep: Sweep, laws: Sequence[Law], targets: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Targets that all laws can express, and notes about the others."""
    each = [choose_targets(sweep, law, targets) for law in laws]
    common = tuple(t for t in sweep.targets if all(t in names for names, _ in each))
    return common, tuple(dict.fromkeys(note for _, notes in each for note in notes))


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


def _about_lost(judged: Comparison, laws: Sequence[Law]) -> list[str]:
    """Notes on the points without a score of a law, with the reasons."""
    wanted = (judged.test[:, :, None] & np.isfinite(judged.measured)).any(axis=0)
    notes = []
    for number, law in enumerate(laws):
        without = wanted & ~judged.stated[number].any(axis=0)
        failed = judged.stated[number] & ~judged.scored[number]
        if without.any():
            notes.append(
                f"{judged.laws[number]}: {int(without.sum())} of {int(wanted.sum())} held-out "
                f"losses are not scored: {law.unusable_reason()}."
            )
        if failed.any():
            notes.append(
                f"{judged.laws[number]}: {int(failed.any(axis=0).sum())} of {int(wanted.sum())} "
                "held-out losses are not scored in some split: no finite loss is predicted there."
            )
    return notes


def _about_reduced(judged: Comparison) -> list[str]:
    """Notes on laws that reduce to simpler ones in every fit."""
    each = [(law, set(called)) for law, called in zip(judged.laws, judged.called, strict=True)]
    return [
        f"{law} reduces to {called.pop()} in every fit: its further coefficients have no effect "
        "here."
        for law, called in each
        if len(called) == 1 and called != {law.split(" #")[0]}
    ]


def _note_of_budget_power(sweep: Sweep, parts: Sequence[Split], budget_power: float) -> list[str]:
    if budget_power == 0 or not any(later_held_out(sweep, part) for part in parts):
        return []
    return [
        f"Where later budgets are held out, points are weighted by budget^{budget_power:g} in the "
        f"fits; fit with budget_power={budget_power:g} for budgets beyond the sweep's."
    ]


def _about_fits(
    sweep: Sweep, laws: Sequence[Law], parts: Sequence[Split], found: Sequence[HeldOut]
) -> list[str]:
    """Notes on laws whose fits failed or were not identified, or whose starts disagree."""
    notes = []
    single = np.array([len(np.unique(sweep.budget[part.train])) == 1 for part in parts])
    for name, held_out in zip(_labels(laws), found, strict=True):
        failed = np.isin(held_out.code, FAILED)
        if failed.any():
            notes.append(
                f"{name}: {100 * failed.mean():.0f} % of the fits have no usable points or no "
                "finite end, and predict nothing."
            )
        vague = held_out.code == Code.UNIDENTIFIED
        if vague.any():
            why = "because the runs are too few or too alike for its coefficients"
            if single[vague.any(axis=1)].all():
                why = "because a single budget does not show how losses change with it"
            notes.append(f"{name}: {_by_kind(vague, parts)} of the fits are unidentified, {why}.")
        if held_out.agreement.min() < AGREE:
            notes.append(
                f"{name}: {100 * held_out.agreement.min():.0f} to "
                f"{100 * held_out.agreement.max():.0f} % of the searches reach the best optimum of "
                "a target."
            )
    return notes


def _by_kind(those: np.ndarray, parts: Sequence[Split]) -> str:
    """Percentages of fits (splits, targets), by kind of split where there are several."""
    kinds = np.array([part.kind for part in parts])
    each = {kind: 100 * those[kinds == kind].mean() for kind in dict.fromkeys(kinds)}
    if len(each) == 1:
        return f"{100 * those.mean():.0f} %"
    return ", ".join(f"{share:.0f} % ({kind})" for kind, share in each.items())
