"""What errors of a law, at runs that it was not fitted to, mean for the choice of further runs."""

from typing import NamedTuple

import numpy as np

from bimix_jax.mixture.decision import Decision
from bimix_jax.uncertainty._differences import Differences
from bimix_jax.uncertainty._near_best import check_same_law, law_regret
from bimix_jax.uncertainty.bootstrap import Bootstrap


class Misfit(NamedTuple):
    """The errors of a law at runs that it was not fitted to."""

    variance: np.ndarray
    """(targets,) of the relative error of a run, 0 where it is unknown"""
    slope: float = 1.0
    """share of a predicted difference between mixtures that is expected"""
    regret: float = float("nan")
    """expected regret because of them, see `law_regret`"""

    @classmethod
    def of(cls, bootstrap: Bootstrap | None, decision: Decision) -> "Misfit":
        """Measure the errors at the budget of a decision; none without a bootstrap.

        Raises:
            ValueError: if the bootstrap is of another law or other names.
        """
        targets = len(decision.fitted.targets)
        if bootstrap is None:
            return cls(np.zeros(targets))
        check_same_law(bootstrap, decision.fitted)
        errors = Differences.of(bootstrap, decision)
        (variance,) = bootstrap.spread(decision.budget).variance(np.zeros((1, targets)))
        return cls(np.nan_to_num(variance), errors.slope, law_regret(decision, errors))
