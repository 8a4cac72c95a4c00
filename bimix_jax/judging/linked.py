"""Laws that predict scores through losses, judged where a sweep has both."""

from bimix_jax.laws import AdditiveLaw, Law, SubstitutionBiMix, ThroughLosses, WithModelSize
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.sweep import Sweep

LINKED: tuple[Law, ...] = (ThroughLosses(SubstitutionBiMix()), ThroughLosses(AdditiveLaw()))
"""Laws that are compared, too, where a sweep has both losses and scores."""


def linked_laws(sweep: Sweep) -> tuple[Law, ...]:
    """`LINKED` where the sweep has losses and scores, with a model size where it has several."""
    scores = are_scores(sweep.metadata.described(sweep.targets))
    if scores.all() or not scores.any():
        return ()
    if sweep.size is None:
        return LINKED
    return tuple(ThroughLosses(WithModelSize(law.of_losses)) for law in LINKED if law.of_losses)
