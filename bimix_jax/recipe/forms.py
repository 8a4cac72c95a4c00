"""Forms in which a recipe is emitted: each is one function, listed in RECIPE_FORMS."""

from collections.abc import Callable, Container
from typing import Any, NamedTuple

import numpy as np

from bimix_jax.printable import json_text, printable, yaml_lines
from bimix_jax.recipe._trainer_forms import (
    levanter_form,
    nanotron_form,
    nemo_form,
    ray_form,
    shares_of_examples,
)
from bimix_jax.recipe.available import Where, check_paths, listed_paths
from bimix_jax.recipe.recipe import SEED, Recipe


def _json_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
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


# The file is split at white space, so comments are impossible. Megatron-LM refuses weights of 0,
# so sources without a share are left out.
def _megatron_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render one line per prefix; the weight of a domain is divided evenly between its prefixes."""
    known = check_paths(paths, "megatron")
    lines = []
    for domain, weight in recipe.sources().items():
        prefixes = listed_paths(known, domain, "megatron")
        spaced = [prefix for prefix in prefixes if len(prefix.split()) != 1]
        if spaced:
            raise ValueError(f"paths: {spaced[0]!r} holds white space, where Megatron-LM splits.")
        # 15 digits keep every decimal that a recipe can be rounded to.
        lines += [f"{weight / len(prefixes):.15g} {prefix}\n" for prefix in prefixes]
    return "".join(lines)


# first_exhausted ends with the first source that runs out, all_exhausted once all have.
STOPPING = {
    "unknown": (
        "all_exhausted",
        "all_exhausted: a source that runs out starts again, so that the mixture holds until every "
        "source has been seen; the epochs are not known.",
    ),
    "none": (
        "first_exhausted",
        "first_exhausted: no source runs out before the planned tokens; stop training there.",
    ),
    "some": (
        "all_exhausted",
        "all_exhausted: a source that runs out starts again (up to {most} epochs); stop training "
        "at the planned tokens.",
    ),
    "all": (
        "all_exhausted",
        "all_exhausted: a source that runs out starts again, but all are seen more than once "
        "({least} epochs at least), so that the interleaved dataset must be repeated up to the "
        "planned tokens.",
    ),
}
"""Sources that run out before the planned tokens → the rule of `interleave_datasets`, and why."""


# `interleave_datasets` draws examples, not tokens, so shares of tokens are divided by the tokens
# per document. It never ends if a dataset of probability 0 must be exhausted, so sources without
# a share are left out.
def _hf_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
    """Render {"domains", "paths", "interleave_datasets": {…}, "why": […], "stamp"}."""
    known = check_paths(paths, "hf")
    shares, per_example = shares_of_examples(recipe)
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


def _stopping(recipe: Recipe) -> tuple[str, str]:
    """Return the rule that keeps the mixture up to the planned tokens, and the reason."""
    epochs = recipe.epochs
    if epochs is None:
        return STOPPING["unknown"]
    used = epochs[recipe.weights > 0].fillna(np.inf)  # a domain of unknown size may run out
    case = "none" if used.max() <= 1 else "some" if used.min() <= 1 else "all"
    strategy, why = STOPPING[case]
    return strategy, why.format(most=f"{used.max():.3g}", least=f"{used.min():.3g}")


# A proportion counts samples. In pretraining they are packed to one length, so shares of samples
# are shares of tokens.
def _streaming_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
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
    # A domain may have the name that a part of another one would get.
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


def _olmix_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
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


# A name that two blanks as column separator would break is quoted, as in JSON.
def _text_form(recipe: Recipe, paths: dict[str, Where] | None) -> str:
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


class _Form(NamedTuple):
    """The renderer of a form, and the place of its stamp."""

    render: Callable[[Recipe, dict[str, Where] | None], str]
    carries_stamp: bool = True
    """True where the stamp is a comment or an entry of the file; else it is a file beside it"""


RECIPE_FORMS = {
    "json": _Form(_json_form),
    "megatron": _Form(_megatron_form, carries_stamp=False),
    "hf": _Form(_hf_form),
    "streaming": _Form(_streaming_form),
    "olmix": _Form(_olmix_form),
    "nanotron": _Form(nanotron_form),
    "levanter": _Form(levanter_form),
    "nemo": _Form(nemo_form),
    "ray": _Form(ray_form),
    "text": _Form(_text_form),
}


WITH_PATHS = ("megatron", "hf", "streaming", "nanotron", "levanter", "nemo", "ray")
"""Forms that name the data of every domain."""


def form_named(name: str) -> _Form:
    """Return a form by its name; ValueError if it is unknown."""
    if name not in RECIPE_FORMS:
        raise ValueError(f"form is {name!r}; expected one of {', '.join(RECIPE_FORMS)} (--emit).")
    return RECIPE_FORMS[name]


def stamp_text(recipe: Recipe, form: str) -> str:
    """Return the stamp as the text of a separate file."""
    document = {"form": form, **recipe.stamp.document()}
    return json_text(document, 1) + "\n"
