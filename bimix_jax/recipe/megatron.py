"""Megatron-LM: what `--data-args-path` reads, weights and prefixes in turn.

The file is split at white space, so that it has no place for comments; weights of 0 are refused
there, so that sources without a share are left out.
"""

from typing import TYPE_CHECKING

from bimix_jax.recipe.available import Where, check_paths, listed_paths

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """A line a prefix; the weight of a domain of several is divided evenly between them."""
    known = check_paths(paths, "megatron")
    lines = []
    for domain, weight in recipe.sources().items():
        prefixes = listed_paths(known, domain, "megatron")
        spaced = [prefix for prefix in prefixes if len(prefix.split()) != 1]
        if spaced:
            raise ValueError(f"paths: {spaced[0]!r} holds white space, where Megatron-LM splits.")
        lines += [f"{weight / len(prefixes):.15g} {prefix}\n" for prefix in prefixes]
    return "".join(lines)
