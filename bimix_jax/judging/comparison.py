"""Comparison: laws beside each other on held-out points, and a verdict in words."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bimix_jax.judging.evaluate import r_squared, spearman
from bimix_jax.judging.noise import NoiseFloor
from bimix_jax.printable import Drawn, html_summary
from bimix_jax.quantities import counted

Method = TypeVar("Method", bound=Callable[..., Any])

CERTAIN = 2.0
"""Number of standard errors below which a difference is not significant."""
EARNED = 0.5
"""Standard errors by which a flexible law has to win; such a lead is real about two times in three.
With 1, real leads are lost to simpler laws; with 0, a law wins by chance."""
HALF = 0.5
"""Share of unidentified fits beyond which a law is excluded."""
CLEAR, MUCH, ENOUGH = 4.0, 0.3, 8
"""A law is clearly worse when it is behind by so many standard errors, and by this share of the
error of the best one, on at least so many held-out mixtures. Without the share, laws are dropped
whose fits one split happens to make worse; with few mixtures the standard error is unknown, too.
In 125 races, of nine sweeps (seven real ones), their kinds of split, and five orders of the splits,
the pick and the laws that are not separated from it were always those of all splits."""
SAME = 1e-6
"""Difference of mean errors (fractions) below which they are equal."""
USEFUL = 1e-4
"""Least difference of mean errors (fractions) that matters: a ten-thousandth of a loss is below the
third decimal, with which losses are quoted, and below the spread of runs that differ in their seed
alone."""


def _once(method: Method) -> Method:
    """Compute a method once for each of its arguments: a table asks for most numbers many times."""

    @functools.wraps(method)
    def found(self: Any, *asked: Any) -> Any:
        known = self.__dict__.setdefault("_known", {})
        if (method.__name__, asked) not in known:
            known[method.__name__, asked] = method(self, *asked)
        return known[method.__name__, asked]

    return found  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class Comparison(Drawn):
    """Held-out predictions of several laws on the same points; made by `compare`."""

    laws: tuple[str, ...]
    targets: tuple[str, ...]
    kinds: tuple[str, ...]
    """(splits,) kind of each split; splits of one kind are repetitions"""
    test: np.ndarray
    """(splits, points) bool"""
    measured: np.ndarray
    """(points, targets), nan where not measured"""
    predicted: np.ndarray
    """(laws, splits, points, targets)"""
    unidentified: np.ndarray
    """(laws, splits, targets) bool: the train part did not identify the law's coefficients"""
    budget: np.ndarray
    """(points,)"""
    group: np.ndarray
    """(points,) int, the mixture of each point"""
    noise: NoiseFloor
    notes: tuple[str, ...] = ()
    coefficients: tuple[int, ...] = ()
    """(laws,) number per target; the law with the fewest is the simplest, or the first of
    several"""
    usable: np.ndarray | None = None
    """(laws, points, targets) bool: the law has a value there; None for everywhere"""
    called: tuple[tuple[str, ...], ...] = ()
    """(laws, splits) simplest law to which each fit reduces, where it is not the law itself"""
    size: np.ndarray | None = None
    """(points,) parameters of the model, where there are several"""
    fitted: np.ndarray | None = None
    """(laws, splits) bool: the law was fitted to the train part; None for all. A law that is
    clearly worse after some splits is dropped from the others of the kind"""
    stacks: tuple[bool, ...] = ()
    """(laws,) the law combines several others (`Stacked`)"""
    of_scores: tuple[bool, ...] = ()
    """(targets,) the target is a score, measured and predicted by its distance to the maximum"""

    def __repr__(self) -> str:
        kinds = ", ".join(self.kinds)
        return (
            f"Comparison({', '.join(self.laws)}; held out: {kinds}; best: {self.best}; "
            f"{counted(len(self.targets), 'target')})"
        )

    def _repr_html_(self) -> str:
        return html_summary(self.verdict(), {"errors at held-out points": self.table()}, self.notes)

    @functools.cached_property
    def stated(self) -> np.ndarray:
        """(laws, splits, points, targets) bool: held out, measured, and usable for the law."""
        wanted = self.test[:, :, None] & np.isfinite(self.measured)
        everywhere = np.ones((len(self.laws), *self.measured.shape), bool)
        usable = everywhere if self.usable is None else self.usable
        return np.asarray(wanted & usable[:, None] & self.judged[:, :, None, None])

    @functools.cached_property
    def judged(self) -> np.ndarray:
        """(laws, splits) bool: all, without those from which a law was dropped."""
        everything = np.ones((len(self.laws), len(self.kinds)), bool)
        return everything if self.fitted is None else self.fitted

    @functools.cached_property
    def scored(self) -> np.ndarray:
        """(laws, splits, points, targets) bool: stated, and the prediction is finite."""
        return np.asarray(self.stated & np.isfinite(self.predicted))

    @functools.cached_property
    def common(self) -> np.ndarray:
        """(splits, points, targets) bool: scored for every law that is judged on the split."""
        return np.asarray((self.scored | ~self.judged[:, :, None, None]).all(axis=0))

    @functools.cached_property
    def error(self) -> np.ndarray:
        """(laws, splits, points, targets) |y − ŷ|/y of scored points, |e − ê| of scores; nan
        elsewhere."""
        scores = np.array(self.of_scores or [False] * len(self.targets))
        scale = np.where(scores, 1.0, self.measured)
        return np.where(self.scored, np.abs(self.predicted - self.measured) / scale, np.nan)

    @property
    def decisive(self) -> str:
        """Kind of split that decides: the most demanding one."""
        return next(kind for kind in ("both", "mixtures", *self.kinds) if kind in self.kinds)

    @property
    def best(self) -> str:
        """Recommended law: `best_of` the decisive kind of split."""
        return self.best_of(self.decisive)

    def best_of(self, kind: str) -> str:
        """Recommended law for a kind of split: the simplest one close to the least error.

        Close means within half a standard error, or within a difference that does not matter
        (`USEFUL`); simple means few coefficients. So a flexible law has to earn its coefficients: a
        law that wins on a few held-out mixtures by chance loses on the next ones. Laws are excluded
        whose coefficients most train parts do not identify, unless that is true of all: their
        predictions depend on the start of the search. Of the others, laws are excluded without a
        value at held-out losses where another law has one, as BiMix at an own proportion of 0.

        A stack of several laws is recommended instead, unless that one law predicts the same or is
        better by two standard errors: which of several good laws predicts further runs best is
        hardly seen in those at hand, and their centre is about as good as the best of them.
        """
        return self.laws[self._trusted(kind)]

    def called_in(self, kind: str, law: str) -> str:
        """Name of a law: the simpler one to which all its fits of a kind reduce, if any."""
        number = self.laws.index(law)
        each = self._judged_splits(kind, number)
        names = {self.called[number][i] for i in each} if self.called else {law}
        return names.pop() if len(names) == 1 else law

    @_once
    def _trusted(self, kind: str) -> int:
        errors = self._errors_in_play(kind)
        stacked = np.array(self.stacks or [False] * len(self.laws))
        stacks, single = (np.where(those, errors, np.nan) for those in (stacked, ~stacked))
        if not (np.isfinite(stacks).any() and np.isfinite(single).any()):
            return self._simplest(kind, errors)
        stack, one = int(np.nanargmin(stacks)), self._simplest(kind, single)
        more, spread = self._difference(kind, stack, one)
        surely = more > np.fmax(CERTAIN * spread, USEFUL)
        return one if surely or abs(more) < SAME else stack

    def _simplest(self, kind: str, errors: np.ndarray) -> int:
        """Simplest law that is close to the least of the errors (laws,)."""
        least = int(np.nanargmin(errors))
        apart = [self._difference(kind, law, least) for law in range(len(self.laws))]
        # `fmax` ignores a nan spread, as of a single mixture.
        more, spread = np.array(apart).T
        close = (more <= np.fmax(EARNED * spread, USEFUL)) & np.isfinite(errors)
        counts = np.asarray(self.coefficients or np.zeros(len(self.laws)))
        return int(np.argmin(np.where(close, counts, np.inf)))

    def _errors_in_play(self, kind: str) -> np.ndarray:
        """(laws,) mean errors, nan of laws that cannot be recommended."""
        aside = self.excluded(kind) | self.without_value(kind) | self.dropped(kind)
        return np.where(aside, np.nan, self._mean_errors(kind))

    def behind(self, kind: str) -> np.ndarray:
        """(laws,) bool: clearly worse than the law with the least error, see `CLEAR`."""
        errors = self._errors_in_play(kind)
        if not np.isfinite(errors).any():
            return np.zeros(len(errors), bool)
        least = int(np.nanargmin(errors))
        apart = [self._difference(kind, law, least) for law in range(len(self.laws))]
        more, spread = np.array(apart).T
        held = self.test[self._judged_splits(kind, least)].any(axis=0)
        enough = len(np.unique(self.group[held])) >= ENOUGH
        return np.asarray(enough & (more > CLEAR * spread) & (more > MUCH * errors[least]))

    def dropped(self, kind: str) -> np.ndarray:
        """(laws,) bool: not judged on all splits of the kind, as clearly worse after the others."""
        return np.asarray(~self.judged[:, self._splits(kind)].all(axis=1))

    def excluded(self, kind: str) -> np.ndarray:
        """(laws,) bool: most train parts do not identify the law, but they identify another one."""
        those = self._splits(kind)
        judged = self.judged[:, those]
        open_ones = (self.unidentified[:, those].mean(axis=2) * judged).sum(axis=1)
        vague = open_ones > HALF * judged.sum(axis=1)
        return vague & ~vague.all()

    def without_value(self, kind: str) -> np.ndarray:
        """(laws,) bool: fewer held-out losses are scored than for another identified law."""
        those = self._splits(kind)
        # (laws, splits); compared on the splits of each law.
        count, judged = self.scored[:, those].sum(axis=(2, 3)), self.judged[:, those]
        most = judged.astype(int) @ count[~self.excluded(kind)].T
        return count.sum(axis=1) < most.max(axis=1)

    def table(self) -> pd.DataFrame:
        """Table with a row per kind of split and law.

        Columns: `mre` mean relative error over targets and repetitions, of all held-out losses that
        the law can use, and `mre_common` of those that every law can; `scored` the number of the
        former; `difference` to `best_of` the kind and its standard error `se`, paired, of losses
        that both can use, with mixtures as the units that vary (fractions all); `worst_target` and
        its error `worst`; `r2_mixtures` and `spearman` across mixtures at one budget, mean over
        targets and repetitions; `regret` the measured mean loss (nats) of the held-out mixture that
        the law ranks first above the best one there; these three of losses that every law can use.
        `splits` is the number of repetitions that the law was judged on: fewer than the others if
        it was dropped as clearly worse. The difference of such a law is of the same repetitions.
        """
        return pd.concat({kind: self.table_of(kind) for kind in self.kinds}, names=["split"])

    def table_of(self, kind: str) -> pd.DataFrame:
        """The rows of `table` of one kind of split, by law."""
        rows = [self._scores(kind, number) for number in range(len(self.laws))]
        return pd.DataFrame(rows, index=pd.Index(self.laws, name="law"))

    def verdict(self) -> str:
        """Recommended law, its lead, and whether this sweep suffices to tell."""
        kind, best = self.decisive, self.best
        table = self.table_of(kind)
        error, called = float(table["mre"][best]), self.called_in(kind, best)
        reduced = "" if called == best else f" (as which {best} was fitted)"
        sentences = [f"{called}{reduced} is off by {self.error_text(error)} on {self._what()}."]
        others = table[table["mre"].notna()].drop(best).sort_values(["difference", "mre"])
        for aside, why in ((self.excluded(kind), _open), (self.without_value(kind), _no_value)):
            names = [name for name in others.index if aside[self.laws.index(name)]]
            sentences += [
                why(name, dict(others.loc[name]), dict(table.loc[best])) for name in names
            ]
            others = others.drop(names)
        same = others["difference"].abs() < SAME
        if same.any():
            sentences.append(f"{_names(others.index[same], 'predict')} the same here.")
        little = ~same & _matters_little(others)
        if little.any():
            sentences.append(
                f"{_names(others.index[little], 'differ')} by at most {100 * USEFUL:g} points, too "
                "little to matter."
            )
        if not (same | little).all():
            sentences.append(_against(called, others[~(same | little)]))
        return " ".join([*sentences, *self._about_noise(error)])

    def error_text(self, error: float) -> str:
        """Error as text: in percent, or in points where all targets are scores."""
        return f"{100 * error:.2f} {'points' if all(self.of_scores or [False]) else '%'}"

    def on_common(self, kind: str) -> bool:
        """True where every law can use the same held-out losses."""
        those = self._splits(kind)
        same = self.scored[:, those] == self.common[those]
        return bool(np.all(same | ~self.judged[:, those, None, None]))

    def _what(self) -> str:
        names = {"both": "later budgets of unseen mixtures", "mixtures": "unseen mixtures"}
        return names.get(self.decisive, f"held-out points ({self.decisive})")

    def _about_noise(self, error: float) -> list[str]:
        floor = self.noise.least()
        if not np.isfinite(floor):
            return ["The noise is unknown: there are no replicates and too few budgets for curves."]
        if error < 1.5 * floor:
            return [f"The noise is {self.error_text(floor)}, so no law could do much better."]
        return [f"The noise is {self.error_text(floor)}, so the law still misses something."]

    def _splits(self, kind: str) -> np.ndarray:
        return np.flatnonzero([k == kind for k in self.kinds])

    def _judged_splits(self, kind: str, law: int) -> np.ndarray:
        those = self._splits(kind)
        return those[self.judged[law, those]]

    def _by_target(self, kind: str, error: np.ndarray) -> np.ndarray:
        """(laws, targets) mean over repetitions of an error like `error`."""
        # First over points, then over splits, so that every split counts the same.
        each = _nanmean(error[:, self._splits(kind)], axis=2)
        return _nanmean(each, axis=1)

    @_once
    def _errors_of_targets(self, kind: str) -> np.ndarray:
        """(laws, targets) mean errors."""
        return self._by_target(kind, self.error)

    def _mean_errors(self, kind: str) -> np.ndarray:
        return _nanmean(self._errors_of_targets(kind), axis=1)

    @_once
    def _common_errors(self, kind: str) -> np.ndarray:
        """(laws,) errors on the losses that every law can use."""
        shared = np.where(self.common, self.error, np.nan)
        return _nanmean(self._by_target(kind, shared), axis=1)

    @_once
    def _scores(self, kind: str, law: int) -> dict[str, object]:
        by_target = self._errors_of_targets(kind)[law]
        difference, standard_error = self._difference(kind, law, self._trusted(kind))
        splits = self._judged_splits(kind, law)
        ranks = [self._ranking(law, split) for split in splits]
        r2, rho, regret = np.array(ranks).T
        worst = int(np.nanargmax(by_target)) if np.isfinite(by_target).any() else 0
        return {
            "mre": float(self._mean_errors(kind)[law]),
            "mre_common": float(self._common_errors(kind)[law]),
            "scored": int(self.scored[law, splits].sum()),
            "difference": difference,
            "se": standard_error,
            "worst_target": self.targets[worst],
            "worst": float(by_target[worst]),
            "r2_mixtures": float(_nanmean(r2, axis=0)),
            "spearman": float(_nanmean(rho, axis=0)),
            "regret": float(_nanmean(regret, axis=0)),
            "splits": len(splits),
        }

    @_once
    def _difference(self, kind: str, law: int, other: int) -> tuple[float, float]:
        """Mean difference of two laws' errors and its standard error, with mixtures as units.

        Only losses count that both can use.
        """
        if law == other:
            return 0.0, 0.0
        splits, apart = self._splits(kind), (self.error[law] - self.error[other])[None]
        mean = float(_nanmean(self._by_target(kind, apart), axis=1)[0])
        of_points = _nanmean(apart[0, splits], axis=2)
        # By mixture: points of one mixture share their error and are not independent units.
        known = np.isfinite(of_points)
        total, count = (
            np.bincount(self._unit, each.sum(axis=0))
            for each in (np.where(known, of_points, 0), known)
        )
        units = total[count > 0] / count[count > 0]
        spread = np.std(units, ddof=1) / np.sqrt(len(units)) if len(units) > 1 else np.nan
        return mean, float(spread)

    @functools.cached_property
    def _unit(self) -> np.ndarray:
        """(points,) int, number of the mixture among all."""
        return np.asarray(np.unique(self.group, return_inverse=True)[1].ravel())

    def _ranking(self, law: int, split: int) -> tuple[float, float, float]:
        """R² and rank correlation across mixtures, and regret, at their last common budget.

        For models of one size; the mean over sizes, where there are several.
        """
        size = np.zeros(len(self.budget)) if self.size is None else self.size
        each = [self._ranking_of(law, split, size == one) for one in np.unique(size)]
        r2, rho, regret = _nanmean(np.array(each), axis=0)
        return float(r2), float(rho), float(regret)

    def _ranking_of(self, law: int, split: int, those: np.ndarray) -> tuple[float, float, float]:
        rows = self._last_rows(split, those)
        scored, predicted = self.common[split][rows], self.predicted[law, split][rows]
        measured = np.where(scored, self.measured[rows], np.nan)
        pairs = [_finite(y, p) for y, p in zip(measured.T, predicted.T, strict=True)]
        r2, rho = ([score(*pair) for pair in pairs] for score in (r_squared, spearman))
        complete = scored.all(axis=1)
        total, guess = measured[complete].mean(axis=1), predicted[complete].mean(axis=1)
        # Only rows with every target scored, so that means compare like with like.
        regret = total[np.argmin(guess)] - total.min() if len(total) > 1 else np.nan
        return float(_nanmean(r2, axis=0)), float(_nanmean(rho, axis=0)), float(regret)

    def _last_rows(self, split: int, those: np.ndarray) -> np.ndarray:
        """Select the common points at the largest budget that most of their mixtures have."""
        rows = np.flatnonzero(those & self.common[split].any(axis=1))
        budgets, counts = np.unique(self.budget[rows], return_counts=True)
        # Most mixtures, and not all, because a single short run would lower the budget for all.
        at = budgets[counts >= 0.9 * counts.max()].max() if len(budgets) else np.nan
        return rows[np.isclose(self.budget[rows], at, rtol=1e-9)]


def _names(laws: "pd.Index[str]", verb: str) -> str:
    """Names of laws and a verb that agrees with their number."""
    return f"{', '.join(laws)} {verb}{'s' if len(laws) == 1 else ''}"


def _against(best: str, others: pd.DataFrame) -> str:
    """Conclusion from the paired differences of the other laws, best first."""
    differences = others[["difference", "se"]].to_numpy()
    close = ~(others["difference"] > CERTAIN * others["se"]).to_numpy()
    if not close.any():
        least = " ± ".join(map(_points, differences[0]))
        return f"{best}'s error is {least} points below {others.index[0]}'s, a clear difference."
    apart = [f"{100 * more:+.2f} ± {_points(spread)}" for more, spread in differences]
    names = ", ".join(
        f"{law} ({d})" for law, d, c in zip(others.index, apart, close, strict=True) if c
    )
    return (
        f"The sweep does not separate {best} from {names}, in points of error; measure more "
        "mixtures."
    )


def _matters_little(others: pd.DataFrame) -> pd.Series:
    """True where a difference is small and known well enough to be called so."""
    small = others["difference"].abs() <= USEFUL
    known = (others["se"] <= USEFUL) | (others["difference"].abs() > CERTAIN * others["se"])
    return small & known


def _open(law: str, row: dict[str, Any], best: dict[str, Any]) -> str:
    """Sentence on a law that is excluded."""
    size, than = _points(abs(row["difference"])), "lower" if row["difference"] < 0 else "higher"
    error = "the same error" if size == _points(0.0) else f"a {size}-point {than} error"
    return (
        f"{law} has {error} but was excluded: in most training splits its coefficients are not "
        "identified."
    )


def _no_value(law: str, row: dict[str, Any], best: dict[str, Any]) -> str:
    """Sentence on a law that is excluded because it has no value at some held-out losses."""
    lost = int(best["scored"] - row["scored"])
    return (
        f"{law} was excluded: it has no value at {lost} of {int(best['scored'])} held-out losses. "
        f"On the others its error differs by {100 * row['difference']:+.2f} ± "
        f"{_points(row['se'])} points."
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _finite(measured: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(measured) & np.isfinite(predicted)
    return measured[known], predicted[known]


def _nanmean(values: "np.ndarray | list[float]", axis: int | None) -> np.ndarray:
    """Mean of values that are not nan, nan for none, without NumPy's warning."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
