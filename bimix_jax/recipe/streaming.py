"""MosaicML Streaming: YAML of streams, each with the arguments of `streaming.Stream`.

A proportion counts samples. In pretraining they are packed to one length, so shares of samples are
shares of tokens.
"""

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from bimix_jax.recipe.available import Where, check_paths
from bimix_jax.recipe.yaml_lines import yaml_lines

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render streams: name → remote, local, proportion."""
    known = check_paths(paths, "streaming")
    streams: dict[str, dict[str, Any]] = {}
    for domain, weight in recipe.sources().items():
        streams |= _streams(domain, weight, known[domain], known)
    why = "# Proportions are of samples, taken to be packed to one length.\n"
    return recipe.stamp.comment() + why + "".join(yaml_lines({"streams": streams}))


def _streams(
    domain: str, weight: float, where: Where, known: Container[str]
) -> dict[str, dict[str, Any]]:
    """Return streams by name; several paths of a domain get names that differ from all domains."""
    if isinstance(where, dict):
        return {domain: {**where, "proportion": weight}}
    share = weight / len(where)
    names = [domain]
    mark = "_"
    while len(where) > 1 and any(name in known for name in names):
        names = [f"{domain}{mark}{i}" for i in range(len(where))]
        mark += "_"
    return {
        name: {_kind(path): path, "proportion": share}
        for name, path in zip(names, where, strict=True)
    }


def _kind(path: str) -> str:
    """Return the kind of a path: remote if it has a scheme, else local."""
    return "remote" if "://" in path else "local"
