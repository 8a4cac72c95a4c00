"""What holds an optimum where it is, and what more room would gain."""

import numpy as np
import pandas as pd

from bimix_jax.fitted import Fit
from bimix_jax.mixture.certificate import Certificate
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.objective import MixtureArguments
from bimix_jax.quantities import quantity_text


def binding_table(
    fitted: Fit, asked: Constraints, arguments: MixtureArguments, proof: Certificate,
    mixture: np.ndarray,
) -> pd.DataFrame:  # fmt: skip
    """Constraints with a multiplier: bound, multiplier, and gain by 1 % more of the bound."""
    feasible, budget = arguments.feasible, float(arguments.budget)
    rows: list[tuple[str, float, float]] = []
    ceilings = asked.ceilings(fitted, budget)
    for i, domain in enumerate(fitted.domains):
        low, high = float(feasible.lower[i]), float(feasible.upper[i])
        rows.append((f"{domain} ≥ {low:.4g}", low, proof.at_lower[i]))
        tokens = domain in ceilings and ceilings[domain] <= high * (1 + 1e-9)
        supply = (
            f" ({asked.epochs:g} epochs of {quantity_text(asked.available[domain])} tokens)"
            if tokens
            else ""
        )
        rows.append((f"{domain} ≤ {high:.4g}{supply}", high, proof.at_upper[i]))
    count = len(asked.groups)
    for i, group in enumerate(asked.groups):
        most, least = float(feasible.most[i]), float(feasible.least[i])
        rows.append((f"{group.name} ≤ {most:.4g}", most, proof.rows[i]))
        rows.append((f"{group.name} ≥ {least:.4g}", least, proof.rows[count + i]))
    if feasible.allowed is not None:
        for target, more, price in zip(
            fitted.targets, feasible.allowed, proof.rows[2 * count :], strict=False
        ):
            rows.append((f"loss of {target} ≤ {1 + more:.4g} × guarded", 1.0, price))
    scale = max(abs(float(p)) for _, _, p in rows)
    kept = [r for r in rows if r[1] > 0 and r[2] > 1e-7 * max(1.0, scale)]
    table = pd.DataFrame(
        {"bound": [r[1] for r in kept], "multiplier": [float(r[2]) for r in kept]},
        index=pd.Index([r[0] for r in kept], name="constraint"), dtype=float,
    )  # fmt: skip
    return table.assign(gain=0.01 * table["bound"] * table["multiplier"])
