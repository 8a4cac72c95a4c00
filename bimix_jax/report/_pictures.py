"""Pictures inside a page: matplotlib's SVG with text as text, and colours that follow the theme."""

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from bimix_jax.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = re.compile(r"((?:fill|stroke|stop-color): ?)#([0-9a-f]{6})\b")
WITHOUT = dict.fromkeys(("Date", "Creator", "Format", "Type"))
"""Metadata that pictures do not carry."""
POINTS, PIXELS = 72, 96
"""Units of an inch in SVG's coordinates, and in CSS, so that text has the size in points."""
LEAST = 0.62
"""Scale below which a picture's text is too small, so that narrow screens scroll it."""
LEFT_OUT = re.compile(
    r"<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>|(?<=\n) +", re.S
)
USED = re.compile(r"<use [^>]*/>")
POINTS_IN_GROUPS = re.compile(
    r'(<g clip-path="url\(#([^)]+)\)">)\s*<use [^>]*/>\s*</g>'
    r'(?:\s*<g clip-path="url\(#\2\)">\s*<use [^>]*/>\s*</g>)+'
)
TAG, LONG_NUMBER = re.compile(r"<[^>]*>"), re.compile(r"-?\d+\.\d{3,}")
OWN = re.compile(r'\bid="([^"]+)"')
REFERENCE = re.compile(r'(?:xlink:)?href="#([^"]+)"|url\(#([^)]+)\)')
DARKEST, LIGHTEST, VIVID = 0.21, 0.95, 0.42
"""Lightness in OKLab, on a dark page, of white, of black, and the least of vivid colours."""
STRONG = 0.15
"""Chroma from which on a colour is vivid."""
CURVE = 1.5
"""Power of the lightness in between, which keeps colours of bars and texts far from the page's."""
# Björn Ottosson, "A perceptual color space for image processing", 2020.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def picture(figure: "Figure", name: str, text: str) -> str:
    """Return a figure as an SVG element for a page.

    Args:
        figure: which is drawn once; its colours become variables of `theme`.
        name: of the picture, without blanks; it makes the ids of the page's pictures different.
        text: what the picture shows, for those who cannot see it.
    """
    # Loaded only where something is drawn, for it takes as long as everything else of a page.
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.patch.set_visible(False)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # Written by the canvas itself: `savefig` would draw everything once more for its layout.
        # No date, so that equal reports are equal files.
        FigureCanvasSVG(figure).print_svg(file, metadata=WITHOUT)
    whole = file.getvalue()
    body = _short_ids(_shortened(whole[whole.index("<svg") :].strip()), name)
    body = COLOUR.sub(r"\1var(--c\2)", body.replace("xlink:href", "href"))
    width, height = figure.get_size_inches()
    head = (
        f'<svg class="picture" role="img" aria-label="{escape(printable(text))}" '
        f'viewBox="0 0 {POINTS * width:g} {POINTS * height:g}" '
        f'width="{PIXELS * width:.0f}" height="{PIXELS * height:.0f}" '
        f'style="min-width:{LEAST * PIXELS * width:.0f}px">'
    )
    return re.sub(r"^<svg[^>]*>", lambda _: head, body)


def _shortened(body: str) -> str:
    """Return an SVG without what a page has no use for, with coordinates of a hundredth point."""
    body = LEFT_OUT.sub("", body)
    # Every point of a scatter plot has a group of its own, which is as long as the point.
    body = POINTS_IN_GROUPS.sub(lambda run: run[1] + "\n".join(USED.findall(run[0])) + "</g>", body)
    return TAG.sub(lambda tag: LONG_NUMBER.sub(lambda x: f"{float(x[0]):.2f}", tag[0]), body)


def _short_ids(body: str, name: str) -> str:
    """Drop ids that nothing refers to, and number the others, so that pages have each once."""
    used = {one or other for one, other in REFERENCE.findall(body)}
    short = {each: f"{name}-{i}" for i, each in enumerate(sorted(used))}

    def own(found: re.Match) -> str:
        return f'id="{short[found[1]]}"' if found[1] in short else ""

    def reference(found: re.Match) -> str:
        return found[0].replace(found[1] or found[2], short[found[1] or found[2]])

    return REFERENCE.sub(reference, OWN.sub(own, body))


def theme(page: str, dark: bool) -> str:
    """Return the values of a page's variables of colours, as CSS, for a light or a dark page."""
    found = sorted(set(re.findall(r"var\(--c([0-9a-f]{6})\)", page)))
    return "".join(f"--c{each}:{dark_of('#' + each) if dark else '#' + each};" for each in found)


def dark_of(colour: str) -> str:
    """Return a colour for a dark page: of the same hue, and as far from it as before from white.

    >>> dark_of("#ffffff"), dark_of("#000000")
    ('#181818', '#eeeeee')
    """
    lab = TO_LAB @ np.cbrt(TO_CONES @ _linear(np.array(list(bytes.fromhex(colour[1:]))) / 255))
    # A vivid colour near white, as yellow, would be lost on a dark page as it is on a light one.
    vivid = min(1.0, float(np.hypot(lab[1], lab[2])) / STRONG)
    least = DARKEST + (VIVID - DARKEST) * vivid
    lab[0] = LIGHTEST + (least - LIGHTEST) * lab[0] ** CURVE
    light = np.linalg.solve(TO_CONES, np.linalg.solve(TO_LAB, lab) ** 3)
    shades = np.rint(255 * _gamma(np.clip(light, 0, 1))).astype(np.uint8)
    return f"#{shades.tobytes().hex()}"


def _linear(shares: np.ndarray) -> np.ndarray:
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def _gamma(light: np.ndarray) -> Any:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
