"""Searches of one law on one sweep, all by one compiled program: each has weights, a start and a
strength of restraint of its own.

Compilation is most of what a comparison takes. So the fits that choose a restraint and those of the
splits are calls of the same program, where one program that held them all would compile the same
search twice.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.codes import FAILED
from bimix_jax.fitting.coefficients import predict_losses
from bimix_jax.fitting.residual import Residual
from bimix_jax.fitting.task import law_for_sweep
from bimix_jax.laws.law import Law
from bimix_jax.sweeps.sweep import Sweep
from bimix_jax.xla.compilation import jit

MOST = 64
"""Searches of a call. They go one after the other, as side by side all would go on until the last
of them ends; but in one call, as calls of one each spend most of their time in getting memory."""


class Ends(NamedTuple):
    """Where searches end."""

    exponents: np.ndarray
    """(searches, targets, exponents)"""
    predicted: np.ndarray
    """(searches, points, targets) losses, also of points without weight; nan where a fit failed"""
    code: np.ndarray
    """(searches, targets) int, see `Code`"""
    objective: np.ndarray
    """(searches, targets) what was minimised, restraint included"""
    points: np.ndarray
    """(searches, targets) int, how many counted"""


class Searches:
    """A law, a sweep and its targets (columns), to be searched many times.

    >>> import numpy as np
    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> search = Searches(sweep, bx.BiMix(), [0, 1], "relative")
    >>> start = np.broadcast_to(search.starts()[0], (3, 2, 2))
    >>> ends = search(np.ones((3, len(sweep.budget))), start, np.zeros(3), 1e-7)
    >>> ends.predicted.shape == (3, len(sweep.budget), 2)
    True
    """

    def __init__(self, sweep: Sweep, law: Law, columns: list[int], residual: Residual) -> None:
        self.law = law_for_sweep(law, sweep, sweep.largest_budget)
        self.residual: Residual = residual
        self.own = sweep.own_index()[columns]
        self.domains = len(sweep.domains)
        self.points: Any = sweep.mixture, sweep.budget, sweep.loss[:, columns], self.own, sweep.size

    def starts(self) -> np.ndarray:
        """(starts, exponents) of the law."""
        return np.asarray(self.law.starts(self.domains), float)

    @functools.cached_property
    def valued(self) -> np.ndarray:
        """(points, targets) bool: the law states that it has a value there."""
        return self._at_points(self.law.usable)

    def usable(self) -> np.ndarray:
        """(points, targets) bool: measured, and the law has a value there."""
        return np.isfinite(self.points[2]) & self.valued

    def refuted(self, weight: np.ndarray) -> np.ndarray:
        """(fits,) bool: a loss that counts refutes the simpler law, of weight (fits, points)."""
        proof = (self.usable() & self._at_points(self.law.refutes_centre)).any(axis=1)
        return np.asarray((weight > 0) @ proof)

    def called(self, exponents: np.ndarray, code: np.ndarray) -> str:
        """The simplest law that a fit with these exponents (targets, exponents) is."""
        known = ~np.isin(code, FAILED)
        if not known.any():
            return self.law.label
        return self.law.reduced(exponents[known], self._membership()[known]).label

    def _membership(self) -> np.ndarray:
        """(targets, domains) 1 at the own domain of each target."""
        return (self.own[:, None] == np.arange(self.domains)).astype(float)

    def _at_points(self, stated: Any) -> np.ndarray:
        """(points, targets) what the law states of every mixture and own domain."""
        of_targets = jax.vmap(stated, in_axes=(None, 0))
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(of_targets, in_axes=(0, None))(
                self.points[0], self._membership()
            ))  # fmt: skip

    def __call__(
        self, weight: np.ndarray, starts: np.ndarray, strength: np.ndarray, tolerance: float
    ) -> Ends:
        """Search once for every row of the arguments.

        Args:
            weight: (searches, points) ≥ 0.
            starts: (searches, targets, exponents).
            strength: (searches,) of the restraint, of no effect on a law that has none.
            tolerance: on the scaled gradient.
        """
        count = len(weight)
        program = _compiled(self.law, self.residual)
        parts = []
        for first in range(0, count, MOST):
            places = np.arange(first, first + MOST).clip(max=count - 1)
            with jax.enable_x64(True):
                parts.append(program(
                    *self.points, weight[places], starts[places], strength[places], tolerance,
                    min(count - first, MOST),
                ))  # fmt: skip
        return Ends(*(np.concatenate(leaves)[:count] for leaves in zip(*parts, strict=True)))


@functools.lru_cache(maxsize=64)
def _compiled(law: Law, residual: Residual) -> Any:
    def run(
        mixture: Array, budget: Array, loss: Array, own: Array, size: Array | None,
        weight: Array, starts: Array, strength: Array, tolerance: Array, used: Array,
    ) -> tuple[Array, ...]:  # fmt: skip
        def one(weight: Array, start: Array, strength: Array) -> tuple[Array, ...]:
            def fitted(loss: Array, own: Array, start: Array) -> ArrayFit:
                return fit_arrays(
                    law, mixture, budget, loss, weight, own=own, budget_scale=jnp.max(budget),
                    residual=residual, starts=start, restraint=strength, size=size,
                    tolerance=tolerance,
                )  # fmt: skip

            if law.ties(()):
                found = fitted(loss, own, start[:, None])
            else:
                # Side by side, all targets would go on until the last of them ends.
                each = loss.T, own, start[:, None]
                found = jax.lax.map(lambda target: fitted(*target), each)
            losses = predict_losses(law, found.coefficients, mixture, budget, size)
            predicted = jnp.where(jnp.isin(found.code, jnp.array(FAILED)), jnp.nan, losses)
            exponents = found.coefficients.exponents
            return exponents, predicted, found.code, found.objective, found.points

        def next_one(number: Array, ends: tuple[Array, ...]) -> tuple[Array, ...]:
            found = one(weight[number], starts[number], strength[number])
            return jax.tree.map(lambda all_, new: all_.at[number].set(new), ends, found)

        points, targets = loss.shape
        nothing = (
            jnp.zeros_like(starts), jnp.zeros((MOST, points, targets)),
            jnp.zeros((MOST, targets), jnp.int32), jnp.zeros((MOST, targets)),
            jnp.zeros((MOST, targets), int),
        )  # fmt: skip
        return jax.lax.fori_loop(0, used, next_one, nothing)

    return jit(run)
