"""The forms a recipe can be emitted in, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bimix_jax.printable import json_text
from bimix_jax.recipe import as_json, hf, megatron, olmix, streaming, text
from bimix_jax.recipe.available import Where

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


class Form(NamedTuple):
    """How a form is written."""

    render: "Callable[[Recipe, dict[str, Where] | None], str]"
    carries_stamp: bool = True
    """in a comment or an entry of its own; else it is put beside the file"""


FORMS = {
    "json": Form(as_json.render),
    "megatron": Form(megatron.render, carries_stamp=False),
    "hf": Form(hf.render),
    "streaming": Form(streaming.render),
    "olmix": Form(olmix.render),
    "text": Form(text.render),
}


def form_named(name: str) -> Form:
    """A form by its name; ValueError if there is none."""
    if name not in FORMS:
        raise ValueError(f"form is {name!r}; expected one of {', '.join(FORMS)} (--emit).")
    return FORMS[name]


def stamp_text(recipe: "Recipe", form: str) -> str:
    """The stamp as a file of its own."""
    document = {"form": form, **recipe.stamp.document()}
    return json_text(document, 1) + "\n"
