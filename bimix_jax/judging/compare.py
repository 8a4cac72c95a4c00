"""The verb: a sweep and laws in, a comparison out."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.emphasis import LATER, check_emphasis
from bimix_jax.fitting.fit import choose_targets
from bimix_jax.fitting.residual import Residual
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.noise import noise_floor
from bimix_jax.judging.predictions import HeldOut, later_held_out, predict_splits
from bimix_jax.judging.splits import Split, check_splits, standard_splits
from bimix_jax.laws import (
    AdditiveLaw,
    BiMix,
    Law,
    SplitSubstitutionBiMix,
    SubstitutionBiMix,
    TransferBiMix,
    law_named,
)
from bimix_jax.sweep import Sweep

JUDGED: tuple[Law, ...] = (
    BiMix(), TransferBiMix(), SubstitutionBiMix(), SplitSubstitutionBiMix(), AdditiveLaw(),
)  # fmt: skip
"""The laws that are compared where none are named."""
AGREE = 0.5
AT_ONCE = 2
"""Laws at a time: compilation uses one core, and more than two wait for Python's lock."""


def compare(
    sweep: Sweep,
    laws: Sequence[Law | str] = JUDGED,
    splits: Sequence[str] | Sequence[Split] | None = None,
    *,
    repeats: int = 5,
    runs: float = 0.3,
    budgets: float = 0.5,
    seed: int = 0,
    targets: Sequence[str] | None = None,
    loss: Residual = "relative",
    emphasis: float = LATER,
) -> Comparison:
    """Judge laws on parts of a sweep that they have not seen, all on the same points.

    Args:
        sweep: what was measured.
        laws: laws, or names of the package's.
        splits: some of "mixtures", "budgets", "both", or `Split`s of your own; default all three
            where the sweep has several budgets.
        repeats: draws of mixtures; runs and budgets: shares held out; seed: of the first draw.
        targets: which; default those that all the laws can express.
        loss: the residual that is fitted.
        emphasis: of the fits where later budgets are held out, as `fit` takes it; elsewhere all
            points count alike, as they do in what is scored.

    Returns:
        A `Comparison`: its `table`, its `verdict`, and `plots.plot_comparison`. Points where a law
        has no value (r = 0 for BiMix) are scored for none, and counted in the notes.

    Raises:
        ValueError: on an unknown law (with the nearest name) or split, a split that leaves nothing
            to fit or to judge, or a target that a law cannot express.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> judged = bx.compare(sweep, ["BiMix", "LogLinear"], ["mixtures"], repeats=3)
    >>> judged.best
    'BiMix'
    """
    chosen = [law_named(law) if isinstance(law, str) else law for law in laws]
    if not chosen:
        raise ValueError("laws is empty; expected one or more, BiMix() for example.")
    check_emphasis(emphasis)
    parts = _splits(sweep, splits, repeats, runs, budgets, seed)
    names, notes = _common_targets(sweep, chosen, targets)

    def judged(law: Law) -> HeldOut:
        return predict_splits(sweep, law, parts, names, loss, emphasis)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = _largest_first(pool, sweep, chosen, judged)
        noise = pool.submit(noise_floor, sweep)
        found = [held_out.result() for held_out in begun]
    predicted = np.stack([held_out.predicted for held_out in found])
    test = np.stack([part.test for part in parts])
    measured = sweep.loss[:, [sweep.targets.index(name) for name in names]]
    usable = np.isfinite(predicted).all(axis=(0, 1))
    lost = np.isfinite(measured) & ~usable
    lost &= np.any(test, axis=0)[:, None]
    late = _about_emphasis(sweep, parts, emphasis)
    return Comparison(
        laws=tuple(law.name for law in chosen),
        targets=names,
        kinds=tuple(part.kind for part in parts),
        test=test,
        measured=np.where(usable, measured, np.nan),
        predicted=predicted,
        vague=np.stack([held_out.code == Code.UNIDENTIFIED for held_out in found]),
        budget=sweep.budget,
        group=sweep.mixture_group,
        noise=noise.result(),
        notes=(*sweep.notes, *notes, *_about_lost(lost), *_about_fits(chosen, found), *late),
    )


def _largest_first(
    pool: ThreadPoolExecutor, sweep: Sweep, laws: Sequence[Law], judged: Callable[[Law], HeldOut]
) -> list[Future[HeldOut]]:
    """Results to come, in the order of the laws, begun with those that have the most exponents.

    So that the longest one does not run alone at the end.
    """
    sizes = [len(law.names(sweep.domains)) for law in laws]
    begun = {i: pool.submit(judged, laws[i]) for i in np.argsort(sizes)[::-1]}
    return [begun[i] for i in range(len(laws))]


def _splits(
    sweep: Sweep,
    splits: Sequence[str] | Sequence[Split] | None,
    repeats: int,
    runs: float,
    budgets: float,
    seed: int,
) -> list[Split]:
    own = [split for split in splits or () if isinstance(split, Split)]
    if own:
        check_splits(sweep, own)
        return own
    kinds = [str(split) for split in splits] if splits is not None else None
    return standard_splits(sweep, kinds, repeats, runs, budgets, seed)


def _common_targets(
    sweep: Sweep, laws: Sequence[Law], targets: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Targets that all laws can express, and what has to be said about the others."""
    each = [choose_targets(sweep, law, targets) for law in laws]
    common = tuple(t for t in sweep.targets if all(t in names for names, _ in each))
    return common, tuple(dict.fromkeys(note for _, notes in each for note in notes))


def _about_lost(lost: np.ndarray) -> list[str]:
    if not lost.any():
        return []
    return [f"{int(lost.sum())} held-out losses are not scored: some law has no value there."]


def _about_emphasis(sweep: Sweep, parts: Sequence[Split], emphasis: float) -> list[str]:
    if emphasis == 0 or not any(later_held_out(sweep, part) for part in parts):
        return []
    return [
        f"Where later budgets are held out, points count by the power {emphasis:g} of their "
        f"budget; fit with emphasis={emphasis:g} for budgets beyond the sweep's."
    ]


def _about_fits(laws: Sequence[Law], found: Sequence[HeldOut]) -> list[str]:
    """Laws whose fits were not determined, or whose starts disagree."""
    notes = []
    for law, held_out in zip(laws, found, strict=True):
        vague = np.mean(held_out.code == Code.UNIDENTIFIED)
        if vague > 0:
            notes.append(
                f"{law.name}: {100 * vague:.0f} % of the fits are unidentified, the runs being too "
                "few or too alike for its coefficients."
            )
        if held_out.agreement.min() < AGREE:
            notes.append(
                f"{law.name}: {100 * held_out.agreement.min():.0f} to "
                f"{100 * held_out.agreement.max():.0f} % of the starts reach the best optimum of "
                "a target."
            )
    return notes
