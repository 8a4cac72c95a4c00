"""The searches of one task as rows of one compiled program, for any weights and starts."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimix_jax.fitting._arranged import Arranged, arranged
from bimix_jax.fitting._many_starts import program_of_values
from bimix_jax.fitting.arrays import ArrayFit, fit_arrays
from bimix_jax.fitting.coefficients import FAILED, losses_on_grid
from bimix_jax.fitting.options import FitOptions
from bimix_jax.fitting.task import FitTask
from bimix_jax.laws.law import Law
from bimix_jax.xla.compilation import OnceCompiled, jit
from bimix_jax.xla.mapping import over_rows

if TYPE_CHECKING:
    import optax

FEWEST, MOST = 8, 64
"""Searches per call, divided between the cores: one after another, but in one call, because calls
of one each spend most of their time on memory."""
TIED = 32
"""Largest number of searches per call of several targets, whose arrays are as many times larger."""
CELLS = 2**23
"""Predictions per call, 64 MB in float64; very long sweeps have fewer searches per call."""


class Solved(NamedTuple):
    """Fits of a task."""

    fit: ArrayFit
    """each leaf (fits, targets, …)"""
    predicted: Any
    """(fits, targets, points) losses, also of points without weight; nan where a fit failed"""

    # What `best_ends` compares.
    @property
    def code(self) -> Any:
        """(fits, targets) int, see `Code`."""
        return self.fit.code

    @property
    def objective(self) -> Any:
        """(fits, targets) minimised value, shrinkage included."""
        return self.fit.objective

    @property
    def points(self) -> Any:
        """(fits, targets) int, number of counted points."""
        return self.fit.points


class Drawn(NamedTuple):
    """Weights of many fits of one task, or draws of its residuals."""

    factor: np.ndarray
    """(fits, units), of the weights of a unit's points, or of their residuals"""
    unit: np.ndarray
    """(points,) int, the unit of every point"""
    around: np.ndarray | None = None
    """(points, targets) losses ŷ; where given, losses are ŷ + factor·(y − ŷ) and weights stay"""

    @classmethod
    def of_points(cls, factor: np.ndarray) -> "Drawn":
        """Draws by factors (fits, points) of the weights of single points."""
        return cls(factor, np.arange(factor.shape[1]))

    def take(self, rows: np.ndarray) -> "Drawn":
        """Select fits."""
        return self._replace(factor=self.factor[rows])

    def repeated(self, count: int) -> "Drawn":
        """Repeat all fits, one set after another."""
        return self._replace(factor=np.tile(self.factor, (count, 1)))


class _Rows(NamedTuple):
    """Arrays of single searches; each is of a group, one target or all that are tied."""

    loss: Any
    """(searches, points, group)"""
    weight: Any
    """(searches, points, group)"""
    own: Any
    """(searches, group) int"""
    starts: Any
    """(searches, group, exponents), or (searches, group, starts, exponents) for values"""
    strength: Any
    """(searches,) of the shrinkage, of no effect on a law that has none"""


class Searches(NamedTuple):
    """Searches of the groups of targets of one task, each group a row of the compiled program."""

    task: FitTask
    program: Any
    arranged: Arranged
    """Places of the points, as many as sweeps of like size have, to share a compilation; those of
    one mixture together where the law can use it"""
    measured: dict[str, Any]
    """mixtures of the blocks, budgets and sizes of the places"""
    loss: np.ndarray
    """(groups, places, group)"""
    weight: np.ndarray
    """(groups, places, group), 0 where there is no point"""
    own: np.ndarray
    """(groups, group) int"""
    side_by_side: bool

    @classmethod
    def of(
        cls, task: FitTask, optimizer: "optax.GradientTransformation | None" = None
    ) -> "Searches":
        """Prepare the searches of a task, by any optax transformation or the default one."""
        sweep, options, dtype = task.sweep, task.options, np.dtype(task.options.dtype)
        at = arranged(sweep.mixture, task.law.has_log_worth)
        measured = {"mixture": sweep.mixture[at.first], "budget": sweep.budget[at.rows]}
        typed: dict[str, Any] = {name: x.astype(dtype) for name, x in measured.items()}
        typed["size"] = None if sweep.size is None else sweep.size[at.rows].astype(dtype)
        # Targets that share exponents can only be fitted together.
        groups = 1 if task.law.ties(options.tied) else len(task.targets)
        loss, weight = (_grouped(x[at.rows], groups, dtype) for x in (task.loss, task.weight))
        loss[:, ~at.counted], weight[:, ~at.counted] = np.nan, 0.0
        # Other optimizers need thousands of cheap evaluations; other devices are slow in series.
        beside = optimizer is not None or jax.default_backend() != "cpu"
        program = compiled(task.law, options.static, optimizer, beside)
        own = task.own.reshape(groups, -1)
        return cls(task, program, at, typed, loss, weight, own, beside)

    def __call__(
        self,
        drawn: Drawn,
        starts: np.ndarray,
        strength: np.ndarray,
        tolerance: float,
        predict: bool = True,
    ) -> Any:
        """Search once for every draw.

        Args:
            drawn: (searches, …) draws.
            starts: (searches, targets, exponents).
            strength: (searches,) of the shrinkage.
            tolerance: on the scaled gradient.
            predict: False to drop the predictions, which take more memory than all else.

        Returns:
            A `Solved` of numpy arrays with leading axes (searches, targets).
        """
        count, groups = len(strength), len(self.loss)
        every = np.divmod(np.arange(count * groups), groups)
        found = self.of_pairs(every, drawn, starts, strength, tolerance, predict)
        return jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[2:]), found)

    def of_pairs(
        self,
        pairs: Sequence[np.ndarray],
        drawn: Drawn,
        starts: np.ndarray,
        strength: np.ndarray,
        tolerance: float,
        predict: bool = True,
    ) -> Any:
        """Search as if called, but only for pairs of draws and groups, as `over` takes them."""
        groups, _, group = self.loss.shape
        rows_of = self._rows_of(drawn, starts.reshape(len(strength), groups, group, -1), strength)

        def part(found: Solved) -> Solved:
            if not predict:
                return Solved(found.fit, [])
            at_places = found.predicted.reshape(*found.predicted.shape[:2], -1)
            return Solved(found.fit, at_places[..., self.arranged.place])

        return self.over(pairs, self.program, rows_of, tolerance, part)

    def values(self, drawn: Drawn, strength: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Objectives (starts, fits, targets) of all draws at starts (starts, fits, targets, …)."""
        count, groups, group = len(strength), len(self.loss), self.own.shape[1]
        every = np.divmod(np.arange(count * groups), groups)
        begin = np.moveaxis(starts, 0, 2).reshape(count, groups, group, *starts[:, 0, 0].shape)
        rows_of = self._rows_of(drawn, begin, strength)
        program = program_of_values(self.task.law, self.task.options.static, self.side_by_side)
        found = self.over(every, program, rows_of, 1.0, lambda values: values)
        return found.reshape(count, groups * group, -1).transpose(2, 0, 1)

    def over(
        self,
        pairs: Sequence[np.ndarray],
        program: Any,
        rows_of: Callable[[np.ndarray, np.ndarray], Any],
        tolerance: float,
        part: Callable[[Any], Any],
    ) -> Any:
        """Run a program on pairs of a draw and a group, some at a time.

        Args:
            pairs: numbers of the draws and of their groups, each (pairs,) int.
            program: of the points, the budget scale, the tolerance, rows, and how many count.
            rows_of: the rows of some pairs.
            tolerance: on the scaled gradient.
            part: selects what is kept of the results.

        Returns:
            What is kept, of numpy arrays with leading axes (pairs, group).
        """
        dtype, (_, points, group) = self.loss.dtype, self.loss.shape
        total, most = len(pairs[0]), max(1, min(MOST, CELLS // max(1, points * group)))
        if self.side_by_side:
            each = most = min(most, 1 << (total - 1).bit_length())
        else:
            most = min(most, TIED) if group > 1 else most
            each = max(_equal(total, most), min(most, FEWEST // group))
        fixed = self.measured, dtype.type(self.task.scale), dtype.type(tolerance)

        def some(first: int) -> Any:
            which = np.arange(first, first + most).clip(max=total - 1)
            rows = rows_of(*(number[which] for number in pairs))
            typed = jax.tree.map(
                lambda x: x if x.dtype.kind == "i" else x.astype(dtype, copy=False), rows
            )
            with jax.enable_x64(dtype == np.float64):  # a setting of each thread
                found = program(*fixed, typed, min(total - first, each))
            return part(jax.tree.map(lambda leaf: np.asarray(leaf)[:each], found))

        parts = _side_by_side(some, range(0, total, each))
        return jax.tree.map(lambda *leaves: _joined(leaves, total), *parts)

    def _rows_of(
        self, drawn: Drawn, begin: np.ndarray, strength: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], _Rows]:
        """Rows of pairs of a draw and a group, which begin at starts (draws, groups, group, …)."""
        unit = drawn.unit[self.arranged.rows]
        around = None if drawn.around is None else self._like(drawn.around)

        def rows_of(row: np.ndarray, of: np.ndarray) -> _Rows:
            loss, weight = self.loss[of], self.weight[of]
            # The groups of one draw share its factors.
            draws, which = np.unique(row, return_inverse=True)
            factor = drawn.factor[draws].take(unit, axis=1)[which, :, None]
            if around is None:
                weight *= factor
            else:
                loss = around[of] + factor * (loss - around[of])
            return _Rows(loss, weight, self.own[of], begin[row, of], strength[row])

        return rows_of

    def _like(self, values: np.ndarray) -> np.ndarray:
        """(groups, points, group) from (points, targets)."""
        return _grouped(values[self.arranged.rows], len(self.loss), self.loss.dtype)


def _grouped(leaf: np.ndarray, groups: int, dtype: Any) -> np.ndarray:
    """(groups, points, group) from (points, targets)."""
    return np.stack(np.split(leaf.astype(dtype), groups, axis=1))


def _equal(total: int, most: int) -> int:
    """Size of parts, at most `most`, of which every core has as many as the others."""
    cores = os.cpu_count() or 1
    return -(-total // (cores * -(-total // (cores * most))))


def _side_by_side(function: Callable[[int], Any], places: Sequence[int]) -> list[Any]:
    """Call a function for every place, in as many threads as there are cores."""
    if len(places) < 2:
        return [function(place) for place in places]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, places))


def _joined(leaves: Sequence[np.ndarray], count: int) -> np.ndarray:
    return (leaves[0] if len(leaves) == 1 else np.concatenate(leaves))[:count]


@functools.lru_cache(maxsize=64)
def compiled(
    law: Law,
    options: FitOptions,
    optimizer: "optax.GradientTransformation | None",
    side_by_side: bool,
) -> Any:
    """The searches of a law, compiled once for each number of points and domains."""
    settings: Any = options.settings | {"optimizer": optimizer}

    def run(
        measured: dict[str, Any], scale: Array, tolerance: Array, rows: _Rows, used: Array
    ) -> Solved:
        # Traced once for its shapes and for the loop; tracing takes a third of a fit's first call.
        @jax.jit
        def one(row: _Rows) -> Solved:
            found = fit_arrays(
                law,
                loss=row.loss,
                weight=row.weight,
                own=row.own,
                budget_scale=scale,
                starts=row.starts[:, None],
                shrinkage=row.strength,
                tolerance=tolerance,
                **measured,
                **settings,
            )
            # On their grid, as XLA would put them in another order number by number.
            losses = losses_on_grid(law, found.coefficients, **measured)
            failed = jnp.isin(found.code, jnp.array(FAILED))
            failed = failed.reshape(-1, *(1,) * (losses.ndim - 1))
            return Solved(found, jnp.where(failed, jnp.nan, losses))

        return over_rows(one, rows, used, side_by_side)

    return OnceCompiled(jit(run, made_of=(law, options, optimizer, side_by_side)))
