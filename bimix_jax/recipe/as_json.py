"""JSON of the whole recipe, which `bimix predict` and `--reference` can read."""

from typing import TYPE_CHECKING

from bimix_jax.printable import json_text
from bimix_jax.recipe.available import Where

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render {"mixture", "tokens", "epochs", "paths", "stamp"}."""
    epochs = recipe.epochs
    document = {
        "mixture": recipe.weights.to_dict(),
        "planned_tokens": recipe.tokens,
        "tokens": None if recipe.tokens is None else (recipe.weights * recipe.tokens).to_dict(),
        "epochs": None if epochs is None else epochs.dropna().to_dict(),
        "paths": paths,
        "stamp": recipe.stamp.document(),
    }
    known = {name: value for name, value in document.items() if value is not None}
    return json_text(known, 1) + "\n"
