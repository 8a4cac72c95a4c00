"""Recipes in the forms of nanotron, Levanter, NeMo and Ray Data."""

from typing import Any

import numpy as np
import pandas as pd

from bimix_jax.printable import json_text, yaml_lines
from bimix_jax.recipe.available import Where, check_paths, listed_paths
from bimix_jax.recipe.recipe import EXAMPLES, SEED, Recipe, document_shares


def shares_of_examples(recipe: Recipe) -> tuple[pd.Series, str]:
    """Shares by which examples are drawn so that tokens have those of the recipe, and why."""
    lengths = recipe.tokens_per_document
    if lengths is None:
        return recipe.weights, EXAMPLES["tokens"]
    return document_shares(recipe.weights, lengths), EXAMPLES["documents"]


def _of_paths(
    recipe: Recipe, paths: dict[str, Where] | None, form: str
) -> tuple[list[str], list[float]]:
    """Paths of all domains with a share, and a weight for each: a domain's is divided evenly."""
    known = check_paths(paths, form)
    each = [(w, listed_paths(known, d, form)) for d, w in recipe.sources().items()]
    return (
        [path for _, of_domain in each for path in of_domain],
        [weight / len(of_domain) for weight, of_domain in each for _ in of_domain],
    )


# A Nanoset has samples of one length, so shares of samples are shares of tokens.
def nanotron_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render data_stages with one stage: dataset_folder and dataset_weights."""
    folders, weights = _of_paths(recipe, paths, "nanotron")
    dataset = {"dataset_folder": folders, "dataset_weights": weights}
    data = {"dataset": dataset, "num_loading_workers": 1, "seed": SEED}
    stage = {"name": "mixture", "start_training_step": 1, "data": data}
    return recipe.stamp.comment() + "".join(yaml_lines({"data_stages": [stage]}))


# Levanter packs documents to sequences, of which the weights are shares.
def levanter_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render data: configs (domain → train_urls) and train_weights (domain → weight)."""
    known = check_paths(paths, "levanter")
    sources = recipe.sources()
    configs = {d: {"train_urls": list(listed_paths(known, d, "levanter"))} for d in sources}
    document = {"data": {"configs": configs, "train_weights": sources}}
    return recipe.stamp.comment() + "".join(yaml_lines(document))


def nemo_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render {"paths": [weight, prefix, …], "stamp"}: `paths` of NeMo's PreTrainingDataModule."""
    prefixes, weights = _of_paths(recipe, paths, "nemo")
    zipped = [
        text for w, path in zip(weights, prefixes, strict=True) for text in (f"{w:.15g}", path)
    ]
    return json_text({"paths": zipped, "stamp": recipe.stamp.document()}, 1) + "\n"


# Ray mixes rows, and a dataset that runs out drops out; `union` of copies makes it long enough.
def ray_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render {"domains", "paths", "copies", "mix": {"weights"}, "why", "stamp"} for Ray Data.

    With `copies` c the dataset of a domain is read c times, as `ds.union(*[ds] * (c - 1))`.
    """
    known = check_paths(paths, "ray")
    shares, per_example = shares_of_examples(recipe)
    shares = shares[shares > 0]
    copies, why = _copies(recipe, [str(domain) for domain in shares.index])
    document: dict[str, Any] = {
        "domains": [str(domain) for domain in shares.index],
        "paths": [list(listed_paths(known, str(domain), "ray")) for domain in shares.index],
        "copies": copies,
        "mix": {"weights": shares.tolist()},
        "why": [per_example, why],
        "stamp": recipe.stamp.document(),
    }
    return json_text(document, 1) + "\n"


def _copies(recipe: Recipe, domains: list[str]) -> tuple[list[int] | None, str]:
    """Number of times that each source is read up to the planned tokens, and the reason."""
    epochs = recipe.epochs
    if epochs is None or not np.isfinite(epochs[domains]).all():
        return None, (
            "copies: not known, as the tokens that exist are not; a source that runs out drops out "
            "of the mix."
        )
    counts = np.maximum(np.ceil(epochs[domains].to_numpy() - 1e-9), 1).astype(int).tolist()
    return counts, "copies: epochs up to the planned tokens, rounded up; stop training there."
