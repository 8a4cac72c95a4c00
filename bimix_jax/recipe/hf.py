"""Hugging Face datasets: JSON with the arguments of `interleave_datasets` beside the datasets.

`interleave_datasets` draws examples, not tokens, so shares of tokens are divided by the tokens per
document. It never ends if a dataset of probability 0 must be exhausted, so sources without a share
are left out.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bimix_jax.printable import json_text
from bimix_jax.recipe.available import Where, check_paths, listed_paths
from bimix_jax.recipe.recipe import document_shares

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe

SEED = 0


def render(recipe: "Recipe", paths: dict[str, Where] | None) -> str:
    """Render {"domains", "paths", "interleave_datasets": {…}, "why": […], "stamp"}."""
    known = check_paths(paths, "hf")
    shares, per_example = _shares_of_examples(recipe)
    shares = shares[shares > 0]
    strategy, why = _stopping(recipe)
    document: dict[str, Any] = {
        "domains": [str(domain) for domain in shares.index],
        "paths": [list(listed_paths(known, str(domain), "hf")) for domain in shares.index],
        "interleave_datasets": {
            "probabilities": shares.tolist(),
            "seed": SEED,
            "stopping_strategy": strategy,
        },
        "why": [per_example, why],
        "stamp": recipe.stamp.document(),
    }
    return json_text(document, 1) + "\n"


def _shares_of_examples(recipe: "Recipe") -> tuple[pd.Series, str]:
    lengths = recipe.tokens_per_document
    if lengths is None:
        return recipe.weights, (
            "Probabilities are shares of tokens, right where all examples are packed to one "
            "length; for documents give their mean tokens (tokens_per_document)."
        )
    return document_shares(recipe.weights, lengths), (
        "Probabilities are of examples, one a document: shares of tokens divided by the mean "
        "tokens of a document."
    )


def _stopping(recipe: "Recipe") -> tuple[str, str]:
    """Return the rule that keeps the mixture up to the planned tokens, and the reason."""
    epochs = recipe.epochs
    if epochs is None:
        return "all_exhausted", (
            "all_exhausted: a source that runs out starts again, so that the mixture holds until "
            "every source has been seen; how often that is needed is not known."
        )
    used = epochs[recipe.weights > 0].fillna(np.inf)  # a domain of unknown size may run out
    if used.max() <= 1:
        return "first_exhausted", (
            "first_exhausted: no source runs out before the planned tokens; stop training there."
        )
    if used.min() <= 1:
        return "all_exhausted", (
            f"all_exhausted: a source that runs out starts again (up to {used.max():.3g} epochs); "
            "stop training at the planned tokens."
        )
    return "all_exhausted", (
        f"all_exhausted: a source that runs out starts again, but all are seen more than once "
        f"({used.min():.3g} epochs at least), so that the interleaved dataset must be repeated up "
        "to the planned tokens."
    )
