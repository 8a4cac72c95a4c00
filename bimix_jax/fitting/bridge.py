"""The verb: from a fit to small runs and a few large runs to a fit at the large size."""

from collections.abc import Sequence
from typing import Unpack

from bimix_jax.fitting.fit import fit
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.options import Given
from bimix_jax.laws.bridged import Bridged
from bimix_jax.reading.settings import check_made
from bimix_jax.sweeps.sweep import Sweep


def bridge(
    fitted: Fit,
    sweep: Sweep,
    *,
    budget_ratio: float | None = None,
    targets: Sequence[str] | None = None,
    **options: Unpack[Given],
) -> Fit:
    """Map a fit to small models to the losses of large ones, by a few runs of these.

    The large losses of each target are log L = a + b·log L_small (`Bridged`): a and b come from the
    large runs, L_small stays as it was fitted. b is shrunk to 1, with the strength that predicts
    best when large runs are left out; with fewer than three runs it is 1.

    Args:
        fitted: the fit to the small runs. One with a model size is asked at its size, by default
            that of the large runs.
        sweep: the large runs, of one model size, with the domains of the small ones. Targets that
            the small fit lacks are left out, and noted.
        budget_ratio: the small fit is asked at this multiple of a budget; default 1, the ratio of
            the model sizes or that of the largest budgets, whichever fits the large runs best.
        targets: which targets; default all that the small fit has.
        options: the fields of `FitOptions`, as for `fit`.

    Returns:
        A `Fit` like any other. `bootstrap` resamples the large runs: its intervals rest on the
        errors at large runs that are left out of the map. The law of the fit can be judged beside
        others: `compare(sweep, [bridged.law, "BiMix"])`.

    Raises:
        ValueError: if domains or metadata differ, no target is in both, the sweep has several model
            sizes, or a small fit of a single budget meets large runs of several.
        TypeError: on an option that does not exist, or if `fitted` is not a `Fit`.

    >>> import bimix_jax as bx
    >>> small, large = (bx.read_sweep(bx.datasets.debian_sweep(n)) for n in ("1.3M", "11.5M"))
    >>> few = large.take(large.run < "scattered-03")
    >>> bridged = bx.bridge(bx.fit(small, "BiMix"), few)
    >>> bridged.label, list(bridged.table().columns[:2])
    ('Bridged(BiMix)', ['a', 'b'])
    """
    check_made(fitted, Fit, "fitted")
    return fit(sweep, Bridged.of(fitted, budget_ratio), targets=targets, **options)
