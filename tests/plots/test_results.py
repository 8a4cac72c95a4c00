"""Results that draw themselves: the pictures of `bimix_jax.plots`."""

import subprocess
import sys

import pytest
from matplotlib.text import Text

import bimix_jax as bx
from tests.ready import Ready


def texts_of(figure):
    """Every text of a figure."""
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.filterwarnings("ignore:.*curves end more than:bimix_jax.SweepWarning")
def test_results_are_drawn_by_the_functions_of_plots():
    ready = Ready(4)
    sweep = ready.sweep()
    for result, given, draw in (
        (ready.fitted, (sweep,), bx.plots.plot_curves),
        (ready.calibration(), (), bx.plots.plot_calibration),
        (ready.comparison(), (), bx.plots.plot_comparison),
        (ready.path(), (), bx.plots.plot_path),
        (ready.sensitivity(), (), bx.plots.plot_sensitivity),
        (ready.proposal(), (), bx.plots.plot_proposal),
    ):
        assert texts_of(result.plot(*given)) == texts_of(draw(result, *given))


def test_every_result_with_a_picture_has_one_and_options_reach_it():
    for name, draw in bx.plots.PICTURES.items():
        assert callable(getattr(bx, name).plot)
        assert draw.__name__ in dir(bx.plots)
    path = Ready(4).path()
    with pytest.raises(TypeError, match="plot_path"):
        path.plot(colour="red")


def test_no_picture_is_loaded_before_one_is_drawn():
    code = "import bimix_jax as bx, sys; bx.Optimum.plot; print('matplotlib' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
