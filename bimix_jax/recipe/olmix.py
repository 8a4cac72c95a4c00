"""olmix: YAML of data (sources and paths) and mix (weight and repetition_factor per source)."""

from typing import TYPE_CHECKING, Any

from bimix_jax.recipe.available import Where, listed_paths
from bimix_jax.recipe.yaml_lines import yaml_lines

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render `data` and `mix` of a launch configuration, with the repetition that the weights
    need."""
    epochs = recipe.epochs
    mix: dict[str, Any] = {}
    for domain, weight in recipe.sources().items():
        times = 1.0 if epochs is None else max(1.0, float(epochs.fillna(1.0)[domain]))
        mix[domain] = {"weight": weight, "repetition_factor": times}
    document: dict[str, Any] = {"mix": mix}
    lines = "".join(yaml_lines(document))
    if paths is not None:
        sources = [{"name": d, "paths": list(listed_paths(paths, d, "olmix"))} for d in mix]
        lines = "".join(yaml_lines({"data": {"sources": sources}})) + lines
    return recipe.stamp.comment() + lines
