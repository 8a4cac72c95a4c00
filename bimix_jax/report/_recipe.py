"""The recipe of a report's mixture, with the plan's tables of tokens and paths."""

from bimix_jax.mixture.optimum import Optimum
from bimix_jax.recipe.available import Where, read_available, read_paths
from bimix_jax.recipe.recipe import Recipe, counts_tokens, make_recipe
from bimix_jax.report.plan import Plan


def recipe_of(
    plan: Plan, best: Optimum, command: str
) -> tuple[Recipe | None, dict[str, Where] | None]:
    """Return the recipe and the paths by domain, each None where it is not known.

    `command` is for the stamp. There is no recipe of shares of documents whose tokens are not
    known.
    """
    fitted = best.decision.fitted
    table = None if plan.available is None else read_available(plan.available, fitted.domains)
    paths = None if plan.paths is None else read_paths(plan.paths, fitted.domains)
    if not counts_tokens(best, table):
        return None, paths
    recipe = make_recipe(best, fitted, table)
    return recipe.stamped(recipe.stamp.fit, command), paths
