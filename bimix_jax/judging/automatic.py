"""The law that a sweep supports, chosen in a few fits, and the fit of it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from jax.typing import ArrayLike

from bimix_jax.fitting.fit import fit as fit_law
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import LATER, FitOptions, Given
from bimix_jax.judging._searches import later_held_out, purpose_of
from bimix_jax.judging.compare import compare
from bimix_jax.judging.comparison import Comparison
from bimix_jax.judging.linked import linked_laws
from bimix_jax.judging.noise import noise_floor
from bimix_jax.laws import (
    BiMix,
    Law,
    SubstitutionBiMix,
    TransferBiMix,
    WithModelSize,
    as_law,
)
from bimix_jax.reading.settings import check_made
from bimix_jax.sweeps.splits import Split, judges_later
from bimix_jax.sweeps.sweep import Sweep

if TYPE_CHECKING:
    import optax

AUTO = "auto"
"""Name of the law that stands for the choice of one."""
CANDIDATES: tuple[Law, ...] = (BiMix(), TransferBiMix(), SubstitutionBiMix())
"""Laws among which the automatic choice is made, from the simplest to the richest."""
FEW, MANY = 6, 30
"""Numbers of mixtures: with fewer than the first nothing is held out; from the second on one draw
of held-out mixtures suffices."""
MISSED = 2.0
"""Mean error of a fit, as a multiple of the noise, from which the law is said to miss something."""


@dataclasses.dataclass(frozen=True)
class Pick:
    """The law that a sweep supports, and the evidence for it."""

    law: Law
    comparison: Comparison | None
    """errors at held-out points, None where the sweep has too few mixtures"""

    @property
    def reason(self) -> str:
        """One sentence: the law, and why."""
        if self.comparison is None:
            return (
                f"{self.law.label} was chosen because there are fewer than {FEW} mixtures, too few "
                "to hold some out."
            )
        errors = self.comparison.table_of(self.comparison.decisive)["mre"]
        others = errors.drop(self.law.label)
        text = self.comparison.error_text
        listed = ", ".join(f"{name} {text(error)}" for name, error in others.items())
        return (
            f"{self.law.label} was chosen by its error at held-out points, "
            f"{text(errors[self.law.label])} ({listed}); compare judges more laws."
        )


def pick(
    sweep: Sweep,
    targets: Sequence[str] | None = None,
    options: FitOptions | None = None,
    seed: int = 0,
) -> Pick:
    """Choose among `CANDIDATES` by a short comparison on held-out points.

    Where the sweep has losses and scores, a law for the losses with links to the scores is one more
    candidate, and those that need an own domain are none.

    Args:
        sweep: what was measured; with several model sizes each law is wrapped by `WithModelSize`.
        targets: targets to judge on; default all that the laws can express.
        options: residual and huber of the fits.
        seed: of the draws of held-out mixtures.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> pick(sweep).law
    BiMix()
    """
    linked = linked_laws(sweep)[:1]
    own = _is_own(sweep, targets) and not linked
    laws: list[Law] = [law for law in CANDIDATES if not law.needs_own or own]
    if sweep.size is not None:
        laws = [WithModelSize(law) for law in laws]
    laws += linked
    mixtures = len(np.unique(sweep.mixture_group))
    if mixtures < FEW:
        return Pick(laws[0], None)
    asked = options or FitOptions()
    judged = compare(
        sweep,
        laws,
        ["both" if judges_later(sweep) else "mixtures"],
        targets=targets,
        repeats=1 if mixtures >= MANY else 2,
        seed=seed,
        residual=asked.residual,
        huber=asked.huber,
        race=False,
    )
    return Pick(laws[judged.laws.index(judged.best)], judged)


def fit(
    sweep: Sweep,
    law: Law | str | None = None,
    *,
    targets: Sequence[str] | None = None,
    weight: ArrayLike | None = None,
    budget_scale: float | None = None,
    optimizer: "optax.GradientTransformation | None" = None,
    **options: Unpack[Given],
) -> Fit:
    """Fit a law to every target of a sweep by one compiled program.

    Args:
        sweep: what was measured, from `read_sweep`.
        law: a law or its name; default "auto", the best of BiMix, TransferBiMix and
            SubstitutionBiMix at held-out points of the sweep, and of ThroughLosses where it has
            losses and scores. A note says which and why.
        targets: which targets; default all that the law can express, the others are noted.
        weight: ≥ 0, (points,), or (points, targets) of the sweep's targets, or of those asked for
            if they are fewer; 0 leaves a point out. The choice of the law ignores it.
        budget_scale: where the gauge is fixed, in the sweep's unit; default its largest budget.
            Give the whole sweep's to parts of it whose coefficients are to be compared.
        optimizer: any optax transformation instead of damped Gauss-Newton.
        options: the fields of `FitOptions`: residual, huber, tied, budget_power, shrinkage,
            max_steps and dtype.

    Returns:
        A `Fit`. How each target went is in its codes; nothing is raised for a target that failed.

    Raises:
        ValueError: on a value that an option cannot have, an unknown target, no target at all, or a
            target asked for that the law cannot express.
        TypeError: on an option that does not exist.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()), bx.BiMix())
    >>> fitted.table().loc["python", "code"], round(float(fitted.table().loc["python", "alpha"]), 3)
    ('converged', 0.043)
    """
    given: dict[str, Any] = {
        "targets": targets,
        "weight": weight,
        "budget_scale": budget_scale,
        "optimizer": optimizer,
        **options,
    }
    if law is not None and law != AUTO:
        return fit_law(sweep, as_law(law), **given)
    check_made(sweep, Sweep, "sweep")
    chosen = pick(sweep, targets, FitOptions.of(fit, options))
    fitted = fit_law(sweep, chosen.law, **given)
    return dataclasses.replace(fitted, notes=(chosen.reason, *fitted.notes))


def fit_train_part(
    sweep: Sweep,
    split: Split,
    law: Law | str | None = None,
    budget_power: float = LATER,
    **options: Any,
) -> Fit:
    """Fit the train part of a split as `compare` does to judge a law.

    Its shrinkage is chosen for what is held out unless it is given, `budget_power` counts where
    later budgets are, and coefficients have the gauge of the whole sweep.

    Args:
        sweep: what was measured.
        split: one of `standard_splits`, or of your own.
        law: default "auto", chosen within the train part.
        budget_power: as `compare` takes it.
        options: further ones of `fit`.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep())
    >>> (split,) = bx.standard_splits(sweep, "budgets")
    >>> tested = bx.evaluate(fit_train_part(sweep, split, "BiMix"), sweep.take(split.test))
    >>> error = tested.table().loc["overall", "mre"]
    >>> judged = bx.compare(sweep, "BiMix", "budgets").table_of("budgets")["mre"].item()
    >>> bool(abs(error / judged - 1) < 1e-3)
    True
    """
    power = budget_power if later_held_out(sweep, split) else 0.0
    return fit(
        sweep.take(split.train),
        law,
        budget_power=power,
        budget_scale=sweep.largest_budget,
        **{"shrinkage": purpose_of(sweep, split)} | options,
    )


def missed(fitted: Fit, sweep: Sweep) -> str | None:
    """Sentence where a law leaves more error than the noise explains, else None.

    The noise is `noise_floor`: residuals of curves of single runs, or the spread of replicates.
    """
    if sweep.size is not None:
        return None
    error = float(np.nanmean(fitted.table()["error"]))
    noise = noise_floor(sweep, fitted.targets).least()
    if not error > MISSED * noise:
        return None
    return (
        f"{fitted.label} leaves {100 * error:.2f} %, {error / noise:.1f} × the noise of "
        f"{100 * noise:.2f} %: it misses effects of the mixture or the budget."
    )


def _is_own(sweep: Sweep, targets: Sequence[str] | None) -> bool:
    """True where some target is a train domain."""
    return bool(set(sweep.targets if targets is None else targets) & set(sweep.domains))
