"""A plan with comments, to be filled in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bimix_jax.recipe.forms import RECIPE_FORMS
from bimix_jax.report._toml import toml_key, toml_value
from bimix_jax.report.decide import CANDIDATES
from bimix_jax.report.plan import RUN, WORDS, Plan
from bimix_jax.sweeps.sweep import Sweep

HEAD = """\
# Plan of a decision: {summary}.
# Run it: bimix decide --plan FILE. Names with a slash, a blank or a dot need quotes.
"""


def template(plan: Plan, sweep: Sweep, folder: str | Path = ".") -> str:
    """Return the text of a plan for a sweep: what is given, and what could be as comments.

    Args:
        plan: what is given.
        sweep: whose names and budgets stand in the comments.
        folder: of the file, to which the names of files are relative.
    """
    first, _, tables = plan.to_toml(folder).partition("\n[")
    there = plan.to_dict().keys()
    lines = [HEAD.format(summary=sweep.summary()), first]
    for name, value, what in _entries(plan, sweep):
        if name not in there:
            lines.append(f"# {what}\n# {name} = {toml_value(value)}\n")
    if tables:
        lines.append(f"\n[{tables}")
    for name, what, values in _tables(sweep):
        if name.strip("[]") not in there:
            listed = "".join(f"# {toml_key(k)} = {toml_value(v)}\n" for k, v in values.items())
            lines.append(f"\n# {what}\n# [{name}]\n{listed}")
    return "".join(lines)


def _entries(plan: Plan, sweep: Sweep) -> Iterator[tuple[str, Any, str]]:
    """Yield entry, value and meaning of what is no table."""
    bare = Plan()
    words = f"{', '.join(WORDS)}, {RUN}NAME or a file"
    yield "budget", plan.budget_of(sweep), f"Budget of the large run, in {sweep.unit}"
    yield "reference", WORDS[-1], f"Mixture that gains are over: {words}"
    yield "available", "available.csv", "Table of the tokens that exist, with domain and tokens"
    yield "epochs", 4, "How often a token may be seen"
    yield "guardrail", 0.01, "Largest increase of any loss over the reference, a fraction"
    yield "guard_probability", 0.9, "Probability with which each guardrail is to be kept"
    yield "kl", 0.01, "Price of the KL divergence from the reference, in nats per unit"
    yield "exclude", list(sweep.runs[:1]), "Runs to leave out, diverged ones for example"
    yield "from_budget", float(sweep.budget.min()), "Least budget: leave out the warm-up"
    yield "laws", list(CANDIDATES), "Laws that are compared"
    yield "emit", list(bare.emit), f"Recipes to write, some of {', '.join(RECIPE_FORMS)}"
    yield "paths", "sources.toml", "File of domain = path, for megatron, hf and streaming"
    yield "entropy", "entropy.csv", "A mixture from bimix entropy, to stand beside the others"
    yield "level", bare.level, "Level of the intervals"
    yield "resamples", bare.resamples, "Number of resamples of the runs"
    yield "propose", bare.propose, "Number of runs to propose, 0 for none"
    yield "seed", bare.seed, "Seed of everything that is drawn"


def _tables(sweep: Sweep) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield entry, meaning and values of tables."""
    domains, targets = list(sweep.domains), list(sweep.targets)
    yield "weights", "Weights of the losses; targets not named count 0", dict.fromkeys(targets, 1)
    yield "lower", "Least share of a domain", dict.fromkeys(domains, 0.01)
    yield "upper", "Largest share of a domain", dict.fromkeys(domains, 0.6)
    yield "fixed", "Share of a domain that is fixed", {domains[0]: 0.1}
    group = {"domains": domains[:2], "least": 0.1, "most": 0.7}
    yield "[groups]", "Bounds on the sum of several shares", group
