"""The forms in which a recipe can be emitted, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bimix_jax.printable import json_text
from bimix_jax.recipe import as_json, hf, megatron, olmix, streaming, text
from bimix_jax.recipe.available import Where

if TYPE_CHECKING:
    from bimix_jax.recipe.recipe import Recipe


class Form(NamedTuple):
    """The renderer of a form, and the place of its stamp."""

    render: "Callable[[Recipe, dict[str, Where] | None], str]"
    carries_stamp: bool = True
    """True where the stamp is a comment or an entry of the file; else it is a file beside it"""


FORMS = {
    "json": Form(as_json.render),
    "megatron": Form(megatron.render, carries_stamp=False),
    "hf": Form(hf.render),
    "streaming": Form(streaming.render),
    "olmix": Form(olmix.render),
    "text": Form(text.render),
}


def form_named(name: str) -> Form:
    """Return a form by its name; ValueError if it is unknown."""
    if name not in FORMS:
        raise ValueError(f"form is {name!r}; expected one of {', '.join(FORMS)} (--emit).")
    return FORMS[name]


def stamp_text(recipe: "Recipe", form: str) -> str:
    """Return the stamp as the text of a separate file."""
    document = {"form": form, **recipe.stamp.document()}
    return json_text(document, 1) + "\n"
