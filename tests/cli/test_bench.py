"""`bimix bench`: what it measures and prints, on batches small enough for a test."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bimix_jax.batching import _compiled as compiled
from bimix_jax.batching import rates
from bimix_jax.batching._compiled import BatchMethod
from bimix_jax.batching.rates import Case, measure
from bimix_jax.cli import batch as bench
from bimix_jax.cli.app import app
from bimix_jax.fitting.options import FitOptions
from bimix_jax.laws import BiMix

SMALL, BYTES = Case(fits=32, points=16), rates.Ceilings(flops=1e30, bytes=1e9)


@pytest.fixture(scope="module")
def measured():
    """The row of a case, of which bytes are the nearer ceiling."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "SECONDS", 0.0)
        return measure(SMALL, BYTES)


def test_it_prints_rates_ceilings_and_what_to_quote(measured, monkeypatch):
    monkeypatch.setattr(bench, "CASES", (SMALL,))
    monkeypatch.setattr(bench, "measure", lambda case, ceilings: measured)
    monkeypatch.setattr(bench, "measure_ceilings", lambda dtype: BYTES)
    shown = CliRunner().invoke(app, ["bench"]).stdout
    assert "Fits per second on 1 × cpu" in shown
    assert f"{measured['with compile']:.4g}" in shown
    assert "Ceilings in float32: 1e+21 billion operations and 1 GB per second" in shown
    assert f"{100 * measured['of it']:.0f} % of the ceiling (bytes)" in shown


def test_json_holds_what_is_measured(monkeypatch):
    monkeypatch.setattr(bench, "CASES", (SMALL,))
    monkeypatch.setattr(rates, "LARGE", 1 << 18)
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    document = json.loads(CliRunner().invoke(app, ["bench", "--json"]).stdout)
    (row,) = document["rows"]
    assert row["failed"] == 0
    assert abs(row["excess"]) < 1e-9
    assert 0 < row["of it"] < 1.5
    assert row["fits/s"] > row["with compile"] > 0
    assert document["ceilings"]["float64"]["flops"] > 0


def test_a_nearer_ceiling_of_bytes_is_named(measured):
    assert measured["bound"] == "bytes"
    assert measured["of it"] == pytest.approx(measured["fits/s"] * (4 * 16 + 16) * 8 / 1e9)


def test_data_on_a_device_are_timed_apart(monkeypatch):
    monkeypatch.setattr(compiled, "CELLS", {})
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    row = measure(Case(fits=8, points=12), BYTES)
    best = max(row["fits/s"], row["on device"])
    assert row["on device"] > 0
    assert row["of it"] == pytest.approx(best * (4 * 12 + 16) * 8 / 1e9)
    shown = bench._to_quote([row | {"fits/s": 1.0}])
    assert f"{row['on device']:,.0f} fits per second in float64 of data on the device" in shown


def test_operations_grow_with_points_and_with_what_is_asked():
    few, many = (rates._operations(BatchMethod(BiMix()), n) for n in (64, 128))
    assert many / few == pytest.approx(2, rel=0.1)
    assert rates._operations(BatchMethod(BiMix(), FitOptions("log")), 64) > few
    # Two exponentials, five and fourteen products and their sums, slopes and residuals.
    assert 64 * 60 < few < 64 * 250
    assert np.isfinite(few)
