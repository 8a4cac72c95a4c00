"""Every picture with 2, 7 and 22 domains: labels apart and inside, lines of different colours."""

import itertools
import re

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from bimix_jax.plots._style import name_colors
from tests.ready import COUNTS, Ready

TOUCH = 1.0
"""Pixels by which boxes may touch: glyphs are smaller than their boxes."""


ENDINGS = dict.fromkeys(COUNTS, "") | {7: "_of_a_corpus_whose_name_is_long"}


@pytest.fixture(scope="module", params=ENDINGS.items(), ids=lambda pair: str(pair[0]))
def figures(request):
    return Ready(*request.param).figures()


def boxes(figure):
    """Every text that is drawn, and its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = hidden_texts(figure)
    texts = [
        text for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and text not in hidden
    ]  # fmt: skip
    # The box of an annotation holds its line, too; that of its text alone does not.
    return [(text, Text.get_window_extent(text, canvas.get_renderer())) for text in texts]


def hidden_texts(figure):
    """Texts of spare panels and of ticks beyond the limits, which are there but not drawn."""
    hidden = set()
    for axes in figure.axes:
        if not axes.get_visible():
            hidden |= set(axes.findobj(Text))
        for axis in (axes.xaxis, axes.yaxis):
            drawn = axis._update_ticks()
            ticks = {*axis.get_major_ticks(), *axis.get_minor_ticks()} - set(drawn)
            hidden |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    return hidden


def overlap(one, other):
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    tall = min(one.y1, other.y1) - max(one.y0, other.y0)
    return wide > TOUCH and tall > TOUCH


@pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning")
@pytest.mark.parametrize("name", [
    "curves", "proportions", "predicted", "comparison", "mixture", "certainty", "path", "tradeoff",
    "sensitivity", "entropies", "proposal", "calibration",
])  # fmt: skip
def test_no_two_labels_lie_on_each_other_and_none_leaves_the_picture(figures, name):
    figure = figures[name]
    placed = boxes(figure)
    assert len(placed) > 5
    slanted = [text for text, _ in placed if text.get_rotation() % 90]
    pairs = itertools.combinations([pair for pair in placed if pair[0] not in slanted], 2)
    assert [
        (a.get_text(), b.get_text()) for (a, at), (b, there) in pairs if overlap(at, there)
    ] == []
    outside = [
        text.get_text() for text, box in placed
        if box.x0 < -1 or box.y0 < -1
        or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1
    ]  # fmt: skip
    assert outside == []
    assert not [text for text, _ in placed if re.search(r"\d G\b|…", text.get_text())]


def test_lines_of_a_picture_have_different_colours(figures):
    for name in ("path", "tradeoff", "entropies"):
        axes = figures[name].axes[-1]
        colors = [
            to_hex(text.get_color()) for text in axes.texts if text.get_text() != "beyond the sweep"
        ]
        assert len(set(colors)) == len(colors) > 1


@pytest.mark.parametrize("count", [1, 10, 11, 22, 60])
def test_every_name_has_a_colour_of_its_own(count):
    colors = name_colors(range(count))
    assert len(set(colors.values())) == len(colors) == count
