"""The oracle: BiMix in its four identifiable parameters by SciPy's trust-region least squares."""

import numpy as np
from scipy.optimize import least_squares

LOWER, UPPER = (1e-9, 1e-3, 0.0, 0.0), (5.0, 10.0, np.inf, np.inf)


def best_of_starts(
    share: np.ndarray, budget: np.ndarray, loss: np.ndarray, starts: int = 20, seed: int = 0
) -> tuple[float, np.ndarray]:
    """Least Σ((ŷ−y)/y)² over random starts, and its (α, β, A·B, A·C) at budgets / max(budget)."""
    rng = np.random.default_rng(seed)
    log_share, log_budget = np.log(share), np.log(budget / budget.max())

    def residual(x: np.ndarray) -> np.ndarray:
        of_budget = x[2] * np.exp(-x[1] * log_budget)
        return np.exp(-x[0] * log_share) * (of_budget + x[3]) / loss - 1

    def jacobian(x: np.ndarray) -> np.ndarray:
        of_share = np.exp(-x[0] * log_share) / loss
        of_budget = np.exp(-x[1] * log_budget)
        whole = of_share * (x[2] * of_budget + x[3])
        columns = [-log_share * whole, -log_budget * of_share * x[2] * of_budget]
        return np.stack([*columns, of_share * of_budget, of_share], axis=1)

    ends = [
        least_squares(
            residual, start, jacobian, bounds=(LOWER, UPPER), x_scale="jac",
            xtol=1e-13, ftol=1e-13, gtol=1e-13, max_nfev=400,
        )
        for start in rng.uniform([0.01, 0.05, 0.1, 0.1], [0.5, 3.0, 4.0, 4.0], (starts, 4))
    ]  # fmt: skip
    best = min(ends, key=lambda end: end.cost)
    return 2 * best.cost, best.x


def predict(x: np.ndarray, share: np.ndarray, budget: np.ndarray, scale: float) -> np.ndarray:
    """Losses of parameters as `best_of_starts` returns them; `scale` is the training maximum."""
    return share ** -x[0] * (x[2] * (budget / scale) ** -x[1] + x[3])
