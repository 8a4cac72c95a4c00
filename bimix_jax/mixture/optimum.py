"""The best mixture by name, beside a reference, with what has to be said about it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from bimix_jax.fitted import Fit
from bimix_jax.fitting.codes import Code
from bimix_jax.fitting.coefficients import Coefficients
from bimix_jax.laws.law import Law
from bimix_jax.mixture.objective import MeanLoss, duality_gap
from bimix_jax.mixture.proportions import Method, optimal_proportions, resolve_method
from bimix_jax.names import align_mixtures, align_weights

SCOPE = (
    "A prediction for the model size and tokeniser of the sweep; "
    "for a larger model it carries over as a ranking of mixtures only."
)


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The mixture with the least predicted loss at a budget, and what it rests on."""

    mixture: pd.Series
    """proportion by domain"""
    losses: pd.Series
    """predicted loss by target"""
    objective: float
    """weighted mean of the losses"""
    gap: float
    """no mixture is better by more than this, if `proven`"""
    proven: bool
    """the law is convex in the mixture, so that the gap proves the optimum global"""
    budget: float
    unit: str
    method: Method
    weights: pd.Series
    """by target"""
    reference: pd.Series
    """the mixture it is compared with, by domain"""
    reference_losses: pd.Series
    """predicted, by target"""
    observed: pd.DataFrame
    """least and largest proportion in the sweep (columns min, max), by domain"""
    notes: tuple[str, ...]
    """what has to be said beside the number: scope, extrapolation, targets not counted"""

    @property
    def reference_objective(self) -> float:
        """Weighted mean of the predicted losses of the reference."""
        return _mean(self.reference_losses, self.weights)

    def document(self) -> dict[str, Any]:
        """Everything as nested dictionaries, for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: _plain(value) for name, value in values.items()}

    def table(self) -> pd.DataFrame:
        """One row a domain, then one a target that is no domain.

        Columns: proportion and reference (shares), observed_min and observed_max in the sweep,
        flag where the proportion lies outside of them, and the predicted loss and reference_loss
        of the target of that name.
        """
        table = pd.DataFrame(
            {
                "proportion": self.mixture,
                "reference": self.reference,
                "observed_min": self.observed["min"],
                "observed_max": self.observed["max"],
                "flag": outside(self.mixture, self.observed),
            }
        )
        names = [*table.index, *(t for t in self.losses.index if t not in table.index)]
        table = table.reindex(pd.Index(names, name="domain"))
        table["flag"] = table["flag"].fillna("")
        table["loss"] = self.losses.reindex(names)
        table["reference_loss"] = self.reference_losses.reindex(names)
        return table


def optimize_mixture(
    fitted: Fit,
    budget: float | None = None,
    weights: Any = None,
    method: Method = "auto",
    reference: Any = None,
) -> Optimum:
    """The mixture on the simplex with the least weighted mean of the predicted losses.

    Args:
        fitted: from `fit`; targets whose fit failed do not count, which is noted.
        budget: in the fit's unit; default the sweep's largest.
        weights: by target, a mapping, Series or array, ≥ 0; names left out count 0. Default 1.
        method: "exact" (one scalar root; laws of the form K·r_own^−α), "gradient" (any law), or
            "auto", which picks.
        reference: one mixture to compare with, naming every domain; default uniform.

    Raises:
        ValueError: on unknown names, a budget that is not positive, several references, or a
            method the law lacks.

    >>> import bimix_jax as bx
    >>> fitted = bx.fit(bx.read_sweep(bx.datasets.proxy_sweep()))
    >>> best = bx.optimize_mixture(fitted, budget=2 * 2867200)
    >>> round(float(best.mixture.sum()), 9), best.method
    (1.0, 'exact')
    """
    at = float(fitted.check_budget(budget))
    counted, uncounted = counted_weights(fitted, weights)
    chosen = resolve_method(fitted.law, method)
    mixture, gap = _solve(fitted, at, counted, chosen)
    domains, targets = list(fitted.domains), list(fitted.targets)
    beside = _reference(reference, fitted.domains)
    losses, reference_losses = fitted.predict_points(np.stack([mixture, beside]), at)
    shares = pd.Series(mixture, index=domains, name="proportion")
    observed = pd.DataFrame(fitted.observed_proportions.T, index=domains, columns=["min", "max"])
    return Optimum(
        mixture=shares,
        losses=pd.Series(losses, index=targets, name="loss"),
        objective=_mean(losses, counted),
        gap=gap,
        proven=fitted.law.convex,
        budget=at,
        unit=fitted.unit,
        method=chosen,
        weights=pd.Series(counted, index=targets, name="weight"),
        reference=pd.Series(beside, index=domains, name="reference"),
        reference_losses=pd.Series(reference_losses, index=targets, name="reference_loss"),
        observed=observed,
        notes=(
            *([] if fitted.law.needs_size else [SCOPE]), *fitted.law.assumptions(),
            *fitted.notes_on_budget(at), *_outside_note(shares, observed), *uncounted,
            *_gain_note(fitted, counted, losses, reference_losses),
            *fitted.messages(),
        ),
    )  # fmt: skip


def _mean(losses: Any, weights: Any) -> float:
    """Weighted mean; where the weight is 0 the loss may be infinite or unknown."""
    losses, weights = np.asarray(losses), np.asarray(weights)
    return float(np.average(losses[weights > 0], weights=weights[weights > 0]))


def _reference(reference: Any, domains: tuple[str, ...]) -> np.ndarray:
    if reference is None:
        return np.full(len(domains), 1 / len(domains))
    values = align_mixtures(reference, domains)[0]
    if len(values) != 1:
        raise ValueError(f"reference holds {len(values)} mixtures; expected one to compare with.")
    return values[0]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return value.to_dict("index")
    return value.to_dict() if isinstance(value, pd.Series) else value


def outside(mixture: pd.Series, observed: pd.DataFrame) -> pd.Series:
    """ "below" or "above" where a proportion leaves the range the sweep covered, else ""."""
    below, above = mixture < observed["min"] - 1e-9, mixture > observed["max"] + 1e-9
    return pd.Series(np.select([below, above], ["below", "above"], ""), index=mixture.index)


def counted_weights(fitted: Fit, weights: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Weights (targets,), 0 where the fit of a target failed, and notes on those."""
    asked = align_weights(weights, fitted.targets)
    failed = np.isin(fitted.code, [Code.BAD_DATA, Code.NONFINITE]) & (asked > 0)
    vague = ~fitted.known_in_mixture() & (asked > 0) & ~failed
    failed |= vague
    if np.all(failed | (asked == 0)):
        raise ValueError(
            "fitted: no target with a weight above 0 has a fit that knows what its proportion "
            "does; see Fit.messages() for why."
        )
    reasons = {"their fit failed": failed & ~vague, "the runs do not show their α": vague}
    notes = tuple(
        f"Not counted, as {reason}: {', '.join(np.array(fitted.targets)[lost])}."
        for reason, lost in reasons.items() if lost.any()
    )  # fmt: skip
    return np.where(failed, 0.0, asked), notes


def _solve(
    fitted: Fit, budget: float, weights: np.ndarray, method: Method
) -> tuple[np.ndarray, float]:
    with jax.enable_x64(True):
        mixture, gap = _optimum_with_gap(
            fitted.law, method, fitted.coefficients, jnp.asarray(budget), jnp.asarray(weights)
        )
        return np.asarray(mixture), float(gap)


def _with_gap(law: Law, method: Method, coefficients: Coefficients, budget: Any, weights: Any):
    counted = coefficients._replace(
        amplitudes=jnp.where(weights[:, None] > 0, coefficients.amplitudes, 0.0)
    )
    mixture = optimal_proportions(law, counted, budget, weights, method=method)
    gradient = jax.grad(MeanLoss(law))(mixture, (counted, budget, weights))
    return mixture, duality_gap(jnp.where(jnp.isfinite(gradient), gradient, 0.0), mixture)


_optimum_with_gap = jax.jit(_with_gap, static_argnums=(0, 1))


def _gain_note(
    fitted: Fit, weights: np.ndarray, losses: np.ndarray, reference_losses: np.ndarray
) -> tuple[str, ...]:
    """A gain smaller than the errors of the fit is no reason to prefer a mixture."""
    gain = 1 - _mean(losses, weights) / _mean(reference_losses, weights)
    error = _mean(fitted.error, weights)
    if not gain < error:
        return ()
    return (
        f"The predicted gain over the reference is {100 * gain:.2f} %, less than the fit's mean "
        f"error of {100 * error:.2f} %: the reference may be as good.",
    )


def _outside_note(mixture: pd.Series, observed: pd.DataFrame) -> tuple[str, ...]:
    flags = outside(mixture, observed)
    parts = [
        f"{d} {mixture[d]:.3f} ({observed['min'][d]:.3f}-{observed['max'][d]:.3f} observed)"
        for d in mixture.index[flags != ""]
    ]
    return ("Outside the range the sweep covered: " + ", ".join(parts) + ".",) if parts else ()
