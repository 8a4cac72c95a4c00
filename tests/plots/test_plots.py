"""Pictures: what is in the panels, and what they leave alone."""

import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bimix_jax as bx
from bimix_jax import plots
from bimix_jax.plots._curves import BUDGETS_SHOWN, RUNS_SHOWN
from tests.fits import (
    BUDGETS,
    DOMAINS,
    RUNS,
    Geometric,
    frame,
    geometric_sweep,
    last_budget,
    web_failed,
    without_web,
)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture(scope="module")
def sweep():
    return bx.read_sweep(frame())


@pytest.fixture(scope="module")
def fitted(sweep):
    return bx.fit(sweep, bx.BiMix())


def panels(figure):
    """The axes of targets, without the colour bar and spare panels."""
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]


def titles(figure):
    return [axes.get_title() for axes in panels(figure)]


def drawn(axes, style):
    return [line for line in axes.lines if line.get_marker() == style]


def points(axes):
    """The measured points of a panel, (points, 2), sorted."""
    lines = drawn(axes, "o")
    return np.array(sorted(np.concatenate([line.get_xydata() for line in lines]).tolist()))


def curves(axes):
    return [line.get_xydata() for line in drawn(axes, "None") if line.get_linestyle() == "-"]


def renders(figure, tmp_path):
    plots.save_figure(figure, tmp_path / "picture.png")
    return (tmp_path / "picture.png").stat().st_size > 5000


# ---- fitted curves -------------------------------------------------------------------------------


def test_curves_pass_through_the_points_of_a_true_law(fitted, sweep, tmp_path):
    figure = plots.plot_curves(fitted, sweep)
    assert titles(figure) == list(DOMAINS)
    for axes in panels(figure):
        assert len(drawn(axes, "o")) == len(curves(axes)) == RUNS_SHOWN
        for line, curve in zip(drawn(axes, "o"), curves(axes), strict=True):
            assert len(line.get_xydata()) == BUDGETS
            np.testing.assert_allclose(curve[[0, -1]], line.get_xydata()[[0, -1]], rtol=1e-6)
    assert renders(figure, tmp_path)


def test_curves_show_the_runs_of_the_least_and_largest_own_proportion(fitted, sweep):
    web = panels(plots.plot_curves(fitted, sweep))[0]
    last = sorted(line.get_ydata()[-1] for line in drawn(web, "o"))
    at_last = sweep.loss[sweep.budget == 6.4e9, 0]
    assert last[0] == at_last.min()
    assert last[-1] == at_last.max()


def test_columns_of_the_sweep_in_another_order_draw_the_same(fitted, sweep):
    table = frame()
    other = bx.read_sweep(table[table.columns[::-1]])
    for plot in (plots.plot_curves, plots.plot_proportions):
        for mine, theirs in zip(
            panels(plot(fitted, sweep)), panels(plot(fitted, other)), strict=True
        ):
            np.testing.assert_array_equal(points(mine), points(theirs))
            np.testing.assert_allclose(curves(mine), curves(theirs), rtol=1e-9)


def test_a_run_without_a_measured_loss_is_not_drawn():
    table = frame()
    table["loss_web"] = table["loss_web"].where(table["run"].isin(["run01", "run02"]))
    sweep = bx.read_sweep(table)
    web, code, _ = panels(plots.plot_curves(bx.fit(sweep, bx.BiMix()), sweep))
    assert len(drawn(web, "o")) == len(curves(web)) == 2
    assert len(drawn(code, "o")) == RUNS_SHOWN


def test_more_targets_than_panels_in_a_row(embedded, tmp_path):
    fitted = bx.fit(embedded, bx.BiMix())
    figure = plots.plot_curves(fitted, embedded)
    assert titles(figure) == list(fitted.targets)
    assert len(titles(figure)) == 7
    assert sum(not axes.get_visible() for axes in figure.axes) == 1
    assert renders(figure, tmp_path)


# ---- loss against proportion ---------------------------------------------------------------------


def test_proportions_show_every_run_at_four_budgets(fitted, sweep, tmp_path):
    figure = plots.plot_proportions(fitted, sweep)
    assert titles(figure) == list(DOMAINS)
    for i, axes in enumerate(panels(figure)):
        assert len(curves(axes)) == BUDGETS_SHOWN
        shares = [line.get_xdata() for line in drawn(axes, "o")]
        np.testing.assert_allclose(shares, [sweep.mixture[::BUDGETS, i]] * BUDGETS_SHOWN)
        for curve in curves(axes):
            assert np.all(np.diff(curve[:, 1]) < 0)
            low, high = sweep.mixture[:, i].min(), sweep.mixture[:, i].max()
            np.testing.assert_allclose(curve[[0, -1], 0], [low, high])
    assert renders(figure, tmp_path)


# ---- unusual sweeps ------------------------------------------------------------------------------

SWEEPS = {
    "one target": lambda: frame().drop(columns=["loss_code", "loss_books"]),
    "single budget": lambda: last_budget(frame()),
    "zeros": lambda: without_web(frame()),
    "a failed target": lambda: web_failed(frame()),
    "pure mixtures": lambda: frame().assign(
        **{f"r_{d}": np.arange(RUNS * BUDGETS) // BUDGETS % 3 == i for i, d in enumerate(DOMAINS)}
    ),
}


@pytest.mark.parametrize("make", SWEEPS.values(), ids=SWEEPS.keys())
def test_unusual_sweeps_have_a_panel_a_target(make, tmp_path):
    table = make().astype({f"r_{d}": float for d in DOMAINS})
    sweep = bx.read_sweep(table)
    fitted = bx.fit(sweep, bx.BiMix())
    evaluation = bx.evaluate(fitted, sweep)
    for figure in (plots.plot_curves(fitted, sweep), plots.plot_proportions(fitted, sweep)):
        assert titles(figure) == list(fitted.targets)
        assert renders(figure, tmp_path)
    predicted = plots.plot_predicted(evaluation)
    assert [title.split()[0] for title in titles(predicted)] == list(fitted.targets)
    assert renders(predicted, tmp_path)


def test_targets_that_are_no_domain_have_points_but_no_curve_of_their_own(tmp_path):
    sweep = geometric_sweep()
    fitted = bx.fit(sweep, Geometric())
    against = plots.plot_proportions(fitted, sweep)
    assert titles(against) == ["web", "exam"]
    web, exam = panels(against)
    assert len(curves(web)) == BUDGETS_SHOWN
    assert curves(exam) == []
    assert len(points(exam)) == RUNS * BUDGETS_SHOWN
    over_budget = plots.plot_curves(fitted, sweep)
    assert len(curves(panels(over_budget)[1])) == RUNS_SHOWN
    mixture = plots.plot_mixture(bx.optimize_mixture(fitted))
    shares, losses = mixture.axes
    assert [t.get_text() for t in shares.get_yticklabels()] == ["books", "code", "web"]
    assert [t.get_text() for t in losses.get_yticklabels()] == ["web", "exam"]
    assert all(renders(figure, tmp_path) for figure in (against, over_budget, mixture))


# ---- predicted against measured ------------------------------------------------------------------


def test_predicted_shows_every_point_and_the_error(sweep, tmp_path):
    train, test = sweep.split_runs(0.3)
    fitted = bx.fit(train, bx.BiMix())
    evaluation = bx.evaluate(fitted, test)
    figure = plots.plot_predicted(evaluation)
    for i, axes in enumerate(panels(figure)):
        offsets = axes.collections[0].get_offsets()
        np.testing.assert_array_equal(offsets[:, 0], evaluation.measured[:, i])
        np.testing.assert_array_equal(offsets[:, 1], evaluation.predicted[:, i])
    table = evaluation.table()
    assert titles(figure) == [
        f"{d} {100 * table.loc[d, 'mre']:.2f}\N{NO-BREAK SPACE}%" for d in DOMAINS
    ]
    assert renders(figure, tmp_path)


# ---- the recommended mixture ---------------------------------------------------------------------


def test_mixture_shows_both_mixtures_and_the_changes(fitted, tmp_path):
    best = bx.optimize_mixture(fitted)
    figure = plots.plot_mixture(best, "uniform")
    shares, losses = figure.axes
    order = [label.get_text() for label in shares.get_yticklabels()]
    assert order == best.mixture.sort_values().index.tolist()
    recommended, beside = (
        [bar.get_width() for bar in container] for container in shares.containers
    )
    np.testing.assert_array_equal(recommended, best.mixture[order])
    np.testing.assert_array_equal(beside, best.reference[order])
    change = (best.losses - best.reference_losses)[order]
    np.testing.assert_allclose([bar.get_width() for bar in losses.patches], change)
    assert "uniform" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"{best.objective:.4f}" in figure.get_suptitle()
    assert renders(figure, tmp_path)


def test_losses_that_are_infinite_are_called_undefined(fitted, tmp_path):
    best = bx.optimize_mixture(fitted, weights={"web": 1, "code": 1})
    figure = plots.plot_mixture(best)
    labels = [text.get_text() for text in figure.axes[1].texts]
    assert labels.count("undefined") == 1
    assert renders(figure, tmp_path)


# ---- files and what is left alone ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")]
)
def test_the_extension_says_the_format(fitted, tmp_path, name, start):
    plots.save_figure(plots.plot_mixture(bx.optimize_mixture(fitted)), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pictures_are_not_empty(fitted, sweep, tmp_path):
    plots.save_figure(plots.plot_curves(fitted, sweep), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 300
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100


@pytest.mark.parametrize("name", ["curves", "curves.xyz", "curves.", ".png"])
def test_an_unknown_extension_is_refused_and_leaves_nothing(fitted, tmp_path, name):
    figure = plots.plot_mixture(bx.optimize_mixture(fitted))
    with pytest.raises(ValueError, match=r"expected \.png, \.pdf or \.svg") as caught:
        plots.save_figure(figure, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(fitted, tmp_path):
    figure = plots.plot_mixture(bx.optimize_mixture(fitted))
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        plots.save_figure(figure, tmp_path / "gone" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_drawing_leaves_the_old_picture(fitted, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = plots.plot_mixture(bx.optimize_mixture(fitted))

    def fail(beside, **_):
        beside.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_parameters_of_matplotlib_are_left_alone(fitted, sweep, tmp_path):
    before = dict(mpl.rcParams)
    renders(plots.plot_curves(fitted, sweep), tmp_path)
    renders(plots.plot_mixture(bx.optimize_mixture(fitted)), tmp_path)
    pd.testing.assert_series_equal(
        pd.Series(dict(mpl.rcParams), dtype=object), pd.Series(before, dtype=object)
    )
