"""Plain text: one line per source, its weight first.

A name that two blanks as column separator would break is quoted, as in JSON.
"""

from typing import TYPE_CHECKING

from bimix_jax.printable import json_text, printable
from bimix_jax.recipe.available import Where

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render weight, domain, and tokens and epochs where they are known."""
    lines = [recipe.stamp.comment(), "# weight  domain  tokens  epochs\n"]
    epochs = recipe.epochs
    for domain, weight in recipe.sources().items():
        cells = [f"{weight:.15g}", _cell(domain)]
        cells += [] if recipe.tokens is None else [f"{weight * recipe.tokens:.0f}"]
        cells += [] if epochs is None else [f"{epochs[domain]:.4g}"]
        lines.append("  ".join(cells) + "\n")
    return "".join(lines)


def _cell(name: str) -> str:
    plain = printable(name) == name == name.strip() and "  " not in name and name[0] not in '"#'
    return name if plain else json_text(name)
