"""Certainty of a recommended mixture: over resamples, and between laws."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bimix_jax.fitting.fitted import Fit
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.decision import Decision, Request
from bimix_jax.mixture.optimum import Optimum, optimize_mixture
from bimix_jax.mixture.proportions import Method, Objective
from bimix_jax.printable import Drawn, html_summary
from bimix_jax.reading.names import align_mixtures
from bimix_jax.reading.settings import check_made, settings_of
from bimix_jax.uncertainty._differences import Differences, better
from bimix_jax.uncertainty._guardrails import Guardrails, surely_kept
from bimix_jax.uncertainty._left_out import calibration_of_left_out
from bimix_jax.uncertainty._near_best import indistinct_range
from bimix_jax.uncertainty._spread import known_mean, known_variance, note_on_reach, units_needed
from bimix_jax.uncertainty.bootstrap import Bootstrap
from bimix_jax.uncertainty.calibration import Calibration


class BetweenLaws(NamedTuple):
    """The optima of several laws, and the gain that each law predicts for them."""

    mixtures: pd.DataFrame
    """(domains, laws) optimal proportions by law, then `least` and `largest`"""
    gains: pd.DataFrame
    """(laws, laws) gain over the reference, predicted by the row's law for the column's optimum"""


def between_laws(
    fits: Sequence[Fit],
    budget: float | None = None,
    weights: Any = None,
    reference: Any = None,
    constraints: Constraints | None = None,
) -> BetweenLaws:
    """Compare the optima of laws that were fitted to one sweep.

    Args:
        fits: of different laws; their names are the labels.
        budget, weights, reference, constraints: as `optimize_mixture` takes them; a law that
            cannot express every target counts the targets that it can.

    Raises:
        ValueError: as `optimize_mixture`, on domains that differ, or a law that is there twice.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> found = bx.between_laws([bx.fit(sweep, law) for law in (bx.BiMix(), bx.LogLinear())])
    >>> found.gains.loc["BiMix", "BiMix"] >= found.gains.loc["BiMix", "LogLinear"]
    np.True_
    """
    for i, fitted in enumerate(fits):
        check_made(fitted, Fit, f"fits[{i}]")
    names = [fitted.law.label for fitted in fits]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"fits are of {', '.join(names) or 'no law'}; expected different laws.")
    domains = fits[0].domains
    if any(fitted.domains != domains for fitted in fits):
        raise ValueError("fits differ in their domains; expected fits to one sweep.")
    if isinstance(reference, str):  # laws that express other targets would have another best run
        weighted = _its_own(weights, fits[0], fits)
        request = Request(constraints, reference)
        reference = Decision.of(fits[0], budget, weighted, request).reference
    optima = [
        optimize_mixture(
            fitted,
            budget,
            _its_own(weights, fitted, fits),
            reference=reference,
            constraints=constraints,
        )
        for fitted in fits
    ]
    mixtures = pd.DataFrame({name: best.mixture for name, best in zip(names, optima, strict=True)})
    gains = [
        _gains(fitted, best.budget, best.weights.to_numpy(), best.reference, mixtures)
        for fitted, best in zip(fits, optima, strict=True)
    ]
    spread = {"least": mixtures.min(axis=1), "largest": mixtures.max(axis=1)}
    table = pd.DataFrame(gains, index=pd.Index(names, name="predicted by"), columns=names)
    return BetweenLaws(mixtures.assign(**spread).rename_axis("domain"), table)


def _its_own(weights: Any, fitted: Fit, fits: Sequence[Fit]) -> Any:
    """Weights of targets that a law can express; targets of no law stay, so that they are named."""
    if not isinstance(weights, Mapping):
        return weights
    known = {target for each in fits for target in each.targets}
    return {t: w for t, w in weights.items() if t in fitted.targets or t not in known}


def _gains(
    fitted: Fit, budget: float, weights: np.ndarray, reference: pd.Series, mixtures: pd.DataFrame
) -> np.ndarray:
    """(mixtures,) gain over the reference that a fit predicts for each column."""
    values = np.vstack([reference.to_numpy(), mixtures.to_numpy().T])
    # Losses of weight 0 may be infinite. The sum of the weights cancels in the ratio.
    losses = fitted.known_points(values, budget)[:, weights > 0] @ weights[weights > 0]
    return 1 - losses[1:] / losses[0]


@dataclasses.dataclass(frozen=True)
class Certainty(Drawn):
    """A recommended mixture and its uncertainty over resamples; made by `certainty`.

    Gains are fractions of the reference's mean loss, or of its mean distance to the maximum of
    scores (`gain_text` has points). There are three: `gain`, predicted by the fit
    for the recommended mixture; `gains`, predicted by every resample for that same mixture;
    `own_gains`, predicted by every resample for its own optimum.
    """

    optimum: Optimum
    """optimum of the whole sweep: the recommendation, with intervals of the proportions"""
    bootstrap: Bootstrap
    level: float
    mixtures: np.ndarray
    """(resamples, domains) optimum of every resample, nan where it failed"""
    gains: np.ndarray
    """(resamples,) gain of the recommended mixture"""
    own_gains: np.ndarray
    """(resamples,) gain of the resample's own optimum"""
    judged_gains: np.ndarray
    """(resamples,) gain of the resample's own optimum, predicted by the fit to the whole sweep"""
    influence: pd.DataFrame
    """table with a row per unit that was left out, see `certainty`"""
    errors: Differences
    """errors of differences of the objective between mixtures that were left out"""
    asked_guardrails: Guardrails
    """guardrails as asked for; a `guard_probability` makes those of `optimum` tighter"""

    def __repr__(self) -> str:
        gain, probability = self.gain_text(self.gain), self.shown_probability()
        return f"Certainty({self.optimum!r}; gain {gain}, better with probability {probability})"

    def _repr_html_(self) -> str:
        return html_summary(self.verdict(), self.optimum.shown_tables(), self.notes())

    @property
    def gain(self) -> float:
        """Gain of the recommended mixture, predicted by the fit to the whole sweep."""
        best, reference = map(float, self.optimum.solution.values[:2])
        return 1 - best / reference

    def gain_text(self, gain: float) -> str:
        """Gain as text: in percent of the reference's mean loss, or in points of the score."""
        unit = "points" if self.optimum.decision.of_scores else "%"
        return f"{100 * self.stated(gain):.2f} {unit}"

    def stated(self, gain: float) -> float:
        """Gain as it is stated: a fraction of the mean loss, or 0.01 for a point of a score."""
        decision, value = self.optimum.decision, float(self.optimum.solution.values[1])
        return float(decision.shown_gain(gain * value)) / 100 if decision.of_scores else gain

    @property
    def possible_gains(self) -> np.ndarray:
        """(resamples,) plausible true gains of the recommended mixture, if the law is true.

        An optimiser overestimates its own optimum (the winner's curse). In the resampled world the
        fit to the whole sweep is the truth, so the error is known there: a resample predicts
        `own_gains` for its optimum, and the truth is `judged_gains`. The difference is subtracted
        from the gain.
        """
        # true = predicted − excess; the excess is known in the resampled world alone.
        return self.gain - (self.own_gains - self.judged_gains)

    @property
    def optimism(self) -> float:
        """Mean excess of the predicted gain over the true one, which optimisation causes."""
        return float(known_mean(_tamed(self.own_gains - self.judged_gains)))

    @property
    def corrected_gain(self) -> float:
        """The gain that is expected, in the middle of its interval: without the optimism, and less
        where the law exaggerates differences between mixtures that were left out."""
        return self.errors.slope * (self.gain - self.optimism)

    @functools.cached_property
    def variance(self) -> tuple[float, float]:
        """Variance of the gain, and its part over the resamples.

        The rest is what the law misses, from the errors of differences between mixtures without
        which it was fitted; those of single runs contain the noise of these.
        """
        sampling = float(known_variance(_tamed(self.possible_gains)))
        best = self.optimum
        apart = np.abs(best.mixture.to_numpy() - best.reference.to_numpy()).sum() / 2
        (whole,) = self.errors.variance(np.array([sampling]), np.array([apart]))
        return float(whole), float(min(self.errors.slope**2 * sampling, whole))

    @property
    def probability(self) -> float:
        """Probability that the recommended mixture beats the reference."""
        gain = np.array([self.gain - self.optimism])
        return float(self.errors.probability(gain, np.array([self.variance[0]]))[0])

    def gain_interval(self) -> tuple[float, float]:
        """Low and high end of the true gain of the recommended mixture over the reference."""
        half = float(self.errors.spread.student(self.level)[0]) * np.sqrt(self.variance[0])
        return self.corrected_gain - half, self.corrected_gain + half

    def plausible_gains(self, count: int) -> np.ndarray:
        """(count,) gains at equal steps of probability, of the distribution that is stated."""
        spread = self.errors.spread
        quantiles = stdtrit(max(spread.units[0] - 1, 1), (np.arange(count) + 0.5) / count)
        return self.corrected_gain + np.sqrt(self.variance[0]) * quantiles

    @functools.cached_property
    def guardrails(self) -> pd.DataFrame:
        """Probability with which the recommended mixture keeps each guardrail.

        Rows by guarded target; columns `allowed` and predicted `increase` of its loss over the
        guarded mixture, fractions (of a score the decrease, 0.01 for a point), and `probability`
        that it increases by no more than allowed. Empty without guardrails.
        """
        rails = self.asked_guardrails
        kept = rails.at(self.optimum.mixture.to_numpy())
        names = [rails.decision.fitted.targets[target] for target in rails.targets]
        unit = rails.decision.guard_scale[rails.targets]
        found = {"allowed": rails.allowed * unit, "increase": kept.increase * unit}
        return pd.DataFrame(
            {**found, "probability": kept.probability}, index=pd.Index(names, name="target")
        )

    def beats(self, mixtures: Any) -> pd.Series:
        """Probability that the recommended mixture is better than each of some others.

        Args:
            mixtures: as `Fit.predict` takes them, one or several.

        >>> import bimix_jax as bx
        >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
        >>> sure = bx.certainty(bx.bootstrap(sweep, bx.BiMix(), n=200), 2 * sweep.largest_budget)
        >>> bool((sure.beats(sweep.mixtures) > 0.5).all())
        True
        """
        values, labels = align_mixtures(mixtures, self.bootstrap.fitted.domains)
        return pd.Series(self._beats(values), index=labels, name="probability")

    def _beats(self, mixtures: np.ndarray) -> np.ndarray:
        best = np.broadcast_to(self.optimum.mixture.to_numpy(), mixtures.shape)
        return better(self.bootstrap, self.optimum.decision, best, mixtures, self.errors)

    @functools.cached_property
    def indistinct(self) -> pd.DataFrame:
        """Range of each proportion, low and high, among the mixtures that cannot be told from the
        recommended one: it is better than them with less than the probability `level`.

        Each end is that of one mixture, whose other proportions are as good as they can be. Nan
        where there is no probability.
        """
        low, high = indistinct_range(self.bootstrap, self.optimum, self.errors, self.level)
        return pd.DataFrame({"low": low, "high": high}, index=self.optimum.mixture.index)

    @functools.cached_property
    def calibration(self) -> Calibration:
        """How often intervals of losses and probabilities hold at the units that were left out,
        at the budget nearest to the decision's; no fit is made."""
        return calibration_of_left_out(self.bootstrap, self.optimum.decision)

    @property
    def ends(self) -> pd.DataFrame:
        """Low and high end of the optimal proportion, by domain."""
        low, high = self.bootstrap.interval(self.mixtures, self.level)
        return pd.DataFrame({"low": low, "high": high}, index=self.optimum.mixture.index)

    def verdict(self) -> str:
        """The gain, its interval and the probability in one sentence."""
        low, high = self.gain_interval()
        gain = f"The predicted gain over the reference is {self.gain_text(self.gain)}"
        if np.isnan(low):
            return f"{gain}; how sure that is cannot be said from so few mixtures."
        return (
            f"{gain}, {100 * self.level:.0f} % interval {self.gain_text(low)} to "
            f"{self.gain_text(high)}; the recommended mixture is better with probability "
            f"{self.shown_probability()}. {self._parts((high - low) / 2)}"
        )

    def _parts(self, half: float) -> str:
        """Parts of half an interval."""
        whole, sampling = self.variance
        # Variances add, widths do not: each part has its share of the variance.
        noise = half * sampling / whole if whole > 0 else half
        return (
            f"Of the ± {self.gain_text(half)}, {self.gain_text(noise)} is from the choice of the "
            f"runs; {self.gain_text(half - noise)} is the error of {self.bootstrap.fitted.label} "
            "at runs that it was not fitted to."
        )

    def shown_probability(self) -> str:
        """Probability as text, never as 0 or 1."""
        # At 0.995 two digits would round to 1.
        if self.probability > 0.995:
            return "above 0.99"
        if self.probability < 0.005:
            return "below 0.01"
        return f"{self.probability:.2f}"

    def document(self) -> dict[str, Any]:
        """All results but the resamples as nested dictionaries, for JSON."""
        low, high = self.gain_interval()
        own = self.bootstrap.interval(self.own_gains, self.level)
        gains = {"value": self.gain, "low": low, "high": high, "optimism": self.optimism}
        return {
            **self.optimum.document(),
            "level": self.level,
            "gain": {name: self.stated(value) for name, value in gains.items()},
            "gain_of_own_optimum": {
                name: self.stated(float(end))
                for name, end in zip(("low", "high"), own, strict=True)
            },
            "probability": self.probability,
            "verdict": self.verdict(),
            "indistinct": self.indistinct,
            "guardrails": self.guardrails,
            "influence": self.influence,
            "resamples": len(self.gains),
            "notes": self.notes(),
        }

    def notes(self) -> list[str]:
        """Notes on the numbers."""
        doubt = self.optimum.gain_notes
        # The verdict replaces the notes on the gain, which use the error of the fit alone.
        others = [
            note for note in self.optimum.notes if note not in doubt or np.isnan(self.probability)
        ]
        said = (*others, *self.bootstrap.notes, *self._scope(), CONDITIONAL)
        return list(dict.fromkeys(said))

    def _scope(self) -> list[str]:
        """Notes on what the interval of the gain rests on."""
        units, needed = int(self.errors.spread.units[0]), units_needed(self.level)
        if units < needed:
            return [
                f"An interval of {100 * self.level:g} % of the gain needs {needed} mixtures with "
                f"every weighted loss measured; there are {units}. Measure more."
            ]
        notes = list(note_on_reach(self.errors.ratio, self.errors.tested))
        if self.errors.slope < EXAGGERATED:
            notes.append(
                f"{self.bootstrap.fitted.label} exaggerates differences between mixtures: at those "
                f"that were left out they were {100 * self.errors.slope:.0f} % of the predicted "
                "ones, and so the gain is expected to be. The mixture may not be the best one; try "
                "another law."
            )
        return notes


CONDITIONAL = (
    "Intervals of the proportions show the uncertainty from the runs alone: they leave out the "
    "errors of the law."
)
EXAGGERATED = 0.85
"""Slope of measured differences in predicted ones below which a note says so."""


class _Further(TypedDict, total=False):
    """The fields of `Request` as keyword arguments."""

    constraints: Constraints | None
    reference: Any
    objective: Objective
    method: Method


def certainty(
    bootstrap: Bootstrap,
    budget: float | None = None,
    weights: Any = None,
    *,
    level: float = 0.9,
    guard_probability: float | None = None,
    **further: Unpack[_Further],
) -> Certainty:
    """Find the best mixture at a budget, and its uncertainty.

    Args:
        bootstrap: from `bx.bootstrap`.
        budget: as `optimize_mixture` takes it.
        weights: likewise.
        level: share of the sweeps in which an interval is to cover the truth.
        guard_probability: probability with which the recommended mixture keeps each guardrail, from
            0.5; default that it keeps them by prediction, a guardrail that binds thus about half of
            the time.
        further: `constraints`, `reference`, `objective` and `method`, likewise. Every resample
            keeps the constraints, with guardrails on its own predictions.

    Returns:
        A `Certainty`. Its `influence` has one row per unit of the bootstrap (a mixture with all its
        runs, or a run), the most influential first: how far the optimum moves without it (`moved`,
        total variation distance, the share of the tokens that change their domain), the `domain`
        whose share changes most and its `change`, and the `gain` predicted without the unit for the
        optimum found without it.

    Raises:
        ValueError: as `optimize_mixture`, on a level not between 0 and 1, or on guardrails that no
            mixture keeps so surely.
        TypeError: on an argument that does not exist; the message names the nearest one.

    >>> import bimix_jax as bx
    >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
    >>> sure = bx.certainty(bx.bootstrap(sweep, bx.BiMix(), n=200), 2 * sweep.largest_budget)
    >>> low, high = sure.gain_interval()
    >>> low < sure.gain < high and 0 < sure.probability < 1
    True
    """
    check_made(bootstrap, Bootstrap, "bootstrap")
    request = settings_of(Request, certainty, further)
    decision = Decision.of(bootstrap.fitted, budget, weights, request)
    rails = Guardrails.of(bootstrap, decision)
    if guard_probability is not None:
        decision = surely_kept(bootstrap, decision, guard_probability)
    best = _with_finite_reference(Optimum.of(decision))
    resampled, left_out = _decided(bootstrap, decision, best)
    # A resample that lost a weighted target would optimise something else.
    failed = np.any(bootstrap.failed[:, decision.weights > 0], axis=1)
    mixtures, values, judged = _without(resampled, failed)
    sure = Certainty(
        optimum=best,
        bootstrap=bootstrap,
        level=level,
        mixtures=mixtures,
        gains=1 - values[:, 2] / values[:, 1],
        own_gains=1 - values[:, 0] / values[:, 1],
        judged_gains=1 - judged / best.solution.values[1],
        influence=_influence(bootstrap.runs, best, left_out),
        errors=Differences.of(bootstrap, decision),
        asked_guardrails=rails,
    )
    return dataclasses.replace(sure, optimum=dataclasses.replace(best, intervals=sure.ends))


def _with_finite_reference(best: Optimum) -> Optimum:
    """Return the optimum, or raise ValueError where the loss of its reference is infinite."""
    if np.isfinite(best.solution.values[1]):
        return best
    raise ValueError(
        f"reference: {best.decision.fitted.law.label} has no finite loss there, because a target "
        "that counts depends on a domain whose share is 0. The uncertainty of a gain over it "
        "cannot be computed; give a reference with a share of each domain."
    )


def _decided(bootstrap: Bootstrap, decision: Decision, best: Optimum) -> tuple[tuple, tuple]:
    """Optima and objectives of every resample, and of every fit without a run.

    Each is a tuple of arrays with a leading axis (fits,): the fit's optimum (domains,), its
    objectives (3,) of that, of the reference and of the recommended mixture, and the objective ()
    that the fit to the whole sweep predicts for its optimum.
    """
    # In one batch, so that one program finds them all.
    both = jax.tree.map(
        lambda *parts: np.concatenate(parts),
        bootstrap.resampled.coefficients,
        bootstrap.left_out.coefficients,
    )
    own = decision.over(both, others=np.stack([best.reference, best.mixture]))
    judged = decision.values_of(own.mixture, decision.budget)
    every, count = (own.mixture, own.values, judged), len(bootstrap.failed)
    return tuple(part[:count] for part in every), tuple(part[count:] for part in every)


def _without(parts: tuple, failed: np.ndarray) -> tuple:
    """Replace the values of failed resamples by nan."""
    return tuple(
        np.where(failed.reshape(-1, *[1] * (part.ndim - 1)), np.nan, part) for part in parts
    )


def _influence(runs: tuple[str, ...], best: Optimum, left_out: tuple) -> pd.DataFrame:
    mixtures, values, _ = left_out
    change = mixtures - best.mixture.to_numpy()
    # A run whose absence makes the fit fail has nan here, and comes first in the table.
    most = np.argmax(np.abs(np.nan_to_num(change)), axis=1)
    rows = np.arange(len(runs))
    of_scores, gain = best.decision.of_scores, values[:, 1] - values[:, 0]
    table = pd.DataFrame(
        {
            # Half the sum of absolute changes is the total variation distance of two mixtures.
            "moved": np.abs(change).sum(axis=1) / 2,
            "domain": best.mixture.index.to_numpy()[most],
            "change": change[rows, most],
            "gain": best.decision.shown_gain(gain) / 100 if of_scores else gain / values[:, 1],
        },
        index=pd.Index(runs, name="without run"),
    )
    return table.sort_values("moved", ascending=False, na_position="first", kind="stable")


WILD = 0.02
"""Share of the resamples at either end whose values are moved to those of the rest: a mean and a
variance must not hang on a few fits that went astray."""


def _tamed(values: np.ndarray) -> np.ndarray:
    """Values (resamples,) within the quantiles of most of them (winsorised); nan stays."""
    known = values[np.isfinite(values)]
    return np.clip(values, *np.quantile(known, [WILD, 1 - WILD])) if len(known) else values
