"""Megatron-LM: the input of `--data-args-path`, weights and prefixes in turn.

The file is split at white space, so comments are impossible. Megatron-LM refuses weights of 0, so
sources without a share are left out.
"""

from typing import TYPE_CHECKING

from bimix_jax.recipe.available import Where, check_paths, listed_paths

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render one line per prefix; the weight of a domain is divided evenly between its prefixes."""
    known = check_paths(paths, "megatron")
    lines = []
    for domain, weight in recipe.sources().items():
        prefixes = listed_paths(known, domain, "megatron")
        spaced = [prefix for prefix in prefixes if len(prefix.split()) != 1]
        if spaced:
            raise ValueError(f"paths: {spaced[0]!r} holds white space, where Megatron-LM splits.")
        lines += [f"{weight / len(prefixes):.15g} {prefix}\n" for prefix in prefixes]
    return "".join(lines)
