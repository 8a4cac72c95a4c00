"""The rounding of every number on a page, by kind; the page's script has the same function."""

import math

from bimix_jax.quantities import quantity_text

HARD = "\N{NO-BREAK SPACE}"
"""Keeps a number and its sign on one line."""


def shown(value: float | None, kind: str = "quantity") -> str:
    """Return a number as a page shows it; "–" where there is none.

    Kinds are loss (nats), difference (nats, signed), percent and change (signed) of fractions,
    points (signed, of hundredths), share, epochs, probability, error (three digits) and quantity.

    >>> shown(0.02314, "percent"), shown(-0.0012, "change"), shown(0.0001, "share"), shown(None)
    ('2.31\\xa0%', '−0.12\\xa0%', '<0.1\\xa0%', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if kind in ROUNDED:
        return ROUNDED[kind].format(value)
    if kind in ("difference", "change"):
        return signed(value, 4) if kind == "difference" else signed(100 * value, 2) + f"{HARD}%"
    if kind == "points":
        return signed(100 * value, 2) + " points"  # too long for a card of a narrow screen
    if kind == "of_range":
        return f"{100 * value:.2f} points"
    if kind == "percent":
        return f"{100 * value:.2f}{HARD}%"
    if kind == "share":
        return ("<0.1" if 0 < value < 0.0005 else f"{100 * value:.1f}") + f"{HARD}%"
    if kind == "probability":
        return _probability(value)
    return quantity_text(value)


ROUNDED = {
    "loss": "{:.4f}",
    "epochs": "{:.2f}",
    "error": "{:.3f}",
    "digits": "{:.4g}",
    "small": "{:.2g}",
}


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign; one that rounds to 0 has none."""
    text = f"{abs(value):.{decimals}f}"
    sign = "" if float(text) == 0 else "−" if value < 0 else "+"
    return sign + text


def _probability(value: float) -> str:
    # At 0.995 two digits would round to 1.
    return "above 0.99" if value > 0.995 else "below 0.01" if value < 0.005 else f"{value:.2f}"
