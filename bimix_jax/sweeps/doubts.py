"""Doubts about a sweep that can be read: curves, levels of losses, names, collinear domains."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bimix_jax.reading.names import spelling
from bimix_jax.reading.tables import LOSS_PREFIX, listed, names_of
from bimix_jax.sweeps._checks import EXAMPLES, warn
from bimix_jax.sweeps.averages import mean_of, weighted_mean_of
from bimix_jax.sweeps.scores import about_scores, falling_scores, scores_among
from bimix_jax.sweeps.sweep import Sweep

NEGLIGIBLE = 1e-6
"""Share of the largest singular value below which one counts as 0."""
INVOLVED = 0.05
"""Share of a null vector's largest entry below which an entry is rounding."""
RISE = 0.02
"""Relative distance of the last loss above the least from which a curve is said to rise."""
FAR = 8.0
"""Ratio of a loss to the median of its target from which it is said to be far from it: a decimal
point that is lost makes it 10 or more, the first steps of a run at most 5 or so."""
PERPLEXITY = 20.0
"""Median loss of a target, in nats, above which its losses are taken for perplexities."""
FEW = 3
"""Least number of mixtures, and of domains, among which a share that never changes is unusual."""
SMALL = 0.01
"""Share below which one that never changes may be a setting of training."""
NEAR = 0.85
"""Share of letters in order beyond which two names may be the same one misspelled."""
IN_BRACKETS = re.compile(r"\s*[(\[][^)\]]*[)\]]$")
"""End of a name that states a unit: (nats), [%]."""
UNIT = re.compile(r"[(\[]\s*(%|percent|nats?|bits?|bpb|ppl)\s*[)\]]$", re.I)
"""End of a name that states a unit of losses or shares."""
QUOTES = "'\"`´‘’“” "
"""Marks around a label that spreadsheets and exports leave."""
SUMMARY = re.compile(
    r"all|averages?|avg|max(imum)?|means?|median|min(imum)?|overall|std|sum|(grand )?totals?"
)
"""Labels of rows that summarise others."""
COUNTED_TWICE = "so their losses count twice"
"""Part of the warning of a target that is the mean of others."""
NO_OWN = (
    "No target is a domain, so laws of a domain's own share (BiMix) cannot express any; laws with "
    "a coefficient per domain can."
)


def with_doubts(sweep: Sweep) -> Sweep:
    """Warn of unusual names, losses and curves, and keep the warnings as notes."""
    notes = list(sweep.notes)
    scores = scores_among(sweep, sweep.targets)
    if scores:
        warn(about_scores(scores)[0], notes)
    described = [target.name for target in sweep.described if target.is_score]
    _warn_of_direction(sweep, described, notes)
    # Scores rise by nature, and are not near misses of losses.
    names = [t for t in sweep.targets if t not in scores and t not in described]
    _warn_of_perplexities(sweep, names, notes)
    _warn_of_far_losses(sweep, names, notes)
    _warn_of_rising(sweep, names, notes)
    _warn_of_copies(sweep, notes)
    _warn_of_averages(sweep, notes)
    _warn_of_constant_shares(sweep, notes)
    notes += _note_of_units((*sweep.domains, *sweep.targets))
    _warn_of_labels(sweep, notes)
    unread = names_of(sweep.extra.select_dtypes("number"))
    _warn_of_near_misses(sweep, names, unread, notes)
    if not set(sweep.domains) & set(sweep.targets):
        notes.append(NO_OWN)
    # A table that was saved carries some of these notes already.
    return dataclasses.replace(sweep, notes=tuple(dict.fromkeys(notes)))


def perplexities(sweep: Sweep, targets: Sequence[str]) -> dict[str, float]:
    """Return the median of each target that looks like perplexities: far above losses in nats."""
    if sweep.metadata.loss_unit is not None or not np.nanmax(sweep.loss, initial=0.0) > PERPLEXITY:
        return {}  # fast: a median takes long
    medians = {t: float(np.nanmedian(sweep.loss[:, sweep.targets.index(t)])) for t in targets}
    usual = float(np.median(list(medians.values()) or [0.0]))
    least = PERPLEXITY if usual > PERPLEXITY else max(PERPLEXITY, FAR * usual)
    return {target: median for target, median in medians.items() if median > least}


def _warn_of_direction(sweep: Sweep, targets: Sequence[str], notes: list[str]) -> None:
    """Warn of scores that fall along most runs, which contradicts that more is better."""
    for target, falling in falling_scores(sweep, targets).items():
        warn(
            f"Score {target} falls along {falling}, although more is better in it: look at its "
            f"direction (--metadata lower_is_better={target}), or at the evaluation.",
            notes,
        )


def _warn_of_perplexities(sweep: Sweep, targets: Sequence[str], notes: list[str]) -> None:
    found = perplexities(sweep, targets)
    if found:
        warn(
            f"The median loss of {listed(found)} is {np.median(list(found.values())):.3g}: this "
            "looks like perplexities. The laws are for mean cross-entropy in nats per token; take "
            "the logarithm, or state the unit (loss_unit).",
            notes,
        )


def _warn_of_far_losses(sweep: Sweep, targets: Sequence[str], notes: list[str]) -> None:
    """Warn of losses that are many times the usual one of their target, or a small part of it."""
    found = [
        f"{target} in run {sweep.run[i]} at {sweep.budget[i]:g}: {column[i]:g}"
        for target in targets
        for column in [sweep.loss[:, sweep.targets.index(target)]]
        for i in np.flatnonzero(_is_far(column))
    ]
    if found:
        more = ", …" if len(found) > EXAMPLES else ""
        losses = "1 loss is" if len(found) == 1 else f"{len(found)} losses are"
        warn(
            f"{losses} more than {FAR:g} times above or below the median of the target "
            f"({', '.join(found[:EXAMPLES])}{more}): look for lost decimal points, other units and "
            "diverged runs.",
            notes,
        )


def _warn_of_averages(sweep: Sweep, notes: list[str]) -> None:
    """Warn of targets that are no domain and a mean of domains, weighted or not, in every row."""
    losses = dict(zip(sweep.targets, sweep.loss.T, strict=True))
    measured = [target for target in sweep.targets if target in sweep.domains]
    for target in (t for t in sweep.targets if t not in sweep.domains):
        parts, kind = mean_of(losses, target, measured), "the"
        if not parts:
            parts, kind = weighted_mean_of(losses, target, measured), "a weighted"
        if parts:
            warn(
                f"Target {target} is {kind} mean of {listed(parts)} in every row, {COUNTED_TWICE}; "
                "leave it out, or give it a weight of 0.",
                notes,
            )


def _warn_of_constant_shares(sweep: Sweep, notes: list[str]) -> None:
    """Warn of domains with the same small share in every run: settings of training, perhaps."""
    mixtures = np.unique(sweep.mixture, axis=0)
    if min(mixtures.shape) < FEW:
        return
    least, most = mixtures.min(axis=0), mixtures.max(axis=0)
    small = np.flatnonzero((least > 0) & (most < SMALL) & (most - least <= 1e-6 * most))
    if len(small):
        shares = ", ".join(f"{sweep.domains[i]}: {most[i]:.2g}" for i in small)
        warn(
            f"Some domains have the same share in every run ({shares}). Leave such a column out if "
            "it is a setting of training and not a domain.",
            notes,
        )


def _note_of_units(names: Iterable[str]) -> list[str]:
    """Note names that end in a unit of losses or shares, which nothing is converted by."""
    found = list(dict.fromkeys(name for name in names if UNIT.search(name)))
    if not found:
        return []
    return [
        f"{listed(found)}: the unit is a part of the name, and nothing was converted; shares are "
        "read as fractions or percentages by their sums, losses in one unit for all targets."
    ]


def _is_far(losses: np.ndarray) -> np.ndarray:
    if np.nanmax(losses) <= FAR * np.nanmin(losses):  # fast: a median takes long
        return np.zeros(len(losses), bool)
    return np.abs(np.log(losses / np.nanmedian(losses))) > np.log(FAR)


def _warn_of_copies(sweep: Sweep, notes: list[str]) -> None:
    """Warn of targets that have the same loss everywhere, as a join of tables leaves them."""
    alike: dict[bytes, list[str]] = {}
    for target, column in zip(sweep.targets, sweep.loss.T, strict=True):
        alike.setdefault(column.tobytes(), []).append(target)
    for copies in alike.values():
        if len(copies) > 1:
            warn(
                f"Targets {listed(copies)} have the same loss in every row; if these are copies of "
                "one, leave out the others.",
                notes,
            )


def _warn_of_labels(sweep: Sweep, notes: list[str]) -> None:
    """Warn of labels that may be of one run, or of none."""
    alike: dict[str, list[str]] = {}
    for run in sweep.runs:
        alike.setdefault(spelling(run.strip(QUOTES)), []).append(run)
    for runs in alike.values():
        if len(runs) > 1:
            warn(
                f"Runs {listed(map(repr, runs))} differ only in case, blanks, quotes or Unicode "
                "form, and are kept apart; if they are one, give all its rows one label.",
                notes,
            )
    for name in filter(SUMMARY.fullmatch, alike):
        warn(
            f"Run {listed(alike[name])} is labelled like a summary of other rows; if it is one, "
            "remove it.",
            notes,
        )


def _warn_of_rising(sweep: Sweep, targets: Sequence[str], notes: list[str]) -> None:
    """Warn of curves whose last loss is clearly above their least."""
    order = np.lexsort((sweep.budget, sweep.run_number))
    columns = [sweep.targets.index(target) for target in targets]
    table = pd.DataFrame(sweep.loss[order][:, columns]).groupby(sweep.run_number[order])
    # groupby skips nan, so a gap at the end leaves the last measured loss.
    last, least = table.last(), table.min()
    rising = (last > (1 + RISE) * least).to_numpy()
    found = np.argwhere(rising)
    if len(found):
        shown = [f"{targets[t]} in run {sweep.runs[r]}" for r, t in found[:EXAMPLES]]
        more = ", …" if len(found) > EXAMPLES else ""
        warn(
            f"{len(found)} of {rising.size} curves end more than {100 * RISE:g} % above their "
            f"least loss ({', '.join(shown)}{more}): look for diverged runs.",
            notes,
        )


def _warn_of_near_misses(
    sweep: Sweep, targets: Sequence[str], unread: Sequence[str], notes: list[str]
) -> None:
    """Warn of columns that look like the losses of a domain, or of a target, under another name.

    `unread` are the columns of numbers that are neither losses nor proportions.
    """
    for target, domain in near_misses(sweep.domains, targets):
        warn(
            f"Domain {domain} has no loss, and target {target} is not a domain: if they are one, "
            "give both one name.",
            notes,
        )
    for target, other in split_targets(sweep, targets):
        warn(
            f"Target {target} has losses only where {other} has none: if they are one, give both "
            "one name.",
            notes,
        )
    for domain in [domain for domain in sweep.domains if domain not in targets]:
        wanted = f"{LOSS_PREFIX}{domain}"
        for column in _close(wanted, unread):
            warn(f"Column {column} is not read; if it holds losses, call it {wanted}.", notes)


def near_misses(domains: Sequence[str], targets: Sequence[str]) -> list[tuple[str, str]]:
    """Pair targets that are not a domain with a domain without losses of nearly the same name.

    Names are compared by their letters or, where no target is a domain, as words of the target's
    name.

    >>> near_misses(["web", "python"], ["web", "pythn"])
    [('pythn', 'python')]
    """
    without = [domain for domain in domains if domain not in targets]
    strangers = [target for target in targets if target not in domains]
    found = [(name, domain) for domain in without for name in _close(domain, strangers)]
    # Where targets are called as domains, one that contains a domain's name as a word is another
    # test.
    if len(without) < len(domains):
        return found
    inside = [(t, d) for d in without for t in strangers if _is_word_of(d, t)]
    return sorted({*found, *inside}, key=lambda pair: strangers.index(pair[0]))


def split_targets(sweep: Sweep, targets: Sequence[str]) -> list[tuple[str, str]]:
    """Pair targets with another of nearly the same name that is measured only at other points."""
    there = np.isfinite(sweep.loss)
    if there.all():
        return []
    known = {target: there[:, sweep.targets.index(target)] for target in targets}
    found = []
    for target in (t for t in targets if t not in sweep.domains):
        others = [
            other
            for other in targets
            if known[other].sum() > known[target].sum() and not (known[other] & known[target]).any()
        ]
        found += [(target, other) for other in _close(target, others)]
    return found


def _is_word_of(name: str, longer: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", longer, re.I) is not None


def _close(name: str, others: Iterable[str]) -> list[str]:
    """Return at most one of the others, whose letters are nearly those of the name, units aside."""
    by_letters, letters = {_letters(other): other for other in others}, _letters(name)
    # Two letters in the wrong order are far apart for difflib in a short name.
    swapped = [n for n in by_letters if sorted(n) == sorted(letters)]
    near = swapped[:1] or difflib.get_close_matches(letters, by_letters, 1, NEAR)
    return [by_letters[n] for n in near]


def _letters(name: str) -> str:
    return IN_BRACKETS.sub("", name).lower()


def collinear_domains(mixtures: pd.DataFrame) -> list[tuple[str, ...]]:
    """Find groups of domains that a linear relation ties together in every mixture.

    Args:
        mixtures: one row per mixture, one column per domain.

    Returns:
        One tuple of names per relation, of the null space of the mixtures in echelon form, so that
        each names as few domains as it can; none where all can be told apart.

    >>> share = np.array([0.1, 0.2, 0.4])
    >>> mixtures = {"web": share, "code": 2 * share, "books": 1 - 3 * share}
    >>> collinear_domains(pd.DataFrame(mixtures))
    [('web', 'code')]
    """
    values = mixtures.to_numpy(float)
    # A vector v with mixtures @ v = 0 is a relation; the last rows of Vᵀ span all of them.
    _, singular, rows = np.linalg.svd(values, full_matrices=True)
    # Shares sum to 1, so the largest singular value is never 0 and can be the scale.
    rank = int(np.sum(singular > NEGLIGIBLE * singular[0]))
    names = list(mixtures.columns)
    return [
        tuple(names[i] for i in np.flatnonzero(np.abs(row) > INVOLVED * np.abs(row).max()))
        for row in _echelon(rows[rank:])
    ]


def _echelon(rows: np.ndarray) -> np.ndarray:
    """Return the reduced row echelon form, with the largest entry of each row as its pivot."""
    rows = rows.copy()
    for i in range(len(rows)):
        pivot = int(np.argmax(np.abs(rows[i])))
        rows[i] /= rows[i, pivot]
        others = np.arange(len(rows)) != i
        rows[others] -= np.outer(rows[others, pivot], rows[i])
    return rows
