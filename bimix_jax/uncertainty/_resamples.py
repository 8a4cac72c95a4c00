"""Fits of one law to resamples of one sweep, all computed here."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from bimix_jax.fitting.again import Ended, all_starts, chosen, in_doubt, is_better
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.coefficients import FAILED
from bimix_jax.fitting.fitted import Fit
from bimix_jax.fitting.kernel import fit_in_kernel, replaced, suits_kernel
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.xla.compilation import QUICKLY_COMPILED, REASSOCIATED, cpu_options

Resampling = Literal["multinomial", "weights", "residuals"]
RESAMPLINGS: tuple[Resampling, ...] = ("multinomial", "weights", "residuals")


def draw(kind: Resampling, seed: int, resamples: int, units: int) -> np.ndarray:
    """Draw one number per resample and unit, (resamples, units); a unit is a mixture or a run.

    - "weights": exponential, so that their shares are uniform on the simplex (the Bayesian
      bootstrap, Rubin 1981). No unit is ever lost, so that the fit stays determined.
    - "multinomial": how often a unit was drawn, with replacement (Efron 1979).
    - "residuals": normal factors of a unit's residuals (the wild bootstrap by cluster, Cameron,
      Gelbach & Miller 2008): runs keep their places, so that few of them do.

    Weights sum to the number of units. Resample i is the same however many there are.

    >>> draw("multinomial", 0, 2, 5).sum(axis=1).tolist()
    [5.0, 5.0]
    """
    if kind not in RESAMPLINGS:
        raise ValueError(f"resampling is {kind!r}; expected one of {', '.join(RESAMPLINGS)}.")
    # One generator per resample, so that its draw does not depend on their number.
    generators = (np.random.default_rng([seed, number]) for number in range(resamples))
    return np.stack([_one(kind, generator, units) for generator in generators])


def _one(kind: Resampling, generator: np.random.Generator, units: int) -> np.ndarray:
    if kind == "residuals":
        return generator.standard_normal(units)
    if kind == "weights":
        weight = generator.standard_exponential(units)
        # Exponentials divided by their sum are uniform on the simplex (Dirichlet with all 1).
        return weight / weight.mean()
    # Counts of n draws with replacement out of n sum to n.
    return np.bincount(generator.integers(units, size=units), minlength=units).astype(float)


def leave_one_out(units: int) -> np.ndarray:
    """Build weights (units, units) that each leave one unit out."""
    return 1.0 - np.eye(units)


TOLERANCE = 1e-5
"""Tolerance on the scaled gradient; resamples move the solution by thousands of times more."""
CHUNK_BYTES = 1_000_000
"""Bytes of losses of the resamples that are fitted side by side."""
TOGETHER = 8
"""Number of resamples per call that searches from all starts."""


class SweepPoints(NamedTuple):
    """Measured points, as `fit_arrays` takes them."""

    mixture: np.ndarray
    budget: np.ndarray
    loss: Any
    """(points, targets)"""
    weight: Any
    """(points, targets)"""
    size: np.ndarray | None


def points_of(sweep: Sweep, fitted: Fit, weight: ArrayLike | None) -> SweepPoints:
    """Select the points of a sweep in the order of a fit's targets, with the weights of the fit."""
    task = FitTask.of(sweep, fitted.law, fitted.options, fitted.targets, weight)
    return SweepPoints(sweep.mixture, sweep.budget, task.loss, task.weight, sweep.size)


class Drawn(NamedTuple):
    """Resamples of the units of a sweep."""

    factor: np.ndarray
    """(resamples, units), of the weights of a unit's points, or of their residuals"""
    unit: np.ndarray
    """(points,) int, the unit of every point"""
    of_residuals: bool = False
    """True where losses are ŷ + factor·(y − ŷ), instead of weights being scaled"""

    def take(self, rows: np.ndarray) -> "Drawn":
        """Select resamples."""
        return self._replace(factor=self.factor[rows])


def fit_resamples(
    fitted: Fit, points: SweepPoints, drawn: Drawn, starts: np.ndarray | None = None
) -> Fit:
    """Fit every resample in one compiled call, and search again those that end unexpectedly.

    Args:
        fitted: the fit to the whole sweep, whose shrinkage and budget scale all resamples share.
        points: the points that it was fitted to.
        drawn: the resamples.
        starts: (resamples, targets, exponents); default where the fit to the whole sweep ended, and
            likewise where nan. From other starts, an end on a bound or an unidentified one is
            searched again; from that one, only if the fit to the whole sweep ended otherwise.

    Returns:
        A `Fit` all of whose arrays have a leading axis (resamples,).
    """
    # A start of nan means "no other": a fit to much the same losses ends near the whole sweep's.
    whole = fitted.coefficients.exponents
    given = np.full((len(drawn.factor), *whole.shape), np.nan) if starts is None else starts
    begin = np.where(np.isnan(given), whole, given)[:, :, None]
    kernel = suits_kernel(fitted.law, len(fitted.domains)) and not fitted.options.tied
    found, settled = _run(fitted, points, drawn, begin, kernel)
    # The kernel leaves fits that its short loop cannot settle to the plain one.
    again = np.flatnonzero(~settled.all(axis=1))
    if len(again):
        better, _ = _run(fitted, points, drawn.take(again), begin[again], False)
        found = jax.tree.map(lambda old, new: replaced(old, again, new), found, better)
    if len(all_starts(fitted.law, fitted.options.tied, len(fitted.domains))) > 1:
        ended = Ended(fitted.code, fitted.sum_of_squares / 2, fitted.points)
        # Where the fit to the whole sweep is in doubt itself, a resample that ends so is expected.
        alike = np.isnan(given).any(axis=2) & in_doubt(ended)
        again = np.flatnonzero((in_doubt(found) & ~alike).any(axis=1))
        if len(again):
            old = jax.tree.map(lambda leaf: leaf[again], found)
            new = search_all(fitted, points, drawn.take(again))
            better = chosen(is_better(old, new), old, new)
            found = jax.tree.map(lambda old, new: replaced(old, again, new), found, better)
    return _as_fit(fitted, found)


def search_all(fitted: Fit, points: SweepPoints, drawn: Drawn) -> ArrayFit:
    """Fit (resamples, targets, …) from all starts of the law."""
    starts = np.concatenate(all_starts(fitted.law, fitted.options.tied, len(fitted.domains)))
    parts, count = [], len(drawn.factor)
    for first in range(0, count, TOGETHER):
        # Blocks of one length, so that one program is compiled.
        rows = drawn.take(np.arange(first, first + TOGETHER).clip(max=count - 1))
        begin = np.broadcast_to(starts, (TOGETHER, len(fitted.targets), *starts.shape))
        parts.append(_run(fitted, points, rows, begin, False)[0])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def _run(
    fitted: Fit, points: SweepPoints, drawn: Drawn, starts: np.ndarray, kernel: bool
) -> tuple[ArrayFit, np.ndarray]:
    """Fit (resamples, targets, …), and tell which are settled (resamples, targets)."""
    factor = drawn.factor
    # As many as keep their losses in a cache of a megabyte, but no more than there are, rounded up
    # to a power of two, so that similar numbers of resamples share a compilation.
    chunk = int(np.clip(CHUNK_BYTES / points.loss.nbytes, 1, 1 << (len(factor) - 1).bit_length()))
    # Whole chunks of one size, so that one program is compiled; the padding is cut off below.
    padded = np.concatenate([np.arange(len(factor)), np.zeros(-len(factor) % chunk, int)])
    method = _ResampleMethod(fitted.law, fitted.options.static, drawn.of_residuals, kernel)
    coefficients = fitted.coefficients
    predicted = fitted.predict_points(points.mixture, points.budget, points.size)
    shared = _Shared(
        points,
        # Where the law has no value the residual is 0, so that its factor changes nothing.
        np.where(np.isfinite(predicted), predicted, points.loss),
        drawn.unit,
        np.where(coefficients.own.any(axis=1), coefficients.own.argmax(axis=1), -1),
        coefficients.budget_scale[0],
        # Targets share one strength; those without shrinkage report 0.
        np.max(fitted.shrinkage, initial=0.0),
    )
    with jax.enable_x64(True):
        found = _compiled(method, chunk)(shared, factor[padded], starts[padded])
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(factor)], found)


class _Shared(NamedTuple):
    """Arrays that all resamples share."""

    points: SweepPoints
    predicted: Any
    """(points, targets) losses by the fit to the whole sweep, as measured where it has none"""
    unit: Any
    """(points,) int"""
    own: Any
    """(targets,) int, the column of each target's own domain, −1 for none"""
    scale: Any
    """() budget at which the gauge is fixed"""
    shrinkage: Any
    """() strength"""

    def drawn(self, factor: Array, of_residuals: bool) -> tuple[Array, Array]:
        """Losses and weights (points, targets) of a resample with factors (units,)."""
        points, each = self.points, factor[self.unit][:, None]
        if of_residuals:
            return self.predicted + each * (points.loss - self.predicted), points.weight
        return points.loss, each * points.weight


class _ResampleMethod(NamedTuple):
    """Settings of every resample's fit; static, so that equal ones share a compilation."""

    law: Law
    options: FitOptions
    of_residuals: bool
    kernel: bool

    def fit(
        self, shared: _Shared, loss: Array, weight: Array, starts: Array
    ) -> tuple[ArrayFit, Array]:
        """Fit some resamples, loss and weight (resamples, points, targets), starts (resamples,
        targets, starts, exponents), and tell which are settled."""
        points = shared.points
        alike: dict[str, Any] = {
            "budget_scale": shared.scale,
            "size": points.size,
            "tolerance": TOLERANCE,
            **self.options.settings,
        }

        def kernel(loss: Array, weight: Array, own: Array, starts: Array) -> tuple[ArrayFit, Array]:
            measured = points.mixture, points.budget, loss, weight
            found, _, settled = fit_in_kernel(self.law, *measured, own=own, starts=starts, **alike)
            return found, settled

        def plain(loss: Array, weight: Array, starts: Array) -> tuple[ArrayFit, Array]:
            measured = points.mixture, points.budget, loss, weight
            further = {"starts": starts, "shrinkage": shared.shrinkage, **alike}
            found = fit_arrays(self.law, *measured, own=shared.own, **further)
            return found, jnp.ones(found.code.shape, bool)

        if not self.kernel:
            return jax.vmap(plain)(loss, weight, starts)
        # The kernel fits one target, so that a second map runs over the targets.
        resampled = jax.vmap(kernel, in_axes=(0, 0, None, 0))
        by_target = jax.vmap(resampled, in_axes=(2, 2, 0, 1), out_axes=1)
        return by_target(loss, weight, shared.own, starts)


@functools.lru_cache(maxsize=64)
def _compiled(method: _ResampleMethod, chunk: int) -> Any:
    def run(shared: _Shared, factor: Array, starts: Array) -> tuple[ArrayFit, Array]:
        def some(of_chunk: tuple[Array, Array]) -> tuple[ArrayFit, Array]:
            factors, begin = of_chunk
            draw_one = functools.partial(shared.drawn, of_residuals=method.of_residuals)
            return method.fit(shared, *jax.vmap(draw_one)(factors), begin)

        chunks = [leaf.reshape(-1, chunk, *leaf.shape[1:]) for leaf in (factor, starts)]
        found = jax.lax.map(some, tuple(chunks))
        return jax.tree.map(lambda leaf: leaf.reshape(len(factor), *leaf.shape[2:]), found)

    kind = REASSOCIATED if method.kernel else QUICKLY_COMPILED
    return jax.jit(run, compiler_options=cpu_options(kind))


def _as_fit(fitted: Fit, found: Any) -> Fit:
    """Name the arrays of an `ArrayFit`; amplitudes are nan where a resample failed."""
    count = len(found.code)
    failed = np.isin(found.code, FAILED)
    amplitudes = np.where(failed[..., None], np.nan, found.coefficients.amplitudes)

    def alike(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (count, *values.shape))

    return Fit(
        coefficients=found.coefficients._replace(amplitudes=amplitudes),
        code=found.code,
        identified=found.identified,
        points=found.points,
        sum_of_squares=found.sum_of_squares,
        error=np.full(found.code.shape, np.nan),
        observed_proportions=alike(fitted.observed_proportions),
        observed_budgets=alike(fitted.observed_budgets),
        shrinkage=found.shrinkage,
        agreement=found.agreement,
        law=fitted.law,
        domains=fitted.domains,
        targets=fitted.targets,
        unit=fitted.unit,
        options=fitted.options,
        sweep_digest=fitted.sweep_digest,
    )
