"""Notes of a comparison: what its numbers do not say of themselves."""

from collections.abc import Sequence

import numpy as np

from bimix_jax.fitting.coefficients import FAILED, Code
from bimix_jax.judging._searches import WILD, HeldOut, later_held_out
from bimix_jax.judging._trial import Trial
from bimix_jax.judging.comparison import Comparison
from bimix_jax.laws import Law
from bimix_jax.sweeps.splits import Split
from bimix_jax.sweeps.sweep import CURVE

AGREE = 0.5
ALL_SPLITS = "race=False (--no-race) judges every law on every split."


def about_budgets(trial: Trial, asked: float, named: bool) -> list[str]:
    """Notes where later budgets cannot be judged, or fewer are held out than requested."""
    sweep, laws, parts = trial.sweep, trial.laws, trial.parts
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


def about_lost(judged: Comparison, laws: Sequence[Law]) -> list[str]:
    """Notes on the points without a score of a law, with the reasons."""
    known, notes = np.isfinite(judged.measured), []
    for number, law in enumerate(laws):
        wanted = (judged.test[judged.judged[number], :, None] & known).any(axis=0)
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
                "held-out losses are not scored in some split: no finite loss, or one more than "
                f"{WILD:g} times above all measured ones, is predicted there."
            )
    return notes


def about_reduced(judged: Comparison) -> list[str]:
    """Notes on laws that reduce to simpler ones in every fit."""
    each = [
        (law, {name for name, fitted in zip(called, those, strict=True) if fitted})
        for law, called, those in zip(judged.laws, judged.called, judged.judged, strict=True)
    ]
    return [
        f"{law} reduces to {called.pop()} in every fit: its further coefficients have no effect "
        "here."
        for law, called in each
        if len(called) == 1 and called != {law.split(" #")[0]}
    ]


def about_dropped(judged: Comparison) -> list[str]:
    """Notes on laws that were dropped from some splits, with the evidence."""
    each = [_dropped(judged, number) for number in range(len(judged.laws))]
    notes = [note for note in each if note]
    return [*notes, ALL_SPLITS] if notes else []


def _dropped(judged: Comparison, number: int) -> str:
    """Note on one law, empty where it was judged on all splits."""
    behind = []
    for kind in dict.fromkeys(judged.kinds):
        if judged.dropped(kind)[number]:
            row = judged.table_of(kind).iloc[number]
            more, spread = 100 * row["difference"], 100 * row["se"]
            behind.append(f"{more:.2f} ± {spread:.2f} behind {judged.best_of(kind)} ({kind})")
    if not behind:
        return ""
    count, of = judged.judged[number].sum(), len(judged.kinds)
    return (
        f"{judged.laws[number]} was dropped after {count} of {of} splits as clearly worse, in "
        f"points of error: {', '.join(behind)}."
    )


def about_budget_power(trial: Trial) -> list[str]:
    """A note where fits weight the points by their budgets."""
    budget_power = trial.options.budget_power
    if budget_power == 0 or not any(later_held_out(trial.sweep, part) for part in trial.parts):
        return []
    return [
        f"Where later budgets are held out, points are weighted by budget^{budget_power:g} in the "
        f"fits; fit with budget_power={budget_power:g} for budgets beyond the sweep's."
    ]


def about_fits(trial: Trial, found: Sequence[HeldOut]) -> list[str]:
    """Notes on laws whose fits failed or were not identified, or whose starts disagree."""
    notes = []
    for name, held_out in zip(trial.labels, found, strict=True):
        parts = [trial.parts[split] for split in held_out.splits]
        failed = np.isin(held_out.code, FAILED)
        if failed.any():
            notes.append(
                f"{name}: {100 * failed.mean():.0f} % of the fits have no usable points or no "
                "finite end, and predict nothing."
            )
        vague = held_out.code == Code.UNIDENTIFIED
        if vague.any():
            why = "because the runs are too few or too alike for its coefficients"
            single = [len(np.unique(trial.sweep.budget[part.train])) == 1 for part in parts]
            if np.array(single)[vague.any(axis=1)].all():
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


def about_stacks(laws: Sequence[Law]) -> list[str]:
    """Notes on what the stacks combine."""
    return [
        f"{law.label} predicts the centre of {', '.join(one.label for one in law.members)}; it is "
        "recommended unless one law is better by two standard errors."
        for law in laws
        if law.members
    ]
