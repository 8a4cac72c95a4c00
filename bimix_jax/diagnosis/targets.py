"""What is measured: domains without losses, names that nearly match, and scores."""

from collections.abc import Iterator

from bimix_jax.diagnosis.observation import Observation, Severity, some_of
from bimix_jax.laws import LAWS
from bimix_jax.sweeps.checks import near_misses
from bimix_jax.sweeps.scores import note_of_scores, scores_among, what_to_do
from bimix_jax.sweeps.sweep import Sweep


def observe_targets(sweep: Sweep) -> Iterator[Observation]:
    """Everything about names of targets; domains that no target measures come first."""
    scores = scores_among(sweep, sweep.targets)
    losses = [target for target in sweep.targets if target not in scores]
    if set(sweep.targets) & set(sweep.domains):
        yield from _unmeasured(sweep, losses)
    else:
        yield from _none_a_domain(sweep, losses)
    if scores:
        yield Observation(
            Severity.ERROR, note_of_scores(scores).rstrip("."), what_to_do(scores).rstrip(".")
        )


def _unmeasured(sweep: Sweep, losses: list[str]) -> Iterator[Observation]:
    trained = sweep.mixture.max(axis=0) > 0
    without = [
        d for d, seen in zip(sweep.domains, trained, strict=True) if seen and d not in sweep.targets
    ]
    if not without:
        return
    near = [f"{t} may be {d}" for t, d in near_misses(sweep.domains, losses) if d in without]
    strangers = [t for t in sweep.targets if t not in sweep.domains]
    yield Observation(
        Severity.WARNING,
        f"Domains that no target measures: {some_of(without)}"
        + (f"; targets that are not a domain: {some_of(strangers)}" if strangers else "")
        + (f"; {some_of(near)}" if near else ""),
        "An optimum gives such a domain a share of 0 only because nothing measures it: correct the "
        "name of its loss column, measure its loss, or set its share yourself (--lower, --fix).",
    )


def _none_a_domain(sweep: Sweep, losses: list[str]) -> Iterator[Observation]:
    near = [f"{t} may be {d}" for t, d in near_misses(sweep.domains, losses)]
    able = [name for name, law in LAWS.items() if not law.needs_own]
    yield Observation(
        Severity.WARNING if near else Severity.NOTE,
        f"No target is a domain ({some_of(sweep.targets)})"
        + (f"; {some_of(near)}" if near else ""),
        f"Laws of a domain's own share cannot express them; {', '.join(able)} can. Call a target "
        "as the domain that it measures.",
    )
