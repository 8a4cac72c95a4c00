"""Comparison: laws beside each other on what they have not seen, and a verdict in words."""

import dataclasses
import functools

import numpy as np
import pandas as pd

from bimix_jax.judging.noise import NoiseFloor
from bimix_jax.scoring import r_squared, spearman

CERTAIN = 2.0
"""Differences below this many standard errors tell nothing."""
EARNED = 0.5
"""Standard errors by which a flexible law has to win; such a lead is real about two times in three.
With 1 real leads are lost to simpler laws, with 0 a law wins by chance."""
HALF = 0.5
"""Share of unidentified fits beyond which a law is not trusted."""
SAME = 1e-6
"""Mean errors (fractions) closer than this are equal."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Held-out predictions of several laws on the same points; made by `compare`."""

    laws: tuple[str, ...]
    targets: tuple[str, ...]
    kinds: tuple[str, ...]
    """(splits,) what each split holds out; splits of one kind are repetitions"""
    test: np.ndarray
    """(splits, points) bool"""
    measured: np.ndarray
    """(points, targets), nan where not measured"""
    predicted: np.ndarray
    """(laws, splits, points, targets)"""
    vague: np.ndarray
    """(laws, splits, targets) bool: the train part did not determine the law's coefficients"""
    budget: np.ndarray
    """(points,)"""
    group: np.ndarray
    """(points,) int, the mixture of each point"""
    noise: NoiseFloor
    notes: tuple[str, ...] = ()
    coefficients: tuple[int, ...] = ()
    """(laws,) of a target; the law with the fewest is the simplest, or the first of several"""
    size: np.ndarray | None = None
    """(points,) parameters of the model, where there are several"""

    @functools.cached_property
    def scored(self) -> np.ndarray:
        """(splits, points, targets) bool: held out, measured, and every law has a value there."""
        valued = np.isfinite(self.predicted).all(axis=0)
        return self.test[:, :, None] & np.isfinite(self.measured) & valued

    @functools.cached_property
    def error(self) -> np.ndarray:
        """(laws, splits, points, targets) |y − ŷ|/y of what is scored, nan elsewhere."""
        return np.where(self.scored, np.abs(self.predicted / self.measured - 1), np.nan)

    @property
    def decisive(self) -> str:
        """The kind of split that decides: the one that asks most."""
        return next(kind for kind in ("both", "mixtures", *self.kinds) if kind in self.kinds)

    @property
    def best(self) -> str:
        """The law to trust where it matters: `best_of` the decisive kind of split."""
        return self.best_of(self.decisive)

    def best_of(self, kind: str) -> str:
        """The law to trust for a kind of split: the simplest close to the least error.

        Close is half a standard error, simple is of few coefficients, so that a flexible law has
        to earn its own: what wins on a few held-out mixtures by chance loses on the next ones.
        Laws whose coefficients most train parts leave open are passed over, unless all are: what
        they then predict is where their search happened to start.
        """
        return self.laws[self._trusted(kind)]

    def _trusted(self, kind: str) -> int:
        errors = np.where(self.passed_over(kind), np.nan, self._mean_errors(kind))
        least = int(np.nanargmin(errors))
        apart = [self._difference(kind, law, least) for law in range(len(self.laws))]
        more, spread = np.array(apart).T
        close = (more <= np.fmax(EARNED * spread, SAME)) & np.isfinite(errors)
        counts = np.asarray(self.coefficients or np.zeros(len(self.laws)))
        return int(np.argmin(np.where(close, counts, np.inf)))

    def passed_over(self, kind: str) -> np.ndarray:
        """(laws,) bool: most train parts leave coefficients of a law open, but not of every law."""
        vague = np.mean(self.vague[:, self._splits(kind)], axis=(1, 2)) > HALF
        return vague & ~vague.all()

    def table(self) -> pd.DataFrame:
        """One row a kind of split and law.

        Columns: `mre` mean relative error over targets and repetitions; `difference` to `best_of`
        the kind and its standard error `se`, paired, with mixtures as the units that vary
        (fractions all); `worst_target` and its error `worst`; `r2_mixtures` and `spearman` across
        mixtures at one budget, mean over targets and repetitions; `regret` the measured mean loss
        (nats) of the held-out mixture that the law ranks first above the best one there.
        """
        return pd.concat({kind: self.table_of(kind) for kind in self.kinds}, names=["split"])

    def table_of(self, kind: str) -> pd.DataFrame:
        """The rows of `table` of one kind of split, by law."""
        rows = [self._scores(kind, number) for number in range(len(self.laws))]
        return pd.DataFrame(rows, index=pd.Index(self.laws, name="law"))

    def verdict(self) -> str:
        """Which law, by how much, and whether this sweep is enough to tell."""
        table = self.table_of(self.decisive)
        error = float(table["mre"][self.best])
        others = table[table["mre"].notna()].drop(self.best).sort_values("mre")
        sentences = [f"{self.best} is off by {_percent(error)} on {self._what()}."]
        open_ones = self.passed_over(self.decisive)
        aside = [name for name in others.index if open_ones[self.laws.index(name)]]
        sentences += map(_aside, aside, others.loc[aside, "difference"])
        others = others.drop(aside)
        same = others["difference"].abs() < SAME
        if same.any():
            sentences.append(f"{', '.join(others.index[same])} predicts the same here.")
        if not same.all():
            sentences.append(_against(others[~same]))
        return " ".join([*sentences, *self._about_noise(error)])

    def _what(self) -> str:
        names = {"both": "later budgets of unseen mixtures", "mixtures": "unseen mixtures"}
        return names.get(self.decisive, f"held-out points ({self.decisive})")

    def _about_noise(self, error: float) -> list[str]:
        floor = self.noise.least()
        if not np.isfinite(floor):
            return ["The noise is unknown: no replicates, and too few budgets for curves."]
        if error < 1.5 * floor:
            return [f"That is about the noise, {_percent(floor)}: no law could do much better."]
        return [f"The noise is {_percent(floor)}, so the law still misses something."]

    def _splits(self, kind: str) -> np.ndarray:
        return np.flatnonzero([k == kind for k in self.kinds])

    def _by_target(self, kind: str) -> np.ndarray:
        """(laws, targets) mean error over repetitions."""
        each = _nanmean(self.error[:, self._splits(kind)], axis=2)
        return _nanmean(each, axis=1)

    def _mean_errors(self, kind: str) -> np.ndarray:
        return _nanmean(self._by_target(kind), axis=1)

    def _scores(self, kind: str, law: int) -> dict[str, object]:
        means, by_target = self._mean_errors(kind), self._by_target(kind)[law]
        difference, standard_error = self._difference(kind, law, self._trusted(kind))
        ranks = [self._ranking(law, split) for split in self._splits(kind)]
        r2, rho, regret = np.array(ranks).T
        worst = int(np.nanargmax(by_target)) if np.isfinite(by_target).any() else 0
        return {
            "mre": float(means[law]),
            "difference": difference,
            "se": standard_error,
            "worst_target": self.targets[worst],
            "worst": float(by_target[worst]),
            "r2_mixtures": float(_nanmean(r2, axis=0)),
            "spearman": float(_nanmean(rho, axis=0)),
            "regret": float(_nanmean(regret, axis=0)),
        }

    def _difference(self, kind: str, law: int, other: int) -> tuple[float, float]:
        """Mean difference of two laws' errors and its standard error, mixtures being the units."""
        splits = self._splits(kind)
        apart = _nanmean(self.error[law, splits] - self.error[other, splits], axis=2)
        units = [_nanmean(apart[:, self.group == g], axis=None) for g in np.unique(self.group)]
        known = np.array(units)[np.isfinite(units)]
        if law == other:
            return 0.0, 0.0
        spread = np.std(known, ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan
        means = self._mean_errors(kind)
        return float(means[law] - means[other]), float(spread)

    def _ranking(self, law: int, split: int) -> tuple[float, float, float]:
        """R² and rank correlation across mixtures, and regret, at the last budget they share.

        Of models of one size; the mean over sizes, where there are several.
        """
        size = np.zeros(len(self.budget)) if self.size is None else self.size
        each = [self._ranking_of(law, split, size == one) for one in np.unique(size)]
        r2, rho, regret = _nanmean(np.array(each), axis=0)
        return float(r2), float(rho), float(regret)

    def _ranking_of(self, law: int, split: int, those: np.ndarray) -> tuple[float, float, float]:
        rows = self._last_rows(split, those)
        scored, predicted = self.scored[split][rows], self.predicted[law, split][rows]
        measured = np.where(scored, self.measured[rows], np.nan)
        pairs = [_finite(y, p) for y, p in zip(measured.T, predicted.T, strict=True)]
        r2, rho = ([score(*pair) for pair in pairs] for score in (r_squared, spearman))
        complete = scored.all(axis=1)
        total, guess = measured[complete].mean(axis=1), predicted[complete].mean(axis=1)
        regret = total[np.argmin(guess)] - total.min() if len(total) > 1 else np.nan
        return float(_nanmean(r2, axis=0)), float(_nanmean(rho, axis=0)), float(regret)

    def _last_rows(self, split: int, those: np.ndarray) -> np.ndarray:
        """Of those, the scored points at the largest budget that most of their mixtures have."""
        rows = np.flatnonzero(those & self.scored[split].any(axis=1))
        budgets, counts = np.unique(self.budget[rows], return_counts=True)
        at = budgets[counts >= 0.9 * counts.max()].max() if len(budgets) else np.nan
        return rows[np.isclose(self.budget[rows], at, rtol=1e-9)]


def _against(others: pd.DataFrame) -> str:
    """What the paired differences of the other laws, best first, allow to say."""
    differences = others[["difference", "se"]].to_numpy()
    close = ~(others["difference"] > CERTAIN * others["se"]).to_numpy()
    if not close.any():
        least = " ± ".join(map(_points, differences[0]))
        return f"That is {least} points less than {others.index[0]}, the next: enough to tell."
    apart = [f"{100 * more:+.2f} ± {_points(spread)}" for more, spread in differences]
    names = ", ".join(
        f"{law} ({d})" for law, d, c in zip(others.index, apart, close, strict=True) if c
    )
    return f"This sweep is not enough to tell it from {names} points; measure more mixtures."


def _aside(law: str, difference: float) -> str:
    """About a law that is passed over."""
    than = "less" if difference < 0 else "more"
    return (
        f"{law}, {_points(abs(difference))} points {than}, is passed over: most of the runs it was "
        "fitted to leave its coefficients open."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _finite(measured: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(measured) & np.isfinite(predicted)
    return measured[known], predicted[known]


def _nanmean(values: "np.ndarray | list[float]", axis: int | None) -> np.ndarray:
    """Mean of what is not nan, nan of nothing, without NumPy's warning."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
