"""Fit: a law with its coefficients, keyed by name; predicts, shows and saves itself."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jax import Array

from bimix_jax.fitting._runs import ObservedRuns
from bimix_jax.fitting.coefficients import FAILED, Code, Coefficients, predict_losses
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws.law import Law
from bimix_jax.printable import Drawn, html_summary
from bimix_jax.quantities import counted, numbers_of, quantity_text
from bimix_jax.reading.metadata import UNSTATED, Metadata
from bimix_jax.reading.names import SHOWN, align_mixtures
from bimix_jax.reading.targets import Target, as_measured
from bimix_jax.xla.compilation import jit

FAR = 2.0
"""Multiple of the largest observed budget beyond which a budget is flagged."""
NOTICED = 0.005
"""Distance of a proportion from the nearest blend of the observed mixtures beyond which a mixture
is flagged; rounding, and the 1e-8 of the search for that blend, are less."""
APART, AGREED = 3.0, 0.01
"""Members of a law disagree where one is farther away than this multiple of the largest distance at
the mixtures of the sweep, and farther than this difference of log losses."""
FEW, MANY = 16, 4096
"""Numbers of points between which predictions are compiled for powers of two only."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "coefficients",
        "code",
        "identified",
        "points",
        "sum_of_squares",
        "error",
        "observed_proportions",
        "observed_budgets",
        "shrinkage",
        "agreement",
        "observed_mixtures",
    ],
    meta_fields=["law", "domains", "targets", "unit", "options"],
    drop_fields=["notes", "sweep_digest", "metadata", "runs"],
)
@dataclasses.dataclass(frozen=True)
class Fit(Drawn):
    """A fitted law: arrays over targets, and the names that go with them.

    A pytree of its arrays; the notes, digest and meaning do not pass through transformations.
    Made by `fit` or `load_fit`.
    """

    coefficients: Coefficients
    """with axis (targets,); amplitudes are those of budget / budget_scale"""
    code: np.ndarray
    """(targets,) int, see `Code`"""
    identified: np.ndarray
    """(targets, exponents) bool: True where this exponent is identified"""
    points: np.ndarray
    """(targets,) points used"""
    sum_of_squares: np.ndarray
    """(targets,) Σ w ρ² of the residuals that were fitted"""
    error: np.ndarray
    """(targets,) mean relative error over the points used, a fraction; of a score the mean error
    in parts of its range"""
    observed_proportions: np.ndarray
    """(2, domains) least and largest proportion in the sweep"""
    observed_budgets: np.ndarray
    """(2,) least and largest budget in the sweep"""
    shrinkage: np.ndarray
    """(targets,) strength of `Law.shrinkage`, 0 for none; (targets, members) of a law with
    members"""
    agreement: np.ndarray
    """(targets,) share of the searches that ended at the best optimum; a law with many starts
    searches only the most promising ones to the end"""
    law: Law
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    unit: str
    """unit of budgets: "tokens", "steps", …"""
    options: FitOptions = FitOptions()
    """options of the fit"""
    notes: tuple[str, ...] = ()
    """what was left out, clipped or normalised in preparation, and why"""
    sweep_digest: str = ""
    """hash of the sweep that was fitted"""
    metadata: Metadata = UNSTATED
    """stated metadata of the sweep's numbers"""
    observed_mixtures: np.ndarray | None = None
    """(mixtures, domains) distinct mixtures of the sweep; None in fits saved without them"""
    runs: ObservedRuns | None = None
    """runs of the sweep, of which one may be a reference; None in fits saved without them"""

    @property
    def label(self) -> str:
        """Name of the law, or of the simpler law to which it reduces with these coefficients."""
        known = ~np.isin(self.code, FAILED)
        coefficients = jax.tree.map(lambda leaf: np.asarray(leaf)[known], self.coefficients)
        if not known.any():
            return self.law.label
        return self.law.reduced(coefficients.exponents, coefficients.own).label

    def __repr__(self) -> str:
        # Of names alone: under a transformation the arrays have no values.
        targets = ", ".join(self.targets[:SHOWN]) + ", …" * (len(self.targets) > SHOWN)
        return (
            f"Fit({self.law.label} by {self.options.residual} residuals: {targets}; "
            f"{counted(len(self.domains), 'domain')}, budgets in {self.unit})"
        )

    def _repr_html_(self) -> str:
        return html_summary(repr(self), {"coefficients by target": self.table()}, self.notes)

    def predict(self, mixtures: Any, budget: Any = None) -> "pd.DataFrame | pd.Series":
        """Predicted losses (nats per token, as measured) and scores of mixtures at a budget.

        Args:
            mixtures: a DataFrame, Series or mapping naming every domain, or an array ordered as
                `domains`.
            budget: one number, or one per mixture, in the fit's unit; default the sweep's largest.

        Returns:
            DataFrame (mixtures, targets) with the index of `mixtures`; a Series over targets for
            a single mixture.

        Raises:
            ValueError: if names do not match, a mixture does not sum to 1, a budget is not
                positive, budgets are not one per mixture, the sweep had a single budget and
                another is asked for, or the law has no value at a mixture (`check_values`).
        """
        values, labels = align_mixtures(mixtures, self.domains)
        budgets = self.check_budget(budget)
        if budgets.shape not in ((), (1,), (len(values),)):
            raise ValueError(
                f"budget has shape {budgets.shape}; expected one number, or one for each of "
                f"{len(values)} mixtures."
            )
        losses = self.known_points(values, budgets)
        self.check_values(losses, values, labels)
        losses = as_measured(losses, self.described)
        if labels is None:
            return pd.Series(losses[0], index=list(self.targets), name="loss")
        return pd.DataFrame(losses, index=labels, columns=list(self.targets))

    @property
    def described(self) -> tuple[Target, ...]:
        """Descriptions of the targets, in their order."""
        return self.metadata.described(self.targets)

    def at_model_size(self, size: float) -> "Fit":
        """Return the fit for models of `size` parameters; its law must have a size.

        Raises:
            ValueError: if the law has no size, or the size is not positive and finite.
        """
        if not self.law.needs_size:
            raise ValueError(
                f"size: {self.law.label} knows no model size; fit WithModelSize({self.law!r}) "
                "to a sweep of several sizes."
            )
        if not 0 < size < np.inf:
            raise ValueError(f"size is {size}; expected parameters, above 0.")
        return dataclasses.replace(self, law=self.law.at_size(size))

    def predict_points(self, mixture: np.ndarray, budget: Any, size: Any = None) -> np.ndarray:
        """Predict losses (points, targets) of mixtures (points, domains) at budgets (points,); of
        scores their distances to the maximum (`Target`), as everything that is computed has them.

        `size` (points,) is the model's, for laws with a size; default that of `at_model_size`.
        """
        budgets = np.broadcast_to(np.asarray(budget, float), (len(mixture),))
        points = (filled(mixture), filled(budgets), None if size is None else filled(size))
        return np.asarray(_predict(self.law, self.coefficients, *points))[: len(mixture)]

    def known_points(self, mixture: np.ndarray, budget: Any) -> np.ndarray:
        """Predict as `predict_points`, but inf where the law is undefined (`Law.has_value`).

        A law that transfer keeps finite at an own proportion of 0 has a huge loss there if no run
        showed any transfer; that value is not a prediction.
        """
        known = np.asarray(_has_value(self.law, self.coefficients, filled(mixture)))
        losses, known = self.predict_points(mixture, budget), known[: len(mixture)]
        return np.where(known | np.isnan(losses), losses, np.inf)

    def check_values(self, losses: np.ndarray, mixture: np.ndarray, labels: Any = None) -> None:
        """Raise ValueError where the law has no value, as BiMix at an own proportion of 0.

        Losses (mixtures, targets) are those predicted for mixture (mixtures, domains). Targets
        whose fit failed are skipped; their code reports it.
        """
        lost = ~np.isfinite(losses) & ~np.isin(self.code, FAILED)
        if not lost.any():
            return
        row, column = np.argwhere(lost)[0]
        where = f"mixtures: row {row}" if labels is None else f"mixture {labels[row]}"
        shares = ", ".join(f"{d} {r:g}" for d, r in zip(self.domains, mixture[row], strict=True))
        others = f" ({int(lost.sum())} losses in all)" if lost.sum() > 1 else ""
        raise ValueError(
            f"{where}: {self.label} has no finite loss on {self.targets[column]} at the mixture "
            f"{shares}{others}. {self.law.unusable_reason()}. Ask for a mixture where it is "
            "finite, or fit a law that is finite there, TransferBiMix for example, to runs like it."
        )

    def check_budget(self, budget: Any) -> np.ndarray:
        """Check budgets and return them as an array, the sweep's largest for None.

        Raises:
            ValueError: if not positive and finite, or not the single budget of the sweep.
        """
        least, largest = self.observed_budgets
        expected = f"{self.unit} above 0"
        values = numbers_of(largest if budget is None else budget, "budget", expected)
        if not (np.all(values > 0) and np.all(np.isfinite(values))):
            raise ValueError(f"budget is {budget}; expected {expected}.")
        # A single budget does not identify β, so losses at other budgets are unknown.
        if least == largest and not np.allclose(values, largest, rtol=1e-9):
            given = quantity_text(float(values)) if np.ndim(values) == 0 else budget
            raise ValueError(
                f"budget is {given}, but the sweep has the single budget "
                f"{quantity_text(largest)} {self.unit}: "
                "how losses change with budget is unknown. Leave budget out, or measure more."
            )
        return values

    def notes_on_budget(self, budget: float) -> tuple[str, ...]:
        """Note on a budget far from the observed ones; none within the range."""
        least, largest = map(float, self.observed_budgets)
        if budget * FAR < least * (1 - 1e-9):
            return (
                f"The budget is {budget / least:.3g} × the least observed one "
                f"({quantity_text(least)} {self.unit}); below {1 / FAR:g} × a prediction is a "
                "guess.",
            )
        if budget <= FAR * largest * (1 + 1e-9):
            return ()
        return (
            f"The budget is {budget / largest:.3g} × the largest observed one "
            f"({quantity_text(largest)} {self.unit}); beyond {FAR:g} × a prediction is a guess.",
        )

    def notes_on_mixtures(self, mixtures: np.ndarray) -> tuple[str, ...]:
        """Notes on mixtures (mixtures, domains): proportions outside the observed range, and
        mixtures at which the members of the law disagree."""
        return self._out_of_range(mixtures) + self._notes_on_members(mixtures)

    def _out_of_range(self, mixtures: np.ndarray) -> tuple[str, ...]:
        least, most = self.observed_proportions
        off = (mixtures < least - 1e-9) | (mixtures > most + 1e-9)
        if not off.any():
            return ()
        several = len(mixtures) > 1
        parts = []
        for i in np.flatnonzero(off.any(axis=0)):
            numbers = mixtures[:, i].min(), mixtures[:, i].max(), least[i], most[i]
            low, high, first, last = map(_share_text, numbers)
            to = f" to {high}" if several else ""
            parts.append(f"{self.domains[i]} {low}{to} ({first}-{last} observed)")
        some = f", in {off.any(axis=1).sum()} of {len(mixtures)} mixtures" if several else ""
        return (f"Outside the range the sweep covered{some}: " + ", ".join(parts) + ".",)

    def predict_members(self, mixture: np.ndarray, budget: Any) -> np.ndarray:
        """Predict as `predict_points` by every member of the law, (members, points, targets).

        Nan where a member failed.
        """
        law: Any = self.law
        of = self.coefficients
        each = zip(law.members, law.split(of.exponents, of.amplitudes), strict=True)
        fits = [
            dataclasses.replace(
                self, law=one, coefficients=of._replace(exponents=exponents, amplitudes=amplitudes)
            )
            for one, (exponents, amplitudes) in each
        ]
        losses = np.stack([one.predict_points(mixture, budget) for one in fits])
        return np.where(losses > 0, losses, np.nan)

    def _apart(self, mixtures: np.ndarray) -> np.ndarray:
        """(members, mixtures, targets) distances of the members' log losses from the law's, at the
        largest budget of the sweep; 0 where there is no value."""
        budget = self.observed_budgets[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            losses = np.log(self.predict_points(mixtures, budget))
            apart = np.abs(np.log(self.predict_members(mixtures, budget)) - losses)
        return np.where(np.isfinite(apart), apart, 0.0)

    def _notes_on_members(self, mixtures: np.ndarray) -> tuple[str, ...]:
        """Note on the mixtures at which the members of the law disagree."""
        if not self.law.members or self.law.needs_size or self.observed_mixtures is None:
            return ()
        apart = self._apart(mixtures)
        usual = self._apart(self.observed_mixtures).max(axis=(0, 1))
        off = (apart > np.maximum(APART * usual, AGREED)).any(axis=(0, 2))
        if not off.any():
            return ()
        member, _, target = np.unravel_index(np.argmax(apart), apart.shape)
        some = f" at {off.sum()} of {len(mixtures)} mixtures" if len(mixtures) > 1 else " here"
        return (
            f"The laws of {self.law.label} disagree{some}, {self.law.members[member].label} by "
            f"{100 * apart.max():.2g} % on {self.targets[target]}, where at the mixtures of the "
            f"sweep it is {100 * usual[target]:.2g} % at most: one of them extrapolates wildly. "
            "Run such a mixture before you rely on it.",
        )

    def table(self) -> pd.DataFrame:
        """Table with a row per target: coefficients, result code, points used and mean error.

        BiMix: A (loss at r = 1 and the largest budget, nats), B (unit^β), C, alpha, beta. Values
        that are not identified are nan. `error` is the mean relative error over the points used.
        """
        rows = [self._report(i) for i in range(len(self.targets))]
        table = pd.DataFrame(rows, index=pd.Index(self.targets, name="target"))
        table["code"] = [Code(int(c)).label for c in self.code]
        table["points"] = self.points
        table["error"] = self.error
        return table

    def by_domain(self, name: str) -> pd.DataFrame:
        """Exponents per domain, (targets, domains); `transfer` of `TransferBiMix`, for example.

        Raises:
            ValueError: if the law has none of that name.
        """
        further = self.law.domain_exponent_names
        if name not in further:
            raise ValueError(
                f"name is {name!r}; {self.law.label} has "
                f"{', '.join(further) or 'nothing'} by domain."
            )
        first = len(self.law.exponent_names) + further.index(name) * len(self.domains)
        values = self.coefficients.exponents[:, first : first + len(self.domains)]
        return pd.DataFrame(values, index=list(self.targets), columns=list(self.domains))

    def _report(self, target: int) -> dict[str, float]:
        exponents = np.where(self.identified[target], self.coefficients.exponents[target], np.nan)
        amplitudes = np.asarray(self.coefficients.amplitudes[target])
        scale = np.asarray(self.coefficients.budget_scale[target])
        found = self.law.report(exponents, amplitudes, scale)
        return {name: float(value) for name, value in found.items()}

    def known_in_mixture(self) -> np.ndarray:
        """(targets,) bool: the exponent of the mixture, where the law has one, is identified."""
        # Of a law with members the names end in the name of the member.
        names = [name.partition("(")[0] for name in self.law.names(self.domains)]
        alphas = np.flatnonzero(np.array(names) == "alpha")
        if not len(alphas):
            return np.ones(len(self.targets), bool)
        return np.asarray(self.identified[:, alphas].any(axis=1))

    def messages(self) -> list[str]:
        """Explanation of each result code other than convergence, with its targets."""
        groups: dict[Code, list[str]] = {}
        for target, code in zip(self.targets, self.code, strict=True):
            groups.setdefault(Code(int(code)), []).append(target)
        return [
            f"{code.label} ({', '.join(names)}): {code.message}"
            for code, names in sorted(groups.items())
            if code is not Code.CONVERGED
        ]

    def with_error(self, error: np.ndarray) -> "Fit":
        """Return the fit with another `error` (targets,)."""
        return dataclasses.replace(self, error=error)

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON, whole or not at all; read it back with `load_fit`."""
        from bimix_jax.fitting.storage import save_fit

        save_fit(self, path)


_predict = jit(predict_losses, static_argnums=0, x64=True)


def filled(values: np.ndarray) -> np.ndarray:
    """Repeat the rows of a few points up to a power of two, so that few numbers are compiled."""
    count = len(values)
    if count > MANY:
        return values
    return np.resize(values, (max(FEW, 1 << (count - 1).bit_length()), *np.shape(values)[1:]))


def has_values(law: Law, coefficients: Coefficients, mixture: Array) -> Array:
    """(points, targets) bool: True where the law is defined at mixtures (points, domains)."""
    by_target = jax.vmap(law.has_value, in_axes=(0, None, 0))
    return jax.vmap(by_target, in_axes=(None, 0, None))(
        coefficients.exponents, mixture, coefficients.own
    )


_has_value = jit(has_values, static_argnums=0, x64=True)


def _share_text(share: float) -> str:
    """A share with three decimals, and near 0 with two digits, which tell it from another one.

    >>> [_share_text(share) for share in (0.25, 0.00041, 3e-11, 0.0)]
    ['0.250', '0.00041', '<0.0001', '0']
    """
    if share >= 5e-3:
        return f"{share:.3f}"
    return f"{share:.2g}" if share >= 1e-4 or share == 0 else "<0.0001"
