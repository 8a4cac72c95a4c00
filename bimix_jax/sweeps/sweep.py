"""Sweep: the measurements, checked once, keyed by name."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bimix_jax.files import atomic_path
from bimix_jax.printable import html_summary
from bimix_jax.quantities import budget_text, counted, quantity_text
from bimix_jax.reading.metadata import ATTRIBUTES, UNSTATED, Metadata
from bimix_jax.reading.names import SHOWN, note_of_spelling, respelled
from bimix_jax.reading.settings import did_you_mean
from bimix_jax.reading.tables import LOSS_PREFIX, MIXTURE_PREFIX, SCORE_PREFIX
from bimix_jax.reading.targets import Target, as_measured

CURVE = 3
"""Number of budgets that determine a target's curve: most laws have as many budget coefficients."""
SAME_MIXTURE = 1e-6
"""Largest difference of proportions between mixtures that count as one."""
CHANGED = 1e-4
"""Largest difference of a proportion between two points of one run."""
ASIDE = 0.012345
"""Offset of the rounding grid, in units of `SAME_MIXTURE`, so that common fractions like 1/128
do not lie on its edges."""
MODEL_SIZE = "model_size"
"""Column of a table of a sweep of several model sizes."""
COMMON_SHARE = 0.9
"""Share of the runs that must have a budget for it to be common."""
MOSTLY = 0.5
"""Share of the points that must lie at common budgets, so that runs count as logged alike."""
TWO_MIXTURES = "A run is trained on one mixture; give the others labels of their own."
PREFIXES = MIXTURE_PREFIX, LOSS_PREFIX, SCORE_PREFIX
"""Beginnings of the columns that are read as measurements."""
# Parts of notes that `diagnose` looks for.
NOT_FINITE = "not finite left out"
PERCENTAGES = "The proportions sum to 100 in every row: taken as percentages, divided by 100."


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """Training runs with their mixtures, budgets and measured losses; made by `read_sweep`.

    A point is one run at one budget. All arrays are float64 NumPy; they are never changed in
    place; `take` makes subsets.

    >>> from bimix_jax import datasets, read_sweep
    >>> sweep = read_sweep(datasets.proxy_sweep())
    >>> sweep.summary()
    '16 runs of 15 mixtures at 11 budgets up to 2.867M tokens: 176 points, 7 domains, 7 targets'
    >>> sweep.mixture.shape, sweep.loss.shape
    ((176, 7), (176, 7))
    """

    domains: tuple[str, ...]
    """names of the domains of the training mixture"""
    targets: tuple[str, ...]
    """names of the domains or tests whose losses are measured"""
    mixture: np.ndarray
    """(points, domains) proportions, rows sum to 1"""
    budget: np.ndarray
    """(points,) in `unit`"""
    loss: np.ndarray
    """(points, targets) as measured, of scores their distances to the maximum (`Target`); nan
    where it was not measured"""
    run: np.ndarray
    """(points,) run labels, str"""
    unit: str
    """"tokens", "steps", the budget column's name, or "run" for a sweep without budgets"""
    extra: pd.DataFrame
    """every other column, one row per point"""
    size: np.ndarray | None = None
    """(points,) parameters of the model, where there are several sizes (`stack_sizes`)"""
    notes: tuple[str, ...] = ()
    """sentences on what was dropped, normalised, chosen or looks suspicious"""
    metadata: Metadata = UNSTATED
    """tokeniser, units, schedule and model size, as far as they were stated"""

    @functools.cached_property
    def runs(self) -> tuple[str, ...]:
        """Run labels in order of appearance."""
        return tuple(self._factorized[1].tolist())

    @property
    def run_number(self) -> np.ndarray:
        """Index in `runs` of each point's run, (points,) int."""
        return self._factorized[0]

    @functools.cached_property
    def _factorized(self) -> tuple[np.ndarray, np.ndarray]:
        return pd.factorize(self.run)

    @property
    def mixtures(self) -> pd.DataFrame:
        """One row per run (index run), one column per domain."""
        table = pd.DataFrame(self.mixture, index=pd.Index(self.run, name="run"))
        table.columns = pd.Index(self.domains)
        return table[~table.index.duplicated()]

    @functools.cached_property
    def mixture_group(self) -> np.ndarray:
        """Number of each point's mixture, (points,) int; one for mixtures that agree to 6 decimals.

        All points of a run share one, too: the mixture of a run is that of its first point.
        """
        first = np.unique(self.run_number, return_index=True)[1]
        by_name = np.argsort(self.domains)  # numbers must not depend on column order
        rounded = np.round(self.mixture[first][:, by_name] / SAME_MIXTURE + ASIDE) + 0.0
        return np.unique(rounded, axis=0, return_inverse=True)[1].reshape(-1)[self.run_number]

    def __repr__(self) -> str:
        return f"Sweep({self.summary()})"

    def _repr_html_(self) -> str:
        shares = self.mixtures.rename_axis("run")
        return html_summary(repr(self), {"proportions by run": shares}, self.notes)

    def own_index(self) -> np.ndarray:
        """Return (targets,) int: the index in `domains` of the target's name, −1 if there is
        none."""
        position = {domain: i for i, domain in enumerate(self.domains)}
        return np.array([position.get(target, -1) for target in self.targets])

    @property
    def largest_budget(self) -> float:
        """The largest budget of any run."""
        return float(self.budget.max())

    def last_common_budget(self) -> float:
        """Return the largest budget that at least 90 % of the runs have; the commonest if none is.

        A few runs may end earlier than the others, or continue longer.
        """
        # A run counts once per budget, even if a point is repeated.
        pairs = {(run, budget) for run, budget in zip(self.run, self.budget, strict=True)}
        budgets, counts = np.unique([budget for _, budget in pairs], return_counts=True)
        common = counts >= min(COMMON_SHARE * len(self.runs), counts.max())
        return float(budgets[common].max())

    def split_runs(self, fraction: float, seed: int = 0) -> tuple["Sweep", "Sweep"]:
        """Split into a train and a test part, with `fraction` of the mixtures in the test part.

        Whole mixtures are drawn, so replicates of one mixture stay together; at least one mixture
        is on each side.

        Raises:
            ValueError: if fraction is not between 0 and 1, or there is only one mixture.

        >>> from bimix_jax import datasets, read_sweep
        >>> train, test = read_sweep(datasets.proxy_sweep()).split_runs(0.3, seed=0)
        >>> len(train.runs), len(test.runs)
        (12, 4)
        """
        held_out = self.draw_mixtures(fraction, seed)
        groups = [len(np.unique(self.mixture_group[part])) for part in (held_out, ~held_out)]
        what = f"{groups[0]} of {sum(groups)} mixtures held out (seed {seed})"
        return self.take(~held_out, f"train part: {what}"), self.take(
            held_out, f"test part: {what}"
        )

    def split_budgets(self, fraction: float) -> tuple["Sweep", "Sweep"]:
        """Split into a train and a test part, with the later `fraction` of the budgets in the test
        part.

        The cut is one budget for all runs.

        Raises:
            ValueError: if fraction is not between 0 and 1, or there is only one budget.

        >>> from bimix_jax import datasets, read_sweep
        >>> train, test = read_sweep(datasets.proxy_sweep()).split_budgets(0.5)
        >>> train.largest_budget, float(test.budget.min())
        (1146880.0, 1433600.0)
        """
        cut = self.budget_cut(fraction)
        later = self.budget >= cut
        what = f"budgets from {quantity_text(cut)} {self.unit} on held out"
        return self.take(~later, f"train part: {what}"), self.take(later, f"test part: {what}")

    def folds(self, most: int, counted: np.ndarray | None = None) -> np.ndarray:
        """Deal mixtures to at most `most` folds, (points,) int; all points of a mixture share a
        fold.

        Where only some points (points,) bool are `counted`, their mixtures are dealt and the other
        points get 0.

        >>> from bimix_jax import datasets, read_sweep
        >>> np.unique(read_sweep(datasets.proxy_sweep()).folds(8)).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
        """
        everything = np.ones(len(self.budget), bool)
        inside = everything if counted is None else counted
        dealt = np.zeros(len(self.budget), int)
        number = np.unique(self.mixture_group[inside], return_inverse=True)[1]
        # In turn by number, so that folds differ by at most one mixture.
        dealt[inside] = number.reshape(-1) % most
        return dealt

    def draw_mixtures(self, fraction: float, seed: int) -> np.ndarray:
        """Draw a random `fraction` of the mixtures, at least one; (points,) bool of their points.

        Raises:
            ValueError: as `split_runs`.
        """
        _check_fraction(fraction, "mixtures")
        groups = np.unique(self.mixture_group)
        if len(groups) < 2:
            raise ValueError("split_runs: the sweep has one mixture; expected two or more.")
        count = int(np.clip(round(fraction * len(groups)), 1, len(groups) - 1))
        drawn = np.random.default_rng(seed).permutation(groups)[:count]
        return np.isin(self.mixture_group, drawn)

    def budget_cut(self, fraction: float, least: int = 1) -> float:
        """Return the least of the later `fraction` of the budgets, leaving `least` earlier ones.

        Where there are too few budgets, only the last one is on the later side.

        Raises:
            ValueError: as `split_budgets`.
        """
        _check_fraction(fraction, "budgets")
        budgets = np.unique(self.budget)
        if len(budgets) < 2:
            raise ValueError("split_budgets: the sweep has one budget; expected two or more.")
        most = max(1, len(budgets) - least)
        return float(budgets[-int(np.clip(round(fraction * len(budgets)), 1, most))])

    def from_budget(self, least: float) -> "Sweep":
        """Return the points at budgets of `least` and more.

        Checkpoints inside the learning-rate warm-up follow no law; leave them out.

        Raises:
            ValueError: if no point is left.
        """
        # A budget computed from steps may miss the stated one in the last digits.
        keep = self.budget >= least * (1 - 1e-9)
        if not keep.any():
            raise ValueError(
                f"from_budget: least is {quantity_text(least)} {self.unit}, but the largest "
                "budget is "
                f"{quantity_text(self.largest_budget)}; expected a smaller number."
            )
        left_out = counted(int(np.sum(~keep)), "point")
        note = f"{left_out} before {quantity_text(least)} {self.unit} left out."
        return self.take(keep, note)

    def endpoints(self) -> "Sweep":
        """Return the last point of each run.

        Checkpoints along one decaying learning rate differ from what shorter runs would reach. The
        ends of runs of several lengths do not have this error.

        >>> from bimix_jax import datasets, read_sweep
        >>> len(read_sweep(datasets.proxy_sweep()).endpoints().budget)
        16
        """
        last = pd.Series(self.budget).groupby(self.run).transform("max").to_numpy()
        keep = self.budget == last
        return self.take(
            keep, f"{counted(int(np.sum(~keep)), 'point')} before the ends of their runs left out."
        )

    def without_runs(self, runs: Sequence[str]) -> "Sweep":
        """Return the sweep without these runs, such as diverged ones; a note counts them.

        Raises:
            ValueError: if a run is unknown, or no other is left.
        """
        asked = [runs] if isinstance(runs, str) else list(map(str, runs))
        known = list(map(str, self.runs))
        for run in asked:
            if run not in known:
                meant = did_you_mean(run, known)
                shown = ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
                raise ValueError(f"exclude: there is no run {run}; the runs are {shown}.{meant}")
        keep = ~np.isin(self.run.astype(str), asked)
        if not keep.any():
            raise ValueError("exclude names every run; expected some to be left.")
        names = ", ".join(dict.fromkeys(asked))
        return self.take(
            keep, f"Runs left out, with {counted(int(np.sum(~keep)), 'point')}: {names}."
        )

    def take(self, points: np.ndarray, note: str | None = None) -> "Sweep":
        """Return the points of a mask or index (points,), with a note that gives the reason."""
        return dataclasses.replace(
            self,
            mixture=self.mixture[points],
            budget=self.budget[points],
            loss=self.loss[points],
            run=self.run[points],
            size=None if self.size is None else self.size[points],
            extra=self.extra.iloc[points].reset_index(drop=True),
            notes=self.notes if note is None else (*self.notes, note),
        )

    def spelled_as(self, domains: Iterable[str], targets: Iterable[str] = ()) -> "Sweep":
        """Return the sweep with names that differ in `spelling` alone spelled as given, and a note.

        Raises:
            ValueError: if a name may be two of them.
        """
        of_domains = respelled("domains", self.domains, domains)
        of_targets = respelled("targets", self.targets, targets)
        notes = note_of_spelling(of_domains | of_targets)
        return dataclasses.replace(
            self,
            domains=tuple(of_domains.get(d, d) for d in self.domains),
            targets=tuple(of_targets.get(t, t) for t in self.targets),
            notes=(*self.notes, *(note for note in notes if note not in self.notes)),
        )

    @property
    def described(self) -> tuple[Target, ...]:
        """Descriptions of the targets, in their order."""
        return self.metadata.described(self.targets)

    def signal(self) -> pd.DataFrame:
        """Signal and noise of every target at the last common budget, see `signal_of`.

        >>> from bimix_jax import datasets, read_sweep
        >>> bool((read_sweep(datasets.proxy_sweep()).signal()["ratio"] > 3).all())
        True
        """
        # SciPy, which reading alone does not need, takes a while to import.
        from bimix_jax.reading.signal import signal_of

        last = np.isclose(self.budget, self.last_common_budget(), rtol=1e-9)
        return signal_of(self.mixture_group[last], self.loss[last], self.described)

    def to_frame(self) -> pd.DataFrame:
        """Return a wide table: run, budget (named as its unit), r_<domain>, loss_<target> or
        score_<target>, the rest.

        A sweep of several model sizes has one more column, model_size.

        `read_sweep` reads the table, or its Parquet file, with unit, notes and metadata, which are
        in the table's attrs. From other files it needs budget= where the unit is not the first
        budget column. Other columns whose names are taken, or would be read as measurements, are
        renamed.
        """
        columns: dict[str, np.ndarray] = {"run": self.run}
        columns |= {} if self.unit == "run" else {self.unit: self.budget}
        columns |= {} if self.size is None else {MODEL_SIZE: self.size}
        columns |= {f"r_{d}": self.mixture[:, i] for i, d in enumerate(self.domains)}
        values = as_measured(self.loss, self.described)
        columns |= {_column(t): values[:, i] for i, t in enumerate(self.described)}
        beside = [] if self.size is None else [MODEL_SIZE]
        rest = self.extra.drop(columns=beside, errors="ignore").rename(
            columns={c: f"{c} (extra)" for c in self.extra if c in columns}
            | {c: f"extra {c}" for c in self.extra if str(c).startswith(PREFIXES)}
        )
        table = pd.concat([pd.DataFrame(columns), rest], axis=1)
        table.attrs[ATTRIBUTES] = {
            "unit": self.unit,
            # The first name of metadata; files that were saved before have it, too.
            "meaning": self.metadata.stated(),
            "notes": list(self.notes),
            **({} if self.size is None else {"size": MODEL_SIZE}),
        }
        return table

    def save(self, path: str | Path) -> None:
        """Write `to_frame` as Parquet, whole or not at all; `read_sweep` reads it.

        Raises:
            ValueError: if the name does not end in .parquet.
            OSError: if the folder does not exist.
        """
        if Path(path).suffix != ".parquet":
            raise ValueError(
                f"{path}: expected a name in .parquet, which keeps notes and units too."
            )
        with atomic_path(path) as beside:
            # Losses hardly ever repeat, so dictionary encoding would only cost time and room.
            self.to_frame().to_parquet(
                beside, index=False, use_dictionary=False, write_page_checksum=True
            )

    def digest(self) -> str:
        """Return the SHA-256 of names and values; the order of columns and rows does not matter."""
        by_domain, by_target = np.argsort(self.domains), np.argsort(self.targets)
        sizes = [] if self.size is None else [self.size]
        values = np.column_stack(
            [self.budget, *sizes, self.mixture[:, by_domain], self.loss[:, by_target]]
        )
        values[np.isnan(values)] = np.nan  # one bit pattern, wherever the gap came from
        # Rows sort by label and value, so their order in the file does not count.
        lines = sorted(
            run.encode() + row.tobytes() for run, row in zip(self.run.tolist(), values, strict=True)
        )
        names = repr((sorted(self.domains), sorted(self.targets), self.unit)).encode()
        return hashlib.sha256(names + b"".join(lines)).hexdigest()

    def summary(self) -> str:
        """Return one line with the numbers of runs, mixtures, budgets, points, domains and
        targets."""
        mixtures = len(np.unique(self.mixture_group))
        empty = int(np.isnan(self.loss).sum())
        return (
            f"{counted(len(self.runs), 'run')} of {counted(mixtures, 'mixture')} at "
            f"{counted(len(np.unique(self.budget)), 'budget')} up to "
            f"{budget_text(self.largest_budget, self.unit)}: "
            f"{counted(len(self.budget), 'point')}, {counted(len(self.domains), 'domain')}, "
            f"{counted(len(self.targets), 'target')}"
            + (f", {counted(empty, 'empty loss', 'empty losses')}" if empty else "")
        )


def _column(target: Target) -> str:
    """Column of a target in a table; one that is called like a score's column keeps its name."""
    if not target.is_score:
        return LOSS_PREFIX + target.name
    return SCORE_PREFIX + target.name.removeprefix(SCORE_PREFIX)


def _check_fraction(fraction: float, of: str) -> None:
    if not 0 < fraction < 1:
        raise ValueError(
            f"fraction, the share of the {of} held out, is {fraction}; expected a number between "
            "0 and 1."
        )


def common_points(runs: np.ndarray, budget: np.ndarray) -> int:
    """Count the points at budgets that 90 % of the runs have, among the runs that long.

    >>> common_points(np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 1.0, 3.0]))
    3
    """
    ends = np.sort(pd.Series(budget).groupby(runs).max().to_numpy())
    values, counts = np.unique(budget, return_counts=True)
    # A budget need not be shared by runs that end before it.
    reaching = len(ends) - np.searchsorted(ends, values)
    return int(counts[counts >= COMMON_SHARE * reaching].sum())
