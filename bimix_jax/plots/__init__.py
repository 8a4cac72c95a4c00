"""Pictures of fits, evaluations, optima, decisions and entropies, all in one style.

They are matplotlib figures that change no global state; `save_figure` writes one.
"""

from bimix_jax.plots._baselines import plot_baselines as plot_baselines
from bimix_jax.plots._baselines import plot_costs as plot_costs
from bimix_jax.plots._calibration import plot_calibration as plot_calibration
from bimix_jax.plots._curves import plot_curves as plot_curves
from bimix_jax.plots._curves import plot_proportions as plot_proportions
from bimix_jax.plots._decisions import plot_path as plot_path
from bimix_jax.plots._decisions import plot_sensitivity as plot_sensitivity
from bimix_jax.plots._decisions import plot_tradeoff as plot_tradeoff
from bimix_jax.plots._judging import plot_comparison as plot_comparison
from bimix_jax.plots._judging import plot_entropies as plot_entropies
from bimix_jax.plots._judging import plot_predicted as plot_predicted
from bimix_jax.plots._mixture import plot_certainty as plot_certainty
from bimix_jax.plots._mixture import plot_mixture as plot_mixture
from bimix_jax.plots._proposal import plot_proposal as plot_proposal
from bimix_jax.plots._style import check_picture as check_picture
from bimix_jax.plots._style import save_figure as save_figure

PICTURES = {
    "Calibration": plot_calibration,
    "Certainty": plot_certainty,
    "Comparison": plot_comparison,
    "Entropies": plot_entropies,
    "Evaluation": plot_predicted,
    "Fit": plot_curves,
    "OptimalPath": plot_path,
    "Optimum": plot_mixture,
    "Proposal": plot_proposal,
    "Sensitivity": plot_sensitivity,
    "Tradeoff": plot_tradeoff,
}
"""Class of a result → the function that draws it, for the result's own `plot`."""
