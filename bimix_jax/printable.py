"""Names that people gave, made harmless in terminals, pictures, JSON and YAML files.

A name may hold anything: a line break, the codes that move a terminal's cursor, `$` that a picture
takes for mathematics. It is kept as it is in tables and files, and shown with such characters
written out.
"""

import html
import importlib
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

UNSHOWN = {"Cc", "Zl", "Zp", "Cs"}
"""Categories of control characters, of line and paragraph separators, and of surrogates."""
TURNING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
"""Marks that reverse the direction of the text after them, so that it reads as something else."""
# A whole number before the exponent: the look-behind excludes the last digits of 1.25e-05.
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# Those of YAML 1.1, which PyYAML follows.
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""Names that some readers take for truth values or null."""
ROWS = 30
"""Number of rows of a table that a notebook shows."""
EXPONENT = re.compile(r"(?<![\d.])(-?\d+)(e[-+]\d+)")


def printable(text: object, but: str = "") -> str:
    r"""Return text with its control characters written out, except those in `but`.

    >>> print(printable("web\n\x1b[31m"), printable("Größe 数学"))
    web\n\x1b[31m Größe 数学
    """
    return "".join(c if c in but or _is_shown(c) else _written_out(c) for c in str(text))


def picture_text(name: object) -> str:
    r"""Return a name that matplotlib draws as it is: without mathematics, and never hidden.

    >>> print(picture_text("$x^2$"), repr(picture_text("_web")))
    \$x^2\$ ' _web'
    """
    # Matplotlib leaves labels that begin with an underscore out of its legends.
    text = printable(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def picture_texts(names: Iterable[object]) -> list[str]:
    """Return the `picture_text` of each name."""
    return [picture_text(name) for name in names]


def json_text(document: Any, indent: int | None = None) -> str:
    r"""Return JSON that readers of JSON and of YAML take alike: control characters are escaped, and
    every float has a point, because YAML 1.1 reads `1e-05` as text.

    >>> print(json_text({"a\u2028b": 1e-5, "x": "1e-5"}))
    {"a\u2028b": 1.0e-05, "x": "1e-5"}
    """
    # Split at strings, which stand at odd places: numbers are changed outside of them alone.
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', text)
    pieces[::2] = [EXPONENT.sub(r"\1.0\2", piece) for piece in pieces[::2]]
    pieces[1::2] = [
        "".join(c if _is_shown(c) else _json_escape(c) for c in p) for p in pieces[1::2]
    ]
    return "".join(pieces)


class Drawn:
    """Base of the results that have a picture."""

    def plot(self, *given: Any, **options: Any) -> "Figure":
        """Draw the result.

        Args:
            given: whatever else the picture needs, the sweep for a `Fit` for example.
            options: further arguments of the function of `bimix_jax.plots` that draws it.

        Returns:
            The figure of matplotlib, which `bimix_jax.plots.save_figure` writes.

        >>> import bimix_jax as bx
        >>> sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
        >>> type(bx.fit(sweep, "BiMix").plot(sweep)).__name__
        'Figure'
        """
        # By name, as results stand below pictures, and need none to be made.
        pictures = importlib.import_module("bimix_jax.plots").PICTURES
        draw = pictures[type(self).__name__]
        figure: Figure = draw(self, *given, **options)
        return figure


def html_summary(
    title: str, tables: "Mapping[str, pd.DataFrame]", notes: Iterable[str] = ()
) -> str:
    """Return a result as HTML for notebooks: its title, tables with captions, and its notes.

    Numbers have four digits, and of a long table the first rows are shown.

    >>> import pandas as pd
    >>> shown = html_summary("Fit(<web>)", {"losses": pd.DataFrame({"web": [1.23456]})}, ["a & b"])
    >>> "Fit(&lt;web&gt;)" in shown, "1.235" in shown, "<li>a &amp; b</li>" in shown
    (True, True, True)
    """
    parts = [f"<p><b>{html.escape(printable(title))}</b></p>"]
    for caption, table in tables.items():
        more = f" (the first {ROWS} of {len(table)})" * (len(table) > ROWS)
        cells = table.head(ROWS).to_html(float_format=lambda value: f"{value:.4g}", border=0)
        parts.append(f"<p>{html.escape(printable(caption))}{more}</p>{cells}")
    listed = "".join(f"<li>{html.escape(printable(note))}</li>" for note in notes)
    return "".join(parts) + (f"<ul>{listed}</ul>" if listed else "")


def _is_shown(character: str) -> bool:
    # Nearly every character is of this range, for which no category has to be looked up.
    if " " <= character <= "~":
        return True
    return unicodedata.category(character) not in UNSHOWN and character not in TURNING


def _written_out(character: str) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    number = ord(character)
    return short.get(character, f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def _json_escape(character: str) -> str:
    return f"\\u{ord(character):04x}"


def plain(value: Any) -> Any:
    """Convert DataFrames, Series and NumPy values to types of JSON.

    >>> import numpy as np, pandas as pd
    >>> plain({"a": np.float64("nan"), "b": pd.Series({"x": 1.5})})
    {'a': None, 'b': {'x': 1.5}}
    """
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return {
            label: plain(dict(row))
            for label, (_, row) in zip(_keys(value), value.iterrows(), strict=True)
        }
    if isinstance(value, (dict, pd.Series)):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _keys(table: "pd.DataFrame") -> list[str]:
    names = [str(label) for label in table.index]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} names several rows; JSON needs a name for each.")
    return names


def yaml_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a mapping of mappings, lists of mappings and scalars; scalars as in JSON.

    >>> document = {"data": {"sources": [{"name": "a", "paths": ["x"]}]}, "mix": {"on": 0.5}}
    >>> print("".join(yaml_lines(document)), end="")
    data:
      sources:
        - name: "a"
          paths: ["x"]
    mix:
      "on": 0.5
    """
    for key, value in document.items():
        name = str(key)
        # Every JSON scalar is a YAML scalar, so no library of YAML is needed to write one.
        plain = PLAIN.fullmatch(name) and name.lower() not in WORDS
        label = name if plain else json_text(name)
        if isinstance(value, Mapping):
            yield f"{label}:\n"
            yield from ("  " + line for line in yaml_lines(value))
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            yield f"{label}:\n"
            for item in value:
                first, *others = yaml_lines(item)
                yield f"  - {first}"
                yield from ("    " + line for line in others)
        else:
            yield f"{label}: {json_text(value)}\n"
